"""Laws of the permits' keeper: nothing leaks, nobody waits too long, no store is not no limit.

The keeper runs in virtual time on ledgers in memory.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from sealwax.permit_desk import Permit
from sealwax.permits import Permits, QuotaWait
from sealwax.providers.docusign_limits import seen
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import QuotaView
from tests.quota_world import US, MemoryStore, play, virtual_now_us

TWO = Limits(
    burst_calls=2, hour_calls=1_000, interactive_reserve=0, away_calls=0, away_calls_per_hour=0
)
SHARED = replace(TWO, burst_calls=20, workers_max=4, away_calls=1, away_calls_per_hour=3)


class Desk:
    """A keeper, its store, and the smallest calls."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.store = MemoryStore()
        self.offset_us = 0
        self.keeper = self.another()

    def another(self) -> Permits:
        return Permits(self.store, lambda _: self.limits, read_answer=seen, now_us=self.now_us)

    def now_us(self) -> int:
        return virtual_now_us() + 5 * US + self.offset_us

    async def call(
        self,
        klass: Klass = Klass.INTERACTIVE,
        *,
        patience_s: float = 0.1,
        during: Callable[[Permit], Awaitable[None]] | None = None,
    ) -> None:
        async with self.keeper.permit("acme", None, klass, "Get", patience_s=patience_s) as permit:
            if during is not None:
                await during(permit)
            permit.completed({})

    async def view(self) -> QuotaView:
        return await self.store.look("acme", self.limits)


def desk_play(limits: Limits, scene: Callable[[Desk], Awaitable[None]]) -> None:
    """Play a scene at a desk that opens when the world begins."""

    async def main() -> None:
        desk = Desk(limits)
        await scene(desk)
        await desk.keeper.close()

    play(main())


def test_a_call_that_would_wait_too_long_is_told_for_how_long_at_once() -> None:
    """The activity frees its slot and comes back when the window has room."""

    async def scene(desk: Desk) -> None:
        await desk.call()
        await desk.call()
        since = virtual_now_us()
        with pytest.raises(QuotaWait) as caught:
            await desk.call(patience_s=10)
        assert virtual_now_us() - since < 0.01 * US
        assert caught.value.after_s == pytest.approx(30, abs=0.1)
        assert caught.value.cause == "burst limit"
        await asyncio.sleep(caught.value.after_s)
        await desk.call()

    desk_play(TWO, scene)


def test_a_call_that_can_wait_gets_its_permit_when_the_slot_is_free() -> None:
    """Within its patience it waits inside, and starts in time."""

    async def scene(desk: Desk) -> None:
        await desk.call()
        await desk.call()
        since = virtual_now_us()
        await desk.call(patience_s=40)
        assert (virtual_now_us() - since) / US == pytest.approx(30, abs=0.05)

    desk_play(TWO, scene)


@pytest.mark.parametrize("when_s", [0.0, 0.000_4, 0.000_6, 0.001, 0.001_2, 5.0, 29.9, 30.001])
def test_a_caller_that_is_cancelled_leaks_nothing(when_s: float) -> None:
    """Before, during and after the ledger's answer, and while it waits for its start."""

    async def scene(desk: Desk) -> None:
        await desk.call()
        await desk.call()
        waiting = asyncio.create_task(desk.call(patience_s=60))
        await asyncio.sleep(when_s)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.sleep(40)
        assert (await desk.view()).burst_used == 0 or when_s > 30
        assert desk.keeper.figures("acme").in_flight == 0
        await desk.call()

    desk_play(TWO, scene)


def test_a_call_that_ends_without_an_answer_counts_as_lost() -> None:
    """An exception in the block is no proof that nothing arrived."""

    async def scene(desk: Desk) -> None:
        async def fail(_: Permit) -> None:
            await asyncio.sleep(20)
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await desk.call(during=fail)
        await asyncio.sleep(31)
        view = await desk.view()
        assert (view.counters.lost, view.burst_used) == (1, 1)
        await asyncio.sleep(1.5)
        assert (await desk.view()).burst_used == 0

    desk_play(TWO, scene)


