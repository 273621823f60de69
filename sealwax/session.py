"""The session lease: of all embedded signers of an envelope, one at a time has a signing session.

DocuSign's own advice is that a second session of an envelope waits until the first signer is
back, because requesting it "will invalidate the first" and what was typed may be lost
(docusign.com blog, "From the Trenches: Concurrency"). Requests are served first come, first
served among those whose turn it is by routing order. A lease bears a fencing token, counted up,
so that whoever speaks of an earlier session ends nothing.

What the provider honours is not proven everywhere. Each belief is a field of ``SessionRules`` and
can be switched off.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

RETURN_URL_LENGTH_MAX = 470
ENDED_MAX = 1_000
RETURNABLE_MAX = 50


class End(StrEnum):
    """How a session ended, or why a request never became one."""

    SIGNED = "signed"
    DECLINED = "declined"
    RETURNED = "returned"
    FINISHED_LATER = "finished_later"
    CLOSED = "closed"
    NEVER_OPENED = "never_opened"
    SILENT = "silent"
    TAKEN_OVER = "taken_over"
    FOR_MUTATION = "for_mutation"
    ENVELOPE_ENDED = "envelope_ended"
    ALREADY_ACTED = "already_acted"
    NOT_A_RECIPIENT = "not_a_recipient"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"


RETURN_EVENTS: dict[str, str] = {
    "signing_complete": "the signer signed",
    "viewing_complete": "the signer looked at it and need not sign",
    "decline": "the signer declined",
    "cancel": "the signer will finish later",
    "session_timeout": "the session was idle for too long",
    "ttl_expired": "the URL was opened too late or twice",
    "access_code_failed": "the access code was wrong",
    "id_check_failed": "the identity check failed",
    "fax_pending": "the signer will fax",
    "exception": "the provider had a fault",
}
"""Every ``event`` of a return URL (SPEC Views_PostEnvelopeRecipientView, ``returnUrl``). All say
that the browser was sent away from the provider; what the signer did is believed from facts."""

NOT_LEFT = frozenset({"ttl_expired"})
"""Events that end nothing. A URL that is opened a second time, by a reload or a mail scanner, is
sent back at once with ``ttl_expired`` while the signer who opened it first may be at work."""

FORCED = (End.TAKEN_OVER, End.FOR_MUTATION)
"""Ends by explicit choice, though the signer may be at work."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What is believed of the provider's sessions; times in seconds.

    ``url_life_s``: an unopened URL is dead after this (documented: five minutes). ``ping_every_s``:
    while the page is open the provider asks for our ping URL this often (documented: 60 to 1200).
    ``slack_s``: what transit and clocks may add. ``maximum_s``: a session this long is flagged; it
    is not ended while it still pings. ``return_ends``: a browser at our return URL has left the
    session. ``finish_later_ends``: a signer of whom the provider says that he finishes later has
    left, also if his browser never comes back. ``revoke_ends``: a URL that was revoked with
    success can no longer be opened. ``close_ends``: an application that closes a session knows
    that its signer has left.
    """

    url_life_s: float = 300.0
    ping_every_s: float = 60.0
    slack_s: float = 30.0
    maximum_s: float = 4 * 3600.0
    return_ends: bool = True
    finish_later_ends: bool = True
    revoke_ends: bool = True
    close_ends: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that waits."""

    operation_id: str
    digest: str
    recipient_id: str
    return_url: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """The one live session. ``url`` is empty once it is spent.

    ``bridge_away_since``: since when every look for the bridge has found it down.
    """

    operation_id: str
    digest: str
    recipient_id: str
    return_url: str
    token: int
    url: str = field(repr=False)
    granted_at: datetime
    url_until: datetime
    last_ping_at: datetime | None = None
    returned: str = ""
    finished_later: bool = False
    closing: End | None = None
    revoked: bool = False
    bridge_up_since: datetime | None = None
    bridge_asked_at: datetime | None = None
    bridge_away_since: datetime | None = None
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class Over:
    """A request that has come to its end, with or without a session."""

    operation_id: str
    digest: str
    recipient_id: str
    token: int
    how: End
    at: datetime
    return_url: str = ""
    event: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Sessions:
    """All requests of one envelope.

    ``losses`` counts sessions that were ended while their signer may still have been at work, by
    explicit choice. ``alive_after_end`` counts pings of sessions that were believed to be over.
    """

    waiting: tuple[Wanted, ...] = ()
    lease: Lease | None = None
    opening: Wanted | None = None
    last_token: int = 0
    last_end_at: datetime | None = None
    over: tuple[Over, ...] = field(default=())
    losses: int = 0
    alive_after_end: int = 0

    def ended(self, operation_id: str) -> Over | None:
        """How a request ended; None while it waits, lives, or was never made."""
        return next((o for o in reversed(self.over) if o.operation_id == operation_id), None)

    def wanted(self, operation_id: str) -> Wanted | None:
        """The waiting request of that id."""
        return next((w for w in self.waiting if w.operation_id == operation_id), None)

    def digest_of(self, operation_id: str) -> str | None:
        """The digest under which an operation id was first used for a session."""
        held = self.wanted(operation_id) or self.ended(operation_id) or self.lease
        if held is not None and held.operation_id == operation_id:
            return held.digest
        return None


