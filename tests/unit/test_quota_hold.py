"""Waiting for the account's quota, played line by line: no failure, and nobody urgent behind it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sealwax import views
from sealwax.calls import NotSent, Observed, Read
from sealwax.facts import EnvelopeStatus
from sealwax.mutations import ChangeMessage, UpdateRecipient
from sealwax.patience import FAILURES_BEFORE_ATTENTION
from sealwax.quota_limits import Klass
from tests.builders import an_event, an_observation, an_order
from tests.playbook import Playbook
from tests.signing import out, shown

CHANGE = ChangeMessage(subject="Another")


def held(after_s: float = 40.0) -> NotSent:
    """What a call comes to whose account has no call to spare."""
    return NotSent("Envelopes_GetEnvelope: burst limit", after_s, "quota")


def klass(play: Playbook) -> Klass:
    """The class of the call in flight."""
    assert play.state.in_flight is not None
    return play.state.in_flight_klass


def reading(play: Playbook) -> Playbook:
    """The same, with a read under way that an event asked for."""
    return play.hears(an_event("envelope-corrected", (), needs_read=True)).expects("read")


def waits(play: Playbook, seconds: float) -> None:
    """No call is in flight, and the envelope wakes after so long."""
    assert play.rests().wake_at == play.now + timedelta(seconds=seconds)


def test_waiting_for_the_quota_is_no_failure():
    """However often in a row: nobody is told, nothing is counted, no line is written, and each
    wait is as long as the ledger said, without a jitter of our own."""
    play = Playbook.draft().asks("op-1", CHANGE).expects("mutate")
    lines = play.state.timeline
    for number in range(3 * FAILURES_BEFORE_ATTENTION):
        play.answers(held(1.5 + number))
        assert (play.state.attention, play.state.failures, play.state.retry_at) == ("", {}, None)
        waits(play, 1.5 + number)
        play.passes(1.5 + number).expects("mutate")
    assert play.state.timeline == lines


def test_the_card_and_the_ticket_say_what_is_waited_for():
    """Until when, and only while it is waited for."""
    play = Playbook.draft().asks("op-1", CHANGE).expects("mutate").answers(held(40))
    line = "waits for the account's quota until"
    ticket = views.result(play.state, "op-1")
    assert ticket is not None
    assert ticket.why.startswith(line)
    assert line in views.card(play.state)
    play.passes(40).expects("mutate")
    assert line not in views.card(play.state)


def test_who_waits_for_a_session_is_told_of_the_quota():
    play = out().wants("s-ana", "ana").expects("read").answers(shown())
    play.expects("open_view").answers(held(3))
    assert play.ticket("s-ana").why.startswith("waits for the account's quota until")
    play.passes(3).gets_url().rests()


def test_a_call_has_the_class_of_the_most_urgent_that_waits_behind_it():
    """A read that an event asks for is background; with a change behind it, it is a mutation; with
    a signer behind it, it is interactive, for the signer waits for it all the same."""
    assert klass(reading(Playbook.sent())) is Klass.BACKGROUND
    assert klass(Playbook.draft().asks("op-1", CHANGE).expects("mutate")) is Klass.MUTATION
    play = out().wants("s-ana", "ana").expects("read")
    assert klass(play) is Klass.INTERACTIVE
    play.answers(shown()).expects("open_view")
    assert klass(play) is Klass.INTERACTIVE


def test_the_calls_of_a_bulk_order_are_bulk_and_its_signers_are_not():
    """Create, send and changes let others go first; a person before a page does not wait."""
    bulk = replace(an_order(), bulk=True)
    play = Playbook(bulk).registers().expects("create")
    assert klass(play) is Klass.BULK
    play = out()
    play.state = replace(play.state, order=replace(play.state.order, bulk=True))
    assert klass(play.wants("s-ana", "ana").expects("read")) is Klass.INTERACTIVE


def test_what_becomes_urgent_does_not_wait_out_what_was_not():
    """A background read was told to wait for an hour; a change, then a signer, goes at once."""
    play = reading(Playbook.sent()).answers(held(3_600)).rests()
    play.asks("op-1", UpdateRecipient("1", name="Anna")).expects("read")
    assert klass(play) is Klass.MUTATION
    play = reading(out()).answers(held(3_600)).wants("s-ana", "ana")
    # Whose turn it is has to be read first, and that read is the signer's.
    assert play.expects("read").state.in_flight is not None


def test_what_is_as_urgent_as_what_waits_waits_with_it():
    """Another mutation, and the background read, wait until the same time."""
    play = Playbook.draft().asks("op-1", CHANGE).expects("mutate").answers(held(60))
    waits(play.asks("op-2", ChangeMessage(subject="More")), 60)


def test_the_first_confirmation_is_no_poll_and_those_after_it_are():
    """An event asks for the first one; only time asks for the next ones."""
    play = Playbook.sent().hears(an_event()).passes(60).expects("read")
    assert play.call == Read("confirm")
    play.answers(Observed(an_observation(EnvelopeStatus.SENT)))
    play.passes(3_600)
    call = play.expects("read").call
    assert isinstance(call, Read)
    assert (call.why, call.polling) == ("confirm", True)


def test_a_poll_that_has_to_wait_holds_nobody_else():
    """The 15 minutes between two polls are its own: an event's read goes at once."""
    play = Playbook.sent().hears(an_event()).passes(60).expects("read")
    play.answers(Observed(an_observation(EnvelopeStatus.SENT))).passes(3_600).expects("read")
    waits(play.answers(held(900)), 900)
    assert play.state.quota_hold is not None
    assert play.state.quota_hold.polling
    play.passes(900).expects("read")


@pytest.mark.parametrize("after_s", [0.0, None])
def test_a_wait_without_a_time_is_none(after_s: float | None):
    """Then it is asked again at once; the ledger decides anew."""
    play = Playbook.draft().asks("op-1", CHANGE).expects("mutate")
    play.answers(NotSent("no permit", after_s, "quota")).expects("mutate")
