"""How an envelope takes in what happened: webhooks, and the outcomes of calls.

Each function gives the next state and decides nothing about what to do next; that is
``advance``'s part. Facts are joined, never replaced; an answer is recorded under its operation id;
an outcome that is not known is set aside to be looked into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sealwax import keys
from sealwax.calls import (
    Applied,
    Archived,
    Bind,
    BridgeUp,
    Call,
    Close,
    Create,
    Done,
    Found,
    Mutate,
    NotSent,
    Observed,
    OpenView,
    Outcome,
    Read,
    Registered,
    Rejected,
    RevokeView,
    Unknown,
    ViewOpened,
)
from sealwax.envelope import (
    EVENT_KEYS_MAX,
    HELD_EVENTS_MAX,
    TIMELINE_LENGTH_MAX,
    Answer,
    AnswerState,
    DuringSession,
    Entry,
    Envelope,
    Pending,
    UnknownOutcome,
    mutation_digest,
    numbered,
    unplaced,
)
from sealwax.facts import RESTORED, EnvelopeStatus, Fact, Facts, ProviderEvent
from sealwax.mutations import Mutation, RemoveRecipients, described
from sealwax.observations import REPEATABLE, Observation, landed
from sealwax.session import End, bridge_seen, finished_later, granted, opened, turned_away

FAILURES_BEFORE_ATTENTION = 8


def enqueued(
    state: Envelope,
    operation_id: str,
    mutation: Mutation,
    now: datetime,
    during_session: DuringSession = "wait",
) -> Envelope:
    """A mutation takes the last place in the queue."""
    pending = Pending(
        operation_id,
        mutation_digest(mutation),
        mutation,
        state.sequence + 1,
        accepted_at=now,
        during_session=during_session,
    )
    return replace(state, sequence=state.sequence + 1, queue=(*state.queue, pending))


def known(state: Envelope, operation_id: str) -> bool:
    """Whether an operation id was used before, answered or not."""
    return operation_id in state.answers or any(p.operation_id == operation_id for p in state.queue)


def received(state: Envelope, event: ProviderEvent, now: datetime) -> Envelope:
    """A webhook: joined if it is this envelope's and new, held until the envelope is known."""
    if event.event_key in state.event_keys:
        return replace(state, events_duplicate=state.events_duplicate + 1)
    if not state.provider_envelope_id:
        if len(state.held) >= HELD_EVENTS_MAX:
            return replace(state, refresh_wanted=True)
        if any(held.event_key == event.event_key for held in state.held):
            return replace(state, events_duplicate=state.events_duplicate + 1)
        return replace(state, held=(*state.held, event))
    if (event.account_id.casefold(), event.provider_envelope_id.casefold()) != (
        state.provider_account_id.casefold(),
        state.provider_envelope_id.casefold(),
    ):
        return replace(state, events_foreign=state.events_foreign + 1)
    at = event.received_at or now
    state = replace(
        state,
        facts=state.facts.joined(event.facts),
        refresh_wanted=state.refresh_wanted or event.needs_read,
        event_keys=(*state.event_keys, event.event_key)[-EVENT_KEYS_MAX:],
        events_seen=state.events_seen + 1,
        last_event=Entry(at, event.name),
    )
    whose = _whose(state, event)
    if event.session_left_at is not None:
        sessions = finished_later(state.sessions, whose, event.session_left_at)
        state = replace(state, sessions=sessions)
    return told(state, now, f"webhook {event.name}{f' ({whose})' if whose else ''}")


def _whose(state: Envelope, event: ProviderEvent) -> str:
    if not event.recipient:
        return ""
    ours = {number: recipient_id for recipient_id, number in state.numbers.items()}
    return ours.get(event.recipient, f"the provider's recipient {event.recipient}")


def finished(state: Envelope, call: Call, outcome: Outcome, now: datetime) -> Envelope:
    """The call in flight came to an outcome."""
    started_at = state.started_at or now
    state = replace(state, in_flight=None, started_at=None)
    match outcome:
        case Unknown(reason=reason) if isinstance(call, Create | Mutate):
            return _lost(state, call, reason, started_at, now)
        case NotSent() | Unknown():
            return _postponed(state, outcome, now)
        case Rejected():
            return _rejected(state, call, outcome, now)
        case _:
            pass
    state = replace(state, retry_at=None, failures=0, attention="")
    match outcome:
        case Registered():
            state = replace(
                state,
                registered=True,
                provider=outcome.provider,
                provider_account_id=outcome.provider_account_id,
                timing=outcome.timing,
                rules=outcome.rules,
                return_origins=outcome.return_origins,
            )
            return _adopted(state, outcome.provider_envelope_id, now)
        case Applied() if isinstance(call, Create):
            return _created(state, call, outcome, now)
        case Applied() if isinstance(call, Mutate):
            return _applied(state, call, outcome, now)
        case Found(provider_envelope_ids=ids):
            return _found(state, ids, started_at, now)
        case Observed(observation=seen) if isinstance(call, Read):
            return _read(state, call, seen, started_at, now)
        case Archived(documents=documents):
            return told(replace(state, archive=documents), now, "completed documents archived")
        case Done() if isinstance(call, Bind):
            return replace(state, bound=True)
        case ViewOpened() | BridgeUp():
            return _of_session(state, call, outcome, started_at, now)
        case Done() if isinstance(call, RevokeView):
            return _revoked(state, now)
        case Done() if isinstance(call, Close):
            return told(replace(state, closed=True), now, f"closed: {state.status}")
        case _:
            return _postponed(state, NotSent(f"{call.kind} was answered by {outcome.kind}"), now)


