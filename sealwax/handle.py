"""One envelope in an application's hand: ask for changes, see how it stands, wait for it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

from temporalio.client import WorkflowExecutionStatus

from sealwax import messages
from sealwax.answers import ClientError, EnvelopeAborted, Gone, Patience, insist, no_answer
from sealwax.changes import EnvelopeChanges
from sealwax.definition import Refusal, RefusalCode
from sealwax.facts import FINAL, EnvelopeStatus
from sealwax.messages import Resolve, SessionTicket, Snapshot, TimelineEntry
from sealwax.resolving import Choice
from sealwax.signers import LiveSession, SessionAsking, session_request

ANSWER_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 10.0
WATCH_MIN_S = 0.25
WATCH_MAX_S = 2.0
LOOKS_BEFORE_CHECK = 8

_LADDER = (
    EnvelopeStatus.NEW,
    EnvelopeStatus.CREATED,
    EnvelopeStatus.SENT,
    EnvelopeStatus.DELIVERED,
    EnvelopeStatus.SIGNED,
    EnvelopeStatus.COMPLETED,
)
_ALIVE = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.COMPLETED)


class EnvelopeHandle(EnvelopeChanges):
    """One envelope: its changes, its signing sessions, and how it stands."""

    def within(self, transaction: str) -> EnvelopeHandle:
        """The same envelope, with operation ids made from a business transaction.

        Whatever is asked through it without an ``operation_id`` gets one made of the transaction's
        name, of what is asked, and of how often that was asked before. So a caller that died and
        does the same work again, in whatever order, gets its first answers and no second effect.
        Raises ``Refusal`` for a transaction without a name.
        """
        return EnvelopeHandle(self.account, self.key, self._workflow, self._blobs, transaction)

    async def open_session(
        self,
        recipient_id: str,
        return_url: str,
        *,
        operation_id: str | None = None,
        takeover: bool = False,
        timeout_s: float | None = None,
        seen: Callable[[SessionTicket], None] | None = None,
    ) -> SessionTicket:
        """Wait for the turn of an embedded recipient; the ticket then holds the signing URL.

        The URL is a secret, works once and expires soon: hand it to the signer's browser alone.
        ``return_url`` is where your application wants the signer afterwards. ``takeover`` ends the
        recipient's own live session. ``seen`` hears the ticket while it waits. When time is up the
        request keeps its place: ask again with its id, or ``close_session`` it. Raises
        ``SessionRefused`` where no URL comes of it, other ``Refusal`` s (``already_open``,
        ``not_embedded``, ``bad_return_url``, ...), and otherwise as ``mutate``.
        """
        asked = session_request(
            recipient_id,
            return_url,
            operation_id or self._ids.made("session", recipient_id),
            takeover=takeover,
        )
        async with self._told_why_closed():
            return await SessionAsking(self._workflow, asked).granted(timeout_s, seen)

    async def close_session(
        self,
        operation_id: str,
        token: int | None = None,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> SessionTicket:
        """Give a session back because its signer has left, or no longer wait for it.

        ``token`` is the ticket's; one of another session is refused (``stale_token``). Raises
        ``Refusal`` (also ``unknown_session``), ``UnknownEnvelope``, ``NoAnswerYet``.
        """
        asked = session_request("", "", operation_id)
        return await SessionAsking(self._workflow, asked).close(token, Patience(timeout_s))

    @contextlib.asynccontextmanager
    async def signing_session(
        self,
        recipient_id: str,
        return_url: str,
        *,
        operation_id: str | None = None,
        takeover: bool = False,
        timeout_s: float | None = None,
    ) -> AsyncIterator[LiveSession]:
        """A session for the length of the block, which its end closes, however it comes.

        Stay in the block as long as the signer signs, such as by ``await session.over()``: closing
        says that the signer has left. What is raised while it waits or in the block also withdraws
        the request. Raises as ``open_session``, and ``NoAnswerYet`` where closing had no answer;
        the session then ends by its deadlines.
        """
        asked = session_request(
            recipient_id,
            return_url,
            operation_id or self._ids.made("session", recipient_id),
            takeover=takeover,
        )
        asking = SessionAsking(self._workflow, asked)
        token: int | None = None
        try:
            ticket = await asking.granted(timeout_s)
            token = ticket.token
            yield LiveSession(asked.operation_id, recipient_id, token, ticket.url, asking)
        except Refusal:
            # Refused, it has no place to give back; in the block, the session is closed.
            if token is not None:
                await self._given_back(asking, token)
            raise
        except BaseException:
            await self._given_back(asking, token)
            raise
        else:
            await asking.close(token, Patience(CLOSE_TIMEOUT_S))

    async def _given_back(self, asking: SessionAsking, token: int | None) -> None:
        """Close on the way out of a failure, whose error is the one to be told."""
        with contextlib.suppress(ClientError, Refusal):
            await asking.close(token, Patience(CLOSE_TIMEOUT_S))

    async def resolve(
        self,
        choice: Choice,
        provider_envelope_id: str = "",
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> Snapshot:
        """Decide what the envelope asks a person (``Snapshot.question``), and how it stands then.

        ``provider_envelope_id`` goes with the choice ``adopt``. Raises ``Refusal`` where nothing
        is asked (``nothing_to_decide``) or this is no answer; ``UnknownEnvelope``, ``NoAnswerYet``.
        """
        decided = Resolve(choice=choice, provider_envelope_id=provider_envelope_id)

        async def ask() -> Snapshot:
            snapshot: Snapshot = await self._workflow.execute_update(
                messages.UPDATE_RESOLVE, decided, id=update_id, result_type=Snapshot
            )
            return snapshot

        # One id for all tries: a decision that was heard is not made a second time.
        update_id = f"resolve-{uuid4()}"
        try:
            return await insist(ask, Patience(timeout_s))
        except Gone:
            raise Refusal(RefusalCode.CLOSED, "the envelope is closed") from None

    async def renew(self, timeout_s: float | None = ANSWER_TIMEOUT_S) -> None:
        """Have the workflow go on as a new run soon. For operators; nothing else changes."""
        try:
            await insist(lambda: self._workflow.signal(messages.SIGNAL_RENEW), Patience(timeout_s))
        except Gone:
            raise Refusal(RefusalCode.CLOSED, "the envelope is closed") from None

    async def status(self, timeout_s: float | None = ANSWER_TIMEOUT_S) -> Snapshot:
        """How the envelope stands. Raises ``UnknownEnvelope``, ``NoAnswerYet``."""
        return await self._snapshot(Patience(timeout_s))

    async def timeline(
        self, timeout_s: float | None = ANSWER_TIMEOUT_S
    ) -> tuple[TimelineEntry, ...]:
        """What happened, oldest first. Raises ``UnknownEnvelope``, ``NoAnswerYet``."""
        hint: Any = tuple[TimelineEntry, ...]
        found: tuple[TimelineEntry, ...] = await self._queried(
            messages.QUERY_TIMELINE, hint, Patience(timeout_s)
        )
        return found

    async def wait(
        self,
        until: str,
        timeout_s: float | None = None,
        seen: Callable[[Snapshot], None] | None = None,
    ) -> Snapshot:
        """The first snapshot at ``until`` or past it: a status, "final" or "closed".

        A status that cannot come any more is not waited for: where the envelope ended otherwise,
        the snapshot says how. ``seen`` is given every change on the way. Raises ``NoAnswerYet``,
        ``EnvelopeAborted``, ``UnknownEnvelope``.
        """
        wanted = until if until in ("final", "closed") else status_named(until)
        async for snapshot in self._looks(Patience(timeout_s)):
            if seen is not None:
                seen(snapshot)
            if reached(snapshot, wanted):
                return snapshot
        raise AssertionError("looks end only after a snapshot that is closed")

    async def watch(self) -> AsyncIterator[Snapshot]:
        """A snapshot now and at every change, until the envelope is closed.

        It waits through restarts of workers and server. Raises ``EnvelopeAborted``,
        ``UnknownEnvelope``, ``TemporalRefused``.
        """
        async for snapshot in self._looks(Patience(None)):
            yield snapshot

    async def _looks(self, patience: Patience) -> AsyncIterator[Snapshot]:
        seen: Snapshot | None = None
        quiet = 0
        while True:
            snapshot = await self._snapshot(patience)
            quiet = quiet + 1 if snapshot == seen else 0
            if not quiet:
                yield snapshot
            if snapshot.closed:
                return
            seen = snapshot
            if quiet % LOOKS_BEFORE_CHECK == LOOKS_BEFORE_CHECK - 1:
                await insist(self._check_alive, patience)
            delay_s = min(WATCH_MAX_S, WATCH_MIN_S * 1.3 ** min(quiet, 20))
            if not await patience.pause(delay_s * random.uniform(0.8, 1.2)):
                raise no_answer(f"the envelope is still {snapshot.status}", "")

    async def _check_alive(self) -> None:
        described = await self._workflow.describe()
        if described.status not in _ALIVE:
            how = described.status.name.lower() if described.status else "lost"
            raise EnvelopeAborted(f"the envelope's workflow was {how} before the envelope closed")


def reached(snapshot: Snapshot, until: str) -> bool:
    """Whether a snapshot is at ``until`` or past it, or can no longer get there."""
    if snapshot.closed:
        return True
    if until == "closed":
        return False
    if snapshot.status == until or snapshot.status in FINAL:
        return True
    if until not in _LADDER or snapshot.status not in _LADDER:
        return False
    return _LADDER.index(snapshot.status) > _LADDER.index(EnvelopeStatus(until))


def status_named(text: str) -> EnvelopeStatus:
    """The status of that name. Raises ``Refusal`` that lists them."""
    try:
        return EnvelopeStatus(text)
    except ValueError:
        known = ", ".join(EnvelopeStatus)
        raise Refusal(
            RefusalCode.BAD_INPUT, f"there is no status of that name; use one of: {known}"
        ) from None
