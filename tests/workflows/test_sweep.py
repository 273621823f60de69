"""What never came by webhook is found by sweeps: whole lives, with webhooks withheld for ever.

The simulator's ledger says which events nobody was told of, what truly became of each envelope,
and how often each was read. Times are scaled: the provider's 15 minutes are 9 seconds here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax.definition import Recipient
from sealwax.handle import EnvelopeHandle
from sealwax.messages import Snapshot
from sealwax.stores.sweep_base import Drifted
from sealwax.stores.sweeps import SqliteSweeps, open_sweeps
from tests import programs, rig
from worker import sweeps_file

pytestmark = pytest.mark.server

SCALE = 0.01
POLL_S = 900 * SCALE
QUOTA = {**rig.GENEROUS, "poll_every_s": 900}
SWEEP = {
    "every_s": 2,
    "overlap_s": 3,
    "page": 7,
    "batch": 5,
    "silent_after_s": POLL_S,
    "late_after_s": 1,
}
PEOPLE = [
    Recipient("buyer", "Ana", "ana@example.com", 1),
    Recipient("seller", "Ben", "ben@example.com", 2),
]
ENVELOPES = 30
ANNOUNCED = frozenset(
    f"{subject}-{status}"
    for subject in ("envelope", "recipient")
    for status in ("created", "sent", "delivered", "completed", "declined", "voided")
)


@pytest_asyncio.fixture
async def programs_of(tmp_path: Path) -> AsyncIterator[Stack]:
    """The programs of one test."""
    async with Stack(tmp_path / "programs") as stack:
        yield stack


@pytest_asyncio.fixture
async def house(
    dev_env: WorkflowEnvironment, tmp_path: Path, programs_of: Stack
) -> AsyncIterator[rig.Rig]:
    """Simulator, bridge and worker as programs, and sweeps every two seconds."""
    url = await programs.start_simulator(programs_of, "--overlap", "off")
    running = rig.running(
        dev_env.client,
        url,
        tmp_path,
        work=False,
        bridge_port=free_port(),
        quota=QUOTA,
        sweep=SWEEP,
    )
    async with running as made:
        limits = {"on": True, "scale": SCALE, "burst": None, "hour": None}
        path = f"{url}/simulator/accounts/{made.desk.account_id}/limits"
        (await made.desk.http.patch(path, json=limits)).raise_for_status()
        await programs.start_worker(programs_of, tmp_path / "sealwax.toml")
        await programs.start_bridge(programs_of, tmp_path / "sealwax.toml")
        yield made


@pytest_asyncio.fixture
async def sweeps(house: rig.Rig) -> AsyncIterator[SqliteSweeps]:
    """The memory of sweeps that the worker writes."""
    store = open_sweeps(sweeps_file(house.settings))
    yield store
    await store.close()


async def withheld(house: rig.Rig) -> Counter[tuple[str, str, str]]:
    """Envelope, recipient and event of each status change that nobody was told of."""
    listed = (await house.desk.ledger())["withheld"]
    return Counter(
        (e["envelopeId"], e["recipientId"] or "", e["event"])
        for e in listed
        if e["event"] in ANNOUNCED
    )


async def drifted(house: rig.Rig, sweeps: SqliteSweeps) -> Counter[tuple[str, str, str]]:
    """The same of each status change that is counted as drift."""
    return Counter(_named(each) for each in await sweeps.drift(rig.ACCOUNT, _late(), 10_000))


def _late() -> datetime:
    return datetime.now(UTC) - timedelta(seconds=SWEEP["late_after_s"])


def _named(each: Drifted) -> tuple[str, str, str]:
    subject = "recipient" if each.change.recipient else "envelope"
    change = each.change
    return each.provider_envelope_id, change.recipient, f"{subject}-{change.status}"


async def lives(house: rig.Rig, number: int) -> tuple[EnvelopeHandle, str]:
    """One whole life: most are signed by both, some declined, some voided by the sender."""
    envelope = await house.create(recipients=PEOPLE)
    sent = await envelope.wait("sent", timeout_s=60)
    provider_id = sent.provider_envelope_id
    await house.desk.acts(provider_id, "1", "open")
    if number % 10 == 3:
        await house.desk.acts(provider_id, "1", "decline")
        return envelope, "declined"
    await house.desk.acts(provider_id, "1", "sign")
    if number % 10 == 7:
        await envelope.void("not wanted any more")
        return envelope, "voided"
    await house.desk.acts(provider_id, "2", "open")
    await house.desk.acts(provider_id, "2", "sign")
    return envelope, "completed"


async def test_with_a_third_of_all_webhooks_lost_every_envelope_comes_to_its_true_end(
    house: rig.Rig, sweeps: SqliteSweeps
):
    """And the drift is exactly what the simulator says it withheld; no envelope was read twice
    within the provider's 15 minutes."""
    await house.desk.harm(webhooks={"withhold": {"*": 0.3}, "delay_ms": [0, 500]}, seed=5)

    lived = await asyncio.gather(*(lives(house, number) for number in range(ENVELOPES)))
    ended: Sequence[Snapshot] = await asyncio.gather(
        *(envelope.wait("closed", timeout_s=90) for envelope, _ in lived)
    )

    truth = {e["envelopeId"]: e["status"] for e in await house.desk.envelopes()}
    assert [e.status for e in ended] == [end for _, end in lived]
    assert {e.provider_envelope_id: str(e.status) for e in ended} == truth
    lost = await withheld(house)
    assert len(lost) > ENVELOPES
    await until(lambda: _equal(house, sweeps), 30)
    assert await drifted(house, sweeps) == lost
    assert await reads_too_soon(house) == []


