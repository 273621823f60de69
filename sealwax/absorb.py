"""How an envelope takes in what happened: webhooks, and the outcomes of calls.

Each function gives the next state and decides nothing about what to do next; that is
``advance``'s part. Facts are joined, never replaced; an answer is recorded under its operation id;
an outcome that is not known is set aside to be looked into.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sealwax import keys, patience
from sealwax.adopting import adopted, not_adopted
from sealwax.bookkeeping import answered, named, told
from sealwax.calls import (
    Applied,
    Archive,
    Archived,
    ArchivedDocument,
    Bin,
    Bind,
    BridgeUp,
    Call,
    Cause,
    Close,
    Create,
    Done,
    FindCreated,
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
from sealwax.conflicts import rejoined, revised
from sealwax.envelope import (
    EVENT_KEYS_MAX,
    HELD_EVENTS_MAX,
    Entry,
    Envelope,
    QuotaHold,
    UnknownOutcome,
    numbered,
    tried,
    unarchived,
)
from sealwax.facts import LISTED, EnvelopeStatus, Fact, ProviderEvent
from sealwax.mutations import RemoveRecipients
from sealwax.observations import REPEATABLE, Observation, landed
from sealwax.orphans import ambiguous, binned, spotted
from sealwax.orphans import seen as seen_with_our_mark
from sealwax.seeing import confirmed, marked, observed, with_incarnations
from sealwax.session import finished_later
from sealwax.session_answers import session_answered, session_rejected, url_revoked

LOOK_AGAIN_S = 900.0
"""docusign.com docs, "Rules and limits": one GET of one envelope at most every 15 minutes."""


BOUND_ELSEWHERE = "BoundElsewhere"
"""The code of a binding that is refused because the envelope belongs to another workflow."""


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
        # An orphan draft of ours would be heard of like this.
        search = spotted(state.orphans, now)
        return replace(state, events_foreign=state.events_foreign + 1, orphans=search)
    at = event.received_at or now
    swept = event.name == LISTED
    state = replace(
        state,
        facts=state.facts.joined(event.facts),
        refresh_wanted=state.refresh_wanted or event.needs_read,
        event_keys=(*state.event_keys, event.event_key)[-EVENT_KEYS_MAX:],
        events_seen=state.events_seen + (not swept),
        events_swept=state.events_swept + swept,
        last_event=state.last_event if swept else Entry(at, event.name),
    )
    whose = _whose(state, event)
    if event.session_left_at is not None:
        sessions = finished_later(state.sessions, whose, event.session_left_at)
        state = replace(state, sessions=sessions)
    if swept:
        return told(state, now, f"found by a sweep, without a webhook: {state.status}")
    return told(state, now, f"webhook {event.name}{f' ({whose})' if whose else ''}")


def _whose(state: Envelope, event: ProviderEvent) -> str:
    if not event.recipient:
        return ""
    ours = {number: recipient_id for recipient_id, number in state.numbers.items()}
    return ours.get(event.recipient, f"the provider's recipient {event.recipient}")


def finished(state: Envelope, call: Call, outcome: Outcome, now: datetime) -> Envelope:
    """The call in flight came to an outcome."""
    started_at = state.started_at or now
    state = replace(state, in_flight=None, started_at=None, quota_hold=None)
    match outcome:
        case Unknown(reason=reason) if isinstance(call, Create) and _idempotent(state, now):
            again = NotSent(f"no answer ({reason}), under an idempotency key", cause="transient")
            return _postponed(state, call, again, now)
        case Unknown() if isinstance(call, Create | Mutate):
            return _lost(state, call, outcome, now)
        case NotSent(cause="quota"):
            return _held_by_quota(state, call, outcome, now)
        case NotSent() | Unknown():
            return _postponed(state, call, outcome, now)
        case Rejected():
            return _rejected(state, call, outcome, now)
        case _:
            pass
    state = replace(state, retry_at=None, failures={}, attention="", blocked="")
    match outcome:
        case Registered(reused=True):
            return _of_another_order(state, now)
        case Registered():
            state = replace(
                state,
                registered=True,
                provider=outcome.provider,
                provider_account_id=outcome.provider_account_id,
                timing=outcome.timing,
                rules=outcome.rules,
                return_origins=outcome.return_origins,
                capabilities=outcome.capabilities,
            )
            if outcome.asked_before is not None:
                state = replace(state, opened_at=min(state.opened_at, outcome.asked_before))
            if state.order.adopted_envelope_id:
                return replace(state, provider_envelope_id=state.order.adopted_envelope_id)
            return _of_earlier_life(state, outcome, now)
        case Applied() if isinstance(call, Create):
            return draft_created(state, call, outcome, now)
        case Applied() if isinstance(call, Mutate):
            return mutation_applied(state, call, outcome, now)
        case Found(provider_envelope_ids=ids) if isinstance(call, FindCreated):
            return _found(state, call, ids, started_at, now)
        case Observed(observation=seen) if isinstance(call, Read):
            return _read(state, call, seen, started_at, now)
        case Archived(documents=documents) if isinstance(call, Archive):
            return _archived(state, call, documents, now)
        case Done() if isinstance(call, Bind):
            return replace(state, bound=True)
        case ViewOpened() | BridgeUp():
            return session_answered(state, call, outcome, started_at, now)
        case Done() if isinstance(call, RevokeView):
            return url_revoked(state, now)
        case Done() if isinstance(call, Bin):
            search = binned(state.orphans, call.provider_envelope_id)
            return told(replace(state, orphans=search), now, "an orphan draft was binned")
        case Done() if isinstance(call, Close):
            return told(replace(state, closed=True), now, f"closed: {state.status}")
        case _:
            misfit = NotSent(f"{call.kind} was answered by {outcome.kind}")
            return _postponed(state, call, misfit, now)


def _archived(
    state: Envelope, call: Archive, documents: tuple[ArchivedDocument, ...], now: datetime
) -> Envelope:
    """Keep what was fetched, and never fetch it again."""
    if not {document.name for document in documents} & set(unarchived(state)):
        return _postponed(state, call, NotSent("the archive was fetched without a file"), now)
    kept = {document.name: document for document in (*(state.archive or ()), *documents)}
    state = replace(state, archive=tuple(kept.values()))
    if not unarchived(state):
        return told(state, now, "completed documents archived")
    return state


def _idempotent(state: Envelope, now: datetime) -> bool:
    """Whether a create that is repeated as it was has the effect and the answer of the first."""
    window_s = state.capabilities.idempotency_key_s
    return window_s is not None and now < state.opened_at + timedelta(seconds=window_s)


def _lost(state: Envelope, call: Create | Mutate, outcome: Unknown, now: datetime) -> Envelope:
    reason, began_at = outcome.reason, outcome.began_at or now
    unknown = UnknownOutcome(
        call=call,
        reason=reason,
        since=now,
        settled_at=max(now, began_at + timedelta(seconds=_outcome_s(state))),
        look_at=now,
    )
    state = replace(state, unknown=unknown)
    return told(state, now, f"{named(call)}: no answer ({reason}); looking whether it landed")


def _postponed(state: Envelope, call: Call, outcome: NotSent | Unknown, now: datetime) -> Envelope:
    """Certainly without effect, or only a look: to be made again, when its class says."""
    cause: Cause = outcome.cause if isinstance(outcome, NotSent) else "transient"
    asked_s = outcome.retry_after_s if isinstance(outcome, NotSent) else None
    failures, jitter_of = state.failures, (state.workflow_id, str(state.sequence))
    wait_s = patience.wait_s(cause, asked_s, failures, state.timing, jitter_of)
    if not failures.get(cause):
        state = told(state, now, f"not done yet ({outcome.reason}); trying again")
    count = failures.get(cause, 0) + 1
    if patience.needs_a_person(cause, failures, state.timing):
        words = patience.patience(cause, state.timing).words
        said = f"{words} ({count} in a row; {outcome.reason})"
        state = replace(state, attention=said, blocked=_blocks(call))
    return replace(
        state,
        failures={**failures, cause: count},
        retry_at=now + timedelta(seconds=wait_s),
    )


def _held_by_quota(state: Envelope, call: Call, outcome: NotSent, now: datetime) -> Envelope:
    """Our own waiting, which is no failure: nothing is counted, and the ledger says how long."""
    until = now + timedelta(seconds=outcome.retry_after_s or 0.0)
    polling = isinstance(call, Read) and call.polling
    return replace(state, quota_hold=QuotaHold(until, state.in_flight_klass, polling))


def _rejected(state: Envelope, call: Call, outcome: Rejected, now: datetime) -> Envelope:
    said = f"{outcome.code}: {outcome.message}" if outcome.message else outcome.code
    if isinstance(call, Read) and call.why == "confirm" and state.status is EnvelopeStatus.DELETED:
        return told(replace(state, confirmed=True), now, "the bin was emptied at the provider")
    if state.adopting and isinstance(call, Read) and not outcome.needs_person:
        return not_adopted(state, now, said)
    if state.order.adopted_envelope_id and outcome.code == BOUND_ELSEWHERE:
        return not_adopted(state, now, outcome.message)
    if isinstance(call, OpenView | RevokeView) and not outcome.needs_person:
        return session_rejected(state, call, outcome, now)
    if outcome.needs_person or not isinstance(call, Create | Mutate):
        wait = timedelta(seconds=state.timing.attention_retry_s)
        state = replace(state, attention=said, blocked=_blocks(call), retry_at=now + wait)
        return told(state, now, f"{named(call)}: needs a person ({said})")
    state = replace(state, retry_at=None, failures={}, attention="", blocked="")
    state = answered(state, "rejected", outcome.code, outcome.message)
    state = told(state, now, f"{named(call)}: rejected by the provider ({outcome.code})")
    if isinstance(call, Create):
        return replace(state, failed_to_create=True)
    # The law had thought it legal, so what we know of the envelope may be out of date.
    return replace(state, refresh_wanted=True)


def _of_another_order(state: Envelope, now: datetime) -> Envelope:
    """The end of an order whose business key names another one's envelope. That one's row in the
    registry stands as it is, so nothing is closed there."""
    refusal = keys.reused(state.order.account, state.order.business_key)
    while state.queue:
        state = answered(state, "refused", refusal.code, refusal.message)
    state = replace(state, refused=refusal.code, failed_to_create=True, closed=True, held=())
    return told(state, now, f"refused: {refusal.message}")


def _of_earlier_life(state: Envelope, registered: Registered, now: datetime) -> Envelope:
    """What an earlier life of this envelope, which Temporal has forgotten, had come to."""
    definition = state.order.definition
    numbers = numbered(state, definition)
    if registered.provider_envelope_id:
        call = Create(definition, numbers, "", "", attempt=0)
        adopted = Applied(provider_envelope_id=registered.provider_envelope_id)
        state = draft_created(state, call, adopted, now)
        return replace(told(state, now, "made by an earlier run"), refresh_wanted=True)
    if registered.asked_before is None:
        return state
    # It may have been made, and its answer lost with the run.
    call = Create(definition, numbers, "", "", attempt=1)
    return _lost(state, call, Unknown("an earlier run may have made it"), now)


def draft_created(state: Envelope, call: Create, applied: Applied, now: datetime) -> Envelope:
    """The draft stands at the provider; webhooks that were held for it are taken in."""
    held, before = state.held, state
    state = replace(
        state,
        unknown=None,
        provider_envelope_id=applied.provider_envelope_id,
        definition=call.definition,
        numbers=call.numbers,
        facts=state.facts.joined((*applied.facts, Fact(EnvelopeStatus.CREATED))),
        held=(),
    )
    if call.attempt > 1:
        from_at = now + timedelta(seconds=_outcome_s(state))
        state = replace(state, orphans=ambiguous(state.orphans, call.attempt, from_at))
    state = with_incarnations(state, applied.incarnations, superseding=state.facts)
    state = answered(revised(before, state), "applied")
    state = told(state, now, "draft created")
    for event in held:
        state = received(state, event, now)
    return state


def mutation_applied(state: Envelope, call: Mutate, applied: Applied, now: datetime) -> Envelope:
    """The mutation at the head of the queue took effect; its caller gets the answer."""
    removed = state.removed
    numbers = {**state.numbers, **call.numbers}
    if isinstance(call.mutation, RemoveRecipients):
        removed = (*removed, *(numbers.pop(i) for i in call.mutation.recipient_ids if i in numbers))
    after = replace(
        state,
        unknown=None,
        definition=rejoined(call.before, call.after, state.definition),
        numbers=numbers,
        removed=removed,
        facts=state.facts.joined(applied.facts),
    )
    state = revised(state, after)
    state = with_incarnations(state, applied.incarnations, superseding=state.facts)
    return told(answered(state, "applied"), now, f"{named(call)}: done")


def _found(
    state: Envelope, look: FindCreated, ids: tuple[str, ...], started_at: datetime, now: datetime
) -> Envelope:
    unknown = state.unknown
    if unknown is None or not isinstance(unknown.call, Create):
        return _with_orphans(state, ids, now)
    if not ids:
        blind = not (look.transaction_ids or look.marker)
        return _not_seen(state, unknown, blind, started_at, now)
    state = draft_created(state, unknown.call, Applied(provider_envelope_id=ids[0]), now)
    state = told(state, now, "the create had landed; its envelope was found and adopted")
    if len(ids) > 1:
        search = ambiguous(state.orphans, unknown.call.attempt, now)
        state = _with_orphans(replace(state, orphans=search), ids, now)
    return replace(state, refresh_wanted=True)


def _with_orphans(state: Envelope, ids: tuple[str, ...], now: datetime) -> Envelope:
    search = seen_with_our_mark(state.orphans, ids, state.provider_envelope_id)
    more = len(search.spare) - len(state.orphans.spare)
    state = replace(state, orphans=search)
    if not more:
        return state
    return told(state, now, f"an unanswered create left {more} more envelope; it is to be binned")


def _read(
    state: Envelope, call: Read, seen: Observation, started_at: datetime, now: datetime
) -> Envelope:
    if call.why == "adopt":
        return adopted(state, seen, started_at, now)
    state = observed(state, seen, started_at)
    if call.why == "confirm":
        return confirmed(state, seen, now)
    if call.why == "mark":
        return marked(state, seen)
    unknown = state.unknown
    if call.why != "look" or unknown is None or not isinstance(unknown.call, Mutate):
        return state
    mutate = unknown.call
    verdict = landed(
        mutate.mutation, mutate.after, mutate.numbers, seen, trail=state.queue[0].trail
    )
    if verdict:
        guids = {r.recipient: r.incarnation for r in seen.recipients if r.incarnation}
        state = told(state, now, f"{named(mutate)}: it had landed")
        return mutation_applied(state, mutate, Applied(seen.facts, guids), now)
    return _not_seen(state, unknown, verdict is None, started_at, now)


def _not_seen(
    state: Envelope, unknown: UnknownOutcome, cannot_tell: bool, looked_at: datetime, now: datetime
) -> Envelope:
    """A look that did not find it counts only after the deadline and the settle time."""
    kind = unknown.call.mutation.kind if isinstance(unknown.call, Mutate) else "create"
    if looked_at >= unknown.settled_at and (not cannot_tell or kind in REPEATABLE):
        head, *rest = state.queue
        state = replace(state, unknown=None, queue=(tried(head, unknown.call), *rest))
        return told(state, now, f"{named(unknown.call)}: it had not landed; doing it again")
    # A look costs calls of the account's quota; while a person is asked they may be rare.
    undecided = now >= unknown.settled_at + timedelta(seconds=state.timing.attention_retry_s)
    most_s = LOOK_AGAIN_S if undecided else 60.0
    wait = timedelta(seconds=min(most_s, 0.5 * 2.0**unknown.looks))
    look_at = now + wait
    if now < unknown.settled_at:
        look_at = min(look_at, unknown.settled_at)
    unknown = replace(unknown, looks=unknown.looks + 1, look_at=look_at)
    state = replace(state, unknown=unknown)
    if undecided:
        return replace(state, attention=f"{named(unknown.call)}: cannot tell whether it landed")
    return state


def _blocks(call: Call) -> str:
    """What cannot go on while this call does not succeed."""
    return call.why if isinstance(call, Read) else call.kind


def _outcome_s(state: Envelope) -> float:
    """How long after a call was made it may still take effect."""
    return state.timing.call_deadline_s + state.timing.outcome_settle_s
