"""What may be changed, in which state, and what a correction does."""

from __future__ import annotations

import pytest

from tests.simulator.desk import Desk, document, person, sha256


async def test_a_repeated_recipient_id_is_a_new_incarnation(desk: Desk) -> None:
    """Deleting and adding the same recipientId mints a new guid and leaves a tombstone."""
    envelope = await desk.create(person("1"), person("2", 2))
    old = (await desk.truth(envelope))["recipients"][1]["recipientIdGuid"]
    await desk.ok("DELETE", f"/envelopes/{envelope}/recipients/2")
    await desk.ok("POST", f"/envelopes/{envelope}/recipients", {"signers": [person("2", 2)]})
    truth = await desk.truth(envelope)
    assert truth["recipients"][1]["recipientIdGuid"] != old
    assert [r["recipientIdGuid"] for r in truth["removedRecipients"]] == [old]


@pytest.mark.parametrize(
    ("change", "same", "mails"),
    [
        ({"name": "New Name"}, True, 0),
        ({"email": "signer1@example.com"}, True, 1),
        ({"email": "other@example.com"}, False, 1),
    ],
)
async def test_giving_an_address_mails_and_a_new_address_is_a_new_person(
    desk: Desk, change: dict[str, str], same: bool, mails: int
) -> None:
    envelope = await desk.create(person("1"))
    before = (await desk.truth(envelope))["recipients"][0]["recipientIdGuid"]
    body = {"signers": [{"recipientId": "1", **change}]}
    answer = await desk.ok("PUT", f"/envelopes/{envelope}/recipients", body)
    assert "errorDetails" not in answer["recipientUpdateResults"][0]
    after = (await desk.truth(envelope))["recipients"][0]
    assert (after["recipientIdGuid"] == before) is same
    assert after["status"] == "sent"
    assert len((await desk.ledger())["mails"]) == 1 + mails


async def test_a_correction_reports_each_recipient_in_a_200(desk: Desk) -> None:
    """Who has signed cannot be corrected; the others are, in the same call."""
    envelope = await desk.create(person("1"), person("2"))
    await desk.act(envelope, "1", "sign")
    changes = [{"recipientId": r, "name": "Changed"} for r in ("1", "2", "7")]
    answer = await desk.ok("PUT", f"/envelopes/{envelope}/recipients", {"signers": changes})
    codes = [r.get("errorDetails", {}).get("errorCode") for r in answer["recipientUpdateResults"]]
    assert codes == ["RECIPIENT_UPDATE_FAILED", None, "UNKNOWN_ENVELOPE_RECIPIENT"]
    names = [r["name"] for r in (await desk.truth(envelope))["recipients"]]
    assert names == ["Signer 1", "Changed"]


async def test_an_unknown_recipient_is_added_to_a_draft(desk: Desk) -> None:
    draft = await desk.create(status="created")
    await desk.ok("PUT", f"/envelopes/{draft}/recipients", {"signers": [person("2")]})
    assert [r["recipientId"] for r in (await desk.truth(draft))["recipients"]] == ["1", "2"]


async def test_tabs_given_with_added_recipients_are_ignored(desk: Desk) -> None:
    """Only the create and the tabs operations set tabs."""
    tabs = {"signHereTabs": [{"tabLabel": "here"}]}
    envelope = await desk.create(person("1", tabs=tabs))
    body = {"signers": [person("2", tabs=tabs)]}
    await desk.ok("POST", f"/envelopes/{envelope}/recipients", body)
    recipients = (await desk.truth(envelope))["recipients"]
    assert [len(r["tabs"]) for r in recipients] == [1, 0]


async def test_adding_tabs_twice_makes_two(desk: Desk) -> None:
    path = f"/envelopes/{await desk.create()}/recipients/1/tabs"
    for _ in range(2):
        added = await desk.ok("POST", path, {"signHereTabs": [{"tabLabel": "here"}]})
    tab_id = added["signHereTabs"][0]["tabId"]
    assert len((await desk.ok("GET", path))["signHereTabs"]) == 2
    await desk.ok("PUT", path, {"signHereTabs": [{"tabId": tab_id, "tabLabel": "there"}]})
    await desk.ok("DELETE", path, {"signHereTabs": [{"tabId": tab_id}]})
    assert [t["tabLabel"] for t in (await desk.ok("GET", path))["signHereTabs"]] == ["here"]


async def test_who_has_acted_cannot_be_deleted(desk: Desk) -> None:
    envelope = await desk.create(person("1"), person("2"))
    await desk.act(envelope, "1", "sign")
    path = f"/envelopes/{envelope}/recipients"
    assert await desk.refused("DELETE", f"{path}/1") == "RECIPIENT_UPDATE_FAILED"
    assert await desk.refused("DELETE", f"{path}/9") == "UNKNOWN_ENVELOPE_RECIPIENT"
    wanted = {"signers": [{"recipientId": r} for r in ("1", "2")]}
    answer = await desk.ok("DELETE", path, wanted)
    codes = [s.get("errorDetails", {}).get("errorCode") for s in answer["signers"]]
    assert codes == ["RECIPIENT_UPDATE_FAILED", None]
    assert (await desk.truth(envelope))["status"] == "completed"


