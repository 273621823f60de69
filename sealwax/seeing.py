"""How a read of ours is taken in: as facts, as news of others' changes, as the current guids.

A read never replaces what is known. What it does not show is not thereby gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sealwax.bookkeeping import told
from sealwax.conflicts import revised
from sealwax.envelope import (
    Envelope,
    claimed,
    unplaced,
)
from sealwax.facts import RESTORED, EnvelopeStatus, Fact, Facts
from sealwax.observations import TOLD_BY_MAILS, Observation


def observed(state: Envelope, seen: Observation, asked_at: datetime) -> Envelope:
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
    state = with_incarnations(state, guids, superseding=before)
    ours = claimed(state) | set(state.removed)
    absent = tuple(sorted(before.recipients() - shown - ours))
    state = replace(state, absent=absent, read_at=asked_at, refresh_wanted=False)
    return replace(state, unplaced_at_read=unplaced(replace(state, facts=before)))


def _with_others(state: Envelope, seen: Observation) -> Envelope:
    """Take in recipients that somebody else added at the provider. Absence removes nobody."""
    known = claimed(state) | set(state.removed)
    definition, numbers = state.definition, dict(state.numbers)
    for other in seen.recipients:
        if other.recipient in known:
            continue
        free = other.recipient if definition.recipient(other.recipient) is None else ""
        recipient = other.as_recipient(free or f"other-{other.recipient}"[:36])
        definition = replace(definition, recipients=(*definition.recipients, recipient))
        numbers[recipient.recipient_id] = other.recipient
    if definition == state.definition:
        return state
    # A caller who read before it must hear of it, whoever made the change.
    return revised(state, replace(state, definition=definition, numbers=numbers))


def with_incarnations(state: Envelope, guids: Mapping[str, str], *, superseding: Facts) -> Envelope:
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


def confirmed(state: Envelope, seen: Observation, now: datetime) -> Envelope:
    if seen.status == state.status:
        return told(replace(state, confirmed=True), now, f"{state.status} confirmed by a read")
    state = replace(state, confirm_tries=state.confirm_tries + 1, final_since=now)
    if state.confirm_tries >= 3:
        said = f"the provider shows {seen.status} where {state.status} was reported"
        return replace(state, attention=said, blocked="confirm")
    return state


def marked(state: Envelope, seen: Observation) -> Envelope:
    """The head of the queue knows the trail of mails as it stands before its own."""
    if not state.queue or state.queue[0].mutation.kind not in TOLD_BY_MAILS:
        return state
    head, *rest = state.queue
    return replace(state, queue=(replace(head, marked=True, trail=seen.mails), *rest))