def _lost(
    state: Envelope, call: Create | Mutate, reason: str, started_at: datetime, now: datetime
) -> Envelope:
    patience = state.timing.call_deadline_s + state.timing.outcome_settle_s
    unknown = UnknownOutcome(
        call=call,
        reason=reason,
        since=now,
        settled_at=max(now, started_at + timedelta(seconds=patience)),
        look_at=now,
    )
    state = replace(state, unknown=unknown)
    return told(state, now, f"{_named(call)}: no answer ({reason}); looking whether it landed")


def _postponed(state: Envelope, outcome: NotSent | Unknown, now: datetime) -> Envelope:
    asked = outcome.retry_after_s if isinstance(outcome, NotSent) else None
    wait_s = max(asked or 0.0, backoff_s(state))
    stuck = state.failures + 1 >= FAILURES_BEFORE_ATTENTION
    return replace(
        state,
        failures=state.failures + 1,
        attention=f"no progress: {outcome.reason}" if stuck else state.attention,
        retry_at=now + timedelta(seconds=wait_s),
        timeline=_line(state, now, f"not done yet ({outcome.reason}); trying again")
        if state.failures == 0
        else state.timeline,
    )


def backoff_s(state: Envelope) -> float:
    """Doubling, capped, with a jitter that is drawn from the envelope's own name."""
    timing = state.timing
    full = min(timing.backoff_max_s, timing.backoff_first_s * 2.0 ** min(state.failures, 30))
    draw = keys.digest(("jitter", state.workflow_id, str(state.sequence), str(state.failures)))
    return full * (0.5 + int(draw[:8], 16) / 2**33)


def _rejected(state: Envelope, call: Call, outcome: Rejected, now: datetime) -> Envelope:
    said = f"{outcome.code}: {outcome.message}" if outcome.message else outcome.code
    if isinstance(call, Read) and call.why == "confirm" and state.status is EnvelopeStatus.DELETED:
        return told(replace(state, confirmed=True), now, "the bin was emptied at the provider")
    if isinstance(call, OpenView | RevokeView) and not outcome.needs_person:
        return _session_rejected(state, call, outcome, now)
    if outcome.needs_person or not isinstance(call, Create | Mutate):
        wait = timedelta(seconds=max(state.timing.attention_retry_s, backoff_s(state)))
        state = replace(state, attention=said, failures=state.failures + 1, retry_at=now + wait)
        return told(state, now, f"{_named(call)}: needs a person ({said})")
    state = replace(state, retry_at=None, failures=0, attention="")
    state = answered(state, "rejected", outcome.code, outcome.message)
    state = told(state, now, f"{_named(call)}: rejected by the provider ({outcome.code})")
    if isinstance(call, Create):
        return replace(state, failed_to_create=True)
    # The law had thought it legal, so what we know of the envelope may be out of date.
    return replace(state, refresh_wanted=True)


def _adopted(state: Envelope, provider_envelope_id: str, now: datetime) -> Envelope:
    if not provider_envelope_id:
        return state
    definition = state.order.definition
    call = Create(definition, numbered(state, definition), "", "", attempt=0)
    applied = Applied(provider_envelope_id=provider_envelope_id)
    state = _created(state, call, applied, now)
    return replace(state, refresh_wanted=True)


def _created(state: Envelope, call: Create, applied: Applied, now: datetime) -> Envelope:
    held = state.held
    state = replace(
        state,
        unknown=None,
        provider_envelope_id=applied.provider_envelope_id,
        definition=call.definition,
        numbers=call.numbers,
        facts=state.facts.joined((*applied.facts, Fact(EnvelopeStatus.CREATED))),
        held=(),
    )
    state = _with_incarnations(state, applied.incarnations, superseding=state.facts)
    state = answered(replace(state, revision=state.revision + 1), "applied")
    state = told(state, now, "draft created")
    for event in held:
        state = received(state, event, now)
    return state