async def test_a_late_addition_is_mailed_only_on_resend(desk: Desk) -> None:
    """At an order already reached a new recipient may sign at once, but gets mail on request."""
    envelope = await desk.create(person("1"))
    path = f"/envelopes/{envelope}/recipients"
    await desk.ok("POST", path, {"signers": [person("2")]})
    await desk.ok("POST", path, {"signers": [person("3")]}, query={"resend_envelope": "true"})
    assert [m["recipientId"] for m in (await desk.ledger())["mails"]] == ["1", "3"]
    assert (await desk.act(envelope, "2", "sign")).json() == {"status": "completed"}


async def test_documents_are_replaced_by_id_and_told_by_digest(desk: Desk) -> None:
    envelope = await desk.create(status="created")
    base = f"/envelopes/{envelope}/documents"
    await desk.ok("PUT", base, {"documents": [document("2", b"%PDF two")]})
    name = {"Content-Disposition": 'filename="new.pdf"', "Content-Type": "application/pdf"}
    await desk.ok("PUT", f"{base}/1", headers=name, content=b"%PDF one")
    stored = (await desk.truth(envelope))["documents"]
    assert [(d["documentId"], d["name"], d["sha256"]) for d in stored] == [
        ("1", "new.pdf", sha256(b"%PDF one")),
        ("2", "d2.pdf", sha256(b"%PDF two")),
    ]
    assert (await desk.call("GET", f"{base}/1")).content == b"%PDF one"
    await desk.ok("DELETE", base, {"documents": [{"documentId": "1"}]})
    assert [d["documentId"] for d in (await desk.truth(envelope))["documents"]] == ["2"]


async def test_a_sent_subject_changes_only_with_advanced_update(desk: Desk) -> None:
    envelope = await desk.create()
    path, body = f"/envelopes/{envelope}", {"emailSubject": "New"}
    assert await desk.refused("PUT", path, body) == "ENVELOPE_INVALID_STATUS"
    wider = {
        **body,
        "recipients": {"signers": [{"recipientId": "1", "name": "New Name"}]},
        "customFields": {"textCustomFields": [{"name": "ref", "value": "1"}]},
    }
    for _ in range(2):
        await desk.ok("PUT", path, wider, query={"advanced_update": "true"})
    truth = await desk.truth(envelope)
    assert (truth["emailSubject"], truth["customFields"]) == ("New", {"ref": "1"})
    assert truth["recipients"][0]["name"] == "New Name"
    fields = await desk.ok("GET", f"{path}/custom_fields")
    assert len(fields["textCustomFields"]) == 1


async def test_status_correct_belongs_to_the_web_session(desk: Desk) -> None:
    envelope = await desk.create()
    code = await desk.refused("PUT", f"/envelopes/{envelope}", {"status": "correct"})
    assert code == "EDIT_LOCK_NOT_LOCK_OWNER"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/recipients", {"signers": [person("5")]}),
        ("PUT", "/recipients", {"signers": [person("1")]}),
        ("DELETE", "/recipients/1", None),
        ("PUT", "/documents", {"documents": [document("2")]}),
        ("POST", "/recipients/1/tabs", {"textTabs": [{"tabLabel": "t"}]}),
        ("POST", "/custom_fields", {"textCustomFields": [{"name": "n", "value": "v"}]}),
        ("PUT", "/notification", {"reminders": {"reminderEnabled": "true"}}),
        ("PUT", "?advanced_update=true", {"emailSubject": "New"}),
        ("PUT", "?resend_envelope=true", {}),
    ],
)
async def test_a_finished_envelope_takes_no_change(
    desk: Desk, method: str, path: str, body: dict[str, object] | None
) -> None:
    """ENVELOPE_INVALID_STATUS, and the truth stays as it was."""
    envelope = await desk.create()
    await desk.act(envelope, "1", "sign")
    before = await desk.truth(envelope)
    assert await desk.refused(method, f"/envelopes/{envelope}{path}", body) == (
        "ENVELOPE_INVALID_STATUS"
    )
    assert await desk.truth(envelope) == before


@pytest.mark.parametrize(
    "more",
    [
        {"recipients": {"signers": [person("1"), person("1")]}},
        {"recipients": {"signers": [person("1")], "carbonCopies": [person("1")]}},
        {"recipients": {"signers": [{"name": "No Id", "email": "a@example.com"}]}},
        {"recipients": {"signers": [person("1", email="nobody")]}},
        {"recipients": {"signers": [person("1", 0)]}},
        {"recipients": {"signers": "1"}},
        {"documents": [document("1"), document("1")]},
        {"documents": [document("0")]},
        {"documents": [{"documentId": "1", "name": "x", "documentBase64": "!"}]},
        {"status": "voided"},
        {"eventNotification": {"url": "http://example.com/", "events": ["envelope-sent"]}},
        {"eventNotification": {"url": "https://example.com/", "events": ["envelope-eaten"]}},
    ],
)
async def test_a_malformed_create_makes_nothing(desk: Desk, more: dict[str, object]) -> None:
    body = {"emailSubject": "s", "documents": [document()], **more}
    answer = await desk.call("POST", "/envelopes", body)
    assert answer.status_code == 400
    assert (await desk.ledger())["envelopes"] == []
