"""What is remembered of operations: against a model that forgets nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealwax import keys
from sealwax.memory import (
    ANSWERS_MAX,
    Answer,
    Memory,
    remembering,
    remembering_session,
    same_request,
    shortened,
)

ids = st.integers(0, 60).map(lambda n: f"op-{n}")
bodies = st.integers(0, 5).map(lambda n: keys.digest((f"body-{n}",)))
STATES = ("applied", "refused", "rejected")


@given(st.lists(st.tuples(ids, bodies, st.sampled_from(STATES)), max_size=120), st.integers(0, 10))
def test_no_operation_is_ever_forgotten(asked: list[tuple], whole: int):
    """However few answers are kept whole, a used id is known, with its body, end and revision."""
    memory = Memory()
    model: dict[str, Answer] = {}
    for number, (operation_id, digest, state) in enumerate(asked, 1):
        held = memory.digest_of(operation_id)
        assert (held is not None) == (operation_id in model)
        if held is not None:
            assert same_request(held, digest) == (model[operation_id].digest == digest)
            continue
        answer = Answer(operation_id, digest, number, state, revision=number // 2)
        model[operation_id] = answer
        memory = shortened(remembering(memory, answer), whole)
        assert len(memory) == len(model)
        assert list(memory.answers) == list(model)[len(model) - len(memory.answers) :]
    for operation_id, answer in model.items():
        if operation_id in memory.answers:
            assert memory.answers[operation_id] == answer
            continue
        trace = memory.trace(operation_id)
        assert trace is not None
        assert same_request(trace.digest, answer.digest)
        assert (trace.state, trace.sequence, trace.revision) == (
            answer.state,
            answer.sequence,
            answer.revision,
        )


def test_the_last_thousand_are_told_whole():
    """The newest ANSWERS_MAX answers keep their words; the one before them keeps its end."""
    memory = Memory()
    for number in range(ANSWERS_MAX + 1):
        digest = keys.digest((str(number),))
        answer = Answer(f"op-{number}", digest, number, "rejected", 0, "CODE", "why")
        memory = remembering(memory, answer)
    assert len(memory.answers) == ANSWERS_MAX
    assert memory.answers["op-1"].message == "why"
    assert (trace := memory.trace("op-0")) is not None
    assert trace.state == "rejected"


def test_an_old_session_is_remembered_by_its_token():
    """A session request that is told of no longer still cannot lend its id to another."""
    memory = remembering_session(Memory(), "s-1", keys.digest(("session", "ana")), token=7)
    assert memory.digest_of("s-1") is not None
    assert not same_request(memory.digest_of("s-1") or "", keys.digest(("session", "ben")))
    assert (trace := memory.trace("s-1")) is not None
    assert (trace.state, trace.sequence) == ("session", 7)
