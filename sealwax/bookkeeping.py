"""The books of an envelope: its queue, the answers that it gave, and its timeline.

Nothing here decides; each function makes one entry.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sealwax.calls import (
    Call,
    Mutate,
)
from sealwax.envelope import (
    TIMELINE_LENGTH_MAX,
    DuringSession,
    Entry,
    Envelope,
    Pending,
    known_digest,
    mutation_digest,
)
from sealwax.memory import Answer, AnswerState, remembering
from sealwax.merge import Expected
from sealwax.mutations import Mutation, described


def enqueued(
    state: Envelope,
    operation_id: str,
    mutation: Mutation,
    now: datetime,
    during_session: DuringSession = "wait",
    expected: Expected | None = None,
) -> Envelope:
    """A mutation takes the last place in the queue."""
    pending = Pending(
        operation_id,
        mutation_digest(mutation),
        mutation,
        state.sequence + 1,
        accepted_at=now,
        during_session=during_session,
        expected=expected,
    )
    return replace(state, sequence=state.sequence + 1, queue=(*state.queue, pending))


def known(state: Envelope, operation_id: str) -> bool:
    """Whether an operation id was used before, answered or not."""
    return known_digest(state, operation_id) is not None


def answered(state: Envelope, what: AnswerState, code: str = "", message: str = "") -> Envelope:
    """The head of the queue leaves it with its answer."""
    head, *rest = state.queue
    answer = Answer(
        head.operation_id, head.digest, head.sequence, what, state.revision, code, message
    )
    memory = remembering(state.memory, answer)
    return replace(state, queue=tuple(rest), memory=memory, unknown=None)


def told(state: Envelope, now: datetime, text: str) -> Envelope:
    """A line is added to the timeline."""
    return replace(state, timeline=_line(state, now, text))


def _line(state: Envelope, now: datetime, text: str) -> tuple[Entry, ...]:
    return (*state.timeline, Entry(now, text))[-TIMELINE_LENGTH_MAX:]


def named(call: Call) -> str:
    return described(call.mutation) if isinstance(call, Mutate) else call.kind
