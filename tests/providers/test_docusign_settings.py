"""Reminders, end, custom fields, resends and the trail of mails, in DocuSign's operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwax.calls import Applied
from sealwax.definition import CustomField, Expiration, Reminders
from sealwax.facts import EnvelopeStatus
from sealwax.mutations import (
    Mutation,
    ResendEnvelope,
    SetCustomFields,
    SetExpiration,
    SetReminders,
)
from sealwax.observations import MailTrail, Observation
from sealwax.providers.base import Answer
from sealwax.providers.docusign import DocuSignAdapter
from tests.providers.conversations import Driven, answer, drive
from tests.providers.samples import DEFINITION, change, new_envelope

ADAPTER = DocuSignAdapter()
EMPTY = answer({})
DEFAULTS = {
    "useAccountDefaults": "true",
    "reminders": {"reminderEnabled": "false", "reminderDelay": "0", "reminderFrequency": "0"},
    "expirations": {"expireEnabled": "true", "expireAfter": "120", "expireWarn": "0"},
}


def mutate(mutation: Mutation, *answers: Answer) -> Driven[Applied]:
    return drive(ADAPTER.mutate("e-1", change(mutation, EnvelopeStatus.SENT), {}), *answers)


def seen(extra: Any, *answers: Answer) -> Observation:
    return drive(ADAPTER.read("e-1", False, extra), *answers).returned


def test_reminders_are_set_and_the_end_stays() -> None:
    """One call replaces both, so the other half is read and sent back as it was."""
    body = mutate(SetReminders(3, 2), answer(DEFAULTS), EMPTY).requests[-1].json
    assert body == {
        "useAccountDefaults": "false",
        "reminders": {"reminderEnabled": "true", "reminderDelay": "3", "reminderFrequency": "2"},
        "expirations": DEFAULTS["expirations"],
    }


def test_reminders_are_switched_off() -> None:
    """Zero and zero is never."""
    body = mutate(SetReminders(0), answer(DEFAULTS), EMPTY).requests[-1].json
    assert body["reminders"]["reminderEnabled"] == "false"


def test_the_end_is_set_and_the_reminders_stay() -> None:
    """The other way round."""
    body = mutate(SetExpiration(30, 5), answer(DEFAULTS), EMPTY).requests[-1].json
    ends = {"expireEnabled": "true", "expireAfter": "30", "expireWarn": "5"}
    assert (body["expirations"], body["reminders"]) == (ends, DEFAULTS["reminders"])


def test_custom_fields_are_made_by_the_difference() -> None:
    """Removed and doubled ones are deleted by id, others changed by id, only new ones posted; our
    own mark is left alone, as is one that stands as wanted."""
    held = [
        {"fieldId": "1", "name": "sealwax", "value": "mark"},
        {"fieldId": "2", "name": "office", "value": "Chur"},
        {"fieldId": "3", "name": "office", "value": "Bern"},
        {"fieldId": "4", "name": "old", "value": "x"},
        {"fieldId": "5", "name": "same", "value": "y"},
    ]
    definition = replace(DEFINITION, custom_fields=(CustomField("old", "x"),))
    wanted = SetCustomFields({"office": "Bern", "matter": "4711", "same": "y"}, ("old",))
    call = change(wanted, EnvelopeStatus.SENT, definition)
    answers = [answer({"textCustomFields": held}), EMPTY, EMPTY, answer({}, 201)]
    driven = drive(ADAPTER.mutate("e-1", call, {}), *answers)
    assert [r.method for r in driven.requests] == ["GET", "DELETE", "PUT", "POST"]
    gone, changed, new = (r.json["textCustomFields"] for r in driven.requests[1:])
    assert gone == [{"fieldId": "4"}, {"fieldId": "3"}]
    assert [(e["fieldId"], e["value"]) for e in changed] == [("2", "Bern")]
    assert [(e["name"], e["value"]) for e in new] == [("matter", "4711")]


def test_a_resend_names_nobody_or_those_wanted() -> None:
    """Without an e-mail address, which would be a correction."""
    (everybody,) = mutate(ResendEnvelope(), EMPTY).requests
    assert (everybody.path, everybody.json) == ("/envelopes/e-1", {})
    (some,) = mutate(ResendEnvelope(("ann",)), EMPTY).requests
    assert (some.path, some.json) == (
        "/envelopes/e-1/recipients",
        {"signers": [{"recipientId": "1", "name": "Ann Alder"}]},
    )
    assert everybody.query == some.query == {"resend_envelope": "true"}


def test_a_create_brings_them_all() -> None:
    """In its one body, beside our mark."""
    new = new_envelope()
    definition = replace(
        DEFINITION, reminders=Reminders(3), custom_fields=(CustomField("matter", "4711"),)
    )
    new = replace(new, call=replace(new.call, definition=definition))
    body = drive(ADAPTER.create(new), answer({"envelopeId": "e-1"}, 201)).requests[0].json
    assert body["notification"] == {
        "useAccountDefaults": "false",
        "reminders": {"reminderEnabled": "true", "reminderDelay": "3", "reminderFrequency": "0"},
    }
    fields = body["customFields"]["textCustomFields"]
    assert [f["name"] for f in fields] == ["sealwax", "matter"]


def test_a_look_reads_what_was_asked_for_besides() -> None:
    """The notification by one more request; custom fields come with every read, without ours."""
    envelope = answer(
        {
            "status": "sent",
            "customFields": {
                "textCustomFields": [
                    {"name": "sealwax", "value": "mark"},
                    {"name": "matter", "value": "4711"},
                ]
            },
        }
    )
    shown = seen("notification", envelope, answer(DEFAULTS))
    assert (shown.reminders, shown.expiration) == (Reminders(0), Expiration(120))
    assert shown.custom_fields == {"matter": ("4711",)}
    assert seen("", envelope).reminders is None


@pytest.mark.parametrize(
    ("actions", "trail"),
    [
        (["Registered", "Sent Invitations", "Viewed", "Resent"], MailTrail(2, 0)),
        (["Registered", "Corrected", "Something New"], MailTrail(0, 1)),
        ([], MailTrail(0, 0)),
    ],
)
def test_the_trail_of_mails_counts_known_words_and_owns_up_to_others(
    actions: list[str], trail: MailTrail
) -> None:
    """An action that nobody has described might be a mail."""
    fields = [[{"name": "Source", "value": "api"}, {"name": "Action", "value": a}] for a in actions]
    history = {"auditEvents": [{"eventFields": f} for f in fields]}
    assert seen("mails", answer({"status": "sent"}), answer(history)).mails == trail


def test_a_history_that_may_not_be_read_is_no_trail() -> None:
    """Then a look cannot tell, which is not the same as that nothing was mailed."""
    refused = answer({"errorCode": "NOT_FOR_YOU", "message": "no"}, 400)
    assert seen("mails", answer({"status": "sent"}), refused).mails is None
