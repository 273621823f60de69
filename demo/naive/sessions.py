"""Embedded signing as a good team writes it: a URL whenever its user wants to sign.

Each user's click asks the provider for a fresh signing URL; a lost answer is asked for again, which
is safe (a view request changes nothing in the envelope); a signer whose turn has not come is asked
for again with backoff; the return URL carries a value that nobody can guess, so that a forged
return ends nothing (SPEC Views_PostEnvelopeRecipientView, Maintaining State). What it does not do
is to ask who else is signing the same envelope. Where the provider lets sessions live side by side,
it does no harm.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from demo.naive.rest import Credentials, Rejected, Rest, backoff_s

# Events after which the application shows "please sign again" instead of "thank you".
AGAIN = frozenset({"session_timeout", "ttl_expired", "exception"})

_TURN_WITHIN_S = 20.0
_BACKOFF_STEPS_MAX = 4


@dataclass(frozen=True, slots=True)
class Signer:
    """An embedded recipient, by the ids that the application gave it."""

    recipient_id: str
    client_user_id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A signing URL made for one click of one user; `state` comes back with the return URL."""

    envelope_id: str
    signer: Signer
    state: str
    url: str


class NaiveSessions:
    """Signing URLs of one account, each asked for at once. An async context manager.

    `return_url` is the application's page for those who come back; `ping_url` is sent along when
    given, with the shortest interval that the provider allows (60 s).
    """

    def __init__(self, credentials: Credentials, return_url: str, ping_url: str = "") -> None:
        self._rest = Rest(credentials)
        self._return_url = return_url
        self._ping_url = ping_url
        self._away: dict[str, Visit] = {}

    async def __aenter__(self) -> NaiveSessions:
        await self._rest.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rest.__aexit__()

    async def visit(
        self, envelope_id: str, signer: Signer, turn_within_s: float = _TURN_WITHIN_S
    ) -> Visit:
        """A URL for a user who wants to sign now; waits `turn_within_s` for the signer's turn.

        Raises Rejected with the provider's code, NoAnswer when it does not answer.
        """
        state = secrets.token_urlsafe(16)
        body = {
            "returnUrl": f"{self._return_url}?state={state}",
            "authenticationMethod": "None",
            "clientUserId": signer.client_user_id,
            "recipientId": signer.recipient_id,
            "userName": signer.name,
            "email": signer.email,
        }
        if self._ping_url:
            body |= {"pingUrl": f"{self._ping_url}?state={state}", "pingFrequency": "60"}
        until = time.monotonic() + turn_within_s
        for number in range(1, 10_000):
            try:
                path = f"/envelopes/{envelope_id}/views/recipient"
                answer = await self._rest.call("POST", path, body=body)
            except Rejected as error:
                wait_s = backoff_s(min(number, _BACKOFF_STEPS_MAX))
                if error.code != "RECIPIENT_NOT_IN_SEQUENCE" or time.monotonic() + wait_s > until:
                    raise
                await asyncio.sleep(wait_s)
                continue
            made = Visit(envelope_id, signer, state, str(answer["url"]))
            self._away[state] = made
            return made
        raise AssertionError("the deadline comes before so many tries")

    def came_back(self, state: str) -> Visit | None:
        """The visit that a return belongs to, once; None for a forged or repeated one."""
        return self._away.pop(state, None)
