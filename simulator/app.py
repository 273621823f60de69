"""The HTTP side: routes of the dialect, OAuth, signing pages and the control API."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator import control, signing
from simulator.dialect import (
    audit,
    connects,
    documents,
    envelopes,
    fields,
    listing,
    recipients,
    tabs,
    views,
)
from simulator.endpoint import Endpoint, Operation, Socket, away
from simulator.errors import ProviderError, invalid_body
from simulator.forms import read_form
from simulator.oauth import OAuthError
from simulator.service import Service

PREFIX = "/restapi/v2.1/accounts/{accountId}"

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
    Operation("GET", _ENVELOPE + "/audit_events", "AuditEvents_GetAuditEvents", audit.audit_events),
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
        refused = service.limits.userinfo_refused(principal.user_id)
        if refused is not None:
            return JSONResponse(refused.body(), refused.status)
        names = {a.account_id: a.name for a in service.ledger.accounts.values()}
        base = str(request.base_url).rstrip("/")
        return JSONResponse(service.oauth.userinfo(principal, names, base))

    return [
        Route("/oauth/token", _unless_away(service, token), methods=["POST"]),
        Route("/oauth/userinfo", _unless_away(service, userinfo), methods=["GET"]),
    ]


def _unless_away(service: Service, handler: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    """The handler, and during an outage what all callers get."""

    class Guarded:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            outage = service.harms.away()
            if outage is not None:
                await away(outage, scope, receive, send)
                return
            await (await handler(Request(scope, receive)))(scope, receive, send)

    return Guarded()


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
