"""One operation of the dialect as an ASGI app: what it does, and how its answer gets lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator.dialect.context import Answer, Context
from simulator.errors import (
    ProviderError,
    account_refused,
    gateway_error,
    invalid_token,
    locked,
    unauthorized,
)
from simulator.faults import Outage
from simulator.ledger import Call, Fault
from simulator.limits import Arrival, Verdict
from simulator.model import now
from simulator.plans import LostAnswers, Target
from simulator.service import Service

Handler = Callable[[Context], Awaitable[Answer]]

HANG_MAX_S = 300.0
# PUT only because the list of ids may be long (SPEC); and a signing URL changes no envelope.
_READ_ONLY = ("Envelopes_PutStatus", "Views_PostEnvelopeRecipientView")


@dataclass(frozen=True)
class Operation:
    """One row of the dialect: method, path below the account, SPEC operationId, handler."""

    method: str
    path: str
    operation_id: str
    handler: Handler

    @property
    def writes(self) -> bool:
        """True for what changes an envelope."""
        changes = self.method != "GET" and self.operation_id not in _READ_ONLY
        return changes and self.path.startswith(("/envelopes", "/folders"))


class DroppedConnection(ConnectionResetError):
    """The connection was closed without an answer (what a client in the same process sees)."""


class Socket:
    """Hands each call's socket down to the endpoints, which may have to hang up.

    ASGI has no way to hang up. Under uvicorn the outermost `send` is a method of the request's
    cycle, which knows the transport.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["simulator.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await self._app(scope, receive, send)


async def drop(scope: Scope, receive: Receive) -> None:
    """Close the connection without an answer; raises DroppedConnection where there is no socket."""
    transport = scope["simulator.transport"]
    if transport is None:
        raise DroppedConnection("the provider closed the connection without an answer")
    transport.abort()
    await _gone(receive)


async def hang(scope: Scope, receive: Receive) -> None:
    """Stay silent until the client goes away; after 300 s hang up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HANG_MAX_S):
            return await _gone(receive)
    await drop(scope, receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def failure(status: int, retry_after_s: int | None) -> Response:
    """A server error: 500 as JSON, 502 to 504 as a gateway's page, which is no JSON."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    if status == 500:
        return JSONResponse(gateway_error().body(), status, headers=headers)
    page = f"<html><head><title>{status}</title></head><body>The service is away.</body></html>"
    return HTMLResponse(page, status, headers)


async def away(outage: Outage, scope: Scope, receive: Receive, send: Send) -> None:
    """What a caller gets during an outage."""
    if outage.mode == "error":
        await failure(outage.status, outage.retry_after_s)(scope, receive, send)
    elif outage.mode == "hang":
        await hang(scope, receive)
    else:
        await drop(scope, receive)


def _refusal(error: ProviderError) -> Response:
    return JSONResponse(error.body(), error.status)


class Endpoint:
    """One operation as an ASGI app: authenticates, logs, runs, answers or loses the answer."""

    def __init__(self, service: Service, operation: Operation) -> None:
        self._service = service
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        verdict = self._arrive(request)
        raw = await request.body()
        ledger, harms = self._service.ledger, self._service.harms
        call = ledger.log_call(
            Call(
                at=now(),
                integration_key="",
                user_id="",
                account_id=request.path_params["accountId"],
                envelope_id=request.path_params.get("envelopeId", ""),
                operation_id=self._operation.operation_id,
                method=request.method,
                path=request.url.path,
            )
        )
        outage = harms.away()
        if outage is not None:
            ledger.log_fault(call, f"outage_{outage.mode}")
            call.answered = False
            await away(outage, scope, receive, send)
            return
        operation = self._operation
        plan: LostAnswers | None = None
        response: Response | None
        if verdict.error is not None:
            response = self._refuse_limited(verdict, verdict.error, request, raw, call)
        elif plan := harms.strike(
            Target(operation.operation_id, operation.writes, call.envelope_id)
        ):
            fault = ledger.log_fault(call, plan.mode)
            if plan.commits:
                response = await self._commit(plan, fault, request, raw)
            else:
                response = self._refuse(plan, call, request)
        else:
            response = await self._answer(request, raw, call)
        if response is not None:
            # A gateway's page comes from before the limits and knows nothing of them.
            if response.status_code < 500:
                response.headers.update(verdict.headers)
            await response(scope, receive, send)
        elif plan is not None and plan.silent:
            await hang(scope, receive)
        else:
            await drop(scope, receive)

    def _arrive(self, request: Request) -> Verdict:
        """Ask the limits before the body is read: the provider counts a call when it arrives."""
        service, account_id = self._service, request.path_params["accountId"]
        if service.harms.away() is None and service.oauth.admits(
            request.headers.get("authorization"), account_id
        ):
            arrival = Arrival(
                self._operation.operation_id,
                request.path_params.get("envelopeId", ""),
                request.url.path,
                request.method in ("GET", "HEAD"),
            )
            return service.limits.arrive(account_id, arrival)
        return Verdict("", None, service.limits.headers(account_id))

    def _refuse_limited(
        self, verdict: Verdict, error: ProviderError, request: Request, raw: bytes, call: Call
    ) -> Response:
        """Answer a call past a limit: nothing of it is carried out, and no plan strikes it."""
        self._prepare(request, raw, call)
        call.status, call.limit = error.status, verdict.kind
        return _refusal(error)

    async def _commit(
        self, plan: LostAnswers, fault: Fault, request: Request, raw: bytes
    ) -> Response | None:
        """Carry the call out; gives what the client gets, None for no answer at all."""
        call = fault.call
        call.answered = plan.mode == "slow"
        if plan.mode == "commit_late":
            delay_s = self._service.harms.late_s(plan)
            fault.late_s = delay_s
            ready = self._prepare(request, raw, call)
            self._service.later(delay_s, lambda: self._finish(ready, call, fault))
            return None
        response = await self._finish(self._prepare(request, raw, call), call, fault)
        if plan.mode == "slow":
            await asyncio.sleep(plan.delay_ms / 1000)
            return response
        if plan.mode == "error_after_commit":
            return failure(plan.status or 503, plan.retry_after_s)
        return None

    def _refuse(self, plan: LostAnswers, call: Call, request: Request) -> Response | None:
        """Answer without carrying the call out; None for no answer at all."""
        authorization = request.headers.get("authorization")
        response: Response | None = None
        match plan.mode:
            case "error_before_commit":
                response = failure(plan.status or 503, plan.retry_after_s)
            case "unauthorized":
                response = _refusal(unauthorized(plan.code or ""))
            case "revoke_token":
                self._service.oauth.revoke(authorization)
                response = _refusal(invalid_token())
            case "locked":
                response = _refusal(locked(plan.code or ""))
        call.answered = response is not None
        call.status = 0 if response is None else response.status_code
        return response

    def _prepare(self, request: Request, raw: bytes, call: Call) -> Context | ProviderError:
        """Authenticate at arrival, also what is carried out late."""
        try:
            return self._context(request, raw, call)
        except ProviderError as error:
            return error

    async def _finish(
        self, ready: Context | ProviderError, call: Call, fault: Fault | None = None
    ) -> Response:
        """Run a call and note in its fault whether it took effect."""
        try:
            if isinstance(ready, ProviderError):
                raise ready
            answer = await self._operation.handler(ready)
        except ProviderError as error:
            call.status = error.status
            return _refusal(error)
        finally:
            if fault is not None:
                write = ready.write if isinstance(ready, Context) else None
                fault.settle(write is not None and write.accepted)
        call.status = answer.status
        headers = answer.headers
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, headers, answer.media_type)
        if answer.body is None:
            return Response(b"", answer.status, headers)
        content = json.dumps(answer.body).encode()
        return Response(content, answer.status, headers, answer.media_type)

    async def _answer(self, request: Request, raw: bytes, call: Call) -> Response:
        return await self._finish(self._prepare(request, raw, call), call)

    def _context(self, request: Request, raw: bytes, call: Call) -> Context:
        principal = self._service.oauth.authenticate(request.headers.get("authorization"))
        call.integration_key, call.user_id = principal.integration_key, principal.user_id
        if call.account_id not in principal.accounts:
            raise account_refused(call.account_id)
        return Context(
            service=self._service,
            principal=principal,
            account_id=call.account_id,
            base_url=str(request.base_url).rstrip("/"),
            params=request.path_params,
            query=dict(request.query_params),
            headers=dict(request.headers),
            raw=raw,
            call=call,
        )