async def _equal(house: rig.Rig, sweeps: SqliteSweeps) -> bool:
    return await drifted(house, sweeps) == await withheld(house)


async def reads_too_soon(house: rig.Rig) -> list[Any]:
    """Repeated reads of one envelope within the scaled 15 minutes, by the simulator's log."""
    path = f"{house.desk.url}/simulator/accounts/{house.desk.account_id}/limits"
    polling = (await house.desk.http.get(path)).json()["polling"]
    return [b for b in polling["listed"] if b["operationId"] == "Envelopes_GetEnvelope"]


async def until(holds: Callable[[], Any], within_s: float) -> None:
    """Until it holds, or the time is over; another process's store can only be asked again."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_a_webhook_that_comes_late_is_no_drift(house: rig.Rig, sweeps: SqliteSweeps):
    """It is counted while it is missing, and taken back out when it comes after all."""
    await house.desk.harm(webhooks={"late": {"*": 1.0}, "late_ms": [6_000, 8_000]})
    envelope, _ = await lives(house, 0)

    async def counted() -> bool:
        return (await sweeps.look(rig.ACCOUNT, _late())).drift > 0

    async def none() -> bool:
        view = await sweeps.look(rig.ACCOUNT, datetime.now(UTC))
        return (view.drift, view.waiting) == (0, 0)

    await until(counted, 30)
    assert (await envelope.wait("closed", timeout_s=60)).status == "completed"
    await until(none, 30)
    assert (await sweeps.look(rig.ACCOUNT, _late())).came_late > 0
    assert await withheld(house) == Counter()


async def test_a_silent_envelope_is_asked_about_with_others_and_read_by_nobody(
    house: rig.Rig, sweeps: SqliteSweeps
):
    """A first signer's end changes no envelope's status, so no list of changes shows it."""
    await house.desk.harm(webhooks={"withhold": {"*": 1.0}})
    envelopes = [await house.create(recipients=PEOPLE) for _ in range(7)]
    sent = [await envelope.wait("sent", timeout_s=30) for envelope in envelopes]
    for each in sent:
        await house.desk.acts(each.provider_envelope_id, "1", "open")
    # Until no sweep to come lists them for having been opened.
    over = datetime.now(UTC) + timedelta(seconds=SWEEP["overlap_s"])
    await until(lambda: _known_up_to(sweeps, over), 30)
    for each in sent:
        await house.desk.acts(each.provider_envelope_id, "1", "sign")

    async def all_known() -> bool:
        shown = [await envelope.status() for envelope in envelopes]
        return all(s.recipients[0].status == "completed" for s in shown)

    await until(all_known, 40)
    assert {(await envelope.status()).status for envelope in envelopes} <= {"sent", "delivered"}
    calls = (await house.desk.ledger(calls=True))["calls"]
    assert not [c for c in calls if c["operationId"] == "Envelopes_GetEnvelope"]
    assert (await sweeps.look(rig.ACCOUNT, _late())).asked >= len(envelopes)


async def test_workers_that_are_killed_repeat_stretches_and_leave_none_out(
    house: rig.Rig, sweeps: SqliteSweeps, programs_of: Stack
):
    """SIGKILL again and again while sweeps run: every envelope comes to its end, the drift is
    exact, and none was made twice."""
    await house.desk.harm(webhooks={"withhold": {"*": 0.6}}, seed=9)
    living = [asyncio.create_task(lives(house, number)) for number in (0, 1, 3, 7, 10, 11)]
    for _ in range(3):
        listings = await _listings(house)
        await until(partial(_listed_since, house, listings), 40)
        await programs_of.kill("worker")
        await programs_of.restart("worker")
    lived = await asyncio.gather(*living)
    ended = [await envelope.wait("closed", timeout_s=60) for envelope, _ in lived]

    assert [e.status for e in ended] == [end for _, end in lived]
    await until(lambda: _equal(house, sweeps), 40)
    assert await drifted(house, sweeps) == await withheld(house) != Counter()
    assert len(await house.desk.envelopes()) == len(lived)


async def _known_up_to(sweeps: SqliteSweeps, moment: datetime) -> bool:
    watermark = await sweeps.watermark(rig.ACCOUNT)
    return watermark is not None and watermark > moment


async def _listings(house: rig.Rig) -> int:
    """How many lists the provider was asked for."""
    calls = (await house.desk.ledger(calls=True))["calls"]
    return sum(c["operationId"] == "Envelopes_GetEnvelopes" for c in calls)


async def _listed_since(house: rig.Rig, before: int) -> bool:
    return await _listings(house) > before
