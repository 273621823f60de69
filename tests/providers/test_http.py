"""The shell: one deadline, nothing repeated, and the truth about what is known of an outcome."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from sealwax.mutations import AddRecipients, SendEnvelope, SetTabs
from sealwax.providers.base import (
    NotSentError,
    OutcomeUnknown,
    Provider,
    ProviderRejected,
    RateLimited,
    TokenRefused,
)
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.http import Deadlines, HttpProvider, client
from sealwax.providers.tokens import Principal
from tests.providers.samples import (
    DEE,
    SINCE,
    change,
    new_envelope,
    plain_client,
    principal,
    sign_here,
)

Handler = Callable[[httpx.Request], httpx.Response]
SEND = change(SendEnvelope())
ADD = change(AddRecipients((DEE,)))


class CountedTokens:
    """A source whose tokens are numbered; an invalidated one is followed by the next."""

    def __init__(self) -> None:
        self.number = 1
        self.invalidated: list[str] = []

    async def token(self, principal: Principal) -> str:
        return f"t{self.number}"

    def invalidate(self, principal: Principal, token: str) -> None:
        self.invalidated.append(token)
        self.number += 1


def provider(
    transport: httpx.AsyncBaseTransport | httpx.AsyncClient,
    tokens: CountedTokens | None = None,
    base: str = "https://api.example.com/restapi/",
    **more: Any,
) -> Provider:
    shared = transport if isinstance(transport, httpx.AsyncClient) else plain_client(transport)
    return HttpProvider(
        DocuSignAdapter(),
        api_base=base,
        account_id="a 1",
        client=shared,
        tokens=tokens or CountedTokens(),
        principal=principal(),
        **more,
    )


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[Any]]:
    """A transport that gives these answers in turn and keeps the requests."""
    seen: list[httpx.Request] = []
    left = list(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return httpx.MockTransport(handle), seen


def ok(body: Any = None, status: int = 200, **more: Any) -> httpx.Response:
    return httpx.Response(status, json=body or {}, **more)


def refusal(code: str, status: int = 400, **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"errorCode": code, "message": "said"}, **more)


async def test_a_request_carries_only_its_own_call_s_data() -> None:
    """Token per request; no header, cookie or credential of the shared client goes along."""
    transport, seen = answering(ok(headers={"set-cookie": "session=other; Path=/"}), ok())
    shared = httpx.AsyncClient(
        transport=transport, headers={"X-Other": "1"}, auth=("user", "word"), follow_redirects=True
    )
    calls = provider(shared)
    await calls.mutate("e-1", SEND, {})
    await calls.read("e-1", False)
    first, second = seen
    assert first.url == "https://api.example.com/restapi/v2.1/accounts/a%201/envelopes/e-1"
    assert first.headers["authorization"] == second.headers["authorization"] == "Bearer t1"
    assert json.loads(first.content) == {"status": "sent"}
    assert first.headers["content-type"] == "application/json"
    assert second.url.params["include"] == "recipients,documents,custom_fields"
    assert not {"cookie", "x-other"} & set(second.headers)
    assert "authorization" not in shared.headers


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("x"), NotSentError),
        (httpx.ConnectTimeout("x"), NotSentError),
        (httpx.PoolTimeout("x"), NotSentError),
        (httpx.ReadTimeout("x"), OutcomeUnknown),
        (httpx.WriteTimeout("x"), OutcomeUnknown),
        (httpx.ReadError("x"), OutcomeUnknown),
        (httpx.WriteError("x"), OutcomeUnknown),
        (httpx.RemoteProtocolError("x"), OutcomeUnknown),
        (httpx.DecodingError("x"), OutcomeUnknown),
    ],
)
async def test_not_sent_and_unknown_are_told_apart(
    failure: Exception, kind: type[Exception]
) -> None:
    """What was handed to the network may have arrived; a read that fails is simply not done."""
    transport, seen = answering(failure, failure, failure)
    calls = provider(transport)
    with pytest.raises(kind):
        await calls.mutate("e-1", SEND, {})
    with pytest.raises(kind):
        await calls.create(new_envelope())
    with pytest.raises(NotSentError):
        await calls.read("e-1", False)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("x"),
        httpx.ReadTimeout("x"),
        refusal("INVALID_REQUEST_BODY"),
        refusal("HOURLY_APIINVOCATION_LIMIT_EXCEEDED"),
        httpx.Response(503),
    ],
)
async def test_after_a_step_that_took_effect_any_failure_is_unknown(
    failure: httpx.Response | Exception,
) -> None:
    """A conversation half done is neither done nor undone."""
    transport, _ = answering(ok({}, 201), failure)
    with pytest.raises(OutcomeUnknown):
        await provider(transport).mutate("e-1", ADD, {})


async def test_a_failure_before_any_effect_is_what_it_is() -> None:
    """Reading first, as setting tabs does, has no effect."""
    transport, _ = answering(httpx.ReadTimeout("x"))
    with pytest.raises(NotSentError):
        await provider(transport).mutate("e-1", change(SetTabs("ann", (sign_here(),))), {})
    transport, _ = answering(refusal("ENVELOPE_INVALID_STATUS"))
    with pytest.raises(ProviderRejected, match="ENVELOPE_INVALID_STATUS"):
        await provider(transport).mutate("e-1", ADD, {})


async def test_nothing_is_repeated_or_followed() -> None:
    """A limit, a server error and a redirect cost one request each."""
    answers = (
        refusal("BURST_APIINVOCATION_LIMIT_EXCEEDED"),
        httpx.Response(503, headers={"retry-after": "0"}),
        httpx.Response(307, headers={"location": "https://elsewhere.example.com/"}),
    )
    transport, seen = answering(*answers)
    calls = provider(transport)
    for kind in (RateLimited, OutcomeUnknown, ProviderRejected):
        with pytest.raises(kind):
            await calls.mutate("e-1", SEND, {})
    assert len(seen) == 3


async def test_a_refused_token_is_renewed_once_and_the_request_made_again() -> None:
    """The same request with the next token; the refused one is forgotten."""
    tokens = CountedTokens()
    transport, seen = answering(refusal("AUTHORIZATION_INVALID_TOKEN", 401), ok())
    await provider(transport, tokens).mutate("e-1", SEND, {})
    assert [r.headers["authorization"] for r in seen] == ["Bearer t1", "Bearer t2"]
    assert seen[0].content == seen[1].content
    assert tokens.invalidated == ["t1"]


async def test_a_token_refused_twice_is_a_typed_error() -> None:
    """There is no third time."""
    tokens = CountedTokens()
    transport, seen = answering(httpx.Response(401), httpx.Response(401))
    with pytest.raises(TokenRefused):
        await provider(transport, tokens).mutate("e-1", SEND, {})
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"X-RateLimit-Reset": "1700000060"}, 60),
        ({"X-RateLimit-Reset": "1600000000"}, 0),
        ({"X-RateLimit-Reset": "45"}, 45),
        ({"X-RateLimit-Reset": "soon"}, None),
        ({"Retry-After": "5", "X-RateLimit-Reset": "1700000060"}, 5),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30),
        ({"Retry-After": "when it suits"}, None),
    ],
)
async def test_a_limit_s_reset_becomes_a_delay(
    headers: dict[str, str], wait_s: float | None
) -> None:
    """A moment of the provider's clock, a delay or a date, by the shell's clock."""
    transport, _ = answering(refusal("HOURLY_APIINVOCATION_LIMIT_EXCEEDED", headers=headers))
    with pytest.raises(RateLimited) as caught:
        await provider(transport, wall=lambda: 1_700_000_000.0).mutate("e-1", SEND, {})
    assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize(
    ("code", "wait_s"),
    [
        ("BURST_APIINVOCATION_LIMIT_EXCEEDED", 30),
        ("BURST_ENVELOPE_POLLING_LIMIT_EXCEEDED", 30),
        ("HOURLY_ENVELOPE_POLLING_LIMIT_EXCEEDED", 900),
    ],
)
async def test_a_limit_without_a_header_of_its_own_is_waited_out_by_its_window(
    code: str, wait_s: float
) -> None:
    """The hour's reset, which stands beside it, says nothing of the burst."""
    transport, _ = answering(refusal(code, headers={"X-RateLimit-Reset": "1700003600"}))
    with pytest.raises(RateLimited) as caught:
        await provider(transport, wall=lambda: 1_700_000_000.0).mutate("e-1", SEND, {})
    assert caught.value.retry_after_s == wait_s


