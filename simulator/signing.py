"""The page behind a signing URL: opens the envelope, then sign, decline, or leave.

After it the browser goes to the return URL with `event` = signing_complete, decline,
viewing_complete, cancel or ttl_expired (SPEC Views_PostEnvelopeRecipientView). A client that
accepts `application/json` gets the same as JSON.
"""

from __future__ import annotations

import html

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.errors import ProviderError, unknown_recipient
from simulator.forms import read_form
from simulator.model import Envelope, Recipient
from simulator.service import Service
from simulator.sessions import Session

ACTIONS = {
    "finish": "signing_complete",
    "decline": "decline",
    "later": "cancel",
}


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def _person(service: Service, session: Session) -> tuple[Envelope, Recipient]:
    envelope = service.ledger.find(session.account_id, session.envelope_id)
    for recipient in envelope.definition.recipients:
        if recipient.guid == session.recipient_guid:
            return envelope, recipient
    raise unknown_recipient()


def _page(envelope: Envelope, recipient: Recipient, session: Session) -> str:
    buttons = "".join(
        f'<button name="action" value="{action}">{action}</button>' for action in ACTIONS
    )
    documents = "".join(f"<li>{html.escape(d.name)}</li>" for d in envelope.definition.documents)
    return (
        "<!doctype html><meta charset=utf-8><title>Sign</title>"
        f"<h1>{html.escape(envelope.definition.email_subject)}</h1>"
        f"<p>For {html.escape(recipient.name)}</p><ul>{documents}</ul>"
        f'<form method="post" action="{html.escape(session.path)}">{buttons}</form>'
    )


def _leave(request: Request, session: Session, event: str) -> Response:
    session.open = False
    if _wants_json(request):
        return JSONResponse({"event": event, "returnUrl": session.back(event)})
    return RedirectResponse(session.back(event), 302)


def routes(service: Service) -> list[Route]:
    """GET opens, POST with `action` acts, DELETE revokes."""

    def gone() -> Response:
        return JSONResponse({"errorCode": "INVALID_TOKEN", "message": "No such URL."}, 404)

    async def open_url(request: Request) -> Response:
        secret = request.query_params.get("slt", "")
        session, fresh = service.sessions.redeem(request.path_params["session"], secret)
        if session is None:
            return gone()
        if not fresh:
            if _wants_json(request):
                return JSONResponse(
                    {"event": "ttl_expired", "returnUrl": session.back("ttl_expired")}
                )
            return RedirectResponse(session.back("ttl_expired"), 302)
        try:
            envelope, recipient = _person(service, session)
            service.routing.open(envelope, recipient)
        except ProviderError:
            return _leave(request, session, "exception")
        if _wants_json(request):
            return JSONResponse({"actions": list(ACTIONS), "recipientId": recipient.recipient_id})
        return HTMLResponse(_page(envelope, recipient, session))

    async def act(request: Request) -> Response:
        secret = request.query_params.get("slt", "")
        session = service.sessions.live(request.path_params["session"], secret)
        action = (await read_form(request)).get("action", "")
        if session is None:
            return gone()
        if action not in ACTIONS:
            text = f"action must be one of {', '.join(ACTIONS)}"
            return JSONResponse({"errorCode": "INVALID_REQUEST_BODY", "message": text}, 400)
        try:
            envelope, recipient = _person(service, session)
            if action == "finish":
                service.routing.sign(envelope, recipient)
            elif action == "decline":
                service.routing.decline(envelope, recipient, "declined in the signing session")
            else:
                service.routing.finish_later(envelope, recipient)
        except ProviderError:
            return _leave(request, session, "exception")
        return _leave(request, session, ACTIONS[action])

    async def revoke(request: Request) -> Response:
        secret = request.query_params.get("slt", "")
        found = service.sessions.revoke(request.path_params["session"], secret)
        return Response(status_code=200) if found else gone()

    path = "/Signing/MTRedeem/v1/{session}"
    return [
        Route(path, open_url, methods=["GET"]),
        Route(path, act, methods=["POST"]),
        Route(path, revoke, methods=["DELETE"]),
    ]
