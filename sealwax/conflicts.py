"""Optimistic concurrency: a request that names the revision its caller read, judged and merged.

An envelope remembers, for its last revisions, what each changed field was before; walking back
gives the fields as any of these callers read them. The request is judged when its turn comes,
because what stands before it in the queue may change the same fields, and once early, so that a
conflict which is there already costs no history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, takewhile

from sealwax import keys
from sealwax.definition import Definition, Refusal, RefusalCode
from sealwax.envelope import (
    Envelope,
    Pending,
    check_acceptable,
    known_digest,
    recipient_statuses,
)
from sealwax.facts import EnvelopeStatus
from sealwax.fields import built, flat
from sealwax.merge import (
    Changed,
    ConflictView,
    Expected,
    FieldChange,
    Fields,
    Value,
    differing,
    merge3,
)
from sealwax.mutations import Mutation, Projection, project
from sealwax.rebase import rebased

REVISIONS_KEPT_MAX = 200
CHANGES_BYTES_MAX = 64_000
"""About how much of the state the remembered values may be."""

CONFLICTS_KEPT_MAX = 16
"""Conflicts that are told with their fields when asked for again; older ones without."""

FIELDS_TOLD_MAX = 20
TEXT_TOLD_MAX = 200

STATUS = "status"
_CHANGE_FRAME_BYTES = 60
_OF_SENDERS = {
    EnvelopeStatus.NEW,
    EnvelopeStatus.REJECTED,
    EnvelopeStatus.CREATED,
    EnvelopeStatus.DELETED,
    EnvelopeStatus.VOIDED,
}


class ConflictFound(Refusal):
    """The envelope is at another revision than the caller read, and no merge makes up for it."""

    def __init__(self, message: str, conflict: ConflictView) -> None:
        super().__init__(RefusalCode.CONFLICT, message)
        self.conflict = conflict


def as_it_stands(state: Envelope) -> Projection:
    """The envelope as the law judges a mutation whose turn it is."""
    return Projection(state.status, state.definition, recipient_statuses(state))


def due(state: Envelope, head: Pending) -> Mutation | None:
    """What is to be made of a pending mutation now; None where nothing is left to be made.

    Raises ``ConflictFound``, and ``Refusal`` where no revision of the envelope allows it.
    """
    return judged(state, head.operation_id, head.mutation, head.expected)


def check_submitted(
    state: Envelope, operation_id: str, mutation: Mutation, expected: Expected | None
) -> None:
    """Raise ``Refusal`` where a request may not even enter the queue; nothing changes.

    A conflict that is there already is told first (``ConflictFound``): the law's word about a
    recipient that somebody removed would say less.
    """
    keys.check_opaque(operation_id, "operation id")
    new = known_digest(state, operation_id) is None
    if new and expected is not None and expected.revision < state.revision and not state.closed:
        judged(state, operation_id, mutation, expected)
    check_acceptable(state, operation_id, mutation, expected)


def judged(
    state: Envelope, operation_id: str, mutation: Mutation, expected: Expected | None
) -> Mutation | None:
    """The mutation as it is, or rebased onto what others left; None where that is the same.

    Raises as ``due``.
    """
    if expected is None or expected.revision == state.revision:
        return mutation
    base = fields_at(state, expected.revision)
    now = fields_of(state)
    if base is None:
        raise _unmerged(state, operation_id, expected, ())
    ours = _written(state, base, mutation)
    if not expected.merge or ours is None:
        raise _unmerged(state, operation_id, expected, _told(base, now, ours))
    merged = merge3(base, ours, now)
    if merged.conflicts:
        raise _overlapping(state, operation_id, expected, base, now, ours, merged.conflicts)
    definition = built({p: v for p, v in merged.values.items() if p != STATUS})
    rest = rebased(mutation, definition, state.definition)
    after = state.definition if rest is None else project(as_it_stands(state), rest).definition
    undone = differing(_fields(after, merged.values), merged.values)
    if undone:
        # It would reach further than its own change, into something that others made since, or not
        # as far: what others added under the same id cannot be added with what it lacks.
        raise _overlapping(state, operation_id, expected, base, now, ours, undone)
    return rest


def told_of_conflict(state: Envelope, operation_id: str, refusal: Refusal) -> Envelope:
    """The state with the conflict kept, where the refusal is one, to be told with its answer."""
    if not isinstance(refusal, ConflictFound):
        return state
    kept = [*state.conflicts.items(), (operation_id, refusal.conflict)]
    return replace(state, conflicts=dict(kept[-CONFLICTS_KEPT_MAX:]))


def conflict_told(state: Envelope, operation_id: str, revision: int) -> ConflictView:
    """The conflict that an operation was refused for; of an old one the fields are gone."""
    known = state.conflicts.get(operation_id)
    return known or ConflictView(correlation_id(state, operation_id), 0, revision)


def correlation_id(state: Envelope, operation_id: str) -> str:
    """What names one conflict in logs and in support: the same however often it is told."""
    return keys.digest(("conflict", state.workflow_id, operation_id))[:16]


def revised(before: Envelope, after: Envelope) -> Envelope:
    """``after`` as the revision that follows ``before``, which remembers what it changed."""
    revision = before.revision + 1
    old, new = fields_of(before), fields_of(after)
    made = (Changed(revision, path, old.get(path)) for path in differing(old, new))
    after = replace(after, revision=revision, changes=(*before.changes, *made))
    return _bounded(after)


def rejoined(before: Definition, after: Definition, now: Definition) -> Definition:
    """What a call leaves, joined with what a read showed of others while it was under way."""
    if now == before:
        return after
    return built(merge3(flat(before), flat(after), flat(now)).values)


def fields_of(state: Envelope) -> dict[str, Value]:
    """The envelope's fields as they stand: its definition, and the status that senders gave it."""
    made = bool(state.provider_envelope_id)
    values = flat(state.definition if made else state.order.definition)
    return {**values, STATUS: _standing(state.status)}


