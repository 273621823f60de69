"""``python -m bridge.forwarder``: bring webhooks from the journal to Temporal, until SIGTERM.

Any number of them share one journal; ``python -m bridge`` starts one of its own.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import signal
import sys
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from bridge.forward import Forwarder
from bridge.offspring import OWNED, owner_gone
from bridge.pace import Pace
from bridge.programs import FOR_A_PERSON, CommandLine, log_to_stderr, write_announcement
from bridge.sink import TemporalSink
from bridge.strain import Sign
from sealwax.connection import connect
from sealwax.lifetime import leave, settle_in
from sealwax.providers.registry import webhook_reader
from sealwax.settings import Settings, SettingsError, load_settings
from sealwax.stores.base import Journal, Retention, StoreError
from sealwax.stores.journals import open_forwarder_journal, retention_of
from sealwax.stores.registry import open_registry

TELL_EVERY_S = 60.0
PRUNE_EVERY_S = 600.0

log = logging.getLogger("sealwax.forwarder")


async def run(settings: Settings, announce: Path | None, *, owned: bool) -> None:
    """Forward until a signal says to stop, or, if it is ``owned``, until its owner is gone.

    Raises ``SettingsError`` and ``StoreError`` before it begins.
    """
    keyring = settings.keyring()
    async with AsyncExitStack() as closing:
        journal = await open_forwarder_journal(settings.storage, keyring)
        closing.push_async_callback(journal.close)
        registry = open_registry(settings.storage.registry)
        closing.push_async_callback(registry.close)
        forwarder = Forwarder(
            journal=journal,
            registry=registry,
            sink=TemporalSink(lambda: connect(settings.temporal, keyring)),
            readers={n: webhook_reader(a.provider) for n, a in settings.accounts.items()},
            now=lambda: datetime.now(UTC),
            pace=Pace(park_s=settings.bridge.park_s),
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, forwarder.stop)
        beside: list[Coroutine[Any, Any, None]] = [
            _tell(forwarder, journal),
            _prune(journal, retention_of(settings.storage)),
        ]
        if owned:
            beside.append(_end_with_owner(forwarder))
        tasks = [asyncio.create_task(work) for work in beside]
        log.info("forwarding as %s", forwarder.name)
        settle_in()
        write_announcement(announce, {"url": None, "name": forwarder.name})
        try:
            await forwarder.run()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _end_with_owner(forwarder: Forwarder) -> None:
    def told(signs: bytes) -> None:
        # Of several that waited the worst counts.
        forwarder.give_way(Sign.STRAIN if Sign.STRAIN.encode() in signs else Sign.SURGE)

    await owner_gone(told)
    log.info("its bridge is gone")
    forwarder.stop()


async def _tell(forwarder: Forwarder, journal: Journal) -> None:
    """A line a minute of what was done since the last one, and what waits."""
    before = dict(forwarder.counts)
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        now = dict(forwarder.counts)
        done = {what: number - before.get(what, 0) for what, number in now.items()}
        before = now
        try:
            counts = await journal.counts()
        except StoreError as error:
            log.warning("the journal does not tell what waits: %s", error)
            continue
        waiting = {"pending": counts.pending, "parked": counts.parked}
        line = {**done, **waiting, "reaching": forwarder.reaching}
        log.info("in %.0f s: %s", TELL_EVERY_S, json.dumps(line, sort_keys=True))


async def _prune(journal: Journal, retention: Retention) -> None:
    """Every so often drop what waits for nothing and is too old. Several who do are no harm."""
    while True:
        await asyncio.sleep(PRUNE_EVERY_S * random.uniform(0.5, 1.5))
        try:
            pruned = await journal.prune(datetime.now(UTC), retention)
        except StoreError as error:
            log.warning("nothing is pruned: %s", error)
            continue
        if pruned:
            log.info("%d old webhooks pruned", pruned)


def _parser() -> CommandLine:
    parser = CommandLine(
        "forwarder",
        "bridge.forwarder",
        "Brings webhooks from the journal to their workflows; run as many as you like.",
        "pid, name",
    )
    parser.add_argument(
        OWNED, action="store_true", help="end when standard input does, as a bridge's own one"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 0 after a signal, 2 for what a person corrects."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    try:
        settings = load_settings(options.config)
        uvloop.run(run(settings, options.announce, owned=options.owned))
    except (SettingsError, StoreError) as error:
        print(f"forwarder: {error}", file=sys.stderr)
        return FOR_A_PERSON
    return 0


if __name__ == "__main__":
    leave(main())
