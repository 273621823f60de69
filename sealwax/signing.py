"""Who may have a signing session, judged on an envelope's whole state.

The lease itself (``sealwax.session``) knows nothing of envelopes; this is where routing order,
statuses and the envelope's end decide who is eligible, refused, or has to wait.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sealwax import keys
from sealwax.calls import (
    AskBridge,
    Bin,
    Call,
    Create,
    FindCreated,
    Mutate,
    OpenView,
    Read,
    RevokeView,
)
from sealwax.definition import Refusal, RefusalCode
from sealwax.envelope import (
    TIMELINE_LENGTH_MAX,
    Entry,
    Envelope,
    Pending,
    projected,
    recipient_statuses,
    used_before,
)
from sealwax.facts import ACTED, EnvelopeStatus, RecipientStatus
from sealwax.memory import remembering_session
from sealwax.quota_limits import Klass
from sealwax.session import (
    FORCED,
    End,
    Lease,
    Wanted,
    closing,
    ended,
    forgetting,
    left,
    next_of,
    opened,
    overdue_from,
    silence_proven,
    silent_from,
    turned_away,
)

APPLICATION_URL_LENGTH_MAX = 2_000
BRIDGE_AWAY = timedelta(minutes=3)
"""A bridge that is away for longer is shown to a person: until it is back, silence ends nothing."""

DISTURBING = frozenset(
    {
        "add_documents",
        "replace_document",
        "remove_documents",
        "update_recipient",
        "remove_recipients",
        "reorder_routing",
        "set_tabs",
        "correct",
        "void",
    }
)
"""Mutations that change what a signer has before his eyes, or end it."""

_IN_PROCESS = (EnvelopeStatus.SENT, EnvelopeStatus.DELIVERED)
_ASKED = (RecipientStatus.SENT, RecipientStatus.DELIVERED, RecipientStatus.AUTORESPONDED)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def session_digest(recipient_id: str, return_url: str) -> str:
    """What tells two session requests under one operation id apart."""
    return keys.digest(("session", recipient_id, return_url))


def check_session(
    state: Envelope, operation_id: str, recipient_id: str, return_url: str, takeover: bool
) -> None:
    """Raise ``Refusal`` where a session may not even be waited for; nothing changes.

    Asked again under a known operation id with the same body it is fine, and gets its ticket.
    """
    keys.check_opaque(operation_id, "operation id")
    if used_before(state, operation_id, session_digest(recipient_id, return_url)):
        return
    if state.closed or state.final:
        raise Refusal(
            RefusalCode.ILLEGAL_IN_STATUS,
            f"nobody can sign any more: the envelope is {state.status}",
        )
    if not state.capabilities.sessions:
        raise Refusal(
            RefusalCode.NOT_EMBEDDED,
            f"{state.provider} has no embedded signing; its recipients get their links by mail",
        )
    _check_recipient(state, recipient_id)
    check_return_url(return_url, state.return_origins)
    lease = state.sessions.lease
    active = lease is not None and lease.closing is None and not left(lease)
    if active and lease is not None and lease.recipient_id == recipient_id and not takeover:
        raise Refusal(
            RefusalCode.ALREADY_OPEN,
            f"recipient {recipient_id} has a signing session already; close it, or ask with"
            " takeover, which loses what was typed there",
        )


def check_return_url(url: str, origins: tuple[str, ...]) -> None:
    """Raise ``Refusal`` for a URL that a signer may not be sent to after signing."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        origin = f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        parts, host, origin = urlsplit(""), "", ""
    if len(url) > APPLICATION_URL_LENGTH_MAX:
        raise Refusal(
            RefusalCode.BAD_RETURN_URL,
            f"the return URL has {len(url)} characters; at most {APPLICATION_URL_LENGTH_MAX}"
            " are allowed",
        )
    local = parts.scheme in ("http", "https") and host in _LOOPBACK
    if not host or parts.username or not (parts.scheme == "https" or local):
        raise Refusal(
            RefusalCode.BAD_RETURN_URL,
            "the return URL must be an https address of your application"
            " (plain http on this machine's own address alone)",
        )
    if not local and origin not in origins:
        raise Refusal(
            RefusalCode.BAD_RETURN_URL,
            f"signers may not be sent to {origin[:100]}; add it to return_origins under [sessions]",
        )


def eligible(state: Envelope) -> frozenset[str]:
    """Our ids of embedded recipients whose turn it is."""
    if state.status not in _IN_PROCESS:
        return frozenset()
    statuses = recipient_statuses(state)
    return frozenset(
        r.recipient_id
        for r in state.definition.recipients
        if r.client_user_id and statuses.get(r.recipient_id) in _ASKED
    )


def klass_of(state: Envelope, call: Call) -> Klass:
    """How urgent a call is: as urgent as the most urgent thing that waits behind it."""
    if _signer_waits(state) or isinstance(call, OpenView | RevokeView):
        return Klass.INTERACTIVE
    changes = isinstance(call, Create | Mutate | FindCreated | Bin)
    looks = isinstance(call, Read) and call.why in ("look", "mark", "adopt")
    if not (changes or looks or state.queue):
        return Klass.BACKGROUND
    return Klass.BULK if state.order.bulk else Klass.MUTATION


