"""The machine: an envelope, something that happened, and the time, into an envelope and effects.

``advance`` is total. First the event is absorbed, then what to do next is decided from the state
alone, never from the event: so it does not matter which event brought the state about, and a
restart in any state goes on where it was. At most one call is in flight; that is the one-writer
law, and it orders our reads among our writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sealwax import keys
from sealwax.absorb import finished, received
from sealwax.bookkeeping import answered, enqueued, known, told
from sealwax.calls import (
    Archive,
    AskBridge,
    Bin,
    Bind,
    Call,
    Close,
    Create,
    FindCreated,
    Mutate,
    OpenView,
    Outcome,
    Read,
    Register,
    RevokeView,
)
from sealwax.conflicts import as_it_stands, due, told_of_conflict
from sealwax.definition import Definition, Refusal
from sealwax.envelope import (
    CREATE_OPERATION,
    SEND_OPERATION,
    DuringSession,
    Envelope,
    Order,
    Pending,
    UnknownOutcome,
    numbered,
    unarchived,
    unplaced,
)
from sealwax.facts import EnvelopeStatus, ProviderEvent
from sealwax.merge import Expected
from sealwax.mutations import (
    CreateEnvelope,
    Mutation,
    SendEnvelope,
    described,
    project,
)
from sealwax.observations import TOLD_BY_MAILS, TOLD_BY_TABS, extra_of
from sealwax.resolving import Resolved, resolved
from sealwax.session import (
    End,
    Sessions,
    Wanted,
    asked,
    closing,
    next_of,
    pinged,
    returned,
    turned_away,
)
from sealwax.signing import (
    eligible,
    goes_before_sessions,
    held_by_session,
    klass_of,
    session_digest,
    session_step,
    settled_sessions,
)


@dataclass(frozen=True, slots=True)
class MutationAccepted:
    """A caller's mutation entered the queue."""

    operation_id: str
    mutation: Mutation
    during_session: DuringSession = "wait"
    expected: Expected | None = None


@dataclass(frozen=True, slots=True)
class SessionAsked:
    """A caller wants a signing session for a recipient, perhaps in the place of its own."""

    operation_id: str
    recipient_id: str
    return_url: str
    takeover: bool = False


@dataclass(frozen=True, slots=True)
class SessionPinged:
    """The page of this session was open at that time."""

    token: int
    at: datetime


@dataclass(frozen=True, slots=True)
class SessionReturned:
    """The signer's browser came back from this session, with this ``event``."""

    token: int
    event: str


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """The caller is done with its session, or no longer waits for one."""

    operation_id: str


@dataclass(frozen=True, slots=True)
class PersonDecided:
    """A person answered what the envelope had asked."""

    decision: Resolved


@dataclass(frozen=True, slots=True)
class EventsReceived:
    """Webhooks arrived, verified and normalised; ``unreadable`` batches could not be read."""

    events: tuple[ProviderEvent, ...]
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class CallFinished:
    """The call in flight came to an outcome."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Woke:
    """A time that was asked for has come; or nothing happened, which changes nothing."""


EnvelopeEvent = (
    MutationAccepted
    | SessionAsked
    | SessionPinged
    | SessionReturned
    | SessionClosed
    | PersonDecided
    | EventsReceived
    | CallFinished
    | Woke
)


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out this call and hand back its outcome."""

    call: Call


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Come back at this time at the latest, unless something happens before."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Finish:
    """The envelope has ended: final, confirmed, archived, and nobody waits."""


Effect = Perform | WakeAt | Finish

COUNTED = Create | FindCreated | Bin | Mutate | Read | Archive | OpenView
"""Calls that cost calls of the account's quota."""


def opened(order: Order, now: datetime) -> Envelope:
    """A new envelope with its creation, and its sending where asked, at the head of its queue.

    One that is adopted has neither.
    """
    state = Envelope(order=order, opened_at=now)
    if order.adopted_envelope_id:
        return state
    state = enqueued(state, CREATE_OPERATION, CreateEnvelope(order.definition), now)
    if order.send:
        state = enqueued(state, SEND_OPERATION, SendEnvelope(), now)
    return state


