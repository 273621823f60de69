"""What a signer does in a session: open, type, sign, decline, finish later, cancel, walk away.

The same for a browser (`signing`) and for a program that plays one (`control`). After the end the
browser is sent to the return URL with `event` = signing_complete, decline, cancel,
viewing_complete, session_timeout, ttl_expired or exception (SPEC recipientViewRequest.returnUrl).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.errors import ProviderError, unknown_recipient
from simulator.ledger import Ledger
from simulator.model import IN_PROCESS, RECIPIENT_DONE, Envelope, Recipient
from simulator.pings import Pinger
from simulator.routing import Routing
from simulator.sessions import Session, Sessions

# `cancel` stands for both: "canceled the signing operation, possibly by using the Finish Later
# option" (SPEC recipientViewRequest.returnUrl).
EVENT_OF_ACTION = {
    "sign": "signing_complete",
    "decline": "decline",
    "finish-later": "cancel",
    "cancel": "cancel",
}
ADOPTED_NAME = "signature"
TYPED_KINDS = ("textTabs", "numberTabs", "emailTabs", "dateTabs", "zipTabs", "ssnTabs", "noteTabs")
CHOSEN_KINDS = ("checkboxTabs", "listTabs")


@dataclass(frozen=True)
class Left:
    """Where the browser goes: the return URL, which carries `event`."""

    event: str
    url: str


class Ceremony:
    """Signing sessions of one simulator, as the signers' browsers drive them."""

    def __init__(
        self, ledger: Ledger, routing: Routing, sessions: Sessions, pinger: Pinger
    ) -> None:
        self._ledger = ledger
        self._routing = routing
        self._sessions = sessions
        self._pinger = pinger

    def person(self, session: Session) -> tuple[Envelope, Recipient]:
        """Envelope and recipient of a session; raises UNKNOWN_ENVELOPE_RECIPIENT when removed."""
        envelope = self._ledger.find(session.account_id, session.envelope_id)
        for recipient in envelope.definition.recipients:
            if recipient.guid == session.recipient_guid:
                return envelope, recipient
        raise unknown_recipient()

    def open(self, session: Session) -> Left | None:
        """The signer's browser opens the URL; None: the page is shown.

        A URL that was used before goes back with its event at once, and so does one of a recipient
        who may not act. Who is done, or whose envelope is over, gets a page to read.
        """
        if not self._sessions.open(session):
            # Not what the first browser left with: this one never got in.
            return Left("ttl_expired", session.back("ttl_expired"))
        try:
            envelope, recipient = self.person(session)
            if not read_only(envelope, recipient):
                self._routing.open(envelope, recipient)
        except ProviderError:
            return self._leave(session, "exception")
        session.loads = 1
        self._pinger.watch(session)
        return None

    def type(self, session: Session, values: dict[str, str]) -> Left | None:
        """The signer fills fields in, by tabLabel; None: the session goes on.

        Others are ignored. What stood in a field before is not typed. What comes after a kick is
        lost, too.
        """
        try:
            held = prefilled(*self.person(session))
        except ProviderError:
            return self._leave(session, "exception")
        values = {k: v for k, v in values.items() if k in held}
        typed = {k: v for k, v in values.items() if v != held[k]}
        if not self._sessions.act(session):
            if session.kicked and typed:
                session.input_lost = True
            return self.gone(session)
        for label in values:
            session.values.pop(label, None)
        session.values.update(typed)
        return None

    def look(self, session: Session) -> Left | None:
        """The browser loads the page again, which is no input; None: it is shown."""
        self._sessions.sweep()
        if session.ended is not None:
            return self.gone(session)
        session.present = True
        session.loads += 1
        return None

    def act(self, session: Session, action: str, reason: str = "") -> Left:
        """One of EVENT_OF_ACTION ends the session."""
        if not self._sessions.act(session):
            return self.gone(session)
        try:
            envelope, recipient = self.person(session)
            if read_only(envelope, recipient):
                return self._leave(session, "viewing_complete")
            self._routing.turn(envelope, recipient)
        except ProviderError:
            return self._leave(session, "exception")
        # First the session, then the envelope: the signer's own end is not taken for another's.
        left = self._leave(session, EVENT_OF_ACTION[action])
        if action in ("sign", "finish-later"):
            envelope.progress_of(recipient).values.update(session.values)
        if action == "sign":
            self._routing.sign(envelope, recipient)
        elif action == "decline":
            self._routing.decline(envelope, recipient, reason or "declined in the signing session")
        elif action == "finish-later":
            self._routing.finish_later(envelope, recipient)
        return left

    def close_window(self, session: Session, load: int | None = None) -> None:
        """The signer goes without a word: no redirect, no more pings, nothing else.

        `load`: which loading of the page says so. The one that a reload left may say it after the
        new one is there, and means nothing then.
        """
        if load is None or load == session.loads:
            session.present = False

    def gone(self, session: Session) -> Left:
        """Where the browser of an ended session goes; remembered in the ledger."""
        session.event = self._sessions.event_after(session)
        return Left(session.event, session.back(session.event))

    def _leave(self, session: Session, event: str) -> Left:
        self._sessions.finish(session, event, event)
        return Left(event, session.back(event))


def read_only(envelope: Envelope, recipient: Recipient) -> bool:
    """Nothing left to do: the envelope is over, or this recipient is done."""
    return (
        envelope.status not in IN_PROCESS
        or envelope.progress_of(recipient).status in RECIPIENT_DONE
    )


def labels(recipient: Recipient) -> set[str]:
    """What this recipient can fill in: labels of tabs, and the name adopted as signature."""
    return {str(tab["tabLabel"]) for _, tab in fields(recipient)} | {ADOPTED_NAME}


def fields(recipient: Recipient) -> list[tuple[str, dict[str, Any]]]:
    """Kind and tab of each field to fill in; of tabs with one label, which share it, the first."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for kind in (*TYPED_KINDS, *CHOSEN_KINDS):
        for tab in recipient.tabs.get(kind, ()):
            found.setdefault(str(tab["tabLabel"]), (kind, tab))
    found.pop(ADOPTED_NAME, None)
    return list(found.values())


def prefilled(envelope: Envelope, recipient: Recipient) -> dict[str, str]:
    """What stands in each field when the page opens, by tabLabel."""
    held = {str(tab["tabLabel"]): _given(kind, tab) for kind, tab in fields(recipient)}
    kept = envelope.progress_of(recipient).values
    return {**held, ADOPTED_NAME: recipient.name, **kept}


def _given(kind: str, tab: dict[str, Any]) -> str:
    if kind == "checkboxTabs":
        return "X" if str(tab.get("selected", "")).lower() == "true" else ""
    return str(tab.get("value") or "")
