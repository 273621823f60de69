"""Every request to the account's API has a permit of its own: a real keeper, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import httpx
import pytest

from sealwax.calls import OpenView
from sealwax.permits import PATIENCE_S, Permits
from sealwax.providers.base import (
    Conversation,
    NotSentError,
    OutcomeUnknown,
    QuotaHeld,
    RateLimited,
    Request,
    Unavailable,
)
from sealwax.providers.circuit import Breaker, CircuitRules
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.docusign_limits import seen
from sealwax.providers.http import Deadlines, HttpProvider
from sealwax.providers.metering import Quota
from sealwax.providers.tokens import Principal
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import QuotaView
from tests.providers.samples import plain_client, principal
from tests.quota_world import MemoryStore, play, virtual_now_us

LIMITS = Limits(interactive_reserve=0, away_calls=0, away_calls_per_hour=0)
VIEW = OpenView("1", "Ann", "ann@example.com", "ann", token=1, ping_every_s=60)
SHOWN = {"status": "sent", "envelopeId": "e-1", "recipients": {}, "url": "https://provider.example"}


class Tokens:
    """Tokens that cost no request."""

    async def token(self, principal: Principal) -> str:
        return "t"

    def invalidate(self, principal: Principal, token: str) -> None:
        return None


class World:
    """An account, its keeper, and a provider that answers as told."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.store = MemoryStore()
        self.permits = Permits(
            self.store, lambda _: limits, read_answer=seen, now_us=virtual_now_us
        )
        self.breaker = Breaker("acme", monotonic=asyncio.get_running_loop().time)
        self.answer: Callable[[httpx.Request], httpx.Response] = lambda _: httpx.Response(
            200, json=SHOWN
        )
        self.arrived: list[str] = []

    def provider(self, klass: Klass = Klass.MUTATION) -> HttpProvider:
        """The shell for calls of this class."""

        async def handle(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0.01)
            self.arrived.append(f"{request.method} {request.url.path}")
            return self.answer(request)

        return HttpProvider(
            DocuSignAdapter(),
            api_base="https://api.example.com/restapi",
            account_id="a-1",
            client=plain_client(httpx.MockTransport(handle)),
            tokens=Tokens(),
            principal=principal(),
            deadlines=Deadlines(read_s=8.0, write_s=8.0),
            breaker=self.breaker,
            quota=Quota(self.permits, "a-1", klass),
        )

    async def told(self) -> QuotaView:
        """What the ledger holds once everything is reported."""
        await self.permits.close()
        return await self.store.look("a-1", self.limits)


def lives(
    act: Callable[[World], Coroutine[Any, Any, None]], limits: Limits = LIMITS
) -> tuple[World, QuotaView]:
    """Act in a world of its own, and look at its ledger."""

    async def main() -> tuple[World, QuotaView]:
        world = World(limits)
        await act(world)
        return world, await world.told()

    return play(main())


def test_each_request_of_each_kind_of_call_takes_one_permit() -> None:
    """Reads, pages, downloads and signing URLs alike; the ledger counts what arrived."""

    async def act(world: World) -> None:
        provider = world.provider()
        await provider.read("e-1", False)
        await provider.read("e-1", False, "notification")
        await provider.open_view("e-1", VIEW, "https://a.example/r", "https://a.example/p")
        assert [chunk async for chunk in provider.download("e-1", "combined")]

    world, told = lives(act)
    assert told.counters.granted == len(world.arrived) == 5
    assert (told.counters.lost, told.counters.unused, told.burst_used) == (0, 0, 5)


def test_a_request_that_a_new_token_repeats_takes_a_second_permit() -> None:
    """The first one arrived, too."""
    answers = iter([401, 200])

    async def act(world: World) -> None:
        world.answer = lambda _: httpx.Response(next(answers), json=SHOWN)
        await world.provider().read("e-1", False)

    assert lives(act)[1].counters.granted == 2


def test_a_refusal_by_the_burst_is_waited_out_as_long_as_the_account_s_burst_lasts() -> None:
    """Its settings say how long that is; no header does."""

    async def act(world: World) -> None:
        code = {"errorCode": "BURST_APIINVOCATION_LIMIT_EXCEEDED", "message": "too many"}
        world.answer = lambda _: httpx.Response(400, json=code)
        with pytest.raises(RateLimited) as caught:
            await world.provider().read("e-1", False)
        assert caught.value.retry_after_s == 3

    lives(act, replace(LIMITS, burst_window_s=3))


def test_signing_urls_are_no_calls_to_the_api() -> None:
    async def act(world: World) -> None:
        await world.provider().revoke_view("https://other.example/Signing/1")

    world, told = lives(act)
    assert (len(world.arrived), told.counters.granted) == (1, 0)


