"""Laws of several forwarders on one journal: they share the work, and what one that died held
passes on; what is sent twice is the same event."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bridge.forward import Forwarder
from bridge.pace import Pace
from sealwax.messages import EventBatch
from sealwax.stores.base import EnvelopeName, Journal
from sealwax.stores.journal import open_journal
from sealwax.stores.registry import open_registry
from tests.bridge.deliveries import RecordingSink, message
from tests.bridge.forwarding import QUICK, Rig
from tests.keys import KEYRING

Claim = Callable[[str, datetime, float, int], Awaitable[tuple[EnvelopeName, ...]]]


@pytest.fixture(autouse=True)
def today(rig: Rig) -> None:
    rig.clock.at = datetime.now(UTC)


@asynccontextmanager
async def another(
    rig: Rig, folder: Path, sink: RecordingSink, pace: Pace = QUICK
) -> AsyncIterator[tuple[Forwarder, Journal]]:
    """A forwarder as another process has one: with connections of its own to the same files."""
    journal = open_journal(folder / "journal.db", KEYRING, synced="normal", check_s=0)
    registry = open_registry(folder / "registry.db")
    forwarder = Forwarder(
        journal=journal,
        registry=registry,
        sink=sink,
        readers=rig.readers,
        now=lambda: datetime.now(UTC),
        pace=pace,
    )
    try:
        yield forwarder, journal
    finally:
        await journal.close()
        await registry.close()


async def test_two_share_the_work_and_each_envelope_keeps_its_order(
    rig: Rig, tmp_path: Path
) -> None:
    """While one is at work, what it has not claimed is the other's; nothing is lost or doubled."""
    rows = [await rig.bound(f"order-{i}", f"env-{i}") for i in range(40)]
    keys: dict[str, list[str]] = {row.workflow_id: [] for row in rows}
    for n in range(400):
        row = rows[n % 40]
        keys[row.workflow_id].append(await rig.take(message(row.provider_envelope_id, n=n)))
    sinks: list[Patient] = []
    sinks += [Patient(sinks), Patient(sinks)]
    pace = dataclasses.replace(QUICK, envelopes_at_once=2)
    async with (
        another(rig, tmp_path, sinks[0], pace) as (one, _),
        another(rig, tmp_path, sinks[1], pace) as (other, _),
    ):
        running = [asyncio.create_task(f.run()) for f in (one, other)]
        async with asyncio.timeout(30):
            while (await rig.journal.counts()).delivered < 400:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.02)
        for forwarder in (one, other):
            forwarder.stop()
        await asyncio.gather(*running)
        assert one.counts["delivered"] + other.counts["delivered"] == 400
    for workflow_id, expected in keys.items():
        taken = [sink.events(workflow_id) for sink in sinks]
        assert sorted(taken, key=len) == [[], expected]
    assert all(sink.batches for sink in sinks)


class Patient(RecordingSink):
    """Its signals wait until all of them have one under way."""

    def __init__(self, sinks: list[Patient]) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self._sinks = sinks

    async def signal(self, workflow_id: str, batch: EventBatch) -> None:
        self.asked.set()
        for sink in self._sinks:
            await sink.asked.wait()
        await super().signal(workflow_id, batch)


