"""Operation ids made from a business transaction: a caller that dies repeats itself harmlessly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax import keys
from sealwax.definition import Refusal, RefusalCode
from sealwax.operations import OperationIds

asked = st.lists(st.sampled_from(("void", "rename", "send", "session")), max_size=12)


@given(asked, st.randoms())
def test_the_same_work_makes_the_same_ids_in_whatever_order(work: list[str], order):
    """Ids depend on what is asked and how often, never on the order or on the process."""
    shuffled = list(work)
    order.shuffle(shuffled)
    first, again = OperationIds("job-1"), OperationIds("job-1")
    assert sorted(first.made(w) for w in work) == sorted(again.made(w) for w in shuffled)


@given(asked)
def test_nothing_that_is_meant_twice_is_taken_for_a_repetition(work: list[str]):
    """Within one life of the caller all ids differ; another transaction has none of them."""
    ids = OperationIds("job-1")
    mine = [ids.made(w) for w in work]
    other = OperationIds("job-2")
    assert len({*mine, *(other.made(w) for w in work)}) == 2 * len(work)


def test_without_a_transaction_every_id_is_new():
    """Two calls with the same content are two requests."""
    assert OperationIds().made("void") != OperationIds().made("void")
    assert OperationIds().lasting("edit") is None


def test_a_transaction_may_be_named_by_anything_and_is_not_shown():
    """An e-mail address in its name stands in no id; a name that is none is refused."""
    made = OperationIds("ana@example.com").made("void")
    assert keys.check_opaque(made, "operation id") == made
    assert "ana" not in made
    for name in ("", "x" * 501):
        with pytest.raises(Refusal) as refused:
            OperationIds(name)
        assert refused.value.code is RefusalCode.BAD_KEY
