"""What a person may decide, and that nothing else can be decided; orphan drafts."""

from __future__ import annotations

import pytest

from sealwax import views
from sealwax.calls import (
    Applied,
    Bin,
    Capabilities,
    Done,
    Found,
    Observed,
    Rejected,
    Unknown,
)
from sealwax.definition import Refusal, RefusalCode
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import UpdateRecipient
from sealwax.resolving import Choice, Resolved, check_resolvable, question
from tests.builders import ENVELOPE_ID, an_event, an_observation
from tests.playbook import TIMING, Playbook

RENAME = UpdateRecipient("1", name="Anna")
FORGETFUL = Capabilities(reference_s=None, marker_search=False)


def undecidable() -> Playbook:
    """A head whose outcome no look could tell until a person was asked."""
    play = Playbook.sent().asks("rename", RENAME)
    play.expects("mutate").answers(Rejected("CONSENT_REQUIRED", "ask them", needs_person=True))
    return play


class TestDecisions:
    """Each choice, and that the envelope goes on by it."""

    def test_nothing_can_be_decided_while_the_envelope_goes_on_by_itself(self):
        """Without a question every decision is refused, and the refusal says so."""
        play = Playbook.sent()
        with pytest.raises(Refusal) as refused:
            check_resolvable(play.state, Resolved("landed"))
        assert refused.value.code is RefusalCode.NOTHING_TO_DECIDE
        assert question(play.state) is None

    def test_retry_tries_again_at_once(self):
        """The reason is gone: the same change is made without waiting for its next try."""
        play = undecidable().decides("retry")
        play.expects("mutate").answers(Applied())
        assert play.answer("rename").state == "applied"

    def test_give_up_answers_the_caller_and_lets_the_next_one_pass(self):
        """The caller is told `given_up`; who waited behind it has its turn."""
        play = undecidable().asks("other", UpdateRecipient("1", name="Annie"))
        play.decides("give_up")
        assert (play.answer("rename").state, play.answer("rename").code) == ("rejected", "given_up")
        assert play.state.queue[0].operation_id == "other"

    def test_only_an_offered_choice_is_taken(self):
        """`landed` is no answer to a refused permission; the refusal lists what is."""
        with pytest.raises(Refusal, match=r"retry: .*give_up: ") as refused:
            check_resolvable(undecidable().state, Resolved("landed"))
        assert refused.value.code is RefusalCode.BAD_INPUT

    def test_the_card_and_the_snapshot_say_what_to_decide(self):
        """Both name the question and each choice in a person's words."""
        state = undecidable().state
        asked = views.snapshot(state).question
        assert asked is not None
        assert set(asked.choices) == {"retry", "give_up"}
        assert "`sealwax resolve` with `give_up`" in views.card(state)

    def test_who_waits_behind_is_told_why(self):
        """The ticket of a change behind a question names it."""
        play = undecidable().asks("other", UpdateRecipient("1", name="Annie"))
        waiting = views.result(play.state, "other")
        assert waiting is not None
        assert "a person has to decide" in waiting.why


class TestUnknownOutcomes:
    """A lost answer that no look can settle ends in a question; nothing is sent again unasked."""

    @pytest.mark.parametrize(("choice", "state"), [("landed", "applied"), ("give_up", "rejected")])
    def test_a_person_settles_it(self, choice: Choice, state: str):
        """The caller gets the answer that the person gave, and the change is not made again."""
        play = unreadable().decides(choice)
        assert play.answer("rename").state == state
        play.expects("read")

    def test_not_landed_makes_it_once_more(self):
        """A person who has looked says that it did not take effect: it is made now."""
        unreadable().decides("not_landed").expects("mutate")

    def test_a_create_beyond_the_marks_life_waits_for_a_person(self):
        """Where the provider has forgotten every mark, "not found" is no proof: it is asked."""
        play = Playbook().registers(capabilities=FORGETFUL).expects("create")
        play.answers(Unknown("dropped"))
        for _ in range(40):
            if play.state.in_flight is None:
                play.passes(60)
            else:
                play.expects("find_created").answers(Found(()))
        asked = question(play.state)
        assert asked is not None
        assert set(asked.choices) == {"adopt", "not_landed", "give_up"}
        with pytest.raises(Refusal, match="give it"):
            play.decides("adopt")
        play.decides("adopt", ENVELOPE_ID)
        assert play.state.provider_envelope_id == ENVELOPE_ID
        assert play.answer("sealwax:create").state == "applied"

    def test_a_create_that_is_given_up_ends_the_envelope(self):
        """Nothing more is made; what may have been made after all is looked for and binned."""
        play = Playbook().registers().expects("create")
        play.answers(Rejected("CONSENT_REQUIRED", "ask them", needs_person=True))
        play.decides("give_up")
        assert play.state.status is EnvelopeStatus.REJECTED
        play.expects("find_created").answers(Found(("late",)))
        play.expects("bin").answers(Done()).expects("close").answers(Done())
        assert play.finished


