"""What the calls for signing sessions came to: a URL, a refusal, a revocation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sealwax.bookkeeping import told
from sealwax.calls import (
    BridgeUp,
    Call,
    OpenView,
    Rejected,
    RevokeView,
    ViewOpened,
)
from sealwax.envelope import (
    Envelope,
)
from sealwax.session import End, bridge_seen, granted, opened, turned_away


def session_answered(
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


def url_revoked(state: Envelope, now: datetime) -> Envelope:
    lease = state.sessions.lease
    if lease is None or opened(lease):
        # Opened while it was being revoked: the page may be open in spite of the answer.
        return state
    state = replace(state, sessions=replace(state.sessions, lease=replace(lease, revoked=True)))
    return told(state, now, f"signing URL of {lease.recipient_id} revoked")


def session_rejected(
    state: Envelope, call: OpenView | RevokeView, outcome: Rejected, now: datetime
) -> Envelope:
    """A URL that is refused, or that cannot be revoked any more; what we know may be stale."""
    sessions = state.sessions
    state = replace(state, retry_at=None, failures={}, refresh_wanted=True)
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
