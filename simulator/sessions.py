"""Signing URLs: used once, living five minutes.

"can be used only once and expires after 5 minutes" (docusign.com docs, create recipient view);
not configurable at the provider. A DELETE of the URL revokes it (SPEC
Views_PostEnvelopeRecipientView). Opening a URL gives a signing session in which the recipient
finishes, declines or leaves; the browser then goes to the return URL with `event`.
"""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass

URL_LIFE_S = 300.0
RETURN_URL_LIMIT = 470


@dataclass
class Session:
    """One signing URL and the session that its first opening begins."""

    session_id: str
    secret: str
    account_id: str
    envelope_id: str
    recipient_guid: str
    return_url: str
    issued_s: float
    spent: bool = False
    open: bool = False

    @property
    def path(self) -> str:
        """Path and query of the signing URL."""
        return f"/Signing/MTRedeem/v1/{self.session_id}?slt={self.secret}"

    def back(self, event: str) -> str:
        """The return URL with its `event`."""
        joint = "&" if "?" in self.return_url else "?"
        return f"{self.return_url}{joint}event={event}"


class Sessions:
    """All signing URLs of a simulator."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def issue(
        self, account_id: str, envelope_id: str, recipient_guid: str, return_url: str
    ) -> Session:
        """A new URL; a return URL above 470 characters is cut, as documented."""
        session = Session(
            str(uuid.uuid4()),
            secrets.token_urlsafe(24),
            account_id,
            envelope_id,
            recipient_guid,
            return_url[:RETURN_URL_LIMIT],
            time.monotonic(),
        )
        self._sessions[session.session_id] = session
        return session

    def redeem(self, session_id: str, secret: str) -> tuple[Session | None, bool]:
        """The session of a URL, and whether this opening is the first and in time."""
        session = self._sessions.get(session_id)
        if session is None or not secrets.compare_digest(session.secret, secret):
            return None, False
        fresh = not session.spent and time.monotonic() - session.issued_s < URL_LIFE_S
        session.spent = True
        session.open = session.open or fresh
        return session, fresh

    def live(self, session_id: str, secret: str) -> Session | None:
        """A session that was opened and not ended."""
        session = self._sessions.get(session_id)
        if session is None or not secrets.compare_digest(session.secret, secret):
            return None
        return session if session.open else None

    def revoke(self, session_id: str, secret: str) -> bool:
        """Burn a URL without opening it."""
        session = self._sessions.get(session_id)
        if session is None or not secrets.compare_digest(session.secret, secret):
            return False
        session.spent = True
        return True
