"""An envelope as others see it: the snapshot for programs, the card and summaries for people.

The card is Markdown for the "current details" of a workflow in the Temporal UI. Summaries name
recipients by the application's ids, never by name or address.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sealwax.calls import Archive, Call, Close, Create, FindCreated, Mutate, Read
from sealwax.conflicts import ConflictFound, conflict_told
from sealwax.definition import Refusal, RefusalCode
from sealwax.envelope import (
    Envelope,
    Pending,
    position,
    recipient_statuses,
    waiting_on,
)
from sealwax.facts import EnvelopeStatus, RecipientStatus
from sealwax.messages import (
    DocumentView,
    Landing,
    MutationResult,
    QuestionView,
    QuotaSnapshot,
    RecipientView,
    SessionTicket,
    SigningView,
    Snapshot,
    TimelineEntry,
    WindowView,
)
from sealwax.mutations import described
from sealwax.patience import held_up
from sealwax.quota_limits import Klass
from sealwax.quota_reports import QuotaView
from sealwax.resolving import question
from sealwax.session import opened
from sealwax.signing import held_by_session, why_waiting

_ICONS = {
    EnvelopeStatus.NEW: "🕓",
    EnvelopeStatus.CREATED: "📝",
    EnvelopeStatus.SENT: "📨",
    EnvelopeStatus.DELIVERED: "👀",
    EnvelopeStatus.SIGNED: "✍️",
    EnvelopeStatus.COMPLETED: "✅",
    EnvelopeStatus.DECLINED: "⛔",
    EnvelopeStatus.VOIDED: "🚫",
    EnvelopeStatus.DELETED: "🗑️",
    EnvelopeStatus.REJECTED: "❌",
}

_ARCHIVED = {"combined": "signed documents", "certificate": "certificate"}
_REFUSED = (
    "its business key was used for another envelope, which Temporal has forgotten and the registry"
    " has not; give each envelope its own key"
)


def snapshot(state: Envelope) -> Snapshot:
    """Everything that an application may want to know of an envelope."""
    definition = state.definition if state.provider_envelope_id else state.order.definition
    statuses = recipient_statuses(state)
    return Snapshot(
        account=state.order.account,
        business_key=state.order.business_key,
        status=state.status,
        revision=state.revision,
        provider_envelope_id=state.provider_envelope_id,
        subject=definition.subject,
        message=definition.message,
        documents=tuple(
            DocumentView(
                document_id=d.document_id,
                name=d.name,
                digest=d.blob.digest,
                size_bytes=d.blob.size_bytes,
            )
            for d in definition.documents
        ),
        recipients=tuple(
            RecipientView(
                recipient_id=r.recipient_id,
                name=r.name,
                email=r.email,
                routing_order=r.routing_order,
                kind=r.kind,
                status=statuses.get(r.recipient_id, RecipientStatus.CREATED),
                provider_recipient_id=state.numbers.get(r.recipient_id, ""),
                tabs=r.tabs,
            )
            for r in definition.recipients
        ),
        reminders=definition.reminders,
        expiration=definition.expiration,
        custom_fields={f.name: f.value for f in definition.custom_fields},
        waiting_on=waiting_on(state),
        waiting_since=waiting_since(state),
        queue_length=len(state.queue),
        in_flight=summary(state.in_flight) if state.in_flight else "",
        signing=signing(state),
        attention=state.attention,
        refused=state.refused,
        question=_question(state),
        contradictions=state.facts.contradictions(),
        archive=state.archive or (),
        closed=state.closed,
        events_seen=state.events_seen,
        events_duplicate=state.events_duplicate,
        events_foreign=state.events_foreign,
        events_unreadable=state.events_unreadable,
        last_event=state.last_event.text if state.last_event else "",
        last_event_at=state.last_event.at if state.last_event else None,
    )


def _question(state: Envelope) -> QuestionView | None:
    asked = question(state)
    return QuestionView(text=asked.text, choices=dict(asked.choices)) if asked else None


def signing(state: Envelope) -> SigningView:
    """Who is signing, since when, and who waits for it."""
    sessions = state.sessions
    lease = sessions.lease
    return SigningView(
        recipient_id=lease.recipient_id if lease else "",
        since=lease.granted_at if lease else None,
        opened=opened(lease) if lease else False,
        waiting=tuple(w.recipient_id for w in sessions.waiting),
        losses=sessions.losses,
        alive_after_end=sessions.alive_after_end,
    )


def ticket(
    state: Envelope, operation_id: str, now: datetime, *, with_url: bool
) -> SessionTicket | None:
    """How a session request stands; None where the id was never used for one.

    A URL that was opened or has expired is never given again.
    """
    sessions = state.sessions
    wanted = sessions.wanted(operation_id)
    if wanted is not None:
        return SessionTicket(
            operation_id=operation_id,
            recipient_id=wanted.recipient_id,
            state="waiting",
            position=sessions.waiting.index(wanted) + (sessions.lease is not None),
            why=why_waiting(state, wanted),
        )
    lease = sessions.lease
    if lease is not None and lease.operation_id == operation_id:
        usable = bool(lease.url) and now < lease.url_until and lease.closing is None
        return SessionTicket(
            operation_id=operation_id,
            recipient_id=lease.recipient_id,
            state="granted" if usable else "spent",
            url=lease.url if usable and with_url else "",
            token=lease.token,
            url_until=lease.url_until,
        )
    over = sessions.ended(operation_id)
    if over is None:
        trace = state.memory.trace(operation_id)
        if trace is None or trace.state != "session":
            return None
        # Too long ago to be told of whole: that it is over is all that is left.
        return SessionTicket(
            operation_id=operation_id,
            recipient_id="",
            state="ended" if trace.sequence else "refused",
            token=trace.sequence,
        )
    return SessionTicket(
        operation_id=operation_id,
        recipient_id=over.recipient_id,
        state="ended" if over.token else "refused",
        token=over.token,
        how=over.how,
        event=over.event,
        message=over.message,
    )


def landing(state: Envelope, token: int) -> Landing:
    """Where the signer of this session wanted to go afterwards, also when it is over already."""
    lease = state.sessions.lease
    if lease is not None and lease.token == token:
        return Landing(return_url=lease.return_url)
    past = (o.return_url for o in state.sessions.over if o.token == token and token)
    return Landing(return_url=next(past, ""))


def waiting_since(state: Envelope) -> datetime | None:
    """Since when the recipients whose turn it is have had the envelope, where that was told."""
    times = [
        at
        for recipient_id in waiting_on(state)
        if (number := state.numbers.get(recipient_id))
        and (at := state.facts.time_of(RecipientStatus.SENT, number))
    ]
    return min(times, default=state.facts.time_of(EnvelopeStatus.SENT))


def timeline(state: Envelope) -> tuple[TimelineEntry, ...]:
    """What happened to the envelope, oldest first; the last 200 lines."""
    return tuple(TimelineEntry(at=entry.at, text=entry.text) for entry in state.timeline)


def result(state: Envelope, operation_id: str) -> MutationResult | None:
    """What came of an operation, or its ticket; None where the id was never used."""
    answer = state.answers.get(operation_id)
    if answer is not None:
        told = answer.code == RefusalCode.CONFLICT
        return MutationResult(
            operation_id=operation_id,
            state=answer.state,
            sequence=answer.sequence,
            revision=answer.revision,
            code=answer.code,
            message=answer.message,
            digest=answer.digest,
            conflict=conflict_told(state, operation_id, answer.revision) if told else None,
        )
    trace = state.memory.trace(operation_id)
    if trace is not None and trace.state != "session":
        return MutationResult(
            operation_id=operation_id,
            state=trace.state,
            sequence=trace.sequence,
            revision=trace.revision,
            digest=trace.digest,
        )
    place = position(state, operation_id)
    if place is None:
        return None
    return MutationResult(
        operation_id=operation_id,
        state="waiting",
        sequence=state.queue[place].sequence,
        revision=state.revision,
        position=place,
        why=why_queued(state, place),
        digest=state.queue[place].digest,
    )


def why_queued(state: Envelope, place: int) -> str:
    """What a mutation waits for, in a person's words."""
    before = f"{place} before it; " if place else ""
    head = state.queue[0]
    if state.attention:
        return f"{before}a person has to decide: {state.attention}"
    if state.unknown is not None:
        named = described(head.mutation)
        return f"{before}{named!r} got no answer and is being looked into"
    if held_by_session(state, head):
        return f"{before}a signer is at work and would be disturbed"
    if state.quota_hold is not None and state.in_flight is None:
        return f"{before}waits for the account's quota until {_when(state.quota_hold.until)}"
    if state.retry_at is not None and state.in_flight is None:
        why = held_up(state.failures, state.timing)
        return f"{before}{why}; next try at {_when(state.retry_at)}"
    return before.removesuffix("; ") or "at work"


