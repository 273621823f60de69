"""Control calls that play a signer's browser, for programs that do without HTML."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from simulator.ceremony import ADOPTED_NAME, EVENT_OF_ACTION, Left, labels
from simulator.control_calls import Refused, path_envelope, read_body, required_text
from simulator.errors import unknown_recipient
from simulator.model import Envelope
from simulator.service import Service
from simulator.sessions import Session

ACTIONS = ("open", "type", *EVENT_OF_ACTION, "close-window", "ping-block")


class Browsers:
    """POST /simulator/envelopes/ID/recipients/ID/session/ACTION."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def act(self, request: Request) -> Response:
        """One of `ACTIONS`.

        `open` takes {"url"}. The others act in the newest session that the recipient opened, or
        in that of {"session"}: `type` takes {"values": {tabLabel: text}} (default: the adopted
        name), `decline` {"reason"}, `ping-block` {"blocked"} (default true; also for sessions to
        come). Where the browser would leave, the answer has `event` and `returnUrl`.
        """
        envelope, body = path_envelope(self._service, request), await read_body(request)
        recipient_id, action = request.path_params["recipient"], request.path_params["action"]
        if action not in ACTIONS:
            raise Refused(404, f"a session has {', '.join(ACTIONS)}, not {action}")
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
            session = self._by_url(required_text(body, "url"), envelope, recipient_id)
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
