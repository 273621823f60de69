"""The control API under `/simulator`: accounts, principals, harms, signers, and the ledger.

JSON, without authentication: bind the simulator to loopback. Errors are
`{"errorCode", "message"}`; 409 when an envelope's state or a routing order forbids an action.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.ceremony import ADOPTED_NAME, EVENT_OF_ACTION, Left, labels
from simulator.errors import ProviderError, no_envelope, unknown_recipient
from simulator.faults import BadPlan
from simulator.model import Envelope, Recipient
from simulator.oauth import Principal
from simulator.service import Service
from simulator.sessions import Session
from simulator.truth import envelope_truth, ledger_truth

Handler = Callable[[Request], Awaitable[Response]]

SESSION_ACTIONS = ("open", "type", *EVENT_OF_ACTION, "close-window", "ping-block")


class Refused(Exception):
    """A control call that cannot be done; carries the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    try:
        value = json.loads(raw) if raw.strip() else {}
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is not an object")
    return value


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise Refused(400, f"{key} is required: give a non-empty string")
    return value


def _guarded(handler: Handler) -> Handler:
    async def run(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            body = {"errorCode": "BAD_CONTROL_CALL", "message": str(error)}
            return JSONResponse(body, error.status)
        except BadPlan as error:
            return JSONResponse({"errorCode": "BAD_PLAN", "message": str(error)}, 400)
        except ProviderError as error:
            status = 404 if error.status == 404 or error.code.startswith("UNKNOWN") else 409
            return JSONResponse(error.body(), status)

    return run


class Control:
    """The handlers; each takes a request and gives JSON."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, _: Request) -> Response:
        """Alive, with the number of envelopes."""
        return JSONResponse({"status": "ok", "envelopes": len(self._service.ledger.envelopes)})

    async def put_account(self, request: Request) -> Response:
        """Create or rename an account."""
        body = await _body(request)
        account = self._service.ledger.account(request.path_params["account"], body.get("name"))
        return JSONResponse({"accountId": account.account_id, "name": account.name})

    async def put_principal(self, request: Request) -> Response:
        """Register a user under an integration key, with the key's public RSA key."""
        body = await _body(request)
        accounts = body.get("accounts", [])
        if not isinstance(accounts, list):
            raise Refused(400, "accounts must be a list of account ids")
        pem = body.get("public_key_pem") or ""
        if pem:
            try:
                load_pem_public_key(str(pem).encode())
            except ValueError:
                raise Refused(400, "public_key_pem is not a public key in PEM") from None
        principal = Principal(
            integration_key=_text(body, "integration_key"),
            user_id=_text(body, "user_id"),
            name=str(body.get("name") or "Sender"),
            email=str(body.get("email") or "sender@example.com"),
            accounts=[str(a) for a in accounts],
            consented=body.get("consented", True) is True,
        )
        for account in principal.accounts:
            self._service.ledger.account(account)
        self._service.oauth.register(principal, str(pem))
        return JSONResponse(
            {
                "integration_key": principal.integration_key,
                "user_id": principal.user_id,
                "accounts": principal.accounts,
                "consented": principal.consented,
            }
        )

    async def post_token(self, request: Request) -> Response:
        """Mint a token without the JWT grant, for clients that insist on HTTPS there."""
        body = await _body(request)
        key = (_text(body, "integration_key"), _text(body, "user_id"))
        principal = self._service.oauth.principals.get(key)
        if principal is None:
            raise Refused(404, "there is no such principal: PUT /simulator/principals first")
        token = self._service.oauth.mint(principal)
        return JSONResponse({"access_token": token, "token_type": "Bearer"})

    async def post_hmac_key(self, request: Request) -> Response:
        """Add an active HMAC key to an account."""
        body = await _body(request)
        account = request.path_params["account"]
        return JSONResponse({"id": self._service.connect.add_key(account, _text(body, "key"))})

    async def delete_hmac_key(self, request: Request) -> Response:
        """Remove an HMAC key."""
        found = self._service.connect.remove_key(
            request.path_params["account"], request.path_params["key"]
        )
        if not found:
            raise Refused(404, "the account has no such HMAC key")
        return JSONResponse({})

    async def get_harms(self, _: Request) -> Response:
        """The switches as they are."""
        return JSONResponse(self._service.harms.view())

    async def patch_harms(self, request: Request) -> Response:
        """Change switches; what is not named stays."""
        return JSONResponse(self._service.patch_harms(await _body(request)))

    def _envelope(self, request: Request) -> Envelope:
        wanted = request.path_params["envelope"]
        envelope = self._service.ledger.envelopes.get(wanted.lower())
        if envelope is None:
            raise no_envelope(wanted)
        return envelope

    async def get_envelope(self, request: Request) -> Response:
        """The truth about one envelope."""
        return JSONResponse(envelope_truth(self._envelope(request)))

    async def act(self, request: Request) -> Response:
        """A recipient acts: open, sign, decline, finish-later, autorespond, reassign."""
        envelope, body = self._envelope(request), await _body(request)
        recipient = envelope.definition.recipient(request.path_params["recipient"])
        if recipient is None:
            raise unknown_recipient()
        status = self._do(request.path_params["action"], envelope, recipient, body)
        return JSONResponse({"status": status})

    async def session(self, request: Request) -> Response:
        """A signer's browser without HTML: what `SESSION_ACTIONS` names.

        `open` takes {"url"}. The others act in the newest session that the recipient opened, or
        in that of {"session"}: `type` takes {"values": {tabLabel: text}} (default: the adopted
        name), `decline` {"reason"}, `ping-block` {"blocked"} (default true; also for sessions to
        come). Where the browser would leave, the answer has `event` and `returnUrl`.
        """
        envelope, body = self._envelope(request), await _body(request)
        recipient_id, action = request.path_params["recipient"], request.path_params["action"]
        if action not in SESSION_ACTIONS:
            raise Refused(404, f"a session has {', '.join(SESSION_ACTIONS)}, not {action}")
        if action == "ping-block":
            if envelope.definition.recipient(recipient_id) is None:
                raise unknown_recipient()
            blocked = body.get("blocked", True)
            if not isinstance(blocked, bool):
                raise Refused(400, "blocked is true or false")
            sessions = self._service.sessions
            sessions.block_pings(envelope.envelope_id, recipient_id, blocked)
            return JSONResponse({"blocked": blocked})
        if action == "open":
            session = self._by_url(_text(body, "url"), envelope, recipient_id)
            left = self._service.ceremony.open(session)
        else:
            session = self._opened(envelope, recipient_id, body.get("session"))
            if session.state == "active" and not session.present:
                raise Refused(409, "this window is closed: open another signing URL")
            left = self._drive(session, action, body)
        answer = {"session": session.session_id, "state": session.state}
        if left is not None:
            answer |= {"event": left.event, "returnUrl": left.url}
        return JSONResponse(answer)

    def _by_url(self, url: str, envelope: Envelope, recipient_id: str) -> Session:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise Refused(400, "url is no URL") from None
        secret = dict(parse_qsl(parts.query)).get("slt", "")
        session = self._service.sessions.by_secret(parts.path.rpartition("/")[2], secret)
        mine = (envelope.envelope_id, recipient_id)
        if session is None or (session.envelope_id, session.recipient_id) != mine:
            raise Refused(404, "this is no signing URL of this recipient")
        return session

    def _opened(self, envelope: Envelope, recipient_id: str, wanted: Any) -> Session:
        """The session to act in: the one named, else the newest that did not leave yet."""
        mine = self._service.sessions.of(envelope.envelope_id, recipient_id)
        found = [
            s
            for s in mine
            if s.opened and (s.session_id == wanted if wanted is not None else not s.event)
        ]
        if not found:
            raise Refused(409, "the recipient has no such open session: open a signing URL first")
        return max(found, key=lambda s: s.opened or s.requested)

    def _drive(self, session: Session, action: str, body: dict[str, Any]) -> Left | None:
        ceremony = self._service.ceremony
        if action == "close-window":
            ceremony.close_window(session)
            return None
        if action != "type":
            return ceremony.act(session, action, str(body.get("reason") or ""))
        values = body.get("values", {ADOPTED_NAME: "As adopted"})
        if not isinstance(values, dict):
            raise Refused(400, "values is an object of texts by tabLabel")
        _, recipient = ceremony.person(session)
        if unknown := values.keys() - labels(recipient):
            raise Refused(400, f"the recipient has no field {sorted(unknown)[0]!r}")
        return ceremony.type(session, {label: str(text) for label, text in values.items()})

    def _do(
        self, action: str, envelope: Envelope, recipient: Recipient, body: dict[str, Any]
    ) -> str:
        routing = self._service.routing
        reason = str(body.get("reason") or "")
        match action:
            case "open":
                return routing.open(envelope, recipient)
            case "sign":
                return routing.sign(envelope, recipient)
            case "decline":
                return routing.decline(envelope, recipient, reason or "declined")
            case "finish-later":
                return routing.finish_later(envelope, recipient)
            case "autorespond":
                return routing.autorespond(envelope, recipient, reason or "out of office")
            case "reassign":
                return routing.reassign(
                    envelope, recipient, _text(body, "name"), _text(body, "email")
                )
        raise Refused(404, f"a recipient cannot {action}")

    async def get_ledger(self, request: Request) -> Response:
        """The ledger of truth, of one account (`?account=`) or all; `?calls=false` is shorter."""
        calls = request.query_params.get("calls", "true").lower() != "false"
        body = ledger_truth(
            self._service.ledger,
            request.query_params.get("account"),
            calls,
            self._service.connect.view(),
            self._service.sessions,
        )
        return JSONResponse(body)

    async def flush(self, request: Request) -> Response:
        """Wait until no delivery is under way."""
        timeout_s = (await _body(request)).get("timeout_s", 10)
        if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool):
            raise Refused(400, "timeout_s is a number of seconds")
        return JSONResponse(await self._service.connect.flush(float(timeout_s)))

    async def redeliver(self, request: Request) -> Response:
        """Send an envelope's past messages again with retryCount + 1."""
        envelope = self._envelope(request)
        count = self._service.connect.redeliver(envelope.envelope_id)
        return JSONResponse({"redelivered": count})


def routes(service: Service) -> list[Route]:
    """All routes of the control API."""
    control = Control(service)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/health", control.health),
        ("PUT", "/accounts/{account}", control.put_account),
        ("POST", "/accounts/{account}/hmac-keys", control.post_hmac_key),
        ("DELETE", "/accounts/{account}/hmac-keys/{key}", control.delete_hmac_key),
        ("PUT", "/principals", control.put_principal),
        ("POST", "/tokens", control.post_token),
        ("GET", "/harms", control.get_harms),
        ("PATCH", "/harms", control.patch_harms),
        ("GET", "/ledger", control.get_ledger),
        ("GET", "/envelopes/{envelope}", control.get_envelope),
        ("POST", "/envelopes/{envelope}/recipients/{recipient}/{action}", control.act),
        (
            "POST",
            "/envelopes/{envelope}/recipients/{recipient}/session/{action}",
            control.session,
        ),
        ("POST", "/webhooks/flush", control.flush),
        ("POST", "/webhooks/{envelope}/redeliver", control.redeliver),
    ]
    return [
        Route("/simulator" + path, _guarded(handler), methods=[method])
        for method, path, handler in table
    ]
