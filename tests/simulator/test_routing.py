"""How envelopes and recipients move."""

from __future__ import annotations

from tests.simulator.desk import Desk, person


async def statuses(desk: Desk, envelope: str) -> list[str]:
    truth = await desk.truth(envelope)
    return [truth["status"], *(r["status"] for r in truth["recipients"])]


async def test_orders_are_asked_one_after_another(desk: Desk) -> None:
    """Only the lowest routing order is out; the next follows when all of it are done."""
    envelope = await desk.create(person("1", 1), person("2", 1), person("3", 2))
    assert await statuses(desk, envelope) == ["sent", "sent", "sent", "created"]
    early = await desk.act(envelope, "3", "sign")
    assert (early.status_code, early.json()["errorCode"]) == (409, "RECIPIENT_NOT_IN_SEQUENCE")
    await desk.act(envelope, "1", "sign")
    assert await statuses(desk, envelope) == ["sent", "completed", "sent", "created"]
    await desk.act(envelope, "2", "sign")
    assert (await statuses(desk, envelope))[3] == "sent"
    await desk.act(envelope, "3", "sign")
    assert await statuses(desk, envelope) == ["completed"] + ["completed"] * 3


async def test_delivered_means_that_all_current_recipients_opened(desk: Desk) -> None:
    envelope = await desk.create(person("1"), person("2"), person("3", 2))
    await desk.act(envelope, "1", "open")
    assert (await statuses(desk, envelope))[0] == "sent"
    await desk.act(envelope, "2", "open")
    assert await statuses(desk, envelope) == ["delivered", "delivered", "delivered", "created"]


async def test_carbon_copies_are_done_when_reached(desk: Desk) -> None:
    copies = [person("9", 2)]
    envelope = await desk.create(
        recipients={"signers": [person("1", 1)], "carbonCopies": copies},
    )
    assert await statuses(desk, envelope) == ["sent", "sent", "created"]
    await desk.act(envelope, "1", "sign")
    assert await statuses(desk, envelope) == ["completed", "completed", "completed"]


async def test_one_who_declines_ends_the_envelope(desk: Desk) -> None:
    envelope = await desk.create(person("1"), person("2"))
    await desk.act(envelope, "1", "decline", reason="wrong rent")
    truth = await desk.truth(envelope)
    assert truth["status"] == "declined"
    assert truth["recipients"][0]["declinedReason"] == "wrong rent"
    assert (await desk.act(envelope, "2", "sign")).status_code == 409


async def test_only_envelopes_in_process_can_be_voided(desk: Desk) -> None:
    void = {"status": "voided", "voidedReason": "r" * 300}
    draft = await desk.create(status="created")
    code = "ENVELOPE_CANNOT_VOID_INVALID_STATE"
    assert await desk.refused("PUT", f"/envelopes/{draft}", void) == code
    sent = await desk.create()
    await desk.ok("PUT", f"/envelopes/{sent}", void)
    assert (await desk.truth(sent))["voidedReason"] == "r" * 200
    assert await desk.refused("PUT", f"/envelopes/{sent}", void) == code


async def test_a_draft_is_sent_once(desk: Desk) -> None:
    draft = await desk.create(status="created")
    await desk.ok("PUT", f"/envelopes/{draft}", {"status": "sent"})
    again = await desk.refused("PUT", f"/envelopes/{draft}", {"status": "sent"})
    assert again == "ENVELOPE_INVALID_STATUS"
    mails = (await desk.ledger())["mails"]
    assert [(m["to"], m["why"]) for m in mails] == [("signer1@example.com", "sent")]


async def test_an_incomplete_draft_is_not_sent(desk: Desk) -> None:
    draft = await desk.create(status="created", documents=[])
    code = await desk.refused("PUT", f"/envelopes/{draft}", {"status": "sent"})
    assert code == "ENVELOPE_IS_INCOMPLETE"
    assert (await desk.truth(draft))["status"] == "created"
    refused = await desk.call("POST", "/envelopes", {"status": "sent", "emailSubject": "x"})
    assert refused.status_code == 400
    assert len((await desk.ledger())["envelopes"]) == 1


async def test_the_recycle_bin_deletes_drafts_and_voids_the_rest(desk: Desk) -> None:
    draft, sent = await desk.create(status="created"), await desk.create()
    await desk.ok("PUT", "/folders/recyclebin", {"envelopeIds": [draft, sent]})
    assert (await desk.truth(draft))["status"] == "deleted"
    assert (await desk.truth(sent))["status"] == "voided"
    back = {"envelopeIds": [draft, sent], "fromFolderId": "recyclebin"}
    await desk.ok("PUT", "/folders/sentitems", back)
    assert (await desk.truth(draft))["status"] == "created"
    assert (await desk.truth(sent))["status"] == "voided"


async def test_embedded_recipients_get_no_mail(desk: Desk) -> None:
    await desk.create(person("1", clientUserId="c1"), person("2"))
    assert [m["recipientId"] for m in (await desk.ledger())["mails"]] == ["2"]


async def test_a_resend_mails_those_whose_turn_it_is_each_time(desk: Desk) -> None:
    envelope = await desk.create(person("1"), person("2", 2))
    for _ in range(2):
        await desk.ok("PUT", f"/envelopes/{envelope}", {}, query={"resend_envelope": "true"})
    mails = (await desk.ledger())["mails"]
    assert [(m["recipientId"], m["why"]) for m in mails] == [
        ("1", "sent"),
        ("1", "resent"),
        ("1", "resent"),
    ]


async def test_a_reassigned_recipient_is_another_incarnation(desk: Desk) -> None:
    envelope = await desk.create(person("1"))
    before = (await desk.truth(envelope))["recipients"][0]
    await desk.act(envelope, "1", "reassign", name="Deputy", email="deputy@example.com")
    truth = await desk.truth(envelope)
    after = truth["recipients"][0]
    assert (after["recipientId"], after["email"]) == ("1", "deputy@example.com")
    assert after["recipientIdGuid"] != before["recipientIdGuid"]
    assert [r["recipientIdGuid"] for r in truth["removedRecipients"]] == [before["recipientIdGuid"]]
    assert (await desk.act(envelope, "1", "sign")).json() == {"status": "completed"}


async def test_an_autoresponse_does_not_keep_a_signer_from_signing(desk: Desk) -> None:
    envelope = await desk.create(person("1"))
    assert (await desk.act(envelope, "1", "autorespond")).json() == {"status": "autoresponded"}
    assert (await desk.act(envelope, "1", "sign")).json() == {"status": "completed"}
    assert (await desk.truth(envelope))["status"] == "completed"
