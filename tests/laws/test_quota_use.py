"""Law: workers that share an account use nearly all of it, are never refused, and let people pass.

Real keepers in virtual time, against a provider that counts strictly.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from sealwax.quota_limits import Klass, Limits
from tests.quota_office import BURST_ALONE, BURST_AT_REAL_PACE, NO_AWAY, Office, saturated
from tests.quota_world import US, StrictProvider, play, virtual_now_us


@pytest.mark.parametrize("burst", [BURST_AT_REAL_PACE, BURST_ALONE], ids=["real", "scaled"])
@pytest.mark.parametrize(("reserve", "least"), [(0.0, 0.99), (0.02, 0.975)])
def test_endless_demand_uses_the_burst_and_is_never_refused(
    burst: Limits, reserve: float, least: float
) -> None:
    """Four workers whose clocks differ by 20 s; people wait for milliseconds meanwhile."""
    limits, window_s = replace(burst, interactive_reserve=reserve), burst.burst_window_s
    office = Office(limits, StrictProvider(limits, seed=1, latency_s=window_s / 300))
    per_s = 45 / window_s if reserve else 0.0
    rate = play(saturated(office, from_s=2 * window_s, to_s=6 * window_s, people_per_s=per_s))

    assert office.provider.refused == 0
    assert rate * window_s / limits.burst_calls >= least
    if reserve:
        assert len(office.waits_s) > 200
        assert office.wait_s(0.99) < 0.020


def test_the_hour_is_used_whole_and_people_wait_under_a_second() -> None:
    """Bulk is paced over the hour although the demand of people was estimated at half."""
    limits = replace(NO_AWAY, urgent_per_hour=150, life_s=6.0)
    office = Office(limits, StrictProvider(limits, seed=2, latency_s=0.2))

    async def an_hour_and_a_bit() -> None:
        await saturated(office, from_s=1, to_s=3_700, people_per_s=300 / 3600, callers=1)

    play(an_hour_and_a_bit())
    assert office.provider.refused == 0
    assert len(office.provider.hours) == 2
    assert office.provider.hours[min(office.provider.hours)] >= 0.995 * 3_000
    assert office.wait_s(0.99) < 1.0


@pytest.mark.parametrize(
    ("burst", "seed"),
    [(BURST_AT_REAL_PACE, 3), (BURST_ALONE, 3), (BURST_ALONE, 4)],
    ids=["real", "scaled-3", "scaled-4"],
)
def test_another_program_that_takes_part_of_the_account_is_made_room_for(
    burst: Limits, seed: int
) -> None:
    """It takes a random 0-60 %, another part in every window, and people come meanwhile: few calls
    are refused, and nearly all of what it leaves is used.
    """
    limits, window_s = replace(burst, interactive_reserve=0.02), burst.burst_window_s
    office = Office(limits, StrictProvider(limits, seed=seed, latency_s=window_s / 300))
    taken, windows = 0, 9

    async def stranger() -> None:
        nonlocal taken
        random = Random(seed + 1)
        while True:
            share = random.uniform(0.0, 0.6)
            until = virtual_now_us() + window_s * US
            while virtual_now_us() < until:
                await asyncio.sleep(random.expovariate(max(0.01, share) * 500 / window_s))
                taken += office.provider.arrive()[1] is None

    async def both() -> int:
        other = asyncio.create_task(stranger())
        to_s = windows * window_s
        await saturated(office, from_s=window_s, to_s=to_s, people_per_s=45 / window_s)
        other.cancel()
        return office.provider.accepted - taken

    ours = play(both())
    assert office.refused < 0.005 * ours
    assert ours / (500 * windows - taken) >= 0.9


def test_two_accounts_never_disturb_each_other() -> None:
    """One account's storm leaves the other's calls where they were."""
    limits = replace(BURST_ALONE, burst_calls=20)
    office = Office(limits, StrictProvider(limits, seed=5))

    async def other_account() -> float:
        keeper = office.keeper()
        storm = [asyncio.create_task(office.bulk(keeper)) for _ in range(50)]
        await asyncio.sleep(5)
        since = virtual_now_us()
        for _ in range(3):
            async with keeper.permit("globex", None, Klass.BULK, "Envelopes_GetEnvelope") as permit:
                permit.unused()
        waited = (virtual_now_us() - since) / US
        for task in storm:
            task.cancel()
        await asyncio.gather(*storm, return_exceptions=True)
        await keeper.close()
        return waited

    assert play(other_account()) < 0.05


def test_bulk_progresses_whenever_people_leave_room() -> None:
    """People take six tenths, so more is reserved; batches get the rest without delaying them."""
    limits = replace(BURST_AT_REAL_PACE, interactive_reserve=0.1)
    office = Office(limits, StrictProvider(limits, seed=6, latency_s=0.1))
    rate = play(saturated(office, from_s=60, to_s=150, people_per_s=10.0))

    assert office.provider.refused == 0
    bulk = office.done - len(office.waits_s)
    assert bulk > 0.3 * office.done
    assert rate >= 0.88 * 500 / 30
    assert office.wait_s(0.99) < 1.0