class TestOrphans:
    """What an ambiguous create left behind is found and binned; what was sent is left alone."""

    def test_a_create_that_was_made_again_is_searched_after_the_settle_time(self):
        """The first draft shows late: it is binned, the second one is kept."""
        play = made_twice()
        play.passes(TIMING.call_deadline_s + TIMING.outcome_settle_s)
        play.expects("find_created").answers(Found((ENVELOPE_ID, "late")))
        bin_ = play.expects("bin").call
        assert isinstance(bin_, Bin)
        assert bin_.provider_envelope_id == "late"
        play.answers(Done()).rests()
        assert any("orphan draft was binned" in e.text for e in play.state.timeline)

    def test_a_stranger_heard_at_our_address_brings_the_search_forward(self):
        """A webhook of another envelope at this one's address: one search, at once."""
        play = made_twice().hears(an_event(envelope_id="late"))
        play.expects("find_created").answers(Found((ENVELOPE_ID,))).rests()

    def test_two_that_are_found_are_one_adopted_and_one_binned(self):
        """The look after a lost create shows two envelopes: one is kept."""
        play = Playbook().registers().expects("create")
        play.answers(Unknown("dropped")).expects("find_created").answers(Found(("a", "b")))
        assert play.state.provider_envelope_id == "a"
        play.expects("bind").answers(Done()).expects("read").answers(Observed(an_observation()))
        while play.state.in_flight is not None and play.state.in_flight.kind != "bin":
            play.answers(Applied((Fact(EnvelopeStatus.SENT),)))
        play.expects("bin")

    def test_an_envelope_does_not_close_before_its_search(self):
        """It ended sooner than the first draft could have shown: it waits for that look."""
        play = made_twice().hears(an_event("envelope-voided", (Fact(EnvelopeStatus.VOIDED),)))
        play.passes(1).rests()
        play.passes(14).expects("find_created").answers(Found((ENVELOPE_ID, "late")))
        play.expects("bin").answers(Rejected("ORPHAN_IN_PROCESS", "sent", needs_person=True))
        play.decides("give_up")
        play.passes(60).expects("read")
        play.answers(Observed(an_observation(EnvelopeStatus.VOIDED)))
        play.expects("close").answers(Done())
        assert play.finished


def made_twice() -> Playbook:
    """Out for signing; its first create got no answer and was not found, so there was another."""
    play = Playbook().registers().expects("create").answers(Unknown("dropped"))
    play.expects("find_created").answers(Found(()))
    # The look that counts is the first one after the deadline and the settle time.
    play.passes(TIMING.call_deadline_s + TIMING.outcome_settle_s)
    play.expects("find_created").answers(Found(()))
    play.creates().expects("mutate")
    return play.answers(Applied((Fact(EnvelopeStatus.SENT),))).rests()


def unreadable() -> Playbook:
    """A change without an answer, of an envelope that may not be read any more."""
    play = Playbook.sent().asks("rename", RENAME).expects("mutate").answers(Unknown("dropped"))
    refused = Rejected("ACCOUNT_LACKS_PERMISSIONS", "ask them", needs_person=True)
    return play.expects("read").answers(refused)
