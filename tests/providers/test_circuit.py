"""The circuit: in an outage one call at a time asks whether the provider is back, not all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.calls import OpenView
from sealwax.mutations import SendEnvelope
from sealwax.providers.base import OutcomeUnknown, ProviderError, Unavailable
from sealwax.providers.circuit import (
    Breaker,
    Circuit,
    CircuitRules,
    admitted,
    answered,
    failed,
    overdue,
    wait_s,
)
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.http import Deadlines, HttpProvider, client
from sealwax.providers.tokens import Principal
from tests.providers.samples import change, principal

RULES = CircuitRules()
VIEW = OpenView("1", "Ann", "ann@example.com", "ann", token=1, ping_every_s=60)
DOWN = ("reset", "503", "silent")


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class SmallProvider:
    """A real HTTP server that counts what reaches it, by account, and fails as it is told."""

    def __init__(self) -> None:
        self.mode: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.arrived = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.url = ""

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            account = head.split("/accounts/")[1].split("/")[0]
            self.seen[account] += 1
            self.arrived.set()
            mode = self.mode.get(account, "200")
            if mode in ("silent", "hold"):
                await self.goes_on.wait()
            if mode in ("reset", "silent"):
                writer.transport.abort()
                return
            status = "200" if mode == "hold" else mode
            body = b'{"status": "sent", "url": "https://provider.example/1"}'
            head = f"HTTP/1.1 {status} .\r\ncontent-type: application/json\r\nconnection: close\r\n"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
        finally:
            writer.close()


class Tokens:
    """Always one; counts how often it was asked for."""

    asked = 0

    async def token(self, principal: Principal) -> str:
        self.asked += 1
        return "t"

    def invalidate(self, principal: Principal, token: str) -> None:
        return


@pytest.fixture
async def small() -> AsyncIterator[SmallProvider]:
    small = SmallProvider()
    server = await small.serve()
    yield small
    small.goes_on.set()
    server.close()
    await server.wait_closed()


@pytest.fixture
async def shared() -> AsyncIterator[httpx.AsyncClient]:
    async with client() as made:
        yield made


class Account:
    """One account at the small provider, its circuit, and a clock."""

    def __init__(self, small: SmallProvider, shared: httpx.AsyncClient, name: str = "a") -> None:
        self.small, self.name, self.clock, self.tokens = small, name, Clock(), Tokens()
        self.breaker = Breaker(name, monotonic=self.clock, draw=lambda: 1.0)
        self.provider = HttpProvider(
            DocuSignAdapter(),
            api_base=f"{small.url}/restapi",
            account_id=name,
            client=shared,
            tokens=self.tokens,
            principal=principal(),
            deadlines=Deadlines(read_s=0.2, write_s=0.2) if name == "short" else None,
            breaker=self.breaker,
        )

    @property
    def seen(self) -> int:
        return self.small.seen[self.name]

    def becomes(self, mode: str) -> None:
        self.small.mode[self.name] = mode

    async def read(self) -> ProviderError | None:
        try:
            await self.provider.read("e-1", False)
        except ProviderError as error:
            return error
        return None

    async def reads(self, times: int) -> list[ProviderError | None]:
        return [await self.read() for _ in range(times)]

    async def opens(self, mode: str = "reset") -> None:
        """An outage long enough to open the circuit, which saw every call of it."""
        self.becomes(mode)
        before = self.seen
        assert all(isinstance(e, Unavailable) for e in await self.reads(RULES.outages))
        assert self.seen == before + RULES.outages
        assert self.breaker.circuit.open

    async def probes(self) -> asyncio.Task[ProviderError | None]:
        """After an outage, the one call that asks; the provider has it and does not answer yet."""
        await self.opens()
        self.becomes("hold")
        self.clock.now += RULES.pause_first_s
        self.small.arrived.clear()
        probe = asyncio.create_task(self.read())
        await self.small.arrived.wait()
        return probe


async def crowd(account: Account, tasks: int, calls: int) -> list[ProviderError | None]:
    found = await asyncio.gather(*(account.reads(calls) for _ in range(tasks)))
    return [error for errors in found for error in errors]


@pytest.mark.parametrize("mode", ["reset", "503"])
async def test_a_hundred_calls_of_fifty_tasks_reach_a_failing_provider_as_one_probe_each_pause(
    small: SmallProvider, shared: httpx.AsyncClient, mode: str
) -> None:
    """The others are told at once that nothing was sent, and when to come again."""
    account = Account(small, shared)
    await account.opens(mode)
    tokens = account.tokens.asked
    for pauses, pause_s in enumerate((1, 2, 4), 1):
        errors = await crowd(account, 50, 2)
        assert all(isinstance(e, Unavailable) for e in errors)
        assert all(
            0 < (e.retry_after_s or 0) <= pause_s for e in errors if isinstance(e, Unavailable)
        )
        assert account.seen == RULES.outages + pauses - 1
        account.clock.now += pause_s
        assert len(await crowd(account, 50, 2)) == 100
        assert account.seen == RULES.outages + pauses
    assert account.tokens.asked == tokens + 3


async def test_an_outage_that_begins_under_load_costs_what_was_in_the_air(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """Each of 50 tasks may have one call under way, besides those whose failures opened it."""
    account = Account(small, shared)
    account.becomes("reset")
    errors = await crowd(account, 50, 2)
    assert len(errors) == 100
    assert account.seen <= 50 + RULES.outages - 1


async def test_recovery_lets_all_through_within_one_pause(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """The first probe that is answered closes the circuit for everyone."""
    account = Account(small, shared)
    await account.opens()
    account.becomes("200")
    assert isinstance(await account.read(), Unavailable)
    account.clock.now += RULES.pause_first_s
    assert await account.read() is None
    assert await crowd(account, 50, 2) == [None] * 100
    assert account.seen == RULES.outages + 101


async def test_exactly_one_probe_is_in_flight(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """While it waits for its answer all others are refused; its answer lets them through."""
    account = Account(small, shared)
    probe = await account.probes()
    assert all(isinstance(e, Unavailable) for e in await crowd(account, 50, 2))
    assert account.seen == RULES.outages + 1
    small.goes_on.set()
    assert await probe is None
    assert await crowd(account, 10, 1) == [None] * 10


async def test_a_probe_whose_caller_gives_up_has_failed(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """Cancelled, its place is free again after a longer pause: no probe is lost for good."""
    account = Account(small, shared)
    probe = await account.probes()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert (account.breaker.circuit.probing, account.breaker.circuit.pause_s) == (0, 2)
    small.goes_on.set()
    account.clock.now += 2
    assert await account.read() is None


async def test_an_outage_of_one_account_is_not_another_s(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """Each account has its circuit, on one connection pool."""
    first, second = Account(small, shared, "a"), Account(small, shared, "b")
    await first.opens()
    assert await crowd(second, 50, 2) == [None] * 100
    assert isinstance(await first.read(), Unavailable)
    assert (first.seen, second.seen) == (RULES.outages, 100)


async def test_silence_until_the_deadline_is_an_outage_too(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """A provider that takes requests and never answers; for a change the outcome is unknown."""
    account = Account(small, shared, "short")
    account.becomes("silent")
    for _ in range(RULES.outages - 1):
        assert isinstance(await account.read(), Unavailable)
    with pytest.raises(OutcomeUnknown):
        await account.provider.mutate("e-1", change(SendEnvelope()), {})
    with pytest.raises(Unavailable, match="in a row"):
        await account.provider.mutate("e-1", change(SendEnvelope()), {})
    assert account.seen == RULES.outages


async def test_refused_connections_open_it_without_a_server(shared: httpx.AsyncClient) -> None:
    """Nothing listens: certainly not sent, also for a change."""
    small = SmallProvider()
    server = await small.serve()
    server.close()
    await server.wait_closed()
    account = Account(small, shared)
    for _ in range(RULES.outages):
        with pytest.raises(Unavailable, match="ConnectError"):
            await account.provider.mutate("e-1", change(SendEnvelope()), {})
    with pytest.raises(Unavailable, match="in a row"):
        await account.provider.mutate("e-1", change(SendEnvelope()), {})


@pytest.mark.parametrize("status", ["400", "401", "403", "404", "409", "429"])
async def test_limits_and_refusals_are_the_word_of_a_provider_that_works(
    small: SmallProvider, shared: httpx.AsyncClient, status: str
) -> None:
    """They never open the circuit, and close it when a probe gets one."""
    account = Account(small, shared)
    account.becomes(status)
    await account.reads(3 * RULES.outages)
    assert account.breaker.circuit == Circuit()
    await account.opens()
    account.becomes(status)
    account.clock.now += RULES.pause_first_s
    await account.read()
    assert not account.breaker.circuit.open


async def test_a_signer_who_waits_may_ask_first(
    small: SmallProvider, shared: httpx.AsyncClient
) -> None:
    """Half a pause is enough for an interactive call; it stays one probe at a time."""
    account = Account(small, shared)
    await account.opens()
    account.becomes("201")
    account.clock.now += RULES.pause_first_s * RULES.interactive_share
    assert isinstance(await account.read(), Unavailable)
    back = "https://app.example.com"
    assert await account.provider.open_view("e-1", VIEW, back, back)
    assert await crowd(account, 5, 1) == [None] * 5


async def test_downloads_go_the_same_way(small: SmallProvider, shared: httpx.AsyncClient) -> None:
    """They open the circuit, and are refused by it."""
    account = Account(small, shared)
    account.becomes("503")

    async def download() -> bytes:
        return b"".join([c async for c in account.provider.download("e-1", "combined")])

    for _ in range(RULES.outages + 3):
        with pytest.raises(Unavailable):
            await download()
    assert account.seen == RULES.outages
    account.becomes("200")
    account.clock.now += RULES.pause_first_s
    assert await download()
    assert not account.breaker.circuit.open


def test_the_wait_that_a_failing_provider_asks_for_is_kept() -> None:
    """Retry-After of a 503 is waited out, by interactive calls too, up to a bound."""
    circuit = Circuit(outages=RULES.outages - 1)
    asked = failed(circuit, 0, RULES, 0.5, asked_s=20)
    assert wait_s(asked, 0, RULES, interactive=True) == 20
    assert wait_s(asked, 0, RULES, interactive=False) == 20
    too_long = failed(circuit, 0, RULES, 0.5, asked_s=86_400)
    assert wait_s(too_long, 0, RULES, interactive=False) == RULES.asked_max_s


steps = st.lists(
    st.tuples(
        st.sampled_from(("call", "interactive", "answered", "failed", "old answer", "old failure")),
        st.floats(0, 100),
        st.floats(0, 1),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_at_most_one_probe_is_in_flight(happened: list[Any]) -> None:
    """And each pause has an end: somebody may always ask again within the longest one."""
    circuit, now, probe = Circuit(), 0.0, 0
    for what, passed_s, draw in happened:
        now += passed_s
        if overdue(circuit, now):
            circuit, probe = failed(circuit, now, RULES, draw, probe=circuit.probing), 0
        match what:
            case "call" | "interactive":
                asked = what == "interactive"
                if wait_s(circuit, now, RULES, interactive=asked) > 0:
                    continue
                assert not circuit.probing
                circuit, number = admitted(circuit, now, RULES)
                assert (number > 0) == circuit.open
                probe = number
            case "answered" | "old answer":
                circuit, probe = answered(circuit), 0
                assert not circuit.open
            case "failed" if probe:
                before = circuit.pause_s
                circuit, probe = failed(circuit, now, RULES, draw, probe=probe), 0
                assert circuit.pause_s == min(RULES.pause_max_s, 2 * before)
            case _:
                held = circuit
                circuit = failed(circuit, now, RULES, draw)
                assert circuit == held or not held.open
        longest_s = RULES.pause_max_s + RULES.probe_max_s
        until = now + longest_s
        later = (
            failed(circuit, circuit.probe_until, RULES, draw, probe=circuit.probing)
            if circuit.probing
            else circuit
        )
        assert wait_s(later, until, RULES, interactive=False) == 0
