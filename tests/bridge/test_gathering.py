"""Laws of gathering: in a surge one signal says more, and nothing waits that comes alone."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from bridge.gathering import Patience, Rate
from tests.bridge.deliveries import message
from tests.bridge.forwarding import QUICK, Rig


@pytest.mark.parametrize(
    ("per_s", "rest_s"), [(0, 0), (40, 0), (100, 0), (200, 0.5), (300, 1), (9_000, 1)]
)
def test_nothing_rests_at_a_usual_rate_and_nothing_for_longer_than_is_stated(
    per_s: float, rest_s: float
) -> None:
    patience = Patience(free_per_s=100, full_per_s=300, longest_s=1)
    assert patience.rest_s(per_s) == pytest.approx(rest_s)


def test_the_rate_is_that_of_the_last_second_or_so() -> None:
    rate = Rate()
    assert rate.per_s(0) == 0
    for tick in range(1_000):
        rate.count(20, tick / 100)
    assert rate.per_s(9.99) == pytest.approx(2_000, rel=0.02)
    assert rate.per_s(20) < 1


async def test_what_follows_an_envelope_s_first_event_in_a_surge_comes_together(rig: Rig) -> None:
    """All of it and in its order; another envelope's first event does not wait for that."""
    always = Patience(free_per_s=-1, full_per_s=0, longest_s=3.0)
    rig.forwarder = rig.made(dataclasses.replace(QUICK, patience=always))
    row, other = await rig.bound("order-1", "env-a"), await rig.bound("order-2", "env-b")
    task = asyncio.create_task(rig.forwarder.run())
    keys = [await rig.take(message(n=0))]
    await rig.sink.until(lambda: rig.sink.events(row.workflow_id) == keys)
    for n in range(1, 20):
        keys.append(await rig.take(message(n=n)))
        rig.forwarder.wake()
    alone = await rig.take(message("env-b"))
    rig.forwarder.wake()
    await rig.sink.until(lambda: rig.sink.events(other.workflow_id) == [alone])
    assert len(rig.sink.events(row.workflow_id)) < len(keys)
    await rig.sink.until(lambda: rig.sink.events(row.workflow_id) == keys)
    assert sum(workflow_id == row.workflow_id for workflow_id, _ in rig.sink.batches) <= 3
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)
    assert (await rig.journal.counts()).delivered == 21


async def test_what_waits_at_the_end_stays_for_the_next_start(rig: Rig) -> None:
    """A forwarder that stops waits for no gathering, and keeps no claim."""
    always = Patience(free_per_s=-1, full_per_s=0, longest_s=60.0)
    rig.forwarder = rig.made(dataclasses.replace(QUICK, patience=always))
    row = await rig.bound("order-1", "env-a")
    task = asyncio.create_task(rig.forwarder.run())
    keys = [await rig.take(message(n=n)) for n in range(2)]
    await rig.sink.until(lambda: rig.sink.events(row.workflow_id) == keys)
    keys.append(await rig.take(message(n=2)))
    rig.forwarder.stop()
    await asyncio.wait_for(task, 10)
    rig.forwarder = rig.made(QUICK)
    task = asyncio.create_task(rig.forwarder.run())
    await rig.sink.until(lambda: rig.sink.events(row.workflow_id) == keys)
    rig.forwarder.stop()
    await asyncio.wait_for(task, 10)
