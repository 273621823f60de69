"""The HTTP side: routes of the dialect, OAuth, signing pages, and answers that get lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator import control, signing
from simulator.dialect import (
    connects,
    documents,
    envelopes,
    fields,
    listing,
    recipients,
    tabs,
    views,
)
from simulator.dialect.context import Answer, Context
from simulator.errors import ProviderError, account_refused, invalid_body
from simulator.forms import read_form
from simulator.ledger import Call
from simulator.model import now
from simulator.oauth import OAuthError
from simulator.service import Service

Handler = Callable[[Context], Awaitable[Answer]]

PREFIX = "/restapi/v2.1/accounts/{accountId}"
# Generous and constant: limits are not simulated yet. Names: docusign.com docs, resource limits.
LIMIT_HEADERS = {
    "X-RateLimit-Limit": "3000",
    "X-RateLimit-Remaining": "2999",
    "X-BurstLimit-Limit": "500",
    "X-BurstLimit-Remaining": "499",
}


@dataclass(frozen=True)
class Operation:
    """One row of the dialect: method, path below the account, SPEC operationId, handler."""

    method: str
    path: str
    operation_id: str
    handler: Handler


_ENVELOPE = "/envelopes/{envelopeId}"
_RECIPIENT = _ENVELOPE + "/recipients/{recipientId}"

OPERATIONS = [
    Operation("POST", "/envelopes", "Envelopes_PostEnvelopes", envelopes.create),
    Operation("GET", "/envelopes", "Envelopes_GetEnvelopes", listing.get_all),
    Operation("PUT", "/envelopes/status", "Envelopes_PutStatus", listing.put_status),
    Operation("GET", _ENVELOPE, "Envelopes_GetEnvelope", envelopes.get),
    Operation("PUT", _ENVELOPE, "Envelopes_PutEnvelope", envelopes.put),
    Operation("GET", _ENVELOPE + "/documents", "Documents_GetDocuments", documents.get_all),
    Operation("PUT", _ENVELOPE + "/documents", "Documents_PutDocuments", documents.put_all),
    Operation(
        "DELETE", _ENVELOPE + "/documents", "Documents_DeleteDocuments", documents.delete_some
    ),
    Operation(
        "GET", _ENVELOPE + "/documents/{documentId}", "Documents_GetDocument", documents.download
    ),
    Operation(
        "PUT", _ENVELOPE + "/documents/{documentId}", "Documents_PutDocument", documents.put_one
    ),
    Operation("GET", _ENVELOPE + "/recipients", "Recipients_GetRecipients", recipients.get_all),
    Operation("POST", _ENVELOPE + "/recipients", "Recipients_PostRecipients", recipients.post),
    Operation("PUT", _ENVELOPE + "/recipients", "Recipients_PutRecipients", recipients.put),
    Operation(
        "DELETE", _ENVELOPE + "/recipients", "Recipients_DeleteRecipients", recipients.delete_some
    ),
    Operation("DELETE", _RECIPIENT, "Recipients_DeleteRecipient", recipients.delete_one),
    Operation("GET", _RECIPIENT + "/tabs", "Recipients_GetRecipientTabs", tabs.get),
    Operation("POST", _RECIPIENT + "/tabs", "Recipients_PostRecipientTabs", tabs.post),
    Operation("PUT", _RECIPIENT + "/tabs", "Recipients_PutRecipientTabs", tabs.put),
    Operation("DELETE", _RECIPIENT + "/tabs", "Recipients_DeleteRecipientTabs", tabs.delete),
    Operation("GET", _ENVELOPE + "/custom_fields", "CustomFields_GetCustomFields", fields.get),
    Operation("POST", _ENVELOPE + "/custom_fields", "CustomFields_PostCustomFields", fields.post),
    Operation("PUT", _ENVELOPE + "/custom_fields", "CustomFields_PutCustomFields", fields.put),
    Operation(
        "DELETE", _ENVELOPE + "/custom_fields", "CustomFields_DeleteCustomFields", fields.delete
    ),
    Operation(
        "GET",
        _ENVELOPE + "/notification",
        "Notification_GetEnvelopesEnvelopeIdNotification",
        fields.get_notification,
    ),
    Operation(
        "PUT",
        _ENVELOPE + "/notification",
        "Notification_PutEnvelopesEnvelopeIdNotification",
        fields.put_notification,
    ),
    Operation(
        "GET", _ENVELOPE + "/audit_events", "AuditEvents_GetAuditEvents", envelopes.audit_events
    ),
    Operation(
        "POST",
        _ENVELOPE + "/views/recipient",
        "Views_PostEnvelopeRecipientView",
        views.post_recipient,
    ),
    Operation("PUT", "/folders/{folderId}", "Folders_PutFolderById", envelopes.put_folder),
    Operation("GET", "/connect", "Connect_GetConnectConfigs", connects.get_all),
    Operation("POST", "/connect", "Connect_PostConnectConfiguration", connects.post),
    Operation("PUT", "/connect", "Connect_PutConnectConfiguration", connects.put),
    Operation("GET", "/connect/logs", "ConnectLog_GetConnectLogs", connects.get_logs),
    Operation("GET", "/connect/{connectId}", "Connect_GetConnectConfig", connects.get_one),
    Operation("DELETE", "/connect/{connectId}", "Connect_DeleteConnectConfig", connects.delete),
    Operation(
        "PUT",
        "/connect/envelopes/{envelopeId}/retry_queue",
        "ConnectPublish_PutConnectRetryByEnvelope",
        connects.retry_envelope,
    ),
]


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
    while (await receive())["type"] != "http.disconnect":
        pass


class Endpoint:
    """One operation as an ASGI app: authenticates, logs, runs, answers or loses the answer."""

    def __init__(self, service: Service, operation: Operation) -> None:
        self._service = service
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        raw = await request.body()
        call = self._service.ledger.log_call(
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
        plan = self._service.harms.strike(self._operation.operation_id)
        if plan is not None and plan.mode == "drop_before_commit":
            call.answered = False
            await drop(scope, receive)
            return
        response = await self._answer(request, raw, call)
        if plan is not None and plan.mode == "commit_then_drop":
            call.answered = False
            await drop(scope, receive)
            return
        if plan is not None:
            await asyncio.sleep(plan.delay_ms / 1000)
        await response(scope, receive, send)

    async def _answer(self, request: Request, raw: bytes, call: Call) -> Response:
        try:
            answer = await self._run(request, raw, call)
        except ProviderError as error:
            call.status = error.status
            return JSONResponse(error.body(), error.status, headers=LIMIT_HEADERS)
        call.status = answer.status
        headers = {**LIMIT_HEADERS, **answer.headers}
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, headers, answer.media_type)
        if answer.body is None:
            return Response(b"", answer.status, headers)
        content = json.dumps(answer.body).encode()
        return Response(content, answer.status, headers, answer.media_type)

    async def _run(self, request: Request, raw: bytes, call: Call) -> Answer:
        principal = self._service.oauth.authenticate(request.headers.get("authorization"))
        call.integration_key, call.user_id = principal.integration_key, principal.user_id
        if call.account_id not in principal.accounts:
            raise account_refused(call.account_id)
        context = Context(
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
        return await self._operation.handler(context)


def _oauth_routes(service: Service) -> list[Route]:
    async def token(request: Request) -> Response:
        form = await read_form(request)
        try:
            return JSONResponse(service.oauth.grant(form, request.headers.get("host", "")))
        except OAuthError as error:
            body = {"error": error.error, "error_description": error.description}
            return JSONResponse(body, 400)

    async def userinfo(request: Request) -> Response:
        try:
            principal = service.oauth.authenticate(request.headers.get("authorization"))
        except ProviderError as error:
            return JSONResponse(error.body(), error.status)
        names = {a.account_id: a.name for a in service.ledger.accounts.values()}
        base = str(request.base_url).rstrip("/")
        return JSONResponse(service.oauth.userinfo(principal, names, base))

    return [
        Route("/oauth/token", token, methods=["POST"]),
        Route("/oauth/userinfo", userinfo, methods=["GET"]),
    ]


def _not_found(_: Request, __: Exception) -> Response:
    error = ProviderError("RESOURCE_NOT_FOUND", "The URL provided does not resolve to a resource.")
    return JSONResponse(error.body(), 404)


def _wrong_method(_: Request, __: Exception) -> Response:
    return JSONResponse(invalid_body("The HTTP method is not offered here.").body(), 405)


def _dialect_routes(service: Service) -> list[Route]:
    """One route per path; Starlette asks the methods itself for plain functions only."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for operation in OPERATIONS:
        endpoint = Endpoint(service, operation)
        by_path.setdefault(operation.path, {})[operation.method] = endpoint
    return [
        Route(PREFIX + path, _by_method(endpoints), methods=list(endpoints))
        for path, endpoints in by_path.items()
    ]


def _by_method(endpoints: dict[str, Endpoint]) -> ASGIApp:
    class Chosen:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await endpoints[method](scope, receive, send)

    return Chosen()


def build_app(service: Service) -> ASGIApp:
    """The ASGI app of one simulated provider."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await service.close()

    handlers: dict[Any, Any] = {404: _not_found, 405: _wrong_method}
    app = Starlette(
        routes=[
            *_dialect_routes(service),
            *_oauth_routes(service),
            *signing.routes(service),
            *control.routes(service),
        ],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    return Socket(app)