def refused(operation_id: str, refusal: Refusal) -> MutationResult | None:
    """The answer to a mutation that did not enter the queue because of a conflict, else None."""
    if not isinstance(refusal, ConflictFound):
        return None
    return MutationResult(
        operation_id=operation_id,
        state="refused",
        sequence=0,
        revision=refusal.conflict.revision,
        code=refusal.code,
        message=refusal.message,
        conflict=refusal.conflict,
    )


def summary(call: Call) -> str:
    """What a call does, in the words of the trade, for the activity's line in the UI."""
    match call:
        case Create():
            again = f" (try {call.attempt})" if call.attempt > 1 else ""
            return f"Create the draft{again}"
        case Mutate():
            again = f" (try {call.attempt})" if call.attempt > 1 else ""
            return f"{described(call.mutation)}{again}"
        case FindCreated():
            return "Look whether the create landed"
        case Read(why="look"):
            return "Look whether the last change landed"
        case Read(why="confirm"):
            return "Confirm the final status"
        case Read(why="adopt"):
            return "Read the envelope that is adopted"
        case Read():
            return "Read the envelope"
        case Archive():
            return f"Archive the {_ARCHIVED.get(call.document, 'completed documents')}"
        case Close():
            return f"Record the end: {call.status}"
        case _:
            return {
                "register": "Register the envelope",
                "bin": "Bin an orphan draft",
                "bind": "Bind the provider's envelope id",
                "open_view": "Ask for a signing URL",
                "revoke_view": "Revoke an unopened signing URL",
                "ask_bridge": "Ask whether the bridge was up",
            }[call.kind]


