"""Laws of giving way: a listener in a surge has the machine first, and forwarding never stops."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from bridge.gathering import Patience
from bridge.offspring import Offspring
from bridge.strain import FIRST_PER_S, FLOOR_PER_S, LATE_S, Brake, Strain
from tests.bridge.deliveries import message
from tests.bridge.test_forward import QUICK, Rig

NEVER = Patience(free_per_s=1e6, full_per_s=1e7)


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    await made.close()


def begun(brake: Brake, from_s: float, to_s: float) -> int:
    """How many signals begin in a stretch of time by who always has one."""
    now_s, count = from_s, 0
    while now_s < to_s:
        if (wait_s := brake.wait_s(now_s)) > 0:
            now_s += wait_s
        else:
            brake.began(now_s)
            count += 1
            now_s += 0.001
    return count


def test_who_was_never_pressed_holds_nothing_back() -> None:
    assert begun(Brake(), 0, 1) == 1_000


def test_pressed_for_long_it_lets_a_little_through_and_no_more() -> None:
    brake = Brake()
    presses = [tick / 50 for tick in range(500)]
    total = 0
    for before, now_s in zip([0.0, *presses], presses, strict=False):
        total += begun(brake, before, now_s)
        brake.press(now_s)
    assert FLOOR_PER_S <= brake.per_s(10) < 1.1 * FLOOR_PER_S
    assert FLOOR_PER_S * 9 <= total <= FLOOR_PER_S * 10 + 2 * FIRST_PER_S


def test_left_alone_it_is_free_again_within_seconds() -> None:
    brake = Brake()
    for tick in range(100):
        brake.press(tick / 10)
    assert brake.per_s(10) < 2 * FLOOR_PER_S
    assert brake.per_s(17) == math.inf
    assert brake.per_s(1e9) == math.inf


def test_as_many_are_in_flight_as_have_proved_well() -> None:
    """It grows by what ends while all places are taken, and begins anew when pressed."""
    brake = Brake()
    first = brake.at_once
    for _ in range(100):
        brake.ended(first - 1)
    assert brake.at_once == first
    for _ in range(5):
        brake.ended(brake.at_once)
    assert brake.at_once > first
    brake.press(0)
    assert brake.at_once == first


@given(st.lists(st.floats(0, 30), max_size=60))
def test_however_it_is_pressed_it_never_stands_still(gaps_s: list[float]) -> None:
    """The next signal is never further away than the floor says."""
    brake, now_s = Brake(), 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        brake.press(now_s)
        assert brake.wait_s(now_s) <= 1 / FLOOR_PER_S + 1e-6
        if brake.wait_s(now_s) == 0:
            brake.began(now_s)


@pytest.mark.parametrize(("webhooks", "strained"), [(0, False), (50, False), (2_000, True)])
async def test_a_late_loop_is_strain_in_a_surge_alone(webhooks: int, strained: bool) -> None:
    """With few webhooks a machine that is busy with other things leaves forwarding as it is."""
    told = asyncio.Event()
    strain = Strain(told.set)
    looking = asyncio.create_task(strain.run())
    await asyncio.sleep(0)
    for _ in range(webhooks):
        strain.arrived()
    # The loop is held up on purpose, for longer than the watcher's next look is away.
    end_s = time.monotonic() + 5 * LATE_S
    while time.monotonic() < end_s:
        pass
    for _ in range(3):
        await asyncio.sleep(LATE_S)
    looking.cancel()
    assert told.is_set() == strained


async def test_a_program_of_a_bridge_s_is_told_of_its_strain(tmp_path: Path) -> None:
    """Before it is up, nobody is; and however often it is told, it lives on."""
    file = tmp_path / "told"
    owned = Offspring("tests.bridge.kept_running", [str(file)])
    owned.strain()
    running = asyncio.create_task(owned.run())
    while not file.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    while "strained" not in file.read_text(encoding="utf-8"):
        owned.strain()
        await asyncio.sleep(0.02)
    owned.stop()
    await asyncio.wait_for(running, 20)
    owned.strain()
    assert file.read_text(encoding="utf-8").split().count("up") == 1


async def test_a_forwarder_that_gives_way_signals_less_often_and_more_at_once(rig: Rig) -> None:
    """Whose turn comes says all that came meanwhile; nothing is lost, and the order stays."""
    rig.forwarder = rig.made(dataclasses.replace(QUICK, patience=NEVER))
    rows = [await rig.bound(f"order-{n}", f"env-{n}") for n in range(4)]
    for _ in range(20):
        rig.forwarder.give_way()
    began_s = time.monotonic()
    task = asyncio.create_task(rig.forwarder.run())
    keys: dict[str, list[str]] = {row.workflow_id: [] for row in rows}
    for n in range(12):
        for number, row in enumerate(rows):
            keys[row.workflow_id].append(await rig.take(message(f"env-{number}", n=n)))
        rig.forwarder.give_way()
        rig.forwarder.wake()
    await rig.sink.until(lambda: all(rig.sink.events(w) == held for w, held in keys.items()))
    took_s = time.monotonic() - began_s
    assert len(rig.sink.batches) <= 1 + 2 * FIRST_PER_S * took_s
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)