def asked(sessions: Sessions, wanted: Wanted, *, first: bool = False) -> Sessions:
    """The request takes the last place, or the first one where it takes over its own session."""
    waiting = (wanted, *sessions.waiting) if first else (*sessions.waiting, wanted)
    return replace(sessions, waiting=waiting)


def next_of(sessions: Sessions, eligible: Collection[str]) -> Wanted | None:
    """The first who waits and whose turn it is by routing order."""
    if sessions.lease is not None:
        return None
    return next((w for w in sessions.waiting if w.recipient_id in eligible), None)


def granted(
    sessions: Sessions, wanted: Wanted, url: str, rules: SessionRules, now: datetime
) -> Sessions:
    """The lease passes to this request. ``now`` is when the URL came, the latest that its life
    can have begun."""
    token = sessions.last_token + 1
    lease = Lease(
        operation_id=wanted.operation_id,
        digest=wanted.digest,
        recipient_id=wanted.recipient_id,
        return_url=wanted.return_url,
        token=token,
        url=url,
        granted_at=now,
        url_until=now + timedelta(seconds=rules.url_life_s),
    )
    waiting = tuple(w for w in sessions.waiting if w.operation_id != wanted.operation_id)
    return replace(sessions, waiting=waiting, lease=lease, last_token=token)


def pinged(sessions: Sessions, token: int, at: datetime) -> Sessions:
    """The signer's page is open. A ping can only keep a session alive, never end one."""
    lease = sessions.lease
    if lease is None or lease.token != token:
        past = next((o for o in reversed(sessions.over) if token and o.token == token), None)
        # One that was under way when its session ended tells nothing new.
        if past is not None and at > past.at:
            return replace(sessions, alive_after_end=sessions.alive_after_end + 1)
        return sessions
    last = at if lease.last_ping_at is None else max(at, lease.last_ping_at)
    # Whoever pings has opened the URL, which is thereby spent, and is there, though the
    # application that closes an unopened session believes otherwise.
    wish = None if lease.closing is End.CLOSED else lease.closing
    heard = replace(lease, last_ping_at=last, url="", closing=wish, bridge_away_since=None)
    return replace(sessions, lease=heard)


def returned(sessions: Sessions, token: int, event: str) -> Sessions:
    """The browser came back to us. A token of an earlier session says nothing of this one."""
    lease = sessions.lease
    if lease is None or lease.token != token or left(lease):
        return sessions
    known = event if event in RETURN_EVENTS else "unknown"
    return replace(sessions, lease=replace(lease, returned=known, url=""))


def finished_later(sessions: Sessions, recipient_id: str, at: datetime) -> Sessions:
    """The provider says that this recipient left a session, to finish later.

    Its message names no session, and ``at`` is when the message was made, which may be long after
    the signer left. So it counts only where it can be of no earlier session: it is dated after the
    grant, and the recipient had no session before. Else the return or silence ends the session.
    """
    lease = sessions.lease
    if lease is None or lease.recipient_id != recipient_id or at < lease.granted_at:
        return sessions
    before = any(o.token and o.recipient_id == recipient_id for o in sessions.over)
    if before or len(sessions.over) >= ENDED_MAX:
        return sessions
    return replace(sessions, lease=replace(lease, finished_later=True))


