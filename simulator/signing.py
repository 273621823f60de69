"""The addresses behind a signing URL, for a browser or a program.

GET of the signing URL opens it, once; the page then lives at an address of its own. POST with
`action` = type, sign, decline, finish-later, cancel or close-window; DELETE of the signing URL
revokes it (SPEC Views_PostEnvelopeRecipientView). A client that accepts `application/json` gets
`{"event", "returnUrl"}` where a browser is redirected.
"""

from __future__ import annotations

import re
import secrets

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.ceremony import EVENT_OF_ACTION, Left
from simulator.errors import ProviderError
from simulator.forms import read_form
from simulator.pages import signing_page
from simulator.service import Service
from simulator.sessions import Session

_LOAD = re.compile("[0-9]{1,9}")
ACTIONS = (*EVENT_OF_ACTION, "type", "close-window")


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"errorCode": code, "message": message}, status)


def _gone() -> Response:
    return _error(404, "INVALID_TOKEN", "There is no such signing URL.")


def _guarded(response: Response, nonce: str = "") -> Response:
    """Nothing of a session is stored, framed, or told to where the browser goes next.

    No form-action: a browser applies it to the redirects after the form as well, and the return
    URL and what comes after it are the application's affair.
    """
    inline = f"'nonce-{nonce}'" if nonce else "'none'"
    response.headers["content-security-policy"] = (
        f"default-src 'none'; style-src {inline}; script-src {inline}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    )
    response.headers["cache-control"] = "no-store"
    response.headers["referrer-policy"] = "no-referrer"
    response.headers["x-content-type-options"] = "nosniff"
    return response


class Signing:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def redeem(self, request: Request) -> Response:
        """Open a signing URL: the page, or back at once with `ttl_expired`."""
        session = self._by_secret(request)
        if session is None:
            return _gone()
        left = self._service.ceremony.open(session)
        return self._show(request, session) if left is None else self._away(request, left)

    async def page(self, request: Request) -> Response:
        """The page of an opened session again, with what was typed."""
        session = self._by_ticket(request)
        if session is None or session.opened is None:
            return _gone()
        left = self._service.ceremony.look(session)
        return self._show(request, session) if left is None else self._away(request, left)

    async def act(self, request: Request) -> Response:
        """Type or end, at either address of an opened session."""
        session = self._by_secret(request) or self._by_ticket(request)
        if session is None or session.opened is None:
            return _gone()
        form = await read_form(request)
        action, ceremony = form.get("action", ""), self._service.ceremony
        if action not in ACTIONS:
            return _error(400, "INVALID_REQUEST_BODY", f"action is one of {', '.join(ACTIONS)}.")
        if action == "close-window":
            load = form.get("load", "")
            ceremony.close_window(session, int(load) if _LOAD.fullmatch(load) else None)
            return Response(status_code=204)
        left = ceremony.type(session, form)
        if left is None and action != "type":
            left = ceremony.act(session, action, form.get("reason", ""))
        if left is not None:
            return self._away(request, left)
        return _guarded(JSONResponse({"saved": len(session.values)}))

    async def revoke(self, request: Request) -> Response:
        """204: nobody opened it and nobody will. 409 (unverified): it was opened."""
        session = self._by_secret(request)
        if session is None:
            return _gone()
        if not self._service.sessions.revoke(session):
            return _error(409, "INVALID_TOKEN", "The signing URL was used.")
        return Response(status_code=204)

    def _by_secret(self, request: Request) -> Session | None:
        return self._service.sessions.by_secret(
            request.path_params["session"], request.query_params.get("slt", "")
        )

    def _by_ticket(self, request: Request) -> Session | None:
        return self._service.sessions.by_ticket(
            request.path_params["session"], request.query_params.get("ticket", "")
        )

    def _show(self, request: Request, session: Session) -> Response:
        try:
            envelope, recipient = self._service.ceremony.person(session)
        except ProviderError:
            return self._away(request, self._service.ceremony.act(session, "cancel"))
        if _wants_json(request):
            actions = list(EVENT_OF_ACTION)
            body = {"actions": actions, "recipientId": recipient.recipient_id}
            return _guarded(JSONResponse(body))
        nonce, idle_s = secrets.token_urlsafe(16), self._service.sessions.idle_s(session)
        page = signing_page(envelope, recipient, session, nonce, idle_s)
        return _guarded(HTMLResponse(page), nonce)

    def _away(self, request: Request, left: Left) -> Response:
        if _wants_json(request):
            return _guarded(JSONResponse({"event": left.event, "returnUrl": left.url}))
        return _guarded(RedirectResponse(left.url, 303))


def _wants_json(request: Request) -> bool:
    return "application/json" in request.headers.get("accept", "")


def routes(service: Service) -> list[Route]:
    """The signing URL's address and the page's."""
    signing = Signing(service)
    url, page = "/Signing/MTRedeem/v1/{session}", "/Signing/v1/{session}"
    return [
        Route(url, signing.redeem, methods=["GET"]),
        Route(url, signing.act, methods=["POST"]),
        Route(url, signing.revoke, methods=["DELETE"]),
        Route(page, signing.page, methods=["GET"]),
        Route(page, signing.act, methods=["POST"]),
    ]
