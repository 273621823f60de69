"""``python -m bridge``: take webhooks in and forward them, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bridge.app import BridgeApp
from bridge.offspring import Offspring
from bridge.programs import FOR_A_PERSON, CommandLine, log_to_stderr
from bridge.serving import CannotListen, Server, announced, listen
from bridge.sessions import SessionEndpoints
from bridge.signs import Signs, keep_beating
from bridge.sink import TemporalSink
from bridge.sources import sources
from bridge.strain import Strain
from bridge.watch import Watch
from sealwax.connection import connect
from sealwax.lifetime import leave, settle_in
from sealwax.session_links import SessionLinks
from sealwax.settings import Settings, SettingsError, load_settings
from sealwax.stores.base import StoreError
from sealwax.stores.journals import open_bridge_journal
from sealwax.stores.registry import open_registry

CONNECTIONS_MAX = 4_000

log = logging.getLogger("sealwax.bridge")


async def run(
    settings: Settings,
    host: str,
    port: int,
    announce: Path | None,
    forwarder: Offspring | None,
) -> None:
    """Serve until a signal says to stop; ``forwarder`` lives as long.

    Raises ``SettingsError``, ``StoreError`` and ``CannotListen`` before it listens.
    """
    accounts = sources(settings)
    keyring = settings.keyring()
    async with AsyncExitStack() as closing:
        journal = await open_bridge_journal(settings.storage, keyring)
        closing.push_async_callback(journal.close)
        registry = open_registry(settings.storage.registry)
        closing.push_async_callback(registry.close)
        sink = TemporalSink(lambda: connect(settings.temporal, keyring))
        watch = Watch(journal, _now)
        strain = Strain(lambda sign: forwarder.tell(sign.encode()) if forwarder else None)
        signs = Signs(sink, settings.sessions.ping_every_s / 2)
        closing.push_async_callback(signs.settled)
        sessions = SessionEndpoints(
            links=SessionLinks(keyring),
            registry=registry,
            signs=signs,
            sink=sink,
            return_origins=settings.sessions.return_origins,
            now=_now,
        )
        app = BridgeApp(
            accounts,
            journal,
            body_bytes_max=settings.bridge.body_bytes_max,
            arrived=strain.arrived,
            forwarding=lambda: watch.forwarding,
            now=_now,
            sessions=sessions.answer,
            queue_max=settings.bridge.queue_max,
            queue_bytes_max=settings.bridge.queue_bytes_max,
        )
        beside = [
            watch.run,
            strain.run,
            lambda: keep_beating(registry, lambda: not signs.stuck, _now),
        ]
        await _serve(app, beside, forwarder, host, port, announce)


async def _serve(
    app: BridgeApp,
    beside: Sequence[Callable[[], Coroutine[None, None, None]]],
    forwarder: Offspring | None,
    host: str,
    port: int,
    announce: Path | None,
) -> None:
    listener = listen(host, port, "bridge")
    tasks: list[asyncio.Task[None]] = []

    def listening() -> None:
        settle_in()
        announced(announce, host, listener)
        tasks.extend(asyncio.create_task(work()) for work in beside)
        if forwarder is not None:
            tasks.append(asyncio.create_task(forwarder.run()))
        # A bridge that only takes in, or does not say that it is up, would look healthy: without
        # what goes on beside it ends as well.
        for task in tasks:
            task.add_done_callback(lambda _: stop())

    def stop() -> None:
        server.should_exit = True

    server = Server(app, CONNECTIONS_MAX, listening, app.refused)
    loop = asyncio.get_running_loop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.serve([listener])
    if forwarder is not None and tasks:
        forwarder.stop()
        await tasks.pop()
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _now() -> datetime:
    return datetime.now(UTC)


def _parser() -> CommandLine:
    parser = CommandLine(
        "bridge",
        "bridge",
        "Takes providers' webhooks, keeps them durably, and signals their workflows.",
        "url, pid",
    ).takes_address()
    parser.add_argument(
        "--no-forwarder",
        action="store_true",
        help="start no forwarder: they run apart (python -m bridge.forwarder)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 0 after a signal, 2 for what a person corrects."""
    options = _parser().parse_args(arguments)
    log_to_stderr("uvicorn", "httpx")
    try:
        settings = load_settings(options.config)
        host = options.host or settings.bridge.host
        port = settings.bridge.port if options.port is None else options.port
        forwarder = None
        if settings.bridge.forwarder and not options.no_forwarder:
            config = ("--config", str(options.config)) if options.config else ()
            forwarder = Offspring("bridge.forwarder", config)
        uvloop.run(run(settings, host, port, options.announce, forwarder))
    except (SettingsError, StoreError, CannotListen) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return FOR_A_PERSON
    return 0


if __name__ == "__main__":
    leave(main())
