"""The one shell that carries conversations out over HTTP.

Each call has one total deadline, follows no redirect, repeats nothing behind the caller's back
(but for one renewal of a refused token, where the request certainly had no effect), and says
exactly what is known of the outcome: ``NotSentError`` where it cannot have taken effect,
``OutcomeUnknown`` where it may have. While the provider is out as a whole, one call at a time asks
whether it is back, and the others are refused at once (``circuit``). Each request to the account's
API has a permit of its quota, which is asked for when all else is ready (``metering``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx

from sealwax.calls import Applied, FindCreated, Mutate, OpenView
from sealwax.facts import ProviderEvent
from sealwax.observations import Extra, Observation
from sealwax.permits import Permit
from sealwax.providers.base import (
    Adapter,
    Answer,
    Conversation,
    Listing,
    NewEnvelope,
    NotSentError,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    RateLimited,
    Request,
    TokenRefused,
    Unavailable,
    is_outage,
)
from sealwax.providers.circuit import Breaker, Passage
from sealwax.providers.metering import Progress, Quota, passed
from sealwax.providers.tokens import Principal, TokenSource
from sealwax.quota_limits import Klass, Limits

T = TypeVar("T")

# Above this a number in X-RateLimit-Reset is a moment (seconds since 1970), below it a delay.
_EPOCH_MIN_S = 1_000_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Our own doing, which tells nothing of the provider.
_OURS = (httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.LocalProtocolError)
_NEVER_SENT = (*_OURS, httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Total time of one call with all its requests, by purpose; ``connect_s`` is one part of it."""

    read_s: float = 20.0
    write_s: float = 30.0
    upload_s: float = 120.0
    download_s: float = 120.0
    connect_s: float = 5.0