def advance(
    state: Envelope, event: EnvelopeEvent, now: datetime
) -> tuple[Envelope, tuple[Effect, ...]]:
    """Absorb one event and decide what to do next. Total: it never raises."""
    match event:
        case MutationAccepted(operation_id=operation_id, mutation=mutation):
            if not known(state, operation_id):
                state = enqueued(
                    state, operation_id, mutation, now, event.during_session, event.expected
                )
        case SessionAsked(operation_id=operation_id) if known(state, operation_id):
            pass
        case SessionAsked() | SessionPinged() | SessionReturned() | SessionClosed():
            state = replace(state, sessions=_heard(state.sessions, event, now))
        case PersonDecided(decision=decision):
            state = resolved(state, decision, now)
        case EventsReceived(events=events, unreadable=unreadable):
            if unreadable:
                state = replace(state, events_unreadable=state.events_unreadable + unreadable)
                state = told(state, now, "a batch of webhooks could not be read; see the journal")
            for provider_event in events:
                state = received(state, provider_event, now)
        case CallFinished(outcome=outcome):
            if state.in_flight is not None:
                state = finished(state, state.in_flight, outcome, now)
        case Woke():
            pass
    return _decided(state, now)


def _heard(
    sessions: Sessions,
    event: SessionAsked | SessionPinged | SessionReturned | SessionClosed,
    now: datetime,
) -> Sessions:
    match event:
        case SessionPinged(token=token, at=at):
            return pinged(sessions, token, at)
        case SessionReturned(token=token, event=said):
            return returned(sessions, token, said)
        case SessionClosed(operation_id=operation_id):
            wanted = sessions.wanted(operation_id)
            if wanted is not None:
                return turned_away(sessions, wanted, End.WITHDRAWN, now, "no longer wanted")
            lease = sessions.lease
            mine = lease is not None and lease.operation_id == operation_id
            return closing(sessions, End.CLOSED) if mine else sessions
        case SessionAsked():
            digest = session_digest(event.recipient_id, event.return_url)
            wanted = Wanted(event.operation_id, digest, event.recipient_id, event.return_url, now)
            lease = sessions.lease
            over = event.takeover and lease is not None
            mine = over and lease is not None and lease.recipient_id == event.recipient_id
            sessions = asked(sessions, wanted, first=mine)
            return closing(sessions, End.TAKEN_OVER) if mine else sessions


def _decided(state: Envelope, now: datetime) -> tuple[Envelope, tuple[Effect, ...]]:
    if state.in_flight is not None:
        return settled_sessions(state, now), ()
    state = _without_illegal_heads(state, now)
    state = settled_sessions(state, now)
    state = replace(state, final_since=(state.final_since or now) if state.final else None)
    if state.closed:
        return state, (Finish(),)
    upcoming = _within_quota(state, _next(state, now), now)
    if upcoming is None:
        return state, ()
    if isinstance(upcoming, datetime):
        return state, (WakeAt(upcoming),)
    klass = klass_of(state, upcoming)
    state = replace(state, in_flight=upcoming, in_flight_klass=klass, started_at=now)
    if isinstance(upcoming, Read):
        state = replace(state, facts_at_read=state.facts)
    if isinstance(upcoming, OpenView):
        wanted = next_of(state.sessions, eligible(state))
        state = replace(state, sessions=replace(state.sessions, opening=wanted))
    return state, (Perform(upcoming),)


def _within_quota(
    state: Envelope, upcoming: Call | datetime | None, now: datetime
) -> Call | datetime | None:
    """The same, or the end of the account's quota's hold on calls like this one."""
    hold = state.quota_hold
    if hold is None or now >= hold.until or not isinstance(upcoming, COUNTED):
        return upcoming
    alike = isinstance(upcoming, Read) and upcoming.polling
    if alike < hold.polling or klass_of(state, upcoming) < hold.klass:
        return upcoming
    session = session_step(state, now)
    if isinstance(session, datetime) and now < session < hold.until:
        return session
    return hold.until


def _without_illegal_heads(state: Envelope, now: datetime) -> Envelope:
    """Refuse heads that became illegal or conflict by now, with a typed answer; answer those
    that are to be merged where others made the same change already."""
    while state.queue and state.unknown is None and state.registered and not state.adopting:
        head = state.queue[0]
        try:
            mutation = due(state, head)
            if mutation is not None:
                project(as_it_stands(state), mutation)
        except Refusal as refusal:
            state = told_of_conflict(state, head.operation_id, refusal)
            state = answered(state, "refused", refusal.code, refusal.message)
            state = told(state, now, f"{described(head.mutation)}: refused ({refusal.code})")
        else:
            if mutation is not None:
                break
            state = answered(state, "applied", message="others made the same change before")
            state = told(state, now, f"{described(head.mutation)}: it stands like this already")
    return state