class Silent(httpx.AsyncBaseTransport):
    """Takes a request and never answers."""

    def __init__(self, after: int = 0) -> None:
        self.left = after
        self.taken = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.left:
            self.left -= 1
            return ok({}, 201)
        self.taken.set()
        await asyncio.Event().wait()
        raise AssertionError


async def test_one_deadline_covers_the_whole_call() -> None:
    """What was in the air is unknown; a read is not done."""
    short = Deadlines(read_s=0.05, write_s=0.05)
    for silent in (Silent(), Silent(after=1)):
        with pytest.raises(OutcomeUnknown, match=r"within 0\.05 s"):
            await provider(silent, deadlines=short).mutate("e-1", ADD, {})
    with pytest.raises(NotSentError, match=r"within 0\.05 s"):
        await provider(Silent(), deadlines=short).read("e-1", False)


async def test_a_token_that_does_not_come_in_time_means_not_sent() -> None:
    """The deadline runs while the token is waited for, and nothing was sent by then."""

    class Stuck(CountedTokens):
        async def token(self, principal: Principal) -> str:
            await asyncio.Event().wait()
            return ""

    short = Deadlines(write_s=0.05)
    with pytest.raises(NotSentError):
        await provider(Silent(), Stuck(), deadlines=short).mutate("e-1", SEND, {})


