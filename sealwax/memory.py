"""What was asked of an envelope under which operation id, remembered for the envelope's life.

The last ``ANSWERS_MAX`` answers are kept whole. An older one leaves a trace of fixed size: how it
ended, its place and revision, and enough of its digest to tell another body under the same id. So
memory is bounded, and a request that is repeated after months still has no second effect.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

ANSWERS_MAX = 1_000
OPERATIONS_MAX = 12_000
"""The most operations of one envelope. Their traces have about 50 bytes each, and a run of a
workflow starts from at most 2 MiB."""

AnswerState = Literal["applied", "refused", "rejected"]
TraceState = Literal["applied", "refused", "rejected", "session"]

_ID_BYTES = 12
_DIGEST_LENGTH = 16
_LETTERS: dict[TraceState, str] = {"applied": "a", "refused": "f", "rejected": "j", "session": "s"}
_STATES = {letter: state for state, letter in _LETTERS.items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a mutation.

    ``refused``: the law said no, nothing was asked of the provider. ``rejected``: the provider
    said no, ``code`` is its error code. ``revision`` is the envelope's revision afterwards.
    """

    operation_id: str
    digest: str
    sequence: int
    state: AnswerState
    revision: int
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """What is left of an old operation. ``sequence`` of a session is its fencing token, 0 where
    none was granted."""

    state: TraceState
    digest: str
    sequence: int
    revision: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Answers in the order in which they were given, and traces of older operations."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    traces: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.answers) + len(self.traces)

    def trace(self, operation_id: str) -> Trace | None:
        """What is left of an operation that is no longer remembered whole; None for a new id."""
        held = self.traces.get(_hashed(operation_id))
        if held is None:
            return None
        sequence, revision = held[1 + _DIGEST_LENGTH :].split(".")
        digest = held[1 : 1 + _DIGEST_LENGTH]
        return Trace(_STATES[held[0]], digest, int(sequence, 16), int(revision, 16))

    def digest_of(self, operation_id: str) -> str | None:
        """The digest, or the beginning of it, under which an id was first used for a mutation."""
        answer = self.answers.get(operation_id)
        if answer is not None:
            return answer.digest
        trace = self.trace(operation_id)
        return None if trace is None else trace.digest


def remembering(memory: Memory, answer: Answer) -> Memory:
    """With one more answer; the oldest one leaves a trace where there are too many."""
    answers = {**memory.answers, answer.operation_id: answer}
    return shortened(replace(memory, answers=answers), ANSWERS_MAX)


def shortened(memory: Memory, answers_max: int) -> Memory:
    """With at most so many whole answers, the latest ones."""
    surplus = len(memory.answers) - answers_max
    if surplus <= 0:
        return memory
    answers, traces = dict(memory.answers), dict(memory.traces)
    for operation_id in list(answers)[:surplus]:
        gone = answers.pop(operation_id)
        traces[_hashed(operation_id)] = _traced(
            gone.state, gone.digest, gone.sequence, gone.revision
        )
    return Memory(answers, traces)


def remembering_session(memory: Memory, operation_id: str, digest: str, token: int) -> Memory:
    """With the trace of a session request that is over, and told of whole no longer."""
    trace = _traced("session", digest, token, 0)
    return replace(memory, traces={**memory.traces, _hashed(operation_id): trace})


def same_request(held: str, digest: str) -> bool:
    """Whether a request has the digest, or the beginning of one, under which its id was used."""
    return digest.startswith(held)


def _traced(state: TraceState, digest: str, sequence: int, revision: int) -> str:
    return f"{_LETTERS[state]}{digest[:_DIGEST_LENGTH]}{sequence:x}.{revision:x}"


def _hashed(operation_id: str) -> str:
    raw = hashlib.sha256(operation_id.encode()).digest()[:_ID_BYTES]
    return base64.urlsafe_b64encode(raw).decode()