async def test_what_a_dead_one_held_passes_on_when_its_claim_ends(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died in the middle of a signal, without letting go of anything."""
    row = await rig.bound("order-1", "env-a")
    key = await rig.take(message())
    dead, sink = RecordingSink(), RecordingSink()
    hanging = asyncio.Event()

    async def hang(workflow_id: str, batch: object) -> None:
        hanging.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(dead, "signal", hang)
    pace = dataclasses.replace(QUICK, hold_s=0.5)
    async with another(rig, tmp_path, dead, pace) as (first, journal):
        # It is dead, so it claims nothing anew.
        monkeypatch.setattr(journal, "claim", _once(journal.claim, hanging))

        async def release(forwarder: str, envelopes: object) -> None:
            """A process that was killed lets go of nothing."""

        monkeypatch.setattr(journal, "release", release)
        dying = asyncio.create_task(first.run())
        await hanging.wait()
        async with another(rig, tmp_path, sink, pace) as (second, _):
            running = asyncio.create_task(second.run())
            await sink.until(lambda: sink.events(row.workflow_id) == [key])
            second.stop()
            await running
        for task in (dying, *first._tasks.values()):
            task.cancel()
        await asyncio.gather(dying, return_exceptions=True)
    assert (await rig.journal.counts()).delivered == 1


def _once(claim: Claim, ended: asyncio.Event) -> Claim:
    async def claimed(
        forwarder: str, now: datetime, hold_s: float, limit: int
    ) -> tuple[EnvelopeName, ...]:
        return () if ended.is_set() else await claim(forwarder, now, hold_s, limit)

    return claimed


async def test_a_signal_that_outlasts_its_claim_is_not_joined_by_another_of_its_own(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forwarder is given its own claim again while the signal hangs: still one at a time."""
    row = await rig.bound("order-1", "env-a")
    key = await rig.take(message())
    sink = RecordingSink()
    slow, again = asyncio.Event(), 0
    pace = dataclasses.replace(QUICK, hold_s=0.1)
    async with another(rig, tmp_path, sink, pace) as (forwarder, journal):
        real_signal, real_claim = sink.signal, journal.claim

        async def signal(workflow_id: str, batch: EventBatch) -> None:
            await slow.wait()
            await real_signal(workflow_id, batch)

        async def claim(
            forwarder: str, now: datetime, hold_s: float, limit: int
        ) -> tuple[EnvelopeName, ...]:
            nonlocal again
            names = await real_claim(forwarder, now, hold_s, limit)
            again += len(names)
            if again >= 3:
                slow.set()
            return names

        monkeypatch.setattr(sink, "signal", signal)
        monkeypatch.setattr(journal, "claim", claim)
        running = asyncio.create_task(forwarder.run())
        await sink.until(lambda: sink.events(row.workflow_id) == [key])
        forwarder.stop()
        await running
    assert sink.in_flight_max == {row.workflow_id: 1}


async def test_what_another_process_appends_is_forwarded_within_moments(
    rig: Rig, tmp_path: Path
) -> None:
    """Nobody tells the forwarder; it sees the journal grow."""
    row = await rig.bound("order-1", "env-a")
    sink = RecordingSink()
    async with another(rig, tmp_path, sink) as (forwarder, _):
        running = asyncio.create_task(forwarder.run())
        keys = []
        for n in range(5):
            keys.append(await rig.take(message(n=n)))
            await sink.until(lambda: sink.events(row.workflow_id) == keys)
        forwarder.stop()
        await running


async def test_claims_are_let_go_at_the_end(rig: Rig, tmp_path: Path) -> None:
    """One that stops while Temporal is away leaves all to the next one at once."""
    row = await rig.bound("order-1", "env-a")
    key = await rig.take(message())
    away, sink = RecordingSink(away=True), RecordingSink()
    pace = dataclasses.replace(QUICK, hold_s=3600.0)
    async with another(rig, tmp_path, away, pace) as (first, _):
        running = asyncio.create_task(first.run())
        await away.until(lambda: away.tries > 0)
        first.stop()
        await running
    async with another(rig, tmp_path, sink, pace) as (second, _):
        running = asyncio.create_task(second.run())
        await sink.until(lambda: sink.events(row.workflow_id) == [key])
        second.stop()
        await running


async def test_a_long_envelope_is_left_when_its_claim_nears_its_end(
    rig: Rig, tmp_path: Path
) -> None:
    """What is left of it goes on from where it was, by whoever claims it next."""
    row = await rig.bound("order-1", "env-a")
    keys = [await rig.take(message(n=n)) for n in range(50)]
    sink = RecordingSink()
    pace = dataclasses.replace(QUICK, hold_s=0.03, batch_events=5)
    async with another(rig, tmp_path, sink, pace) as (forwarder, _):
        running = asyncio.create_task(forwarder.run())
        await sink.until(lambda: len(sink.events(row.workflow_id)) >= 50)
        forwarder.stop()
        await running
    assert list(dict.fromkeys(sink.events(row.workflow_id))) == keys