def _next(state: Envelope, now: datetime) -> Call | datetime | None:
    """The next call, or the time at which there may be one, or None while nothing is to do."""
    if state.retry_at is not None and now < state.retry_at:
        return state.retry_at
    if not state.registered:
        return Register()
    if state.adopting:
        return Read("adopt", with_tabs=True, extra="definition")
    if state.unknown is not None:
        return (
            _look(state, state.unknown, now)
            if now >= state.unknown.look_at
            else state.unknown.look_at
        )
    if state.provider_envelope_id and not state.bound:
        return Bind(state.provider_envelope_id)
    refresh_at = _refresh_at(state, now)
    if refresh_at is not None and refresh_at <= now:
        return Read("refresh")
    session = session_step(state, now)
    if isinstance(session, AskBridge | RevokeView):
        return session
    head = state.queue[0] if state.queue else None
    granting = isinstance(session, OpenView | Read)
    free = head is not None and not held_by_session(state, head)
    if head is not None and free and (not granting or goes_before_sessions(state, head)):
        return _call_of(state, head)
    if isinstance(session, OpenView | Read):
        return session
    orphan = _orphan_step(state, now)
    if orphan is not None and not isinstance(orphan, datetime):
        return orphan
    if state.final and not state.queue:
        return _closing(state, now)
    times = [t for t in (refresh_at, session, orphan) if isinstance(t, datetime)]
    return min(times, default=None)


def _look(state: Envelope, unknown: UnknownOutcome, now: datetime) -> Call:
    if isinstance(unknown.call, Mutate):
        kind = unknown.call.mutation.kind
        return Read("look", with_tabs=kind in TOLD_BY_TABS, extra=extra_of(kind))
    able = state.capabilities
    # Once the provider has forgotten them, that nothing bears them tells nothing.
    still = able.reference_s is not None and now < unknown.since + timedelta(
        seconds=able.reference_s
    )
    return _find_created(state, unknown.call.attempt if still else 0)


def _find_created(state: Envelope, attempts: int) -> FindCreated:
    """A search by our mark and by the transaction ids of the first so many creates."""
    ids = tuple(keys.transaction_id(state.workflow_id, n) for n in range(1, attempts + 1))
    marker = _marker(state) if state.capabilities.marker_search else ""
    return FindCreated(ids, marker, since=state.opened_at)


def _orphan_step(state: Envelope, now: datetime) -> Call | datetime | None:
    """The next step of the search for orphan drafts, or when it is due."""
    search = state.orphans
    if search.spare:
        return Bin(search.spare[0])
    if search.look_at is None or (state.final and not search.owed):
        return None
    if now < search.look_at:
        return search.look_at
    return _find_created(state, search.attempts)


def _marker(state: Envelope) -> str:
    return keys.digest(("marker", state.workflow_id))


def _refresh_at(state: Envelope, now: datetime) -> datetime | None:
    if not state.provider_envelope_id or state.final:
        return None
    if not state.refresh_wanted and unplaced(state) <= state.unplaced_at_read:
        return None
    if state.read_at is None:
        return now
    return state.read_at + timedelta(seconds=state.timing.refresh_min_s)


def _call_of(state: Envelope, head: Pending) -> Call:
    if head.mutation.kind in TOLD_BY_MAILS and not head.marked:
        return Read("mark", extra="mails")
    mutation = due(state, head) or head.mutation
    after: Definition = project(as_it_stands(state), mutation).definition
    numbers = numbered(state, after)
    attempt = head.attempts + 1
    if isinstance(mutation, CreateEnvelope):
        transaction_id = keys.transaction_id(state.workflow_id, attempt)
        return Create(after, numbers, transaction_id, _marker(state), attempt)
    numbers = {**state.numbers, **numbers, **head.numbers}
    return Mutate(
        head.operation_id, mutation, state.status, state.definition, after, numbers, attempt
    )


def _closing(state: Envelope, now: datetime) -> Call | datetime | None:
    if state.provider_envelope_id and not state.confirmed:
        settle_s = state.timing.close_settle_s * 2.0 ** min(state.confirm_tries, 6)
        due = (state.final_since or now) + timedelta(seconds=settle_s)
        # One that follows an event is asked for by it; those that follow are not.
        return Read("confirm", polling=state.confirm_tries > 0) if now >= due else due
    missing = unarchived(state)
    if state.status is EnvelopeStatus.COMPLETED and missing:
        return Archive(missing[0])
    if state.orphans.owed:
        return state.orphans.look_at
    return Close(state.status)
