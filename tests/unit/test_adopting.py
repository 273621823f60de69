"""Laws of adoption: an envelope made elsewhere is read, never made, and is then as any other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealwax import keys
from sealwax.calls import Done, NotSent, Observed, Read, Rejected
from sealwax.carrying import carried
from sealwax.definition import Definition, Refusal, RefusalCode
from sealwax.envelope import Order, check_order, waiting_on
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import VoidEnvelope
from sealwax.observations import Observation
from sealwax.providers.docusign_shapes import definition_of
from tests.builders import ENVELOPE_ID, a_definition, an_event, an_observation
from tests.playbook import Playbook

ORDER = Order(
    "acme", f"adopted-{ENVELOPE_ID}", Definition(subject=""), adopted_envelope_id=ENVELOPE_ID
)


def seen(status: EnvelopeStatus = EnvelopeStatus.SENT) -> Observation:
    """What the first read shows."""
    return replace(an_observation(status), definition=a_definition())


def adopting() -> Playbook:
    play = Playbook(ORDER).registers()
    assert play.expects("read").call == Read("adopt", with_tabs=True, extra="definition")
    return play


def test_it_is_read_and_then_bound_and_nothing_is_made():
    play = adopting().answers(Observed(seen())).expects("bind").answers(Done()).rests()
    state = play.state
    assert (state.status, state.revision) == (EnvelopeStatus.SENT, 1)
    assert state.definition == a_definition()
    assert state.provider_envelope_id == ENVELOPE_ID
    assert waiting_on(state) == ("1",)
    assert not play.wake_at


def test_it_follows_webhooks_to_its_end_and_archives_as_any_other():
    play = adopting().answers(Observed(seen())).expects("bind").answers(Done())
    play.hears(an_event()).passes(play.state.timing.close_settle_s)
    play.expects("read").answers(Observed(an_observation(EnvelopeStatus.COMPLETED)))
    play.expects("archive")


def test_a_change_asked_for_before_the_read_waits_for_it_and_is_judged_by_what_it_shows():
    play = adopting().asks("v-1", VoidEnvelope("by mistake"))
    play.answers(Observed(seen())).expects("bind").answers(Done()).expects("mutate")
    over = adopting().asks("v-1", VoidEnvelope("by mistake"))
    over.answers(Observed(seen(EnvelopeStatus.COMPLETED))).expects("bind")
    assert over.answer("v-1").state == "refused"


def test_what_was_heard_before_the_read_counts():
    """A webhook that went by the envelope's id while the read was under way."""
    play = adopting().hears(an_event()).answers(Observed(seen()))
    assert play.state.status is EnvelopeStatus.COMPLETED


def test_an_envelope_that_is_not_there_ends_rejected_and_is_bound_to_nobody():
    play = adopting().answers(Rejected("ENVELOPE_DOES_NOT_EXIST", "no such envelope"))
    play.expects("close").answers(Done())
    assert play.finished
    assert play.state.status is EnvelopeStatus.REJECTED
    assert "ENVELOPE_DOES_NOT_EXIST" in play.state.timeline[-2].text


def test_an_envelope_of_another_workflow_is_left_to_it():
    play = adopting().answers(Observed(seen())).expects("bind")
    play.answers(Rejected("BoundElsewhere", "it is bound to another", needs_person=True))
    play.expects("close").answers(Done())
    assert play.state.status is EnvelopeStatus.REJECTED


def test_an_outage_postpones_it_and_a_missing_right_asks_a_person():
    play = adopting().answers(NotSent("no route", cause="transient")).rests()
    play.passes(60).expects("read")
    play.answers(Rejected("USER_LACKS_PERMISSIONS", "no", needs_person=True)).rests()
    play.decides("give_up").expects("close")


def test_a_second_life_of_it_reads_again():
    """Temporal forgot the first run, and the registry knows the envelope."""
    play = Playbook(ORDER).registers(ENVELOPE_ID).expects("read")
    play.answers(Observed(seen())).expects("bind").answers(Done()).rests()


def test_it_survives_a_new_run_before_and_after_the_read():
    play = adopting()
    assert carried(play.state).adopting
    play.answers(Observed(seen()))
    assert not carried(play.state).adopting
    assert carried(play.state).definition == a_definition()


@pytest.mark.parametrize("bad", ["with space", "a/b", "x" * 101, "../7", "ä", "a\n"])
def test_what_cannot_be_an_envelope_id_is_refused_at_the_door(bad: str):
    with pytest.raises(Refusal) as refused:
        check_order(replace(ORDER, adopted_envelope_id=bad))
    assert refused.value.code is RefusalCode.BAD_INPUT


def test_one_envelope_has_one_key_however_its_id_is_written():
    assert keys.adopted_key(ENVELOPE_ID.upper()) == keys.adopted_key(ENVELOPE_ID)


def test_the_definition_is_what_the_provider_shows():
    """Recipients of kinds that we do not make count by whether they sign."""
    shown = {
        "emailSubject": "Lease",
        "emailBlurb": "Dear all",
        "envelopeDocuments": [{"documentId": "1", "name": "Lease"}, {"documentId": "certificate"}],
        "recipients": {
            "signers": [
                {
                    "recipientId": "7",
                    "name": "Ana",
                    "email": "ana@example.com",
                    "routingOrder": "2",
                    "tabs": {"signHereTabs": [{"tabLabel": "here", "documentId": "1"}]},
                }
            ],
            "certifiedDeliveries": [{"recipientId": "8", "name": "Cy", "email": "cy@example.com"}],
            "recipientCount": "2",
        },
        "customFields": {"textCustomFields": [{"name": "po", "value": "17"}]},
    }
    made = definition_of(shown, {"reminders": {"reminderEnabled": "true", "reminderDelay": "3"}})
    assert [(d.document_id, d.name, d.blob.digest) for d in made.documents] == [(1, "Lease", "")]
    assert [(r.recipient_id, r.kind, r.routing_order) for r in made.recipients] == [
        ("7", "signer", 2),
        ("8", "carbon_copy", 0),
    ]
    assert [(t.kind, t.label, t.document_id) for t in made.recipients[0].tabs] == [
        ("sign_here", "here", 1)
    ]
    assert made.reminders is not None
    assert made.reminders.first_after_days == 3
    assert [(f.name, f.value) for f in made.custom_fields] == [("po", "17")]


def test_a_fact_of_the_adopted_envelope_is_laid_to_its_recipient():
    play = adopting().answers(Observed(seen())).expects("bind").answers(Done())
    signed = Fact("completed", recipient="1", incarnation="guid-1")
    play.hears(an_event("recipient-completed", (signed,), recipient="1"))
    assert play.rests().state.timeline[-1].text == "webhook recipient-completed (1)"