def _signer_waits(state: Envelope) -> bool:
    """Whether a signer waits for our calls alone, and for no other signer."""
    sessions = state.sessions
    if sessions.lease is not None or not sessions.waiting or state.status not in _IN_PROCESS:
        return False
    wanted = next_of(sessions, eligible(state))
    return wanted is not None or _stale(state, sessions.waiting[0])


def turned_away_for(state: Envelope, wanted: Wanted) -> tuple[End, str] | None:
    """Why a waiting request can never be granted; None while it may."""
    if state.final:
        return End.ENVELOPE_ENDED, f"the envelope is {state.status}"
    if not state.provider_envelope_id:
        return None
    held = state.definition.recipient(wanted.recipient_id)
    # One whose addition or removal still stands in the queue may yet be a recipient.
    if (held or projected(state).definition.recipient(wanted.recipient_id)) is None:
        return End.NOT_A_RECIPIENT, f"{wanted.recipient_id} is no recipient any more"
    status = recipient_statuses(state).get(wanted.recipient_id)
    if status in ACTED:
        return End.ALREADY_ACTED, f"recipient {wanted.recipient_id} has acted already ({status})"
    return None


def fate(state: Envelope, lease: Lease) -> End | None:
    """What facts say of the live session: over, because its signer or its envelope is done."""
    status = recipient_statuses(state).get(lease.recipient_id)
    if status in (RecipientStatus.COMPLETED, RecipientStatus.SIGNED):
        return End.SIGNED
    if status is RecipientStatus.DECLINED:
        return End.DECLINED
    if state.final:
        return End.ENVELOPE_ENDED
    return None


def settled_sessions(state: Envelope, now: datetime) -> Envelope:
    """The sessions after everything that the state alone tells: ends, and refusals of waiters."""
    state = _lease_settled(state, now)
    for wanted in state.sessions.waiting:
        refused = turned_away_for(state, wanted)
        if refused is not None:
            how, why = refused
            sessions = turned_away(state.sessions, wanted, how, now, why)
            state = replace(state, sessions=sessions)
    sessions, gone = forgetting(state.sessions)
    memory = state.memory
    for over in gone:
        memory = remembering_session(memory, over.operation_id, over.digest, over.token)
    return replace(state, sessions=sessions, memory=memory)


def session_step(state: Envelope, now: datetime) -> Call | datetime | None:
    """What the sessions ask for next: a call, or a time to look again, or nothing."""
    sessions, rules = state.sessions, state.rules
    lease = sessions.lease
    if lease is None:
        return _grant(state, now)
    if lease.closing is not None and _revocable(state, lease, now):
        return RevokeView(lease.url)
    due = silent_from(lease, rules)
    if now >= due and not silence_proven(lease, rules, now):
        return AskBridge()
    flag_at = overdue_from(lease, rules)
    return due if lease.flagged or now >= flag_at else min(due, flag_at)


def held_by_session(state: Envelope, head: Pending) -> bool:
    """Whether the head of the queue would disturb a live session and has to wait for it.

    One that was asked for with ``during_session="end"`` has ended the session before.
    """
    return state.sessions.lease is not None and head.mutation.kind in DISTURBING


def goes_before_sessions(state: Envelope, head: Pending) -> bool:
    """Whether the head of the queue is done before the next session is granted.

    It is if it was there before the next in line came to be next, so that neither sessions nor
    mutations wait behind an endless row of the others. One that may end sessions never waits.
    """
    waiting = state.sessions.waiting
    if not waiting or head.during_session == "end":
        return True
    wanted = next_of(state.sessions, eligible(state)) or waiting[0]
    return head.accepted_at <= _next_since(state, wanted)


def _lease_settled(state: Envelope, now: datetime) -> Envelope:
    lease = state.sessions.lease
    if lease is None:
        return state
    end = _end_of(state, lease, now)
    if end is not None:
        harmless = lease.revoked or silence_proven(lease, state.rules, now)
        lost = end in FORCED and not harmless
        sessions = ended(state.sessions, end, now, lost=lost)
        text = f"signing session {lease.token} of {lease.recipient_id} is over: {end}"
        entry = Entry(now, text)
        attention = "" if state.attention in _concerns(lease) else state.attention
        timeline = (*state.timeline, entry)[-TIMELINE_LENGTH_MAX:]
        return replace(state, sessions=sessions, attention=attention, timeline=timeline)
    # Also one that stands behind others: they wait for the session of their own accord.
    ending = any(p.during_session == "end" and held_by_session(state, p) for p in state.queue)
    if ending and lease.closing not in FORCED:
        state = replace(state, sessions=closing(state.sessions, End.FOR_MUTATION))
        return _lease_settled(state, now)
    return _shown_to_a_person(state, lease, now)