def card(state: Envelope) -> str:
    """The envelope at a glance, as Markdown."""
    lines = [f"## {_ICONS[state.status]} {state.status}", ""]
    if state.attention:
        lines += [f"> ⚠️ **Needs attention:** {_plain(state.attention)}", ""]
        asked = question(state)
        choices = asked.choices.items() if asked else ()
        lines += [f"- `sealwax resolve` with `{choice}`: {what}" for choice, what in choices]
        lines += [""] if choices else []
    if state.refused:
        lines += [f"> ⚠️ **The order was refused:** {_REFUSED}", ""]
    for said in state.facts.contradictions():
        lines += [f"> ⚠️ {_plain(said)}", ""]
    waited = waiting_on(state)
    if waited:
        since = waiting_since(state)
        lines += [
            f"Waiting for **{_listed(waited)}**{f' since {_when(since)}' if since else ''}",
            "",
        ]
    lines += _signing_rows(state)
    lines += ["**Recipients**, by routing order", "", *_recipient_rows(state), ""]
    lines += ["**Queue**", "", *_queue_rows(state), ""]
    lines += ["**Envelope**", "", *_envelope_rows(state), ""]
    lines += ["**Lately**", ""]
    lines += [f"- {_when(e.at)}: {_plain(e.text)}" for e in reversed(state.timeline[-6:])]
    return "\n".join(lines)


def quota_snapshot(account: str, view: QuotaView, at: datetime) -> QuotaSnapshot:
    """What the ledger showed of an account's quota at this time."""
    margin = view.burst_margin
    return QuotaSnapshot(
        account=account,
        looked_at=at,
        burst=_window(view.burst_limit, view.burst_used, margin),
        hour=_window(view.hour_limit, view.hour_used, 0),
        resets_at=at + timedelta(seconds=view.reset_in_s),
        margin=margin,
        waiting={klass.name.lower(): view.waiting[klass] for klass in Klass},
        workers=view.holders,
        counters=view.counters,
    )


def _window(limit: int, used: int, margin: int) -> WindowView:
    return WindowView(limit=limit, used=used, left=max(0, limit - margin - used))


def quota_card(quota: QuotaSnapshot) -> str:
    """An account's quota at a glance, as Markdown."""
    lines = [f"## 📊 quota of {quota.account}", ""]
    if quota.problem and quota.problem_since is not None:
        since = _when(quota.problem_since)
        lines += [f"> ⚠️ **Not read since {since}:** {_plain(quota.problem)}", ""]
    if quota.looked_at is None:
        return "\n".join([*lines, "Nobody has looked at the ledger yet.", ""])
    lines += [f"As the ledger held it at {_when(quota.looked_at)}", ""]
    lines += ["**Windows**", "", *quota_windows(quota, "**"), ""]
    among = f"{quota.workers} worker{'' if quota.workers == 1 else 's'} with calls"
    lines += [f"**Waiting**, in {among}", ""]
    lines += [f"- {klass}: {number}" for klass, number in quota.waiting.items()]
    lines += ["- and, not counted, those that their workers told to come back later"]
    lines += ["", "**Ever**", ""]
    lines += [f"- {what}: {number}" for what, number in quota_totals(quota)]
    return "\n".join(lines)


