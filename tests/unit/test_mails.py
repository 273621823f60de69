"""Mails are never repeated blindly: what a look can tell, and what it cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealwax.calls import Applied, Mutate, NotSent, Observed, Read, Unknown
from sealwax.mutations import AddRecipients, ResendEnvelope
from sealwax.observations import REPEATABLE, TOLD_BY_MAILS, MailTrail
from tests.builders import a_recipient, an_observation, seen_recipient
from tests.playbook import TIMING, Playbook

SETTLED_S = TIMING.call_deadline_s + TIMING.outcome_settle_s


def shown(trail: MailTrail | None) -> Observed:
    """A read with this trail of mails."""
    return Observed(replace(an_observation(), mails=trail))


def resending(before: MailTrail | None) -> Playbook:
    """A resend whose answer is lost, after this trail was read; the look at once finds as much."""
    play = Playbook.sent().asks("r-1", ResendEnvelope())
    assert play.expects("read").call == Read("mark", extra="mails")
    play.answers(shown(before))
    play.expects("mutate").answers(Unknown("no answer"))
    return play.expects("read").answers(shown(before)).rests()


def looked(play: Playbook, trail: MailTrail | None, after_s: float = SETTLED_S) -> Playbook:
    """The look is made, so long after the call."""
    play.passes(after_s)
    assert play.expects("read").call == Read("look", extra="mails")
    return play.answers(shown(trail))


def test_a_resend_reads_the_trail_of_mails_first():
    """What stood before is known before anything is asked for; without an answer it is compared."""
    play = looked(resending(MailTrail(1, 0)), MailTrail(2, 0), after_s=1)

    assert play.answer("r-1").state == "applied"


def test_a_resend_that_left_no_line_is_made_again_after_the_settle_time_only():
    """Before, it may yet land."""
    play = looked(resending(MailTrail(1, 0)), MailTrail(1, 0), after_s=1).rests()
    play = looked(play, MailTrail(1, 0))

    call = play.expects("mutate").call
    assert isinstance(call, Mutate)
    assert call.attempt == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MailTrail(1, 0), MailTrail(1, 1)),
        (MailTrail(1, 0), None),
        (None, MailTrail(5, 0)),
        (None, None),
    ],
)
def test_what_no_look_can_tell_is_never_mailed_again(
    before: MailTrail | None, after: MailTrail | None
):
    """It waits for a person, looks ever more rarely, and goes on by the person's word alone."""
    play = looked(resending(before), after)
    for _ in range(20):
        play.passes(1_000).expects("read").answers(shown(after)).rests()

    assert play.state.attention
    assert (play.wakes_at - play.now).total_seconds() == 900


def test_no_mutation_that_mails_is_repeatable():
    """Those that may be made again without knowing are none that send a mail."""
    mailing = TOLD_BY_MAILS | {"send", "update_recipient", "correct", "add_recipients", "void"}

    assert not REPEATABLE & mailing


def test_a_half_added_recipient_is_added_on_under_the_same_number():
    """The second try gives the recipient no second number, and a read between the two takes it
    for nobody else's."""
    added = AddRecipients((a_recipient("cyd", 1, "Cyd"),))
    play = Playbook.sent().asks("a-1", added)
    first = play.expects("mutate").call
    assert isinstance(first, Mutate)
    play.answers(Unknown("no answer"))
    half = replace(seen_recipient("2", "guid-2", "created", "Cyd"), routing_order=9)
    seen = Observed(an_observation(recipients=(seen_recipient(), half)))
    play.expects("read").answers(seen).passes(SETTLED_S)
    play.expects("read").answers(seen)

    second = play.expects("mutate").call
    assert isinstance(second, Mutate)
    assert second.numbers == first.numbers
    play.answers(NotSent("busy", 60)).passes(60)
    play.expects("mutate").answers(Applied())
    assert [r.recipient_id for r in play.state.definition.recipients] == ["1", "cyd"]