def test_an_open_circuit_takes_no_permit() -> None:
    """Neither while it is open nor where it opens while a call waits for its permit."""

    async def act(world: World) -> None:
        for _ in range(CircuitRules().outages):
            world.breaker.failed()
        with pytest.raises(Unavailable, match="in a row"):
            await world.provider().read("e-1", False)

    world, told = lives(act)
    assert (world.arrived, told.counters.granted) == ([], 0)

    async def meanwhile(world: World) -> None:
        await asyncio.gather(*(world.provider().read(f"e-{n}", False) for n in range(2)))
        waiting = asyncio.create_task(world.provider(Klass.INTERACTIVE).read("e-9", False))
        await asyncio.sleep(2.85)
        for _ in range(CircuitRules().outages):
            world.breaker.failed()
        with pytest.raises(Unavailable, match="in a row"):
            await waiting

    world, told = lives(meanwhile, replace(LIMITS, burst_calls=2, burst_window_s=3))
    assert (len(world.arrived), told.counters.unused) == (2, 1)


def test_what_was_never_sent_is_given_back_and_what_may_have_been_is_kept() -> None:
    """A connection that was refused leaves no call; one that broke counts as never answered."""

    def fails(error: type[httpx.TransportError]) -> tuple[int, int, int]:
        async def act(world: World) -> None:
            def broken(_: httpx.Request) -> httpx.Response:
                raise error("broken")

            world.answer = broken
            with pytest.raises(Unavailable):
                await world.provider().read("e-1", False)

        told = lives(act)[1]
        return told.counters.unused, told.counters.lost, told.burst_used

    assert fails(httpx.ConnectError) == (1, 0, 0)
    assert fails(httpx.ReadError) == (0, 1, 1)


@pytest.mark.parametrize("status", [400, 429])
def test_a_refusal_is_told_to_the_ledger_by_its_code(status: int) -> None:
    async def act(world: World) -> None:
        body = {"errorCode": "BURST_APIINVOCATION_LIMIT_EXCEEDED", "message": "too many"}
        world.answer = lambda _: httpx.Response(status, json=body)
        with pytest.raises(NotSentError):
            await world.provider().read("e-1", False)

    assert lives(act)[1].counters.refusals == 1


def test_without_a_call_to_spare_the_caller_is_told_when_to_come_back() -> None:
    """Long before the call's deadline; nothing was sent, and the time is the window's."""

    async def act(world: World) -> None:
        now_s = asyncio.get_running_loop().time
        for number in range(2):
            await world.provider().read(f"e-{number}", False)
        began_s = now_s()
        with pytest.raises(QuotaHeld) as held:
            await world.provider(Klass.BACKGROUND).read("e-9", False)
        assert now_s() - began_s <= PATIENCE_S[Klass.BACKGROUND]
        assert 25 < (held.value.retry_after_s or 0) + now_s() - began_s < 31
        assert held.value.cause == "quota"

    world, _ = lives(act, replace(LIMITS, burst_calls=2))
    assert len(world.arrived) == 2


def test_what_has_begun_is_carried_to_its_end_before_anything_new() -> None:
    """The second request of a call waits longer than the first of another would: given up, it
    would begin anew."""

    async def act(world: World) -> None:
        await world.provider().read("e-0", False)
        began_s = asyncio.get_running_loop().time()
        await world.provider(Klass.BACKGROUND).read("e-1", False, "notification")
        assert asyncio.get_running_loop().time() - began_s > PATIENCE_S[Klass.BACKGROUND]
        assert len(world.arrived) == 3

    lives(act, replace(LIMITS, burst_calls=2, burst_window_s=3))


def test_polls_of_one_envelope_are_fifteen_minutes_apart_and_other_reads_are_not() -> None:
    """By construction: the second poll is never sent, whoever asks for it."""

    async def act(world: World) -> None:
        provider = world.provider(Klass.BACKGROUND)
        await provider.read("E-1", False, polling=True)
        await provider.read("e-1", False)
        with pytest.raises(QuotaHeld) as held:
            await provider.read("e-1", False, polling=True)
        assert 890 < (held.value.retry_after_s or 0) <= 900
        await provider.read("e-2", False, polling=True)
        await asyncio.sleep(901)
        await provider.read("e-1", False, polling=True)

    world, _ = lives(act)
    assert len(world.arrived) == 4


def test_a_step_that_took_effect_is_never_told_as_not_sent() -> None:
    """Where the quota holds the next step up for too long, the outcome is unknown."""

    def steps() -> Conversation[None]:
        for path in ("/one", "/two"):
            yield Request("Step", "PUT", path, purpose="write", mutating=True)

    async def act(world: World) -> None:
        with pytest.raises(OutcomeUnknown, match="an earlier step took effect"):
            await world.provider()._call(steps(), 8.0, "e-1")

    world, _ = lives(act, replace(LIMITS, burst_calls=1))
    assert len(world.arrived) == 1
