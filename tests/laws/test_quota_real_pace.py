"""Law: at the provider's own pace a signer has a page within a second, and the dead leave no gap.

The product's own limits and times, 500 calls in 30 s and 3,000 an hour, in virtual time: what is
asserted are seconds, and no machine's load has a part in them.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random

import pytest

from sealwax.permits import Permits
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import Ask, QuotaView, Told
from sealwax.stores.base import StoreError
from tests.quota_office import Office, saturated
from tests.quota_world import US, StrictProvider, play, virtual_now_us

REAL = Limits()
ONE_WINDOW_AT_A_TIME = replace(REAL, hour_calls=1_000_000, urgent_per_hour=0)
"""As many windows in a row as one likes are filled: the hour's budget would be gone after six."""

ANSWER_S = 0.15
"""How long the provider takes for an answer, about; the slowest take eight times that."""

CALLS_FOR_A_PAGE = 2
"""The read that stands before a signer's page, and the page's address."""


@pytest.mark.parametrize(
    ("limits", "signers", "within_s"),
    [(REAL, 300, 3_600.0), (ONE_WINDOW_AT_A_TIME, 150, 300.0)],
)
def test_a_signer_waits_less_than_a_second_for_the_quota_while_bulk_queues(
    limits: Limits, signers: int, within_s: float
) -> None:
    """Endless bulk work in four workers, signers at random times: every one of them, in all that
    the account's limits make them wait for a page, over an hour and over windows that are full.
    """
    office = Office(limits, StrictProvider(limits, seed=8, latency_s=ANSWER_S))
    waits_s: list[float] = []

    async def signer(keeper: Permits) -> None:
        waited_us = 0
        for _ in range(CALLS_FOR_A_PAGE):
            since = virtual_now_us()
            async with keeper.permit("acme", None, Klass.INTERACTIVE, "Views_Post") as permit:
                waited_us += virtual_now_us() - since
                permit.completed(*await office.provider.call())
        waits_s.append(waited_us / US)

    async def come() -> None:
        random, keepers = Random(9), [office.keeper(skew_s) for skew_s in (7.0, -7.0)]
        await asyncio.sleep(30)
        async with asyncio.TaskGroup() as group:
            for _ in range(signers):
                await asyncio.sleep(random.expovariate(signers / within_s))
                group.create_task(signer(random.choice(keepers)))
        await asyncio.gather(*(keeper.close() for keeper in keepers))

    async def both() -> None:
        coming = asyncio.create_task(come())
        end_s = 30 + 1.3 * within_s
        await saturated(office, from_s=1, to_s=end_s, people_per_s=0, callers=2)
        await coming

    play(both())
    assert office.provider.refused == 0
    assert len(waits_s) == signers
    assert max(waits_s) < 1.0


class MortalStore:
    """The office's store as one process reaches it, until the process is dead."""

    def __init__(self, office: Office) -> None:
        self.store = office.store
        self.round_trips = 0
        self.dead = False

    async def exchange(self, account: str, limits: Limits, ask: Ask) -> Told:
        if self.dead:
            raise StoreError("the process is dead")
        return await self.store.exchange(account, limits, ask)

    async def look(self, account: str, limits: Limits) -> QuotaView:
        return await self.store.look(account, limits)

    async def close(self) -> None:
        return None


def test_a_killed_workers_budget_is_used_by_the_others_within_one_window() -> None:
    """No window holds too many, nobody is refused, and the window after the one in which a worker
    was killed is used as if it had never been.

    What it had out, a handful, is taken for sent at the last moment: one window, its life and the
    transit bound after its last word nothing of it is left.
    """
    limits = replace(ONE_WINDOW_AT_A_TIME, away_calls=0)
    office = Office(limits, StrictProvider(limits, seed=10, latency_s=ANSWER_S))
    window_s = limits.burst_window_s
    last_s = limits.ahead_s + limits.life_s + limits.transit_s

    async def scene() -> tuple[int, float, int]:
        mortal = MortalStore(office)
        doomed = office.keeper(store=mortal)
        its = [asyncio.create_task(office.bulk(doomed)) for _ in range(60)]
        others = asyncio.create_task(
            saturated(office, from_s=1, to_s=5 * window_s + last_s, people_per_s=0, callers=10)
        )
        await asyncio.sleep(2 * window_s)
        for _ in range(1_000):
            await asyncio.sleep(0.01)
            if doomed.figures("acme").in_flight >= 2:
                break
        mortal.dead = True
        for task in its:
            task.cancel()
        await asyncio.sleep(window_s)
        before = office.provider.accepted
        await asyncio.sleep(window_s)
        used = (office.provider.accepted - before) / limits.burst_calls
        held = (await office.store.look("acme", limits)).counters.expired
        await others
        await doomed.close()
        return held, used, office.provider.most

    held, used, most = play(scene())
    assert 0 < held <= 10
    assert used >= 0.97
    assert most <= limits.burst_calls
    assert office.provider.refused == 0