def client(connections_max: int = 100) -> httpx.AsyncClient:
    """A client as ``HttpProvider`` wants it: no retries, no redirects, no environment settings.

    It may be shared by all providers and principals, since no request takes a header, a cookie or
    a credential from it. The caller closes it. httpx's own log of requests is turned off: it
    holds whole URLs, and a signing URL lets whoever has it sign.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)
    limits = httpx.Limits(max_connections=connections_max, max_keepalive_connections=20)
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(retries=0, limits=limits, trust_env=False),
        trust_env=False,
        follow_redirects=False,
    )


class HttpProvider:
    """``Provider`` over HTTP: one account, one principal.

    ``api_base`` is like ``https://demo.docusign.net/restapi``; ``breaker`` is shared by all
    providers of the account. ``quota`` counts the requests to the account's API; no limit is known
    of the token endpoint or of signing URLs. Without it nothing is counted. Raises ``ValueError``
    for an ``api_base`` or ``account_id`` that no request could be made from.
    """

    def __init__(
        self,
        adapter: Adapter,
        *,
        api_base: str,
        account_id: str,
        client: httpx.AsyncClient,
        tokens: TokenSource,
        principal: Principal,
        deadlines: Deadlines | None = None,
        breaker: Breaker | None = None,
        quota: Quota | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        parts = urlsplit(api_base)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(
                f"the API base {parts.scheme}://{parts.hostname or ''} cannot be used;"
                " give one like https://demo.docusign.net/restapi"
            )
        if not account_id.strip():
            raise ValueError("the provider's account id is empty; give the one of your API account")
        self._adapter = adapter
        self._base = f"{api_base.rstrip('/')}/v2.1/accounts/{quote(account_id, safe='')}"
        self._account_id = account_id
        self._client = client
        self._tokens = tokens
        self._principal = principal
        self._deadlines = deadlines or Deadlines()
        self._breaker = breaker or Breaker(account_id)
        self._quota = quota
        self._wall = wall

    async def create(self, new: NewEnvelope) -> Applied:
        """Make a draft."""
        return await self._call(self._adapter.create(new), self._deadlines.upload_s)

    async def mutate(
        self, provider_envelope_id: str, call: Mutate, contents: Mapping[str, bytes]
    ) -> Applied:
        """Make one mutation; ``contents`` holds the bytes of documents it brings, by digest."""
        deadline_s = self._deadlines.upload_s if contents else self._deadlines.write_s
        conversation = self._adapter.mutate(provider_envelope_id, call, contents)
        return await self._call(conversation, deadline_s, provider_envelope_id)

    async def find_created(self, call: FindCreated) -> tuple[str, ...]:
        """The ids of envelopes that bear one of the transaction ids or the marker."""
        return await self._call(self._adapter.find_created(call), self._deadlines.read_s)

    async def bin_draft(self, provider_envelope_id: str) -> None:
        """Put a draft into the bin; one that is there already is fine."""
        conversation = self._adapter.bin_draft(provider_envelope_id)
        await self._call(conversation, self._deadlines.read_s, provider_envelope_id)

    async def read(
        self,
        provider_envelope_id: str,
        with_tabs: bool,
        extra: Extra = "",
        *,
        polling: bool = False,
    ) -> Observation:
        """The envelope as it stands."""
        conversation = self._adapter.read(provider_envelope_id, with_tabs, extra)
        deadline_s = self._deadlines.read_s
        return await self._call(conversation, deadline_s, provider_envelope_id, polling=polling)

    async def changes(self, since: datetime) -> tuple[ProviderEvent, ...]:
        """Status facts of all envelopes of the account that changed since then."""
        events = await self._call(self._adapter.changes(since), self._deadlines.read_s)
        return self._of_account(events)

    async def listed(self, since: datetime, position: int, count: int) -> Listing:
        """A part of the list of what changed its status since then."""
        conversation = self._adapter.listed(since, position, count)
        found = await self._call(conversation, self._deadlines.read_s)
        return replace(found, events=self._of_account(found.events))

    async def shown(self, provider_envelope_ids: Sequence[str]) -> Listing:
        """What these envelopes say of themselves."""
        conversation = self._adapter.shown(provider_envelope_ids)
        found = await self._call(conversation, self._deadlines.read_s)
        return replace(found, events=self._of_account(found.events))

    def _of_account(self, events: Sequence[ProviderEvent]) -> tuple[ProviderEvent, ...]:
        return tuple(e if e.account_id else replace(e, account_id=self._account_id) for e in events)

    async def open_view(
        self, provider_envelope_id: str, call: OpenView, return_url: str, ping_url: str
    ) -> str:
        """A signing URL of one embedded recipient."""
        conversation = self._adapter.open_view(provider_envelope_id, call, return_url, ping_url)
        deadline_s = self._deadlines.write_s
        return await self._call(conversation, deadline_s, provider_envelope_id, interactive=True)

    async def revoke_view(self, url: str) -> None:
        """Make an unopened signing URL useless. ``ProviderRejected``: it was not revoked."""
        await self._call(self._adapter.revoke_view(url), self._deadlines.write_s)

    async def download(self, provider_envelope_id: str, what: str) -> AsyncIterator[bytes]:
        """The bytes of ``combined`` or ``certificate``, in chunks, within one total deadline.

        The time in which the caller holds a chunk counts. Raises as the other methods do, also
        between chunks.
        """
        request = self._adapter.download(provider_envelope_id, what)
        ends_at = asyncio.get_running_loop().time() + self._deadlines.download_s
        progress = Progress(ends_at, provider_envelope_id)
        try:
            async with asyncio.timeout_at(ends_at):
                response = await self._opened(request, progress)
            try:
                chunks = response.aiter_bytes()
                while True:
                    async with asyncio.timeout_at(ends_at):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return
                    yield chunk
            finally:
                await response.aclose()
        except TimeoutError:
            reason = f"{request.operation}: not done within {self._deadlines.download_s:g} s"
            raise self._late(reason, progress) from None
        except httpx.HTTPError as error:
            reason = f"{request.operation}: {type(error).__name__}"
            raise progress.lost(reason, outage=_is_outage(error)) from error

    async def _call(
        self,
        conversation: Conversation[T],
        deadline_s: float,
        envelope_id: str = "",
        *,
        polling: bool = False,
        interactive: bool = False,
    ) -> T:
        ends_at = asyncio.get_running_loop().time() + deadline_s
        interactive |= self._quota is not None and self._quota.klass is Klass.INTERACTIVE
        progress = Progress(ends_at, envelope_id, polling, interactive=interactive)
        try:
            async with asyncio.timeout(deadline_s):
                return await self._carry(conversation, progress)
        except TimeoutError:
            raise self._late(f"no answer within {deadline_s:g} s", progress) from None
        except OutcomeUnknown:
            raise
        except ProviderError as error:
            if progress.committed:
                raise OutcomeUnknown(f"an earlier step took effect, then: {error}") from error
            if isinstance(error, RateLimited) and error.retry_after_s is None and progress.last:
                raise self._dated(error, progress.last) from error
            raise
        finally:
            conversation.close()

    async def _carry(self, conversation: Conversation[T], progress: Progress) -> T:
        try:
            request = next(conversation)
            while True:
                answer = await self._exchange(request, progress)
                progress.last = answer
                if request.mutating and self._adapter.refused(request, answer) is None:
                    progress.committed = True
                request = conversation.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _exchange(self, request: Request, progress: Progress) -> Answer:
        if request.absolute:
            self._check_absolute(request)
            return await self._sent(request, "", progress)
        self._breaker.check(interactive=progress.interactive)
        token = await self._tokens.token(self._principal)
        answer = await self._sent(request, token, progress)
        if isinstance(self._adapter.refused(request, answer), TokenRefused):
            self._tokens.invalidate(self._principal, token)
            token = await self._tokens.token(self._principal)
            answer = await self._sent(request, token, progress)
        return answer

    async def _sent(self, request: Request, token: str, progress: Progress) -> Answer:
        built = await self._built(request, token)
        async with self._admitted(request, progress) as (passage, permit):
            response = await self._response(request, built, progress, passage, permit)
            answer = _answer(response, response.content)
            self._told(answer, permit)
            self._judge(request, answer, passage)
        return answer

    @asynccontextmanager
    async def _admitted(
        self, request: Request, progress: Progress
    ) -> AsyncIterator[tuple[Passage, Permit | None]]:
        """The way of one request: through the circuit, with a permit. An open circuit costs none.

        A signing URL may be another host's: its silence tells nothing of the API, and no page
        says that the account's calls are counted there.
        """
        breaker = Breaker() if request.absolute else self._breaker
        breaker.check(interactive=progress.interactive)
        counted = self._quota is not None and not request.absolute
        asked = self._quota.permit(request, progress) if self._quota and counted else nullcontext()
        async with asked as permit:
            with passed(breaker, progress, permit) as passage:
                yield passage, permit

    def _told(self, answer: Answer, permit: Permit | None) -> None:
        if permit is not None:
            permit.completed(answer.headers, self._adapter.error_code(answer))

    async def _response(
        self,
        request: Request,
        built: httpx.Request,
        progress: Progress,
        passage: Passage,
        permit: Permit | None,
        *,
        stream: bool = False,
    ) -> httpx.Response:
        progress.in_flight, progress.waiting = request.mutating, not request.absolute
        try:
            response = await self._client.send(
                built, stream=stream, auth=None, follow_redirects=False
            )
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            progress.waiting = False
            if isinstance(error, _NEVER_SENT):
                progress.in_flight = False
                if permit is not None:
                    permit.unused()
            outage = _is_outage(error)
            if outage:
                passage.failed()
            reason = f"{request.operation}: {type(error).__name__}"
            raise progress.lost(reason, outage=outage) from error
        progress.in_flight = progress.waiting = False
        return response

    def _judge(self, request: Request, answer: Answer, passage: Passage) -> None:
        refusal = self._adapter.refused(request, answer) if answer.status >= 400 else None
        if is_outage(refusal):
            passage.failed(refusal.retry_after_s if isinstance(refusal, Unavailable) else None)
        else:
            passage.answered()

    def _late(self, reason: str, progress: Progress) -> ProviderError:
        """The deadline passed; an outage where it was the provider that let us wait."""
        if progress.waiting:
            self._breaker.failed()
        return progress.lost(reason, outage=progress.waiting)

    async def _opened(self, request: Request, progress: Progress) -> httpx.Response:
        self._breaker.check()
        token = await self._tokens.token(self._principal)
        response, refusal = await self._open_once(request, token, progress)
        if isinstance(refusal, TokenRefused):
            self._tokens.invalidate(self._principal, token)
            token = await self._tokens.token(self._principal)
            response, refusal = await self._open_once(request, token, progress)
        if refusal is not None:
            raise refusal
        return response

    async def _open_once(
        self, request: Request, token: str, progress: Progress
    ) -> tuple[httpx.Response, ProviderError | None]:
        built = await self._built(request, token)
        async with self._admitted(request, progress) as (passage, permit):
            response = await self._response(request, built, progress, passage, permit, stream=True)
            if response.is_success:
                self._told(_answer(response, b""), permit)
                passage.answered()
                return response, None
            try:
                answer = _answer(response, await response.aread())
            finally:
                await response.aclose()
            self._told(answer, permit)
            self._judge(request, answer, passage)
        refusal = self._adapter.refused(request, answer)
        if isinstance(refusal, RateLimited) and refusal.retry_after_s is None:
            refusal = self._dated(refusal, answer)
        return response, refusal or NotSentError(f"{request.operation}: {answer.status}")

    def _check_absolute(self, request: Request) -> None:
        """Raise ``ProviderRejected`` for a URL that would go over a line that others can read."""
        try:
            parts = urlsplit(request.path)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        own = urlsplit(self._base)
        same = (parts.scheme, parts.netloc) == (own.scheme, own.netloc)
        private = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
        if not host or parts.username is not None or not (private or same):
            raise ProviderRejected(
                "BAD_URL", f"{request.operation}: the provider's URL is not an https address"
            )

    async def _built(self, request: Request, token: str) -> httpx.Request:
        # Made without the client, so that nothing of another call (headers, cookies) gets in.
        headers = {
            "Accept": "*/*" if request.purpose == "download" else "application/json",
            "User-Agent": "sealwax",
            **request.headers,
        }
        if not request.absolute:
            headers["Authorization"] = f"Bearer {token}"
        content = request.content
        if request.json is not None:
            headers.setdefault("Content-Type", "application/json")
            if request.purpose == "upload":
                content = await asyncio.to_thread(_encoded, request.json)
            else:
                content = _encoded(request.json)
        connect_s = self._deadlines.connect_s
        timeout = httpx.Timeout(None, connect=connect_s, pool=connect_s)
        return httpx.Request(
            request.method,
            request.path if request.absolute else self._base + request.path,
            params=dict(request.query) or None,
            headers=headers,
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )

    def _dated(self, limited: RateLimited, answer: Answer) -> RateLimited:
        """The refusal with the time that has to pass, where that can be told."""
        if limited.window is None:
            return RateLimited(str(limited), self._wait_s(answer))
        limits = Limits() if self._quota is None else self._quota.limits()
        return RateLimited(str(limited), limits.window_s(limited.window), limited.window)

    def _wait_s(self, answer: Answer) -> float | None:
        """How long a limit's answer asks to wait: an HTTP date, or the window's end."""
        now = self._wall()
        retry_after = answer.headers.get("retry-after", "")
        if retry_after:
            try:
                moment = parsedate_to_datetime(retry_after)
            except ValueError:
                pass
            else:
                aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                return max(0.0, aware.timestamp() - now)
        reset = answer.headers.get("x-ratelimit-reset", "")
        if not (reset.isascii() and reset.isdigit()):
            return None
        value = float(reset)
        return max(0.0, value - now) if value >= _EPOCH_MIN_S else value


def _is_outage(error: Exception) -> bool:
    return isinstance(error, httpx.TransportError | OSError) and not isinstance(error, _OURS)


def _encoded(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _answer(response: httpx.Response, content: bytes) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, content)
