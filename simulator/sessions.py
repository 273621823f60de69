"""Signing URLs and the sessions that they open: single use, one at a time, and what is lost.

"can be used only once and expires after 5 minutes" (docusign.com docs, create recipient view).
An HTTP DELETE on the URL revokes it (SPEC Views_PostEnvelopeRecipientView). What a second session
does to the first is `SessionRules.policy`. No I/O here; the clock is given.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulator.faults import SessionRules
from simulator.model import Envelope, Recipient, now, stamp

RETURN_URL_LIMIT = 470
PING_S_DEFAULT = 300

# The `event` of the return URL that a browser gets when its session was ended meanwhile (SPEC
# recipientViewRequest.returnUrl has the values; `ttl_expired` "if the envelope is voided" is said
# there). Which value a kicked signer really sees is unverified.
_EVENT_OF_END = {
    "kicked": "session_timeout",
    "superseded": "session_timeout",
    "session_timeout": "session_timeout",
    "envelope_declined": "viewing_complete",
}


@dataclass(frozen=True)
class View:
    """What a view request asks for: where to go afterwards, and whom to ping (interval in s)."""

    return_url: str
    ping_url: str = ""
    ping_s: int = PING_S_DEFAULT


@dataclass
class Session:
    """One signing URL and the session that its first opening begins.

    `secret` opens the URL, `ticket` belongs to the browser that did. `present`: a signer sits
    before the page, which was loaded `loads` times. `values`: what was typed in
    this session, by tabLabel.
    """

    session_id: str
    secret: str
    ticket: str
    account_id: str
    envelope_id: str
    recipient_id: str
    recipient_guid: str
    view: View
    issued_s: float
    requested: datetime
    opened: datetime | None = None
    ended: datetime | None = None
    end: str = ""
    event: str = ""
    acted_s: float = 0.0
    present: bool = False
    loads: int = 0
    kicked: bool = False
    input_lost: bool = False
    pings: int = 0
    pings_blocked: bool = False
    values: dict[str, str] = field(default_factory=dict)
    disturbed: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """`issued` (a URL nobody opened), `active` or `ended`."""
        if self.ended is not None:
            return "ended"
        return "active" if self.opened else "issued"

    @property
    def path(self) -> str:
        """Path and query of the signing URL."""
        return f"/Signing/MTRedeem/v1/{self.session_id}?slt={self.secret}"

    @property
    def page(self) -> str:
        """Path and query of the page that the opened session lives on."""
        return f"/Signing/v1/{self.session_id}?ticket={self.ticket}"

    def back(self, event: str) -> str:
        """The return URL with its `event`."""
        url = self.view.return_url
        return f"{url}{'&' if '?' in url else '?'}event={event}"

    def truth(self) -> dict[str, Any]:
        """JSON form, without secrets; `typed` counts the fields that were filled in."""
        return {
            "id": self.session_id,
            "accountId": self.account_id,
            "envelopeId": self.envelope_id,
            "recipientId": self.recipient_id,
            "state": self.state,
            "requested": stamp(self.requested),
            "opened": stamp(self.opened),
            "ended": stamp(self.ended),
            "end": self.end or None,
            "event": self.event or None,
            "present": self.present,
            "kicked": self.kicked,
            "inputLost": self.input_lost,
            "typed": len(self.values),
            "pings": self.pings,
            "pingsBlocked": self.pings_blocked,
            "disturbed": list(self.disturbed),
        }


class Sessions:
    """All sessions of a simulator, in the order in which their URLs were requested.

    `end` of a session is one of: what its signer did (`signing_complete`, `decline`, `cancel`,
    `viewing_complete`, `exception`); `session_timeout`; `kicked` by another session while its
    signer was there; `superseded`, the same with nobody there; `ttl_expired`, `revoked` and
    `invalidated` for URLs that nobody opened; `envelope_voided` and `envelope_declined`.
    """

    def __init__(self, rules: Callable[[], SessionRules], clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._blocked: set[tuple[str, str]] = set()

    @property
    def rules(self) -> SessionRules:
        """The rules as they are switched now."""
        return self._rules()

    def issue(
        self, account_id: str, envelope: Envelope, recipient: Recipient, view: View
    ) -> Session:
        """A new URL; a return URL above 470 characters is cut, as documented.

        With one-per-envelope this is the moment of harm: "requesting a second signing session URL
        will invalidate the first. If the first signing session is already active, they will be
        kicked out and data entered may be lost" (docusign.com blog, Concurrency issues).
        """
        self.sweep()
        if self.rules.policy == "one-per-envelope":
            for other in self._living(envelope.envelope_id):
                self._oust(other)
        session = Session(
            str(uuid.uuid4()),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
            account_id,
            envelope.envelope_id,
            recipient.recipient_id,
            recipient.guid,
            View(view.return_url[:RETURN_URL_LIMIT], view.ping_url, view.ping_s),
            self._clock(),
            now(),
            pings_blocked=(envelope.envelope_id, recipient.recipient_id) in self._blocked,
        )
        self._sessions[session.session_id] = session
        return session

    def by_secret(self, session_id: str, secret: str) -> Session | None:
        """The session of a signing URL."""
        session = self._sessions.get(session_id)
        good = session is not None and secrets.compare_digest(
            session.secret.encode(), secret.encode()
        )
        return session if good else None

    def by_ticket(self, session_id: str, ticket: str) -> Session | None:
        """The session of a page."""
        session = self._sessions.get(session_id)
        good = session is not None and secrets.compare_digest(
            session.ticket.encode(), ticket.encode()
        )
        return session if good else None

    def open(self, session: Session) -> bool:
        """Redeem a URL; False when it was used or revoked, or is too old."""
        self.sweep()
        if session.state != "issued":
            return False
        if self.rules.policy != "off":
            for other in self._living(session.envelope_id):
                if other.opened and other.recipient_guid == session.recipient_guid:
                    self._oust(other)
        session.opened, session.acted_s, session.present = now(), self._clock(), True
        return True

    def act(self, session: Session) -> bool:
        """The signer does something; False when the session is over by now."""
        self.sweep()
        if session.state != "active":
            return False
        session.acted_s, session.present = self._clock(), True
        return True

    def idle_s(self, session: Session) -> tuple[float, float]:
        """Seconds without input that end a session, and what is left of them."""
        whole_s = self.rules.timeout_s * self.rules.clock
        return whole_s, max(0.0, whole_s - (self._clock() - session.acted_s))

    def finish(self, session: Session, end: str, event: str = "") -> None:
        """End a session; `event` when the browser is sent to its return URL with it."""
        if session.ended is None:
            session.ended, session.end, session.present = now(), end, False
        session.event = session.event or event

    def event_after(self, session: Session) -> str:
        """The `event` for a browser whose session ended, or whose URL is spent."""
        return session.event or _EVENT_OF_END.get(session.end, "ttl_expired")

    def revoke(self, session: Session) -> bool:
        """Burn a URL; False when it was opened, which revoking cannot undo (unverified)."""
        self.sweep()
        if session.opened is not None:
            return False
        self.finish(session, "revoked")
        return True

    def block_pings(self, envelope_id: str, recipient_id: str, blocked: bool) -> None:
        """Keep the pings of a recipient's sessions, present and future, from arriving."""
        key = (envelope_id, recipient_id)
        (self._blocked.add if blocked else self._blocked.discard)(key)
        for session in self._living(envelope_id):
            if session.recipient_id == recipient_id:
                session.pings_blocked = blocked

    def heard(self, envelope: Envelope, event: str) -> None:
        """An envelope moved: void and decline end what lives.

        What a signer in session sees then is unverified. It is no kick: `inputLost` stays false,
        `end` and `typed` tell what happened.
        """
        if event not in ("envelope-voided", "envelope-declined"):
            return
        for session in self._living(envelope.envelope_id):
            if session.opened:
                session.disturbed.append(event)
                self.finish(session, event.replace("-", "_"))
            elif event == "envelope-voided":
                self.finish(session, "ttl_expired")

    def changed(self, envelope_id: str, operation_id: str) -> None:
        """The sender changed the envelope's definition: noted at each active session."""
        for session in self._living(envelope_id):
            if session.opened:
                session.disturbed.append(operation_id)

    def sweep(self) -> None:
        """End the URLs whose life is over and the sessions that were idle for too long."""
        rules, moment_s = self.rules, self._clock()
        for session in self._sessions.values():
            if session.ended is not None:
                continue
            if session.opened is None:
                over_s = moment_s - session.issued_s - rules.url_life_s * rules.clock
                end = "ttl_expired"
            else:
                over_s = moment_s - session.acted_s - rules.timeout_s * rules.clock
                end = "session_timeout"
            if over_s >= 0:
                self.finish(session, end)
                session.ended = now() - timedelta(seconds=over_s)

    def listed(self, account_id: str | None = None) -> list[Session]:
        """All sessions, of one account or of all, as of now."""
        self.sweep()
        return [s for s in self._sessions.values() if account_id in (None, s.account_id)]

    def of(self, envelope_id: str, recipient_id: str) -> list[Session]:
        """A recipient's sessions."""
        mine = (envelope_id, recipient_id)
        return [s for s in self.listed() if (s.envelope_id, s.recipient_id) == mine]

    def _living(self, envelope_id: str) -> Iterator[Session]:
        for session in self._sessions.values():
            if session.envelope_id == envelope_id and session.ended is None:
                yield session

    def _oust(self, session: Session) -> None:
        """Another session takes the place of this one.

        Lost is input only where somebody was there to lose it: who closed the window before had
        gone without finishing anyway.
        """
        if session.opened is None:
            self.finish(session, "invalidated")
        elif session.present:
            session.kicked, session.input_lost = True, bool(session.values)
            self.finish(session, "kicked")
        else:
            self.finish(session, "superseded")
