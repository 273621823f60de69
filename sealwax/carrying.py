"""How an envelope's state is taken from one run of its workflow to the next.

A run's history is bounded by the server, an envelope's life is not. The state is a value, so the
next run starts from it; what a run start cannot hold is shortened here to its trace.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sealwax.definition import Definition
from sealwax.envelope import Envelope
from sealwax.memory import Memory, shortened

ANSWERS_BYTES_MAX = 300_000
"""About how much of what is carried may be whole answers."""

_ANSWER_FRAME_BYTES = 250


def carried(state: Envelope) -> Envelope:
    """The state as the next run is started with it.

    The order's documents and recipients are in the definition once the draft is made. The longest
    answers go first to being traces; their operations stay known.
    """
    if state.provider_envelope_id:
        bare = Definition(subject="")
        state = replace(state, order=replace(state.order, definition=bare))
    return replace(state, memory=_fitting(state.memory))


def resumed(state: Envelope, now: datetime) -> Envelope:
    """The state at the start of the next run. A call that was due was not made by the last one."""
    return replace(state, started_at=now) if state.in_flight is not None else state


def _fitting(memory: Memory) -> Memory:
    kept, size_bytes = 0, 0
    for answer in reversed(list(memory.answers.values())):
        size_bytes += _ANSWER_FRAME_BYTES + len(answer.code) + len(answer.message)
        if size_bytes > ANSWERS_BYTES_MAX:
            break
        kept += 1
    return shortened(memory, kept)