async def test_cancellation_passes_through() -> None:
    """A call that is cancelled ends as cancelled, not as an outcome."""
    silent = Silent()
    task = asyncio.create_task(provider(silent).mutate("e-1", SEND, {}))
    await silent.taken.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[str]:
    """A bare peer on the loopback interface."""
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


async def test_a_dropped_connection_is_unknown_and_costs_one_request() -> None:
    """Over real sockets: the peer reads the request and hangs up; nobody asks again."""
    requests = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.close()

    async with listening(hang_up) as url, client() as shared:
        calls = provider(shared, base=url)
        with pytest.raises(OutcomeUnknown):
            await calls.mutate("e-1", SEND, {})
        assert requests == 1
        with pytest.raises(NotSentError):
            await calls.read("e-1", False)
        assert requests == 2


async def test_a_port_where_nobody_listens_is_not_sent() -> None:
    """Nothing left the machine."""

    async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(nobody) as url:
        pass
    async with client() as shared:
        with pytest.raises(NotSentError, match="ConnectError"):
            await provider(shared, base=url).mutate("e-1", SEND, {})


async def test_a_download_comes_in_chunks_with_one_renewal() -> None:
    """The bytes as they are, after a refused token too."""
    tokens = CountedTokens()
    content = b"%PDF" + bytes(range(256)) * 1000
    transport, seen = answering(httpx.Response(401), httpx.Response(200, content=content))
    got = [c async for c in provider(transport, tokens).download("e-1", "combined")]
    assert b"".join(got) == content
    assert seen[1].url.params["certificate"] == "false"
    assert tokens.invalidated == ["t1"]


async def test_a_download_that_is_refused_or_cut_short_is_typed() -> None:
    """By code, also for a limit; and bytes that stop early are no document."""
    limit = refusal("HOURLY_APIINVOCATION_LIMIT_EXCEEDED", headers={"X-RateLimit-Reset": "45"})
    transport, _ = answering(limit, refusal("DOCUMENT_DOES_NOT_EXIST", 404), httpx.Response(302))
    calls = provider(transport)
    with pytest.raises(RateLimited) as limited:
        await anext(calls.download("e-1", "combined"))
    assert limited.value.retry_after_s == 45
    with pytest.raises(ProviderRejected, match="DOCUMENT_DOES_NOT_EXIST"):
        await anext(calls.download("e-1", "certificate"))
    with pytest.raises(ProviderRejected, match="HTTP_302"):
        await anext(calls.download("e-1", "certificate"))

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n%PDF")
        await writer.drain()
        writer.close()

    async with listening(cut) as url, client() as shared:
        with pytest.raises(NotSentError, match="RemoteProtocolError"):
            [c async for c in provider(shared, base=url).download("e-1", "combined")]


async def test_a_stalled_download_ends_at_its_deadline() -> None:
    """Bytes that never come do not hold the caller."""
    released = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n%PDF")
        await writer.drain()
        await released.wait()
        writer.close()

    async with listening(stall) as url, client() as shared:
        calls = provider(shared, base=url, deadlines=Deadlines(download_s=0.1))
        with pytest.raises(NotSentError, match=r"within 0\.1 s"):
            [c async for c in calls.download("e-1", "combined")]
        released.set()


async def test_changes_name_the_account_where_the_provider_does_not() -> None:
    """An event without an account could not be routed."""
    listed = {"envelopes": [{"envelopeId": "e", "status": "sent"}], "totalSetSize": "1"}
    transport, _ = answering(ok(listed))
    (event,) = await provider(transport).changes(SINCE)
    assert event.account_id == "a 1"


@pytest.mark.parametrize(
    "base", ["", "demo.docusign.net", "ftp://x/", "https://u:p@x/", "https://"]
)
def test_an_unusable_api_base_is_refused_at_once(base: str) -> None:
    """In one line, without repeating a credential."""
    with pytest.raises(ValueError, match="give one like https") as caught:
        provider(httpx.MockTransport(lambda r: ok()), base=base)
    assert "u:p" not in str(caught.value)


def test_an_empty_account_id_is_refused_at_once() -> None:
    """No request could be made from it."""
    with pytest.raises(ValueError, match="account id"):
        HttpProvider(
            DocuSignAdapter(),
            api_base="https://x",
            account_id=" ",
            client=plain_client(httpx.MockTransport(lambda r: ok())),
            tokens=CountedTokens(),
            principal=principal(),
        )