def test_a_call_that_was_certainly_not_sent_is_given_back() -> None:
    """A refused connection costs no quota."""

    async def scene(desk: Desk) -> None:
        async with desk.keeper.permit("acme", None, Klass.MUTATION, "Put") as permit:
            permit.unused()
        await asyncio.sleep(1)
        view = await desk.view()
        assert (view.burst_used, view.hour_used) == (0, 0)

    desk_play(TWO, scene)


def test_answers_teach_the_ledger() -> None:
    """Headers and error codes go to the ledger with the next report."""

    async def scene(desk: Desk) -> None:
        async with desk.keeper.permit("acme", None, Klass.MUTATION, "Put") as permit:
            headers = {"x-burstlimit-limit": "200", "x-burstlimit-remaining": "150"}
            permit.completed(headers, "Burst_APIInvocation_Limit_Exceeded")
        await asyncio.sleep(1)
        view = await desk.view()
        assert (view.burst_limit, view.counters.refusals) == (200, 1)

    desk_play(SHARED, scene)


def test_a_poll_of_one_envelope_is_refused_for_a_quarter_of_an_hour() -> None:
    """From any process, whoever made the last one."""

    async def scene(desk: Desk) -> None:
        other = desk.another()
        for keeper, expected in ((desk.keeper, 0.0), (other, 900.0)):
            wait_s = 0.0
            try:
                async with keeper.permit(
                    "acme", "e1", Klass.BACKGROUND, "Envelopes_Get", purpose="poll"
                ) as permit:
                    permit.completed({})
            except QuotaWait as wait:
                wait_s = wait.after_s
            assert wait_s == pytest.approx(expected, abs=2)
            await asyncio.sleep(1)
        await other.close()

    desk_play(SHARED, scene)


def test_without_a_store_and_a_share_nothing_goes() -> None:
    """A store that is away never means no limit."""

    async def scene(desk: Desk) -> None:
        desk.store.away = True
        for klass in Klass:
            with pytest.raises(QuotaWait, match="store"):
                await desk.call(klass, patience_s=3)
        desk.store.away = False
        await asyncio.sleep(1)
        await desk.call()

    desk_play(TWO, scene)


def test_the_share_without_a_store_is_one_a_window_and_a_few_an_hour_and_told_later() -> None:
    """It is small, for urgent calls alone, and the ledger's hour hears of it."""

    async def scene(desk: Desk) -> None:
        await desk.call(Klass.BULK, patience_s=5)
        desk.store.away = True
        made = []
        for _ in range(400):
            try:
                await desk.call(Klass.MUTATION)
                made.append(virtual_now_us())
            except QuotaWait:
                await asyncio.sleep(1)
        assert len(made) == 3
        assert min(b - a for a, b in itertools.pairwise(made)) >= 30 * US
        with pytest.raises(QuotaWait):
            await desk.call(Klass.BULK)
        desk.store.away = False
        await asyncio.sleep(1)
        await desk.call()
        assert (await desk.view()).hour_used == 5
        assert desk.keeper.figures("acme").away_calls == 3

    desk_play(SHARED, scene)


def test_closing_reports_what_ended_and_sends_home_who_waits() -> None:
    """Nothing is left for the ledger to find out by itself."""

    async def scene(desk: Desk) -> None:
        await desk.call()
        await desk.call()
        waiting = asyncio.create_task(desk.call(patience_s=60))
        await asyncio.sleep(0.01)
        await desk.keeper.close()
        with pytest.raises(QuotaWait):
            await asyncio.wait_for(waiting, 31)
        view = await desk.view()
        assert (view.hour_used, view.counters.granted) == (2, 3)
        with pytest.raises(QuotaWait, match="about to end"):
            await desk.call()

    desk_play(TWO, scene)


def test_a_crowd_that_waits_does_not_ask_without_pause() -> None:
    """More callers than one exchange speaks of cost no more exchanges than a few."""

    async def scene(desk: Desk) -> None:
        crowd = [asyncio.create_task(desk.call(Klass.MUTATION, patience_s=40)) for _ in range(300)]
        await asyncio.sleep(29)
        assert desk.keeper.figures("acme").granted == 2
        assert desk.keeper.figures("acme").exchanges < 500
        await asyncio.sleep(2)
        assert desk.keeper.figures("acme").granted == 4
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)

    desk_play(TWO, scene)