def closing(sessions: Sessions, how: End) -> Sessions:
    """Somebody who may do so wants the session to end. A forced end stands above a mere wish."""
    lease = sessions.lease
    if lease is None or lease.closing in (how, *FORCED):
        return sessions
    return replace(sessions, lease=replace(lease, closing=how))


def ended(sessions: Sessions, how: End, at: datetime, *, lost: bool = False) -> Sessions:
    """The lease is free. ``lost``: its signer may have been at work."""
    lease = sessions.lease
    if lease is None:
        return sessions
    over = Over(
        lease.operation_id,
        lease.digest,
        lease.recipient_id,
        lease.token,
        how,
        at,
        lease.return_url,
        lease.returned,
    )
    return replace(
        sessions,
        lease=None,
        last_end_at=at,
        over=(*sessions.over, over),
        losses=sessions.losses + lost,
    )


def turned_away(sessions: Sessions, wanted: Wanted, how: End, at: datetime, why: str) -> Sessions:
    """A request that waited gets its refusal."""
    over = Over(wanted.operation_id, wanted.digest, wanted.recipient_id, 0, how, at, message=why)
    waiting = tuple(w for w in sessions.waiting if w.operation_id != wanted.operation_id)
    return replace(sessions, waiting=waiting, over=(*sessions.over, over))


def forgetting(sessions: Sessions) -> tuple[Sessions, tuple[Over, ...]]:
    """The sessions with no more of the past than is kept, and what was let go of, oldest first.

    Of the last ``ENDED_MAX`` requests it is told how they ended; the last ``RETURNABLE_MAX`` still
    know where their signer is sent on to.
    """
    gone = sessions.over[:-ENDED_MAX]
    old, young = sessions.over[:-RETURNABLE_MAX], sessions.over[-RETURNABLE_MAX:]
    if not gone and not (old and old[-1].return_url):
        return sessions, ()
    bare = tuple(replace(o, return_url="") for o in old[len(gone) :])
    return replace(sessions, over=(*bare, *young)), gone


def left(lease: Lease) -> bool:
    """Whether the signer's browser came back from the session."""
    return bool(lease.returned) and lease.returned not in NOT_LEFT


def opened(lease: Lease) -> bool:
    """Whether the signer is known to have opened the URL."""
    return lease.last_ping_at is not None or bool(lease.returned)


def silent_from(lease: Lease, rules: SessionRules) -> datetime:
    """When a session that gives no sign could no longer be alive, were the bridge up all along.

    Not opened: a URL that was opened in its last second pings one interval later. Opened: a page
    that is open pings every interval.
    """
    slack = timedelta(seconds=rules.ping_every_s + rules.slack_s)
    since = lease.url_until if lease.last_ping_at is None else lease.last_ping_at
    if lease.bridge_up_since is not None:
        # Pings that came while the bridge was away left no trace: silence counts from its return.
        since = max(since, lease.bridge_up_since)
    return since + slack


def silence_proven(lease: Lease, rules: SessionRules, now: datetime) -> bool:
    """Whether the silence is long enough and the bridge was asked about it since it became so."""
    due = silent_from(lease, rules)
    return now >= due and lease.bridge_asked_at is not None and lease.bridge_asked_at >= due


def bridge_seen(lease: Lease, since: datetime | None, now: datetime) -> Lease:
    """A look for the bridge: up ``since`` then without a gap, or None: down."""
    return replace(
        lease,
        # Not up now: silence can count from its return at the earliest, so from now at best.
        bridge_up_since=since or now,
        bridge_asked_at=now,
        bridge_away_since=None if since else (lease.bridge_away_since or now),
    )


def overdue_from(lease: Lease, rules: SessionRules) -> datetime:
    """When a session is long enough to be shown to a person."""
    return lease.granted_at + timedelta(seconds=rules.maximum_s)