def _applied(state: Envelope, call: Mutate, applied: Applied, now: datetime) -> Envelope:
    removed = state.removed
    numbers = dict(call.numbers)
    if isinstance(call.mutation, RemoveRecipients):
        removed = (*removed, *(numbers.pop(i) for i in call.mutation.recipient_ids if i in numbers))
    state = replace(
        state,
        unknown=None,
        definition=call.after,
        numbers=numbers,
        removed=removed,
        facts=state.facts.joined(applied.facts),
        revision=state.revision + 1,
    )
    state = _with_incarnations(state, applied.incarnations, superseding=state.facts)
    return told(answered(state, "applied"), now, f"{_named(call)}: done")


def _found(state: Envelope, ids: tuple[str, ...], started_at: datetime, now: datetime) -> Envelope:
    unknown = state.unknown
    if unknown is None or not isinstance(unknown.call, Create):
        return state
    if not ids:
        return _not_seen(state, unknown, False, started_at, now)
    state = _created(state, unknown.call, Applied(provider_envelope_id=ids[0]), now)
    state = told(state, now, "the create had landed; its envelope was found and adopted")
    if len(ids) > 1:
        state = replace(state, attention=f"{len(ids)} envelopes bear this one's mark")
    return replace(state, refresh_wanted=True)


def _read(
    state: Envelope, call: Read, seen: Observation, started_at: datetime, now: datetime
) -> Envelope:
    state = _observed(state, seen, started_at)
    if call.why == "confirm":
        return _confirmed(state, seen, now)
    unknown = state.unknown
    if call.why != "look" or unknown is None or not isinstance(unknown.call, Mutate):
        return state
    mutate = unknown.call
    verdict = landed(mutate.mutation, mutate.after, mutate.numbers, seen)
    if verdict:
        guids = {r.recipient: r.incarnation for r in seen.recipients if r.incarnation}
        state = told(state, now, f"{_named(mutate)}: it had landed")
        return _applied(state, mutate, Applied(seen.facts, guids), now)
    return _not_seen(state, unknown, verdict is None, started_at, now)


def _of_session(
    state: Envelope, call: Call, outcome: ViewOpened | BridgeUp, started_at: datetime, now: datetime
) -> Envelope:
    sessions = state.sessions
    if isinstance(outcome, BridgeUp):
        lease = sessions.lease
        if lease is None:
            return state
        seen = bridge_seen(lease, outcome.since, now)
        return replace(state, sessions=replace(sessions, lease=seen))
    wanted = sessions.opening
    if wanted is None or not isinstance(call, OpenView):
        return state
    sessions = replace(sessions, opening=None)
    if sessions.wanted(wanted.operation_id) is None:
        # Withdrawn while the URL was on its way: nobody gets it, and unopened it dies by itself.
        # Its token is used up, since the provider knows it.
        return replace(state, sessions=replace(sessions, last_token=call.token))
    sessions = granted(sessions, wanted, outcome.url, state.rules, now)
    state = replace(state, sessions=sessions)
    return told(state, now, f"signing session {sessions.last_token} for {wanted.recipient_id}")


def _revoked(state: Envelope, now: datetime) -> Envelope:
    lease = state.sessions.lease
    if lease is None or opened(lease):
        # Opened while it was being revoked: the page may be open in spite of the answer.
        return state
    state = replace(state, sessions=replace(state.sessions, lease=replace(lease, revoked=True)))
    return told(state, now, f"signing URL of {lease.recipient_id} revoked")


def _session_rejected(
    state: Envelope, call: OpenView | RevokeView, outcome: Rejected, now: datetime
) -> Envelope:
    """A URL that is refused, or that cannot be revoked any more; what we know may be stale."""
    sessions = state.sessions
    state = replace(state, retry_at=None, failures=0, refresh_wanted=True)
    if isinstance(call, RevokeView):
        lease = sessions.lease
        spent = None if lease is None else replace(lease, url="")
        return replace(state, sessions=replace(sessions, lease=spent))
    wanted, sessions = sessions.opening, replace(sessions, opening=None)
    if wanted is not None:
        why = f"{outcome.code}: {outcome.message}"
        sessions = turned_away(sessions, wanted, End.REJECTED, now, why)
    state = replace(state, sessions=sessions)
    return told(state, now, f"signing session refused by the provider ({outcome.code})")