def quota_windows(quota: QuotaSnapshot, mark: str = "") -> list[str]:
    """One line for each of the account's windows, the number of used calls between ``mark`` s."""
    lines = []
    if quota.burst is not None:
        kept = f", {quota.margin} kept free for calls of others" if quota.margin else ""
        lines += [f"- burst: {_used(quota.burst, mark)}{kept}"]
    if quota.hour is not None and quota.resets_at is not None:
        lines += [f"- hour: {_used(quota.hour, mark)}, whole again at {_when(quota.resets_at)}"]
    return lines


def quota_totals(quota: QuotaSnapshot) -> list[tuple[str, int]]:
    """What ever happened to the account's calls, in words, with its number."""
    ever = quota.counters
    return [
        ("calls granted", ever.granted - ever.unused - ever.taken_back),
        ("refused by the provider for their number", ever.refusals),
        ("calls of others, seen in the provider's figures", ever.foreign),
        ("breaches, by workers that were stopped for too long", ever.breaches),
        ("calls without an answer", ever.lost),
        ("calls of workers that fell silent", ever.expired),
    ]


def _used(window: WindowView, mark: str) -> str:
    return f"{mark}{window.used}{mark} of {window.limit} used, {window.left} left"


def _signing_rows(state: Envelope) -> list[str]:
    now = signing(state)
    if not now.recipient_id and not now.waiting:
        return []
    rows = []
    if now.recipient_id and now.since is not None:
        page = "the page is open" if now.opened else "the page is not known to be open yet"
        rows += [f"- now: **{now.recipient_id}** since {_when(now.since)}, {page}"]
    rows += [f"- then: {who}" for who in now.waiting[:5]]
    if len(now.waiting) > 5:
        rows += [f"- and {len(now.waiting) - 5} more"]
    return ["**Signing**", "", *rows, ""]


def _recipient_rows(state: Envelope) -> list[str]:
    definition = state.definition if state.provider_envelope_id else state.order.definition
    statuses = recipient_statuses(state)
    rows = []
    for r in sorted(definition.recipients, key=lambda r: (r.routing_order, r.recipient_id)):
        status = statuses.get(r.recipient_id, RecipientStatus.CREATED)
        kind = " (gets a copy)" if r.kind == "carbon_copy" else ""
        rows.append(f"- {r.routing_order}: **{r.recipient_id}**{kind}, {status}")
    return rows


def _queue_rows(state: Envelope) -> list[str]:
    rows = []
    if state.in_flight is not None:
        rows += [f"- now: {summary(state.in_flight)}"]
    if state.unknown is not None:
        since = _when(state.unknown.since)
        rows += [f"- the first got no answer since {since}; it is being looked into"]
    if state.quota_hold is not None and state.in_flight is None:
        rows += [f"- waits for the account's quota until {_when(state.quota_hold.until)}"]
    if state.retry_at is not None and state.in_flight is None:
        why = held_up(state.failures, state.timing)
        rows += [f"- next try at {_when(state.retry_at)}: {why}"]
    rows += [f"- {i}. {_pending(p)}" for i, p in enumerate(state.queue[:5], 1)]
    if len(state.queue) > 5:
        rows += [f"- and {len(state.queue) - 5} more"]
    return rows or ["- empty"]


def _envelope_rows(state: Envelope) -> list[str]:
    rows = [
        f"- provider's id: `{state.provider_envelope_id or 'not made yet'}`",
        f"- revision: {state.revision}",
        f"- webhooks: {state.events_seen} taken, {state.events_duplicate} repeated,"
        f" {state.events_foreign} for another envelope{_last_event(state)}",
        f"- found by sweeps, without a webhook: {state.events_swept} times",
    ]
    if state.archive:
        names = _listed(f"{d.name} ({d.blob.size_bytes} bytes)" for d in state.archive)
        rows += [f"- archived: {names}"]
    return rows


def _pending(pending: Pending) -> str:
    return f"{described(pending.mutation)} (`{pending.operation_id}`)"


def _last_event(state: Envelope) -> str:
    last = state.last_event
    return f"; last `{last.text}` at {_when(last.at)}" if last else ""


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(text: str) -> str:
    """Text of others, kept from being read as Markdown."""
    return text.replace("|", "/").replace("`", "'").replace("\n", " ")[:300]
