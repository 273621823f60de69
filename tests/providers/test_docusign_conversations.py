"""Each mutation becomes DocuSign's operations, in declared keys, naming only what it changes."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest

from sealwax.calls import Applied
from sealwax.definition import Tab, TabKind
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    CreateEnvelope,
    DiscardDraft,
    Mutation,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)
from sealwax.providers.base import Answer, OutcomeUnknown, ProviderRejected, Request
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.docusign_shapes import held_tabs, tab_json
from tests.providers.conversations import Driven, answer, drive, problems
from tests.providers.samples import (
    DEE,
    DEFINITION,
    change,
    contents,
    document,
    new_envelope,
    pdf,
    sign_here,
)

ADAPTER = DocuSignAdapter()
SENT = EnvelopeStatus.SENT
EMPTY = answer({})


def mutate(
    mutation: Mutation,
    *answers: Answer,
    status: EnvelopeStatus = EnvelopeStatus.CREATED,
    before: Any = DEFINITION,
    bring: dict[str, bytes] | None = None,
) -> Driven[Applied]:
    call = change(mutation, status, before)
    return drive(ADAPTER.mutate("e-1", call, bring or {}), *answers)


def test_create_makes_a_draft_that_can_be_found_again() -> None:
    """The body carries transaction id, hidden marker, bytes, routing and tabs as strings."""
    new = new_envelope("https://hooks.example.com/t")
    created = {"envelopeId": "e-1", "status": "created", "statusDateTime": "2026-01-02T03:04:05.6Z"}
    driven = drive(ADAPTER.create(new), answer(created, 201))
    assert driven.asked == [("POST", "/envelopes")]
    assert driven.requests[0].mutating
    body = driven.requests[0].json
    assert body["status"] == "created"
    assert body["transactionId"] == new.call.transaction_id
    assert body["customFields"]["textCustomFields"] == [
        {"name": "sealwax", "value": new.call.marker, "show": "false", "required": "false"}
    ]
    assert base64.b64decode(body["documents"][0]["documentBase64"]) == pdf("Lease")
    ann, bob = body["recipients"]["signers"]
    assert (ann["recipientId"], ann["routingOrder"]) == ("1", "1")
    assert ann["tabs"]["signHereTabs"][0]["xPosition"] == "100"
    assert "clientUserId" not in ann
    assert bob["clientUserId"] == "u-bob"
    assert [r["recipientId"] for r in body["recipients"]["carbonCopies"]] == ["3"]
    assert body["eventNotification"]["url"] == "https://hooks.example.com/t"
    assert driven.returned.provider_envelope_id == "e-1"
    assert [f.status for f in driven.returned.facts] == ["created"]


def test_without_a_webhook_url_the_account_s_own_connect_serves() -> None:
    """No eventNotification is asked for where no URL is given."""
    driven = drive(ADAPTER.create(new_envelope()), answer({"envelopeId": "e-1"}, 201))
    assert "eventNotification" not in driven.requests[0].json


@pytest.mark.parametrize("body", [{}, {"status": "processing"}, b"", b"<html>", []])
def test_a_create_without_an_envelope_id_is_unknown(body: Any) -> None:
    """An answer that does not name the envelope may still have made one."""
    with pytest.raises(OutcomeUnknown):
        drive(ADAPTER.create(new_envelope()), answer(body, 201))


@pytest.mark.parametrize(
    ("mutation", "status", "body", "fact"),
    [
        (SendEnvelope(), EnvelopeStatus.CREATED, {"status": "sent"}, "sent"),
        (VoidEnvelope("late"), SENT, {"status": "voided", "voidedReason": "late"}, "voided"),
    ],
)
def test_send_and_void_are_one_guarded_put(
    mutation: Mutation, status: EnvelopeStatus, body: dict[str, str], fact: str
) -> None:
    """One request, whose answer is the fact of the new status."""
    driven = mutate(mutation, answer({"envelopeId": "e-1"}), status=status)
    assert driven.asked == [("PUT", "/envelopes/e-1")]
    assert driven.requests[0].json == body
    assert driven.returned.facts == (Fact(fact),)


def test_a_draft_is_discarded_into_the_bin() -> None:
    """There is no DELETE of an envelope."""
    driven = mutate(DiscardDraft(), EMPTY)
    assert driven.asked == [("PUT", "/folders/recyclebin")]
    assert driven.requests[0].json == {"envelopeIds": ["e-1"]}
    assert driven.returned.facts == (Fact("deleted", mark=""),)


def test_documents_are_added_in_one_request_and_removed_by_id() -> None:
    """Adding carries the bytes, removing the ids as strings."""
    two = document(2, "annex.docx", "Annex")
    added = mutate(AddDocuments((two,)), EMPTY, bring=contents("Annex"))
    assert added.asked == [("PUT", "/envelopes/e-1/documents")]
    assert added.requests[0].json["documents"][0]["documentId"] == "2"
    before = replace(DEFINITION, documents=(*DEFINITION.documents, two))
    removed = mutate(RemoveDocuments((2,)), EMPTY, before=before)
    assert removed.asked == [("DELETE", "/envelopes/e-1/documents")]
    assert removed.requests[0].json == {"documents": [{"documentId": "2"}]}


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("lease 2.pdf", 'filename="lease 2.pdf"'),
        ('a"b\r\nX: y', "filename=\"a_b__X: y\"; filename*=UTF-8''a%22b%0D%0AX%3A%20y"),
        ("Übergabe.pdf", "filename=\"_bergabe.pdf\"; filename*=UTF-8''%C3%9Cbergabe.pdf"),
    ],
)
def test_a_document_is_replaced_by_its_raw_bytes(name: str, disposition: str) -> None:
    """The bytes go as they are; whatever the name, the header stays one line of ASCII."""
    driven = mutate(ReplaceDocument(document(1, name, "New")), EMPTY, bring=contents("New"))
    assert driven.asked == [("PUT", "/envelopes/e-1/documents/1")]
    request = driven.requests[0]
    assert request.content == pdf("New")
    assert request.headers["Content-Disposition"] == disposition
    assert request.headers["Content-Type"] == "application/pdf"


def test_an_update_sends_only_what_changes() -> None:
    """An e-mail address that is given mails a correction, so the same one is never given."""
    shown = {"recipientUpdateResults": [{"recipientId": "1", "recipientIdGuid": "g-1"}]}
    same = UpdateRecipient("ann", name="Ann Ash", email="ann@example.com")
    driven = mutate(same, answer(shown))
    assert driven.asked == [("PUT", "/envelopes/e-1/recipients")]
    assert driven.requests[0].json == {"signers": [{"recipientId": "1", "name": "Ann Ash"}]}
    assert driven.returned.incarnations == {"1": "g-1"}
    new = UpdateRecipient("cy", email="cy@example.org", routing_order=2)
    driven = mutate(new, answer(shown))
    assert driven.requests[0].json == {
        "carbonCopies": [
            {
                "recipientId": "3",
                "name": "Cy Cedar",
                "email": "cy@example.org",
                "routingOrder": "2",
            }
        ]
    }


def test_reordering_is_one_request() -> None:
    """All orders change together, and no address is mentioned."""
    driven = mutate(ReorderRouting({"ann": 2, "bob": 1}), EMPTY)
    assert driven.requests[0].json == {
        "signers": [
            {"recipientId": "1", "name": "Ann Alder", "routingOrder": "2"},
            {"recipientId": "2", "name": "Bob Birch", "routingOrder": "1"},
        ]
    }


def test_recipients_are_removed_under_the_key_of_their_kind() -> None:
    """One DELETE with a body, signers and copies apart; nothing of the answer is taken for new."""
    shown = {"signers": [{"recipientId": "2", "recipientIdGuid": "g-2"}]}
    driven = mutate(RemoveRecipients(("bob", "cy")), answer(shown))
    assert driven.asked == [("DELETE", "/envelopes/e-1/recipients")]
    assert driven.requests[0].json == {
        "signers": [{"recipientId": "2"}],
        "carbonCopies": [{"recipientId": "3"}],
    }
    assert driven.returned.incarnations == {}


def test_added_recipients_get_their_tabs_afterwards() -> None:
    """Tabs in the body of a POST of recipients are ignored by the service."""
    shown = {"signers": [{"recipientId": "4", "recipientIdGuid": "g-4"}]}
    driven = mutate(AddRecipients((DEE,)), answer(shown, 201), answer({}, 201))
    assert driven.asked == [
        ("POST", "/envelopes/e-1/recipients"),
        ("POST", "/envelopes/e-1/recipients/4/tabs"),
    ]
    assert "tabs" not in driven.requests[0].json["signers"][0]
    assert driven.requests[1].json["signHereTabs"][0]["tabLabel"] == "dee"
    assert driven.returned.incarnations == {"4": "g-4"}


def test_in_process_a_recipient_whose_turn_has_come_is_moved_there_and_mailed_at_once() -> None:
    """Added behind everybody, given tabs, then put in place by the request that mails: so that a
    recipient in place is one who was mailed."""
    shown = answer({"signers": [], "currentRoutingOrder": "1"})
    made = [answer({}, 201), answer({}, 201), EMPTY]
    driven = mutate(AddRecipients((DEE,)), shown, *made, status=SENT)
    operations = [r.operation for r in driven.requests]
    assert operations == [
        "Recipients_GetRecipients",
        "Recipients_PostRecipients",
        "Recipients_PostRecipientTabs",
        "Recipients_PutRecipients",
    ]
    assert driven.requests[1].json["signers"][0]["routingOrder"] == "4"
    last = driven.requests[-1]
    assert last.query == {"resend_envelope": "true"}
    moved = {"recipientId": "4", "name": "Dee Dogwood", "routingOrder": "1"}
    assert last.json == {"signers": [moved]}


def test_in_process_a_recipient_whose_turn_is_to_come_is_added_in_place() -> None:
    """The provider mails them itself when their turn comes."""
    shown = answer({"signers": [], "currentRoutingOrder": "0"})
    driven = mutate(AddRecipients((DEE,)), shown, answer({}, 201), answer({}, 201), status=SENT)
    assert driven.requests[1].json["signers"][0]["routingOrder"] == "1"
    assert driven.requests[-1].operation == "Recipients_PostRecipientTabs"


def test_who_was_reached_behind_is_moved_without_a_second_mail() -> None:
    """A further attempt after all others had signed: the provider has mailed already."""
    dee = {"recipientId": "4", "routingOrder": "4", "status": "sent"}
    shown = answer({"signers": [{**dee, "tabs": {}}], "currentRoutingOrder": "4"})
    call = replace(change(AddRecipients((DEE,)), SENT), attempt=2)
    driven = drive(ADAPTER.mutate("e-1", call, {}), shown, answer({}, 201), EMPTY)
    assert (driven.requests[-1].operation, driven.requests[-1].query) == (
        "Recipients_PutRecipients",
        {},
    )


def test_setting_tabs_makes_the_difference_only() -> None:
    """Gone ones are deleted and changed ones put, both by id; only new ones are posted."""
    held = {
        "signHereTabs": [
            {"tabId": "t1", **tab_json(sign_here("keep"))},
            {"tabId": "t2", **tab_json(sign_here("move", x=1))},
            {"tabId": "t3", **tab_json(sign_here("drop"))},
        ],
        "dateTabs": [{"tabId": "t4", "tabLabel": "a kind of its own"}],
    }
    text = Tab(TabKind.TEXT, "rent", document_id=1, value="900")
    wanted = SetTabs("ann", (sign_here("keep"), sign_here("move", x=2), text))
    driven = mutate(wanted, answer(held), EMPTY, EMPTY, answer({}, 201))
    path = "/envelopes/e-1/recipients/1/tabs"
    assert driven.asked == [("GET", path), ("DELETE", path), ("PUT", path), ("POST", path)]
    assert driven.requests[1].json == {"signHereTabs": [{"tabId": "t3"}]}
    moved = {"tabId": "t2", **tab_json(sign_here("move", x=2))}
    assert driven.requests[2].json == {"signHereTabs": [moved]}
    assert driven.requests[3].json == {"textTabs": [tab_json(text)]}


def test_setting_the_tabs_that_stand_changes_nothing() -> None:
    """A repeat of a mutation that landed is a read, numbers compared as strings."""
    held = {"signHereTabs": [{"tabId": "t1", **tab_json(sign_here()), "xPosition": 100}]}
    driven = mutate(SetTabs("ann", (sign_here(),)), answer(held))
    assert [r.mutating for r in driven.requests] == [False]


def test_a_tab_that_leaves_its_anchor_is_replaced() -> None:
    """An anchor cannot be unset by a change; several occurrences of it are one tab of ours."""
    anchored = Tab(TabKind.SIGN_HERE, "sign", document_id=1, anchor="Sign:")
    twice = {"signHereTabs": [{"tabId": t, **tab_json(anchored)} for t in ("t1", "t2")]}
    same = mutate(SetTabs("ann", (anchored,)), answer(twice))
    assert len(same.requests) == 1
    one = {"signHereTabs": twice["signHereTabs"][:1]}
    moved = mutate(SetTabs("ann", (sign_here(),)), answer(one), EMPTY, answer({}, 201))
    assert [r.method for r in moved.requests] == ["GET", "DELETE", "POST"]


def test_tabs_are_shown_by_kind_and_label() -> None:
    """Kinds that we do not know are left alone."""
    shown = {"textTabs": [{"tabLabel": "rent"}], "listTabs": [{"tabLabel": "floor"}]}
    assert set(held_tabs(shown)) == {(TabKind.TEXT, "rent")}


def test_texts_change_on_a_draft_directly_and_in_process_by_an_advanced_update() -> None:
    """Only what was asked to change is in the body."""
    draft = mutate(ChangeMessage(subject="New"), EMPTY)
    assert draft.requests[0].json == {"emailSubject": "New"}
    assert draft.requests[0].query == {}
    correction = CorrectEnvelope(message="", recipients=(UpdateRecipient("ann", name="A. Ash"),))
    sent = mutate(correction, EMPTY, status=SENT)
    assert sent.requests[0].query == {"advanced_update": "true"}
    assert sent.requests[0].json == {
        "emailBlurb": "",
        "recipients": {"signers": [{"recipientId": "1", "name": "A. Ash"}]},
    }


def test_an_item_s_error_in_a_success_is_a_rejection() -> None:
    """Success with ``recipientUpdateResults[].errorDetails`` did not change that recipient."""
    failed = {
        "recipientUpdateResults": [
            {"recipientId": "1", "errorDetails": {"errorCode": "SUCCESS", "message": ""}},
            {
                "recipientId": "2",
                "errorDetails": {"errorCode": "RECIPIENT_UPDATE_FAILED", "message": "has signed"},
            },
        ]
    }
    with pytest.raises(ProviderRejected, match="has signed") as caught:
        mutate(UpdateRecipient("bob", name="B"), answer(failed))
    assert caught.value.code == "RECIPIENT_UPDATE_FAILED"


def test_an_envelope_id_cannot_leave_its_place_in_the_path() -> None:
    """Ids are quoted."""
    call = change(SendEnvelope())
    request = next(ADAPTER.mutate("../x?y", call, {}))
    assert request.path == "/envelopes/..%2Fx%3Fy"


def test_a_create_is_no_mutation_of_an_envelope() -> None:
    """The adapter refuses to mutate by a create."""
    call = replace(change(SendEnvelope()), mutation=CreateEnvelope(DEFINITION))
    with pytest.raises(ValueError, match="of its own"):
        ADAPTER.mutate("e-1", call, {})


def test_a_misspelt_key_fails_the_check() -> None:
    """The check of every request above can fail."""
    request = next(ADAPTER.create(new_envelope()))
    assert problems(request) == []
    body = {**request.json, "emailSubjekt": request.json["emailSubject"]}
    assert len(problems(replace(request, json=body))) == 1
    tab = {"xPositon": "1"}
    wrong = Request("Recipients_PostRecipientTabs", "POST", "/envelopes/e/recipients/1/tabs")
    assert len(problems(replace(wrong, json={"signHereTabs": [tab]}))) == 1
    assert len(problems(replace(wrong, operation="Recipients_PutRecipientTabs"))) == 1
