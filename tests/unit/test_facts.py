"""The join: every pair of statuses is decided, and the order of telling never matters."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.facts import (
    ENVELOPE_TABLE,
    RECIPIENT_TABLE,
    RESTORED,
    EnvelopeStatus,
    Fact,
    Facts,
    Move,
    RecipientStatus,
)
from tests.builders import START

SAID = [s for s in EnvelopeStatus if s not in (EnvelopeStatus.NEW, EnvelopeStatus.REJECTED)]

facts = st.builds(
    Fact,
    status=st.sampled_from([*SAID, *RecipientStatus, RESTORED, "processing"]),
    recipient=st.sampled_from(["", "1", "2"]),
    incarnation=st.sampled_from(["", "a", "b"]),
    mark=st.sampled_from(["", "t1", "t2"]),
    at=st.none() | st.integers(0, 100).map(lambda s: START + timedelta(seconds=s)),
)


@pytest.mark.parametrize(
    ("table", "statuses"), [(ENVELOPE_TABLE, SAID), (RECIPIENT_TABLE, list(RecipientStatus))]
)
class TestTable:
    """Both tables are joins: total, commutative, associative, idempotent."""

    def test_every_pair_is_decided(self, table: dict[tuple[str, str], Move], statuses: list[str]):
        """No pair is missing and each leads to a status of the table."""
        for a, b in product(statuses, statuses):
            assert table[a, b].to in statuses

    def test_the_order_of_two_does_not_matter(self, table, statuses):
        """a then b is b then a, also in whether they contradict."""
        for a, b in product(statuses, statuses):
            assert table[a, b] == table[b, a] or table[a, b].to == table[b, a].to
            assert table[a, b].contradiction == table[b, a].contradiction

    def test_the_order_of_three_does_not_matter(self, table, statuses):
        """(a, b), c is a, (b, c)."""
        for a, b, c in product(statuses, statuses, statuses):
            assert table[table[a, b].to, c].to == table[a, table[b, c].to].to

    def test_saying_it_twice_changes_nothing(self, table, statuses):
        """A repeated fact neither moves nor contradicts."""
        for a in statuses:
            assert table[a, a] == Move(a, False)


@given(st.lists(facts, max_size=12), st.data())
def test_any_order_and_repetition_gives_the_same_facts(told: list[Fact], data: st.DataObject):
    """Permutation, duplication and batching of facts cannot be seen in the state."""
    permuted = data.draw(st.permutations(told))
    repeated = permuted + data.draw(
        st.lists(st.sampled_from(told), max_size=5) if told else st.just([])
    )
    at_once = Facts().joined(told)

    one_by_one = Facts()
    for fact in repeated:
        one_by_one = one_by_one.joined([fact])

    assert one_by_one == at_once
    assert one_by_one.envelope_status() is at_once.envelope_status()


def test_completed_beats_voided_and_is_flagged():
    """A signer who finished while a void was in flight: completed, and the contradiction shown."""
    both = Facts().joined([Fact("voided"), Fact("completed")])

    assert both.envelope_status() is EnvelopeStatus.COMPLETED
    assert both.contradictions() == ("envelope said to be both completed and voided",)


def test_an_ordinary_life_contradicts_nothing():
    """Every step of a normal life may be said without a flag."""
    told = Facts().joined(
        [Fact(s) for s in ("created", "sent", "delivered", "signed", "completed")]
    )

    assert told.contradictions() == ()


def test_statuses_the_provider_does_not_explain_say_nothing():
    """`processing`, `correct` and words of the future are kept and do not move the status."""
    told = Facts().joined([Fact("sent"), Fact("correct"), Fact("processing"), Fact("xyzzy")])

    assert told.envelope_status() is EnvelopeStatus.SENT
    assert len(told.seen) == 4


def test_a_restore_takes_back_its_own_deletion_only():
    """Deleted, restored, deleted again: the second deletion stands."""
    once = Facts().joined([Fact("created"), Fact("deleted", mark="t1"), Fact(RESTORED, mark="t1")])
    again = once.joined([Fact("deleted", mark="t2")])

    assert once.envelope_status() is EnvelopeStatus.CREATED
    assert again.envelope_status() is EnvelopeStatus.DELETED


def test_facts_of_one_incarnation_do_not_fall_on_another():
    """Recipient 1 completed as the old guid: the new one has still to sign."""
    told = Facts().joined([Fact("completed", "1", "old"), Fact("sent", "1", "new")])

    assert told.recipient_status("1", ["new"]) is RecipientStatus.SENT


def test_the_earliest_time_of_a_fact_is_kept():
    """Times are shown, so a redelivery with a later stamp does not move 'since when'."""
    later = START + timedelta(hours=1)
    told = Facts().joined([Fact("sent", at=later), Fact("sent", at=START), Fact("sent")])

    assert told.time_of("sent") == START
