"""Asking for signing sessions: wait one's turn, get the URL, give the session back.

Nearly all of a signer's waiting is for other signers, so it has to cost nothing: who is next in
line holds an update, everybody else looks now and then by a query. A request is sent under its
operation id until there is an answer, as mutations are (``sealwax.answers``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from temporalio.client import WorkflowHandle, WorkflowQueryFailedError

from sealwax import keys
from sealwax.answers import (
    CALL_TIMEOUT_S,
    HOLD_S,
    QUERY_TIMEOUT_S,
    Gone,
    Patience,
    insist,
    no_answer,
    passes,
)
from sealwax.definition import Refusal, RefusalCode
from sealwax.messages import (
    QUERY_TICKET,
    UPDATE_CLOSE_SESSION,
    UPDATE_OPEN_SESSION,
    UPDATE_SESSION,
    AskSession,
    CloseSession,
    OpenSession,
    SessionTicket,
)
from sealwax.session import End

NEXT_IN_LINE = 1
"""From this position on an update is worth its slot: one session stands before it, or none."""

HOLDS_MAX = 30
"""How many updates one request may hold, one after the other: ten minutes of being the next."""

TOLD_AFTER_S = 0.5
"""How long the first answer may take where somebody wants to hear what the request waits for."""

POLL_MIN_S = 0.1
POLL_MAX_S = 2.0
POLL_PER_PLACE_S = 0.1

_CODES: dict[str, RefusalCode] = {
    End.ALREADY_ACTED: RefusalCode.RECIPIENT_HAS_ACTED,
    End.NOT_A_RECIPIENT: RefusalCode.UNKNOWN_RECIPIENT,
    End.ENVELOPE_ENDED: RefusalCode.ILLEGAL_IN_STATUS,
    End.REJECTED: RefusalCode.ILLEGAL_IN_STATUS,
}

T = TypeVar("T")


class SessionRefused(Refusal):
    """An accepted request that has no URL to give (any more); ``ticket`` is the whole answer.

    The law or the provider turned it away when its turn came, its session is over, or its URL was
    opened before or has expired. A used operation id never gives a second URL.
    """

    def __init__(self, ticket: SessionTicket) -> None:
        code = _CODES.get(ticket.how, RefusalCode.SESSION_OVER)
        super().__init__(code, _reason(ticket))
        self.ticket = ticket


@dataclass(frozen=True)
class LiveSession:
    """A granted session. ``url`` is a secret and works once; ``token`` fences it."""

    operation_id: str
    recipient_id: str
    token: int
    url: str = field(repr=False)
    _asking: SessionAsking = field(repr=False, compare=False)

    async def over(self, timeout_s: float | None = None) -> SessionTicket:
        """Wait until the session has ended; the ticket's ``how`` and ``event`` say how.

        Raises ``NoAnswerYet`` when time is up, and as ``EnvelopeHandle.status`` does.
        """
        return await self._asking.over(Patience(timeout_s))


class SessionAsking:
    """One request for a session, from asking for it until it is given back."""

    def __init__(self, handle: WorkflowHandle[Any, Any], asked: OpenSession) -> None:
        keys.check_opaque(asked.operation_id, "operation id")
        self._handle = handle
        self._asked = asked
        self._holds = 0
        self._looks = 0
        self._position = 0

    @property
    def operation_id(self) -> str:
        """The id of the request."""
        return self._asked.operation_id

    async def granted(
        self, timeout_s: float | None, seen: Callable[[SessionTicket], None] | None = None
    ) -> SessionTicket:
        """The ticket with its URL, when it is this request's turn; ``seen`` hears of the wait.

        Raises ``SessionRefused``, other ``Refusal`` s where it may not even be waited for,
        ``NoAnswerYet``, ``UnknownEnvelope``, ``TemporalRefused``.
        """
        patience = Patience(timeout_s)
        hold_s = HOLD_S if seen is None else TOLD_AFTER_S
        try:
            ticket = await self._insist(lambda: self._opened(patience, hold_s), patience)
            while ticket.state == "waiting" or (ticket.state == "granted" and not ticket.url):
                if seen is not None:
                    seen(ticket)
                ticket = await self._next(ticket, patience)
        except Gone:
            ticket = await self._from_the_closed(patience)
        if ticket.state != "granted":
            raise SessionRefused(ticket)
        return ticket

    async def close(self, token: int | None, patience: Patience) -> SessionTicket:
        """Give the session back, or no longer wait for it.

        Raises ``Refusal`` (``stale_token``, ``unknown_session``), ``NoAnswerYet``.
        """
        closing = CloseSession(operation_id=self.operation_id, token=token)

        async def closed() -> SessionTicket:
            answer: SessionTicket = await self._handle.execute_update(
                UPDATE_CLOSE_SESSION, closing, id=f"close-{uuid4()}", result_type=SessionTicket
            )
            return answer

        try:
            return await self._insist(closed, patience)
        except Gone:
            return await self._from_the_closed(patience)

    async def over(self, patience: Patience) -> SessionTicket:
        """The ticket once the request has ended."""
        quiet = 0
        while True:
            ticket = await self._look(patience)
            if ticket is None:
                raise _unknown(self.operation_id)
            if ticket.state in ("ended", "refused"):
                return ticket
            delay_s = min(POLL_MAX_S, POLL_MIN_S * 1.3 ** min(quiet, 20))
            quiet += 1
            if not await patience.pause(random.uniform(delay_s / 2, delay_s)):
                raise no_answer("the session is not over", self.operation_id)

    async def _next(self, ticket: SessionTicket, patience: Patience) -> SessionTicket:
        hold_s = _hold_s(patience)
        if ticket.state == "granted":
            # A look showed the grant; URLs are given to updates alone.
            return await self._insist(lambda: self._held(0.0), patience)
        if ticket.position <= NEXT_IN_LINE and self._holds < HOLDS_MAX and hold_s:
            began = time.monotonic()
            answer = await self._insist(lambda: self._held(hold_s), patience)
            self._holds += 1
            if answer.state != "waiting" or time.monotonic() - began > hold_s / 2:
                return answer
            # All places for those who hold are taken.
            ticket = answer
        # Slower with those before it, and with the time that the queue does not move.
        self._looks = self._looks + 1 if ticket.position == self._position else 0
        self._position = ticket.position
        delay_s = POLL_MIN_S + POLL_PER_PLACE_S * (ticket.position + self._looks)
        delay_s = min(POLL_MAX_S, delay_s)
        if not await patience.pause(random.uniform(delay_s / 2, delay_s)):
            raise no_answer(f"{ticket.position} stand before it: {ticket.why}", self.operation_id)
        found = await self._look(patience)
        if found is None:
            # A server that was restored from a copy may have forgotten it.
            return await self._insist(lambda: self._opened(patience), patience)
        return found

    async def _insist(
        self,
        ask: Callable[[], Awaitable[T]],
        patience: Patience,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> T:
        answer = await insist(ask, patience, self.operation_id, call_timeout_s)
        patience.answered()
        return answer

    async def _opened(self, patience: Patience, hold_s: float = HOLD_S) -> SessionTicket:
        # Another update id each time: to a known one the server would repeat its first answer,
        # also when the URL in it is spent. The workflow knows the operation id.
        answer: SessionTicket = await self._handle.execute_update(
            UPDATE_OPEN_SESSION,
            self._asked.model_copy(update={"wait_s": min(hold_s, _hold_s(patience))}),
            id=f"open-{uuid4()}",
            result_type=SessionTicket,
        )
        return answer

    async def _held(self, wait_s: float) -> SessionTicket:
        answer: SessionTicket = await self._handle.execute_update(
            UPDATE_SESSION,
            AskSession(operation_id=self.operation_id, wait_s=wait_s),
            id=f"session-{uuid4()}",
            result_type=SessionTicket,
        )
        return answer

    async def _look(self, patience: Patience) -> SessionTicket | None:
        async def looked() -> SessionTicket | None:
            try:
                answer: SessionTicket = await self._handle.query(
                    QUERY_TICKET, self.operation_id, result_type=SessionTicket
                )
            except WorkflowQueryFailedError as error:
                if passes(error):
                    raise
                return None
            return answer

        return await self._insist(looked, patience, QUERY_TIMEOUT_S)

    async def _from_the_closed(self, patience: Patience) -> SessionTicket:
        # A closed envelope still knows how its sessions ended.
        ticket = await self._look(patience)
        if ticket is None:
            raise Refusal(RefusalCode.CLOSED, "the envelope is closed; nobody can sign it any more")
        return ticket


def session_request(
    recipient_id: str, return_url: str, operation_id: str | None, *, takeover: bool = False
) -> OpenSession:
    """The message of a request; without an operation id it gets one of its own."""
    return OpenSession(
        operation_id=str(uuid4()) if operation_id is None else operation_id,
        recipient_id=recipient_id,
        return_url=return_url,
        takeover=takeover,
    )


def _hold_s(patience: Patience) -> float:
    # Less than a second is not worth a slot, and the answer needs time to come back.
    left_s = patience.left_s - 1
    return min(HOLD_S, left_s) if left_s >= 1 else 0.0


def _unknown(operation_id: str) -> Refusal:
    return Refusal(
        RefusalCode.UNKNOWN_SESSION, f"no session {operation_id} was ever asked of this envelope"
    )


def _reason(ticket: SessionTicket) -> str:
    again = "ask again under a new operation id"
    match ticket.state:
        case "refused":
            return ticket.message or f"the request was turned away ({ticket.how}); {again}"
        case "ended":
            return f"this session is over ({ticket.how}); {again}"
        case _:
            return f"the URL of this session was opened before or has expired; {again}"