def _not_seen(
    state: Envelope, unknown: UnknownOutcome, cannot_tell: bool, looked_at: datetime, now: datetime
) -> Envelope:
    """A look that did not find it counts only after the deadline and the settle time."""
    kind = unknown.call.mutation.kind if isinstance(unknown.call, Mutate) else "create"
    if looked_at >= unknown.settled_at and (not cannot_tell or kind in REPEATABLE):
        head, *rest = state.queue
        again = replace(head, attempts=head.attempts + 1)
        state = replace(state, unknown=None, queue=(again, *rest))
        return told(state, now, f"{_named(unknown.call)}: it had not landed; doing it again")
    wait = timedelta(seconds=min(60.0, 0.5 * 2.0**unknown.looks))
    look_at = now + wait
    if now < unknown.settled_at:
        look_at = min(look_at, unknown.settled_at)
    unknown = replace(unknown, looks=unknown.looks + 1, look_at=look_at)
    state = replace(state, unknown=unknown)
    if now >= unknown.settled_at + timedelta(seconds=state.timing.attention_retry_s):
        return replace(state, attention=f"{_named(unknown.call)}: cannot tell whether it landed")
    return state


def _observed(state: Envelope, seen: Observation, asked_at: datetime) -> Envelope:
    """Join a read of ours. It was asked for after everything in ``facts_at_read`` was known, and
    tells nothing of what happened after ``asked_at``."""
    before = state.facts_at_read
    facts = [*seen.facts]
    if seen.status is not EnvelopeStatus.DELETED:
        facts += [
            Fact(RESTORED, mark=f.mark)
            for f in before.seen
            if not f.recipient and f.status == EnvelopeStatus.DELETED
        ]
    shown = {r.recipient for r in seen.recipients}
    state = replace(state, facts=state.facts.joined(facts))
    state = _with_others(state, seen)
    guids = {r.recipient: r.incarnation for r in seen.recipients if r.incarnation}
    state = _with_incarnations(state, guids, superseding=before)
    ours = set(state.numbers.values()) | set(state.removed)
    absent = tuple(sorted(before.recipients() - shown - ours))
    state = replace(state, absent=absent, read_at=asked_at, refresh_wanted=False)
    return replace(state, unplaced_at_read=unplaced(replace(state, facts=before)))


def _with_others(state: Envelope, seen: Observation) -> Envelope:
    """Take in recipients that somebody else added at the provider. Absence removes nobody."""
    known = set(state.numbers.values()) | set(state.removed)
    definition, numbers = state.definition, dict(state.numbers)
    for other in seen.recipients:
        if other.recipient in known:
            continue
        free = other.recipient if definition.recipient(other.recipient) is None else ""
        recipient = other.as_recipient(free or f"other-{other.recipient}"[:36])
        definition = replace(definition, recipients=(*definition.recipients, recipient))
        numbers[recipient.recipient_id] = other.recipient
    return replace(state, definition=definition, numbers=numbers)


def _with_incarnations(
    state: Envelope, guids: Mapping[str, str], *, superseding: Facts
) -> Envelope:
    """Make these the current guids; others that ``superseding`` speaks of are no longer anybody's.

    A guid that was first heard of while the read was under way may be newer than it, so it is
    left for the next read to place.
    """
    gone = set(state.superseded)
    current = dict(state.incarnations)
    for number, guid in guids.items():
        others = superseding.incarnations(number) | {current.get(number, guid)}
        gone |= {(number, other) for other in others if other != guid}
        gone.discard((number, guid))
        current[number] = guid
    return replace(state, incarnations=current, superseded=tuple(sorted(gone)))


def _confirmed(state: Envelope, seen: Observation, now: datetime) -> Envelope:
    if seen.status == state.status:
        return told(replace(state, confirmed=True), now, f"{state.status} confirmed by a read")
    state = replace(state, confirm_tries=state.confirm_tries + 1, final_since=now)
    if state.confirm_tries >= 3:
        said = f"the provider shows {seen.status} where {state.status} was reported"
        return replace(state, attention=said)
    return state


def answered(state: Envelope, what: AnswerState, code: str = "", message: str = "") -> Envelope:
    """The head of the queue leaves it with its answer."""
    head, *rest = state.queue
    answer = Answer(
        head.operation_id, head.digest, head.sequence, what, state.revision, code, message
    )
    answers = {**state.answers, head.operation_id: answer}
    return replace(state, queue=tuple(rest), answers=answers, unknown=None)


def told(state: Envelope, now: datetime, text: str) -> Envelope:
    """A line is added to the timeline."""
    return replace(state, timeline=_line(state, now, text))


def _line(state: Envelope, now: datetime, text: str) -> tuple[Entry, ...]:
    return (*state.timeline, Entry(now, text))[-TIMELINE_LENGTH_MAX:]


def _named(call: Call) -> str:
    return described(call.mutation) if isinstance(call, Mutate) else call.kind
