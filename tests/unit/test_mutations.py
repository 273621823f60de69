"""Every (mutation, status) pair is decided, and a refusal says what is possible."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import get_args

import pytest

from sealwax.definition import Expiration, Refusal, RefusalCode, Reminders
from sealwax.facts import EnvelopeStatus, RecipientStatus
from sealwax.legality import LEGAL
from sealwax.messages import MUTATION
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    Mutation,
    Projection,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    ResendEnvelope,
    SendEnvelope,
    SetCustomFields,
    SetExpiration,
    SetReminders,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
    project,
)
from tests.builders import a_definition, a_document, a_recipient

KINDS = [kind.__dataclass_fields__["kind"].default for kind in get_args(Mutation)]
TWO = a_definition((a_recipient(), a_recipient("2", 2, "Ben")), (a_document(), a_document(2)))


def before(status: EnvelopeStatus = EnvelopeStatus.CREATED, **acted: RecipientStatus) -> Projection:
    """A draft with two documents and two signers."""
    return Projection(status, TWO, {key.removeprefix("r"): s for key, s in acted.items()})


def test_every_pair_is_decided():
    """No mutation kind and no status is missing from the table."""
    assert set(LEGAL) == set(product(KINDS, EnvelopeStatus))


def test_nothing_is_legal_once_an_envelope_is_final():
    """Final means final."""
    final = ("rejected", "deleted", "declined", "voided", "completed")
    assert not any(LEGAL[kind, status] for kind in KINDS for status in final)


def test_a_refusal_names_the_status_and_what_is_possible():
    """The message is enough to go on."""
    with pytest.raises(Refusal) as refused:
        project(before(EnvelopeStatus.CREATED), VoidEnvelope("no"))

    assert refused.value.code is RefusalCode.ILLEGAL_IN_STATUS
    assert "void is not possible while the envelope is created" in str(refused.value)
    assert "discard" in str(refused.value)


@pytest.mark.parametrize(
    ("mutation", "code"),
    [
        (AddDocuments(()), RefusalCode.EMPTY_DOCUMENTS),
        (AddDocuments((a_document(1),)), RefusalCode.DUPLICATE_ID),
        (ReplaceDocument(a_document(9)), RefusalCode.UNKNOWN_DOCUMENT),
        (RemoveDocuments((9,)), RefusalCode.UNKNOWN_DOCUMENT),
        (RemoveDocuments((1, 2)), RefusalCode.EMPTY_DOCUMENTS),
        (AddRecipients((a_recipient("1"),)), RefusalCode.DUPLICATE_ID),
        (UpdateRecipient("9", name="X"), RefusalCode.UNKNOWN_RECIPIENT),
        (UpdateRecipient("1"), RefusalCode.BAD_INPUT),
        (UpdateRecipient("1", email="nobody"), RefusalCode.BAD_EMAIL),
        (RemoveRecipients(("1", "2")), RefusalCode.EMPTY_RECIPIENTS),
        (ReorderRouting({"9": 1}), RefusalCode.UNKNOWN_RECIPIENT),
        (ReorderRouting({"1": -1}), RefusalCode.BAD_ROUTING_ORDER),
        (ReorderRouting({}), RefusalCode.BAD_INPUT),
        (SetTabs("9", ()), RefusalCode.UNKNOWN_RECIPIENT),
        (ChangeMessage(), RefusalCode.BAD_INPUT),
        (ChangeMessage(subject=""), RefusalCode.BAD_INPUT),
        (SetReminders(0, 2), RefusalCode.BAD_INPUT),
        (SetReminders(1_000), RefusalCode.BAD_INPUT),
        (SetExpiration(0), RefusalCode.BAD_INPUT),
        (SetExpiration(5, 5), RefusalCode.BAD_INPUT),
        (SetCustomFields(), RefusalCode.BAD_INPUT),
        (SetCustomFields({"Sealwax": "x"}), RefusalCode.BAD_INPUT),
        (SetCustomFields(remove=("sealwax",)), RefusalCode.BAD_INPUT),
        (SetCustomFields({" a": "x"}), RefusalCode.BAD_INPUT),
        (SetCustomFields({"a": "x" * 101}), RefusalCode.OVERSIZE),
        (SetCustomFields({str(i): "x" for i in range(51)}), RefusalCode.OVERSIZE),
        (SetCustomFields(remove=("a",)), RefusalCode.BAD_INPUT),
        (ResendEnvelope(), RefusalCode.ILLEGAL_IN_STATUS),
    ],
)
def test_a_mutation_that_makes_no_sense_is_refused(mutation: Mutation, code: RefusalCode):
    """Each defect has its code."""
    with pytest.raises(Refusal) as refused:
        project(before(), mutation)

    assert refused.value.code is code


def test_who_has_signed_can_no_longer_be_changed():
    """Facts of a recipient's progress count in legality."""
    with pytest.raises(Refusal) as refused:
        project(
            before(EnvelopeStatus.SENT, r1=RecipientStatus.COMPLETED),
            UpdateRecipient("1", name="Late"),
        )

    assert refused.value.code is RefusalCode.RECIPIENT_HAS_ACTED


def test_a_projection_holds_what_the_mutation_leaves():
    """Definition and status, one after the other."""
    state = project(before(), ReorderRouting({"1": 2, "2": 1}))
    state = project(state, RemoveDocuments((2,)))
    state = project(state, SendEnvelope())
    state = project(state, CorrectEnvelope("New", None, (UpdateRecipient("1", name="Anna"),)))

    assert [(r.name, r.routing_order) for r in state.definition.recipients] == [
        ("Anna", 2),
        ("Ben", 1),
    ]
    assert [d.document_id for d in state.definition.documents] == [1]
    assert (state.definition.subject, state.status) == ("New", EnvelopeStatus.SENT)


@pytest.mark.parametrize(
    "mutation",
    [
        AddRecipients((a_recipient("3"),)),
        CorrectEnvelope("S", None, (UpdateRecipient("1", name="N"),)),
        ReorderRouting({"1": 2}),
        VoidEnvelope("no"),
    ],
)
def test_a_mutation_survives_its_journey_as_json(mutation: Mutation):
    """What is read back is what was asked, by its kind."""
    assert MUTATION.validate_json(MUTATION.dump_json(mutation)) == mutation


def test_settings_are_projected_and_fields_can_be_taken_out_again():
    """What is set stands in the definition; 0 and 0 days of reminders is a setting, too."""
    state = project(before(), SetCustomFields({"a": "1", "b": "2"}))
    state = project(state, SetCustomFields({"b": "3"}, remove=("a",)))
    state = project(state, SetReminders(0))
    state = project(state, SetExpiration(30, 5))

    assert [(f.name, f.value) for f in state.definition.custom_fields] == [("b", "3")]
    assert (state.definition.reminders, state.definition.expiration) == (
        Reminders(0),
        Expiration(30, 5),
    )


def test_a_resend_reaches_those_who_may_still_be_mailed():
    """One who signs in the application gets no mail, one who has signed needs none."""
    signed = before(EnvelopeStatus.SENT, r1=RecipientStatus.COMPLETED)
    embedded = replace(a_recipient(), client_user_id="u-1")
    inside = Projection(EnvelopeStatus.SENT, a_definition((embedded,)))

    with pytest.raises(Refusal) as acted:
        project(signed, ResendEnvelope(("1",)))
    with pytest.raises(Refusal) as here:
        project(inside, ResendEnvelope(("1",)))

    assert acted.value.code is RefusalCode.RECIPIENT_HAS_ACTED
    assert "signing session" in str(here.value)
