"""The control API under `/simulator`: accounts, principals, harms, signers, and the ledger.

JSON, without authentication: bind the simulator to loopback. Errors are
`{"errorCode", "message"}`; 409 when an envelope's state or a routing order forbids an action.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.browsers import Browsers
from simulator.control_calls import (
    Handler,
    Refused,
    guarded,
    path_envelope,
    read_body,
    required_text,
)
from simulator.effects import envelope_effects, whole_truth
from simulator.errors import unknown_recipient
from simulator.limit_calls import LimitCalls
from simulator.model import Envelope, Recipient
from simulator.oauth import Principal
from simulator.service import Service
from simulator.truth import ledger_truth


class Control:
    """The handlers; each takes a request and gives JSON."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, _: Request) -> Response:
        """Alive, with the number of envelopes."""
        return JSONResponse({"status": "ok", "envelopes": len(self._service.ledger.envelopes)})

    async def put_account(self, request: Request) -> Response:
        """Create or rename an account."""
        body = await read_body(request)
        account = self._service.ledger.account(request.path_params["account"], body.get("name"))
        return JSONResponse({"accountId": account.account_id, "name": account.name})

    async def put_principal(self, request: Request) -> Response:
        """Register a user under an integration key, with the key's public RSA key."""
        body = await read_body(request)
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
            integration_key=required_text(body, "integration_key"),
            user_id=required_text(body, "user_id"),
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
        body = await read_body(request)
        key = (required_text(body, "integration_key"), required_text(body, "user_id"))
        principal = self._service.oauth.principals.get(key)
        if principal is None:
            raise Refused(404, "there is no such principal: PUT /simulator/principals first")
        token = self._service.oauth.mint(principal)
        return JSONResponse({"access_token": token, "token_type": "Bearer"})

    async def post_hmac_key(self, request: Request) -> Response:
        """Add an active HMAC key to an account."""
        body = await read_body(request)
        account = request.path_params["account"]
        return JSONResponse(
            {"id": self._service.connect.add_key(account, required_text(body, "key"))}
        )

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
        return JSONResponse(self._service.patch_harms(await read_body(request)))

    async def get_envelope(self, request: Request) -> Response:
        """The truth about one envelope."""
        return JSONResponse(
            envelope_effects(self._service.ledger, path_envelope(self._service, request))
        )

    async def remind(self, request: Request) -> Response:
        """A reminder of an envelope falls due."""
        envelope = path_envelope(self._service, request)
        self._service.routing.remind(envelope)
        return JSONResponse({"status": envelope.status})

    async def expire(self, request: Request) -> Response:
        """An envelope expires."""
        envelope = path_envelope(self._service, request)
        self._service.routing.expire(envelope)
        return JSONResponse({"status": envelope.status})

    async def get_truth(self, request: Request) -> Response:
        """All envelopes with all that took effect, of one account (`?account=`) or all.

        `?marker=NAME` also tells which envelopes share a value of the custom field NAME.
        """
        query = request.query_params
        body = whole_truth(self._service.ledger, query.get("account"), query.get("marker"))
        return JSONResponse(body)

    async def act(self, request: Request) -> Response:
        """A recipient acts: open, sign, decline, finish-later, autorespond, reassign."""
        envelope, body = path_envelope(self._service, request), await read_body(request)
        recipient = envelope.definition.recipient(request.path_params["recipient"])
        if recipient is None:
            raise unknown_recipient()
        status = self._do(request.path_params["action"], envelope, recipient, body)
        return JSONResponse({"status": status})

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
                    envelope, recipient, required_text(body, "name"), required_text(body, "email")
                )
        raise Refused(404, f"a recipient cannot {action}")

    async def get_ledger(self, request: Request) -> Response:
        """The ledger of truth, of one account (`?account=`) or all; `?calls=false` is shorter."""
        calls = request.query_params.get("calls", "true").lower() != "false"
        body = ledger_truth(
            self._service.ledger,
            request.query_params.get("account"),
            calls,
            self._service.connect,
            self._service.sessions,
            self._service.limits,
        )
        return JSONResponse(body)

    async def flush(self, request: Request) -> Response:
        """Wait until no delivery is under way."""
        return JSONResponse(await self._service.connect.flush(await _timeout_s(request)))

    async def settle(self, request: Request) -> Response:
        """Wait until no late commit is outstanding."""
        return JSONResponse({"pending": await self._service.settle(await _timeout_s(request))})

    async def get_withheld(self, request: Request) -> Response:
        """The events that the plan kept from everybody, of one account (`?account=`) or all."""
        events = self._service.connect.withheld(request.query_params.get("account"))
        return JSONResponse({"withheld": events, "count": len(events)})

    async def redeliver(self, request: Request) -> Response:
        """Send an envelope's past messages again with retryCount + 1."""
        envelope = path_envelope(self._service, request)
        count = self._service.connect.redeliver(envelope.envelope_id)
        return JSONResponse({"redelivered": count})


async def _timeout_s(request: Request) -> float:
    timeout_s = (await read_body(request)).get("timeout_s", 10)
    if not isinstance(timeout_s, int | float) or isinstance(timeout_s, bool):
        raise Refused(400, "timeout_s is a number of seconds")
    return float(timeout_s)


def routes(service: Service) -> list[Route]:
    """All routes of the control API."""
    control, browsers, limits = Control(service), Browsers(service), LimitCalls(service)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/health", control.health),
        ("PUT", "/accounts/{account}", control.put_account),
        ("POST", "/accounts/{account}/hmac-keys", control.post_hmac_key),
        ("DELETE", "/accounts/{account}/hmac-keys/{key}", control.delete_hmac_key),
        ("GET", "/accounts/{account}/limits", limits.get),
        ("PATCH", "/accounts/{account}/limits", limits.patch),
        ("GET", "/limits", limits.get_all),
        ("PATCH", "/limits", limits.patch_all),
        ("PUT", "/principals", control.put_principal),
        ("POST", "/tokens", control.post_token),
        ("GET", "/harms", control.get_harms),
        ("PATCH", "/harms", control.patch_harms),
        ("POST", "/faults/settle", control.settle),
        ("GET", "/ledger", control.get_ledger),
        ("GET", "/truth", control.get_truth),
        ("GET", "/envelopes/{envelope}", control.get_envelope),
        ("POST", "/envelopes/{envelope}/remind", control.remind),
        ("POST", "/envelopes/{envelope}/expire", control.expire),
        ("POST", "/envelopes/{envelope}/recipients/{recipient}/{action}", control.act),
        (
            "POST",
            "/envelopes/{envelope}/recipients/{recipient}/session/{action}",
            browsers.act,
        ),
        ("GET", "/webhooks/withheld", control.get_withheld),
        ("POST", "/webhooks/flush", control.flush),
        ("POST", "/webhooks/{envelope}/redeliver", control.redeliver),
    ]
    return [
        Route("/simulator" + path, guarded(handler), methods=[method])
        for method, path, handler in table
    ]
