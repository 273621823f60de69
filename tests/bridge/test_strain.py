"""Laws of giving way: a listener in a surge has the machine first, and forwarding never stops."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.gathering import Patience
from bridge.offspring import Offspring
from bridge.strain import FIRST_PER_S, FLOOR_PER_S, LOOK_EVERY_S, Brake, Sign, Strain
from sealwax.stores.base import EnvelopeName
from tests.bridge.deliveries import message
from tests.bridge.forwarding import QUICK, Rig

NEVER = Patience(free_per_s=1e6, full_per_s=1e7)


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


def surge(brake: Brake, sign: Sign, to_s: float) -> int:
    """A surge from second 0 on, told of all the time; how many signals begin in it."""
    total, ticks = 0, range(round(to_s * 20))
    for tick in ticks:
        brake.told(sign, tick / 20)
        total += begun(brake, tick / 20, (tick + 1) / 20)
    return total


def test_without_a_sign_nothing_is_held_back() -> None:
    assert begun(Brake(), 0, 1) == 1_000


def test_under_strain_a_little_goes_through_and_no_more() -> None:
    brake = Brake()
    total = surge(brake, Sign.STRAIN, 10)
    assert FLOOR_PER_S <= brake.per_s(10) < 1.1 * FLOOR_PER_S
    assert FLOOR_PER_S * 9 <= total <= FLOOR_PER_S * 10 + FIRST_PER_S


def test_a_surge_that_strains_nobody_is_soon_free() -> None:
    """A machine with room to spare forwards as it comes, a few seconds after the surge began."""
    brake = Brake()
    surge(brake, Sign.SURGE, 0.5)
    assert brake.per_s(0.5) < 2 * FIRST_PER_S
    surge(brake, Sign.SURGE, 5)
    assert brake.per_s(5) == math.inf


def test_after_strain_it_grows_slowly_while_the_surge_lasts() -> None:
    """What strained once would soon strain again."""
    brake = Brake()
    surge(brake, Sign.STRAIN, 2)
    for tick in range(100):
        brake.told(Sign.SURGE, 2 + tick / 20)
    assert FLOOR_PER_S < brake.per_s(7) < 2 * FLOOR_PER_S


def test_when_the_surge_is_over_it_is_free_again_within_seconds() -> None:
    brake = Brake()
    surge(brake, Sign.STRAIN, 10)
    assert brake.per_s(10) < 2 * FLOOR_PER_S
    assert brake.per_s(17) == math.inf
    assert brake.per_s(1e9) == math.inf


@pytest.mark.parametrize("quiet", [True, False])
def test_as_many_are_in_flight_as_have_proved_well(quiet: bool) -> None:
    """It grows by what ends while all places are taken, and begins anew in quiet or with strain."""
    brake = Brake()
    first = brake.at_once
    for _ in range(100):
        brake.ended(first - 2)
    assert brake.at_once == first
    for _ in range(5):
        brake.ended(brake.at_once - 1)
    assert brake.at_once > first
    if quiet:
        brake.ended(0)
    else:
        brake.told(Sign.STRAIN, 0)
    assert brake.at_once == first


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(Sign)), max_size=60))
def test_whatever_it_is_told_it_never_stands_still(told: list[tuple[float, Sign]]) -> None:
    """The next signal is never further away than the floor says."""
    brake, now_s = Brake(), 0.0
    for gap_s, sign in told:
        now_s += gap_s
        brake.told(sign, now_s)
        assert brake.wait_s(now_s) <= 1 / FLOOR_PER_S + 1e-6
        if brake.wait_s(now_s) == 0:
            brake.began(now_s)


@pytest.mark.parametrize(
    ("webhooks", "held_up_s", "told"),
    [(0, 0.1, set()), (10, 0.1, set()), (500, 0, {Sign.SURGE}), (500, 0.1, {Sign.STRAIN})],
)
async def test_a_late_loop_is_strain_in_a_surge_alone(
    webhooks: int, held_up_s: float, told: set[Sign]
) -> None:
    """With few webhooks a machine that is busy with other things leaves forwarding as it is."""
    signs: list[Sign] = []
    strain = Strain(signs.append)
    looking = asyncio.create_task(strain.run())
    await asyncio.sleep(0)
    # Held up on purpose, for longer than the next look is away.
    end_s = time.monotonic() + held_up_s
    while time.monotonic() < end_s:
        pass
    for _ in range(webhooks):
        strain.arrived()
    for _ in range(3):
        await asyncio.sleep(LOOK_EVERY_S)
    looking.cancel()
    assert told <= set(signs)
    assert bool(signs) == bool(told)


async def test_a_program_of_a_bridge_s_gets_its_signs(tmp_path: Path) -> None:
    """Before it is up, nobody is; and however often it is told, it lives on."""
    file = tmp_path / "told"
    owned = Offspring("tests.bridge.kept_running", [str(file)])
    owned.tell(b"s")
    running = asyncio.create_task(owned.run())
    while not file.exists():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    while "s!" not in file.read_text(encoding="utf-8"):
        owned.tell(b"s!")
        await asyncio.sleep(0.02)
    owned.stop()
    await asyncio.wait_for(running, 20)
    owned.tell(b"s")
    assert file.read_text(encoding="utf-8").split().count("up") == 1


async def test_a_forwarder_that_gives_way_signals_less_often_and_more_at_once(rig: Rig) -> None:
    """Whose turn comes says all that came meanwhile; nothing is lost, and the order stays."""
    rig.forwarder = rig.made(dataclasses.replace(QUICK, patience=NEVER))
    rows = [await rig.bound(f"order-{n}", f"env-{n}") for n in range(4)]
    rig.forwarder.give_way(Sign.STRAIN)
    began_s = time.monotonic()
    task = asyncio.create_task(rig.forwarder.run())
    keys: dict[str, list[str]] = {row.workflow_id: [] for row in rows}
    for n in range(12):
        for number, row in enumerate(rows):
            keys[row.workflow_id].append(await rig.take(message(f"env-{number}", n=n)))
        rig.forwarder.give_way(Sign.STRAIN)
        rig.forwarder.wake()
    await rig.sink.until(lambda: all(rig.sink.events(w) == held for w, held in keys.items()))
    took_s = time.monotonic() - began_s
    assert len(rig.sink.batches) <= 1 + 2 * FIRST_PER_S * took_s
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)


@pytest.mark.parametrize(("surge", "said"), [(True, [3]), (False, [8, 2])])
async def test_in_a_surge_less_is_said_at_a_stroke(rig: Rig, surge: bool, said: list[int]) -> None:
    """What remains has to wait for its envelope's next turn."""
    await rig.bound("order-1", "env-a")
    for n in range(10):
        await rig.take(message("env-a", n=n))
    forwarder = rig.made(dataclasses.replace(QUICK, batch_events=8, batch_events_in_surge=3))
    if surge:
        forwarder.give_way(Sign.SURGE)
    await forwarder.forward(EnvelopeName("acme", "env-a"))
    assert [len(batch.events) for _, batch in rig.sink.batches] == said
