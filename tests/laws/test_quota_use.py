"""Law: workers that share an account use nearly all of it, are never refused, and let people pass.

Real keepers in virtual time, against a provider that counts strictly.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from sealwax.quota_limits import Klass
from tests.quota_office import BURST_ALONE, NO_AWAY, Office, saturated
from tests.quota_world import US, StrictProvider, play, virtual_now_us


@pytest.mark.parametrize(("reserve", "least"), [(0.0, 0.99), (0.02, 0.975)])
def test_endless_demand_uses_the_burst_and_is_never_refused(reserve: float, least: float) -> None:
    """Four workers whose clocks differ by 20 s; people wait for milliseconds meanwhile."""
    limits = replace(BURST_ALONE, interactive_reserve=reserve)
    office = Office(limits, StrictProvider(limits, seed=1))
    people_per_s = 15.0 if reserve else 0.0
    rate = play(saturated(office, from_s=6, to_s=18, people_per_s=people_per_s))

    assert office.provider.refused == 0
    assert rate / (500 / 3) >= least
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


@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("ahead_s", [0.03, 0.1])
def test_another_program_that_takes_part_of_the_account_is_made_room_for(
    ahead_s: float, seed: int
) -> None:
    """It takes a random 0-60 %: few refusals, and nearly all of what it leaves is used.

    Also where answers tell late of it, and people come meanwhile.
    """
    limits = replace(BURST_ALONE, interactive_reserve=0.02, ahead_s=ahead_s)
    office = Office(limits, StrictProvider(limits, seed=seed))
    taken = 0

    async def stranger() -> None:
        nonlocal taken
        random = Random(seed + 1)
        while True:
            share = random.uniform(0.0, 0.6)
            until = virtual_now_us() + 3 * US
            while virtual_now_us() < until:
                await asyncio.sleep(random.expovariate(max(0.01, share) * 500 / 3))
                taken += office.provider.arrive()[1] is None

    async def both() -> int:
        other = asyncio.create_task(stranger())
        await saturated(office, from_s=1, to_s=40, people_per_s=15.0)
        other.cancel()
        return office.provider.accepted - taken

    ours = play(both())
    assert office.refused < 0.005 * ours
    assert ours / (500 / 3 * 40 - taken) >= 0.9


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
    limits = replace(BURST_ALONE, interactive_reserve=0.1)
    office = Office(limits, StrictProvider(limits, seed=6))
    rate = play(saturated(office, from_s=6, to_s=15, people_per_s=100.0))

    assert office.provider.refused == 0
    bulk = office.done - len(office.waits_s)
    assert bulk > 0.3 * office.done
    assert rate >= 0.88 * 500 / 3
    assert office.wait_s(0.99) < 0.1
