"""What people see: domain words, ids of ours, no personal data where it would be in clear."""

from __future__ import annotations

from sealwax import views
from sealwax.calls import NotSent, Unknown
from sealwax.facts import Fact
from sealwax.mutations import ChangeMessage, UpdateRecipient, VoidEnvelope
from tests.builders import START, a_definition, a_recipient, an_event, an_order
from tests.playbook import Playbook

TWO = a_definition((a_recipient("buyer", 1, "Ana"), a_recipient("seller", 2, "Ben")))


def test_the_card_says_who_is_waited_for_and_since_when():
    """Routing order decides; the time is the provider's."""
    play = Playbook.sent(an_order(TWO)).hears(
        an_event("recipient-sent", (Fact("sent", "1", "g", at=START),))
    )
    card = views.card(play.state)

    assert "Waiting for **buyer** since 2026-01-01 09:00:00 UTC" in card
    assert "- 2: **seller**, created" in card
    assert "last `recipient-sent`" in card
    assert "**Queue**\n\n- empty" in card


def test_the_card_holds_no_name_and_no_address():
    """Recipients appear by the application's ids alone."""
    card = views.card(Playbook.sent(an_order(TWO)).state)

    assert "Ana" not in card
    assert "example.com" not in card


def test_the_card_tells_of_a_queue_whose_head_got_no_answer():
    """Those who wait see why."""
    play = Playbook.draft().asks("a", ChangeMessage(subject="A")).asks("b", ChangeMessage("B"))
    play.answers(Unknown("dropped"))

    card = views.card(play.state)
    assert "- now: Look whether the last change landed" in card
    assert "- the first got no answer since 2026-01-01 09:00:00 UTC" in card
    assert "- 1. Change subject or message (`a`)" in card
    assert "- 2. Change subject or message (`b`)" in card


def test_a_locked_head_says_on_the_card_and_in_tickets_why_all_wait():
    """Who looks at the card, and who waits behind it, learns that somebody else edits it."""
    play = Playbook.sent()
    play.asks("op-1", UpdateRecipient("1", name="Anna")).asks("op-2", VoidEnvelope("Withdrawn"))
    play.expects("mutate").answers(NotSent("EDIT_LOCK_ENVELOPE_LOCKED", cause="locked"))
    behind = views.result(play.state, "op-2")

    assert "somebody else has the envelope open" in views.card(play.state)
    assert behind is not None
    assert "1 before it; somebody else has the envelope open" in behind.why


def test_summaries_are_in_the_words_of_the_trade():
    """An activity's line in the UI, without names or addresses."""
    play = Playbook.sent(an_order(TWO))
    play.asks("u", UpdateRecipient("buyer", email="new@example.com"))
    assert views.summary(play.call) == "Update recipient buyer"

    void = Playbook.sent().asks("v", VoidEnvelope("secret reason"))
    assert views.summary(void.call) == "Void the envelope"


def test_contradictions_are_on_the_card():
    """Both were reported; nobody hides it."""
    play = Playbook.sent().hears(an_event("a", (Fact("voided"),)), an_event("b"))

    assert "both completed and voided" in views.card(play.state)
    assert views.snapshot(play.state).contradictions