def fields_at(state: Envelope, revision: int) -> dict[str, Value] | None:
    """The fields as they stood at a revision; None where it is yet to come or not kept any more."""
    if not state.changes_from <= revision <= state.revision:
        return None
    values = fields_of(state)
    for change in takewhile(lambda c: c.revision > revision, reversed(state.changes)):
        if change.before is None:
            values.pop(change.path, None)
        else:
            values[change.path] = change.before
    return values


def _standing(status: EnvelopeStatus) -> str:
    """The status by what senders did; how far the recipients are is no field of a sender's."""
    return str(status if status in _OF_SENDERS else EnvelopeStatus.SENT)


def _written(state: Envelope, base: Fields, mutation: Mutation) -> dict[str, Value] | None:
    """The fields as the caller wanted to leave them; None where they cannot come of what it read.

    Who has acted since is the law's matter, once it is known what is to be made.
    """
    definition = built({p: v for p, v in base.items() if p != STATUS})
    try:
        wanted = project(Projection(state.status, definition), mutation)
    except Refusal:
        project(as_it_stands(state), mutation)
        return None
    ours = _fields(wanted.definition, base)
    return ours if wanted.status == state.status else {**ours, STATUS: str(wanted.status)}


def _fields(definition: Definition, like: Fields) -> dict[str, Value]:
    return {**flat(definition), STATUS: like[STATUS]}


def _told(base: Fields, now: Fields, ours: Fields | None) -> tuple[FieldChange, ...]:
    """What others changed; where it is known what the caller wanted, also what both touched."""
    changed = differing(base, now)
    if ours is None:
        return tuple(FieldChange(p, base.get(p), now.get(p)) for p in changed)
    both = set(merge3(base, ours, now).conflicts)
    return _marked(base, now, ours, sorted(both | set(changed)), both)


def _marked(
    base: Fields, now: Fields, ours: Fields, paths: Sequence[str], both: set[str]
) -> tuple[FieldChange, ...]:
    told = [
        FieldChange(p, base.get(p), now.get(p), ours.get(p) if p in both else None, p in both)
        for p in paths
    ]
    return tuple(sorted(told, key=lambda change: not change.overlaps))


def _unmerged(
    state: Envelope, operation_id: str, expected: Expected, changed: tuple[FieldChange, ...]
) -> ConflictFound:
    if expected.revision > state.revision:
        said = f"revision {expected.revision} is yet to come, the envelope is at {state.revision}"
    elif expected.revision < state.changes_from:
        said = (
            f"the envelope is at revision {state.revision}; what changed since revision"
            f" {expected.revision} is not kept any more"
        )
    else:
        said = f"the envelope is at revision {state.revision}, not {expected.revision} any more"
    return _found(state, operation_id, expected, changed, said)


def _overlapping(
    state: Envelope,
    operation_id: str,
    expected: Expected,
    base: Fields,
    now: Fields,
    ours: Fields,
    conflicts: Sequence[str],
) -> ConflictFound:
    changed = _marked(base, now, ours, conflicts, set(conflicts))
    said = f"others have changed the same since revision {expected.revision}"
    return _found(state, operation_id, expected, changed, said)


def _found(
    state: Envelope,
    operation_id: str,
    expected: Expected,
    changed: tuple[FieldChange, ...],
    said: str,
) -> ConflictFound:
    told = tuple(
        replace(c, before=_short(c.before), now=_short(c.now), wanted=_short(c.wanted))
        for c in changed[:FIELDS_TOLD_MAX]
    )
    conflict = ConflictView(
        correlation_id(state, operation_id),
        expected.revision,
        state.revision,
        told,
        len(changed) - len(told),
    )
    return ConflictFound(f"{said}; read it again and ask anew", conflict)


def _short(value: Value | None) -> Value | None:
    if isinstance(value, str) and len(value) > TEXT_TOLD_MAX:
        return value[: TEXT_TOLD_MAX - 1] + "…"
    return value


def _bounded(state: Envelope) -> Envelope:
    """Let go of the oldest revisions that are too many or too big to be kept."""
    oldest = max(state.changes_from, state.revision - REVISIONS_KEPT_MAX)
    size_bytes = 0
    for revision, size in _sizes(state.changes):
        size_bytes += size
        if size_bytes > CHANGES_BYTES_MAX:
            oldest = max(oldest, revision)
            break
    if oldest == state.changes_from:
        return state
    kept = tuple(c for c in state.changes if c.revision > oldest)
    return replace(state, changes=kept, changes_from=oldest)


def _sizes(changes: tuple[Changed, ...]) -> Iterator[tuple[int, int]]:
    """Each revision with the bytes of its changes, latest first."""
    for revision, group in groupby(reversed(changes), key=lambda c: c.revision):
        sizes = (len(c.path) + len(str(c.before).encode()) for c in group)
        yield revision, sum(size + _CHANGE_FRAME_BYTES for size in sizes)