def _shown_to_a_person(state: Envelope, lease: Lease, now: datetime) -> Envelope:
    """What about the live session needs attention, for as long as it does."""
    very_long, unheard = _concerns(lease)
    overdue = now >= overdue_from(lease, state.rules)
    away = lease.bridge_away_since
    deaf = away is not None and now >= away + BRIDGE_AWAY
    concern = unheard if deaf else very_long if overdue else ""
    # Every call that succeeds clears it, and another's stands above it.
    attention = "" if state.attention in (very_long, unheard) else state.attention
    sessions = replace(state.sessions, lease=replace(lease, flagged=lease.flagged or overdue))
    return replace(state, sessions=sessions, attention=attention or concern)


def _concerns(lease: Lease) -> tuple[str, str]:
    who = f"recipient {lease.recipient_id}"
    return (
        f"{who} has been signing for very long",
        f"the bridge is down, so nobody can tell whether {who} is still signing; start it again",
    )


def _end_of(state: Envelope, lease: Lease, now: datetime) -> End | None:
    """Whether the live session is known to be over, or silent for longer than it could live."""
    rules = state.rules
    told = fate(state, lease)
    if told is not None:
        return told
    if left(lease) and rules.return_ends:
        return End.RETURNED
    if lease.finished_later and rules.finish_later_ends:
        return End.FINISHED_LATER
    if lease.revoked and rules.revoke_ends:
        return lease.closing or End.NEVER_OPENED
    if lease.closing is not None and _word_counts(state, lease, now):
        return lease.closing
    if silence_proven(lease, rules, now):
        return lease.closing or (End.SILENT if opened(lease) else End.NEVER_OPENED)
    return None


def _word_counts(state: Envelope, lease: Lease, now: datetime) -> bool:
    """Whether the wish to end it is enough. An unopened URL is revoked first, where that works."""
    if _revocable(state, lease, now):
        return False
    return lease.closing in FORCED or state.rules.close_ends


def _revocable(state: Envelope, lease: Lease, now: datetime) -> bool:
    """Whether the URL may still be made useless: unopened as far as is known, and not expired."""
    unopened = bool(lease.url) and now < lease.url_until
    able = state.capabilities.revoke and state.rules.revoke_ends
    return unopened and not lease.revoked and able


def _next_since(state: Envelope, wanted: Wanted) -> datetime:
    """Since when this request could be the next: it was asked for, and no session was live."""
    return max(wanted.asked_at, state.sessions.last_end_at or wanted.asked_at)


def _stale(state: Envelope, wanted: Wanted) -> bool:
    """Whether a read has to come before this request may be granted."""
    return state.read_at is None or state.read_at < _next_since(state, wanted)


def _grant(state: Envelope, now: datetime) -> Call | datetime | None:
    if state.status not in _IN_PROCESS or not state.sessions.waiting:
        return None
    wanted = next_of(state.sessions, eligible(state))
    # What was known before the last session ended, or before this one was asked for, may be stale.
    if _stale(state, wanted or state.sessions.waiting[0]):
        return Read("refresh")
    if wanted is None:
        return _turn_unknown(state, now)
    held = state.definition.recipient(wanted.recipient_id)
    if held is None:
        return None
    return OpenView(
        state.numbers[wanted.recipient_id],
        held.name,
        held.email,
        held.client_user_id,
        state.sessions.last_token + 1,
        state.rules.ping_every_s,
    )


def _turn_unknown(state: Envelope, now: datetime) -> Call | datetime | None:
    """A read where it must be somebody's turn, and what is known makes it nobody's."""
    if any(status in _ASKED for status in recipient_statuses(state).values()):
        return None
    due = (state.read_at or now) + timedelta(seconds=state.timing.refresh_min_s)
    hold = state.quota_hold
    if hold is not None and hold.polling:
        due = max(due, hold.until)
    return Read("refresh", polling=True) if now >= due else due


def why_waiting(state: Envelope, wanted: Wanted) -> str:
    """Why a request is not granted yet, in a person's words."""
    if state.status not in _IN_PROCESS:
        return f"the envelope is {state.status} and has to be sent first"
    if wanted.recipient_id not in eligible(state):
        return "others come first by routing order"
    lease = state.sessions.lease
    if lease is not None:
        return f"recipient {lease.recipient_id} is signing"
    hold = state.quota_hold
    if hold is not None and state.in_flight is None:
        return f"waits for the account's quota until {hold.until:%H:%M:%S} UTC"
    return "next in line"


def _check_recipient(state: Envelope, recipient_id: str) -> None:
    definition = projected(state).definition
    held = definition.recipient(recipient_id)
    if held is None:
        known = ", ".join(r.recipient_id for r in definition.recipients)
        raise Refusal(
            RefusalCode.UNKNOWN_RECIPIENT,
            f"the envelope has no recipient {recipient_id[:40]!r}; it has {known}",
        )
    if not held.client_user_id:
        raise Refusal(
            RefusalCode.NOT_EMBEDDED,
            f"recipient {recipient_id} signs by mail: only one with a client_user_id can have a"
            " signing session in your application",
        )
    status = recipient_statuses(state).get(recipient_id)
    if status in ACTED:
        raise Refusal(
            RefusalCode.RECIPIENT_HAS_ACTED,
            f"recipient {recipient_id} has acted already ({status})",
        )
