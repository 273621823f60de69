"""Each operation once: every answer is declared by the provider's definitions."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from fpdf import FPDF
from pypdf import PdfReader

from simulator.app import OPERATIONS
from tests.openapi import OpenApi
from tests.simulator.desk import ACCOUNT, BASE, KEY, USER, Desk, document, person

EVERYTHING = "recipients,tabs,documents,custom_fields,folders,extensions,attachments"


def real_pdf(text: str) -> bytes:
    page = FPDF()
    page.add_page()
    page.set_font("Helvetica", size=12)
    page.cell(text=text)
    return bytes(page.output())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.operation_id)
def test_each_operation_is_declared_under_its_name(operation: Any) -> None:
    path = BASE + operation.path.replace("{", "").replace("}", "")
    declared = OpenApi.load().operation(operation.method, path)
    assert declared is not None
    assert declared.operation_id == operation.operation_id


async def test_a_full_life_answers_in_declared_shapes(desk: Desk) -> None:
    """Draft, change, send, sign, complete, download; the fixture asserts that all is declared."""
    tabs = {"signHereTabs": [{"anchorString": "/s/"}], "dateSignedTabs": [{"tabLabel": "d"}]}
    envelope = await desk.create(
        person("1", tabs=tabs),
        status="created",
        transactionId="t-1",
        notification={"expirations": {"expireEnabled": "true", "expireAfter": 30}},
        customFields={
            "textCustomFields": [{"name": "ref", "value": "7", "show": "false"}],
            "listCustomFields": [{"name": "kind", "value": "a", "listItems": ["a", "b"]}],
        },
    )
    path = f"/envelopes/{envelope}"
    await desk.ok("PUT", path, {"emailSubject": "New", "emailBlurb": "Hello"})
    read = await desk.ok("GET", path, query={"include": EVERYTHING})
    assert read["expireAfter"] == "30"
    assert read["recipients"]["signers"][0]["tabs"]["signHereTabs"][0]["recipientId"] == "1"
    fields = await desk.ok("GET", f"{path}/custom_fields")
    text = fields["textCustomFields"][0]
    await desk.ok("PUT", f"{path}/custom_fields", {"textCustomFields": [{**text, "value": "8"}]})
    kind = {"listCustomFields": [{"name": "kind"}]}
    await desk.ok("DELETE", f"{path}/custom_fields", kind)
    assert (await desk.truth(envelope))["customFields"] == {"ref": "8"}
    await desk.ok("PUT", f"{path}/notification", {"useAccountDefaults": "true"})
    await desk.ok("GET", f"{path}/notification")
    await desk.ok("POST", f"{path}/recipients", {"signers": [person("2", 2)]})
    await desk.ok("PUT", path, {"status": "sent"})
    recipients = await desk.ok("GET", f"{path}/recipients", query={"include_tabs": "true"})
    assert (recipients["recipientCount"], recipients["currentRoutingOrder"]) == ("2", "1")
    await desk.act(envelope, "1", "sign")
    await desk.act(envelope, "2", "sign")
    documents = await desk.ok("GET", f"{path}/documents")
    assert [d["type"] for d in documents["envelopeDocuments"]] == ["content", "summary"]
    assert len((await desk.ok("GET", f"{path}/audit_events"))["auditEvents"]) > 5
    done = await desk.ok("GET", path)
    assert (done["status"], done["anySigner"]) == ("completed", None)
    assert done["lastModifiedDateTime"] < done["statusChangedDateTime"]
    assert len(done["completedDateTime"].split(".")[1]) == len("1234567Z")


async def test_downloads_are_real_files(desk: Desk) -> None:
    """`combined` holds each document's text, then who signed and when."""
    files = [document("1", real_pdf("First part")), document("2", real_pdf("Second part"))]
    envelope = await desk.create(documents=[*files, document("3", b"plain text")])
    await desk.act(envelope, "1", "sign")
    base = f"/envelopes/{envelope}/documents"

    async def pages(path: str) -> list[str]:
        answer = await desk.call("GET", f"{base}/{path}")
        assert answer.headers["content-type"] == "application/pdf"
        return [page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages]

    combined = await pages("combined")
    assert [p.strip() for p in combined[:2]] == ["First part", "Second part"]
    assert "plain text" in combined[2]
    signed = (await desk.truth(envelope))["recipients"][0]["signed"]
    assert "signer1@example.com" in combined[3]
    assert f"Signed: {signed}" in combined[3]
    assert len(await pages("combined?certificate=false")) == 3
    assert len(await pages("certificate")) == 1
    bundle = await desk.call("GET", f"{base}/archive")
    assert len(zipfile.ZipFile(io.BytesIO(bundle.content)).namelist()) == 4
    assert await desk.refused("GET", f"{base}/9") == "DOCUMENT_DOES_NOT_EXIST"


async def test_envelopes_are_found_by_time_id_transaction_and_field(desk: Desk) -> None:
    field = {"textCustomFields": [{"name": "ref", "value": "7"}]}
    first = await desk.create(transactionId="t-1", customFields=field)
    second = await desk.create(transactionId="t-1", status="created")
    third = await desk.create()

    async def found(**query: str) -> list[str]:
        answer = await desk.ok("GET", "/envelopes", query=query)
        assert answer["resultSetSize"] == str(len(answer["envelopes"]))
        return [e["envelopeId"] for e in answer["envelopes"]]

    long_ago = "2020-01-01T00:00:00.0000000Z"
    assert await found(from_date=long_ago, order_by="created") == [first, second, third]
    assert await found(from_date=long_ago, order_by="created", order="desc", count="1") == [third]
    assert await found(from_date=long_ago, custom_field="ref=7") == [first]
    assert await found(from_date=long_ago, custom_field="ref=8") == []
    assert await found(envelope_ids=f"{third},{first}", order_by="created") == [first, third]
    assert await found(from_date=long_ago, status="created") == [second]
    assert await found(from_date="2100-01-01") == []
    twice = await desk.ok("GET", "/envelopes", query={"transaction_ids": "t-1"})
    statuses = twice["envelopeTransactionStatuses"]
    assert {s["envelopeId"] for s in statuses} == {first, second}
    assert await desk.refused("GET", "/envelopes") == "INVALID_REQUEST_PARAMETER"
    page = await desk.ok("GET", "/envelopes", query={"from_date": long_ago, "count": "2"})
    token = page["continuationToken"]
    rest = await desk.ok(
        "GET", "/envelopes", query={"from_date": long_ago, "continuation_token": token}
    )
    assert (page["endPosition"], rest["startPosition"], rest["resultSetSize"]) == ("1", "2", "1")
    short = await desk.ok(
        "PUT",
        "/envelopes/status",
        {"envelopeIds": [first, second]},
        query={"envelope_ids": "request_body"},
    )
    assert {e["envelopeId"]: e["status"] for e in short["envelopes"]} == {
        first: "sent",
        second: "created",
    }


async def test_a_signing_url_works_once_and_for_its_recipient(desk: Desk) -> None:
    envelope = await desk.create(person("1", clientUserId="c1"), person("2", 2, clientUserId="c2"))
    path = f"/envelopes/{envelope}/views/recipient"
    who = {
        "returnUrl": "https://app.example.com/back?x=1",
        "authenticationMethod": "none",
        "clientUserId": "c1",
        "email": "signer1@example.com",
        "userName": "Signer 1",
    }
    url = (await desk.ok("POST", path, who))["url"]
    assert (await desk.http.get(url)).status_code == 200
    assert (await desk.truth(envelope))["status"] == "delivered"
    again = await desk.http.get(url)
    assert again.headers["location"] == "https://app.example.com/back?x=1&event=ttl_expired"
    done = await desk.http.post(url, data={"action": "sign"})
    assert done.headers["location"].endswith("&event=signing_complete")
    assert [r["status"] for r in (await desk.truth(envelope))["recipients"]] == [
        "completed",
        "sent",
    ]
    second = {**who, "clientUserId": "c2", "email": "signer2@example.com", "userName": "Signer 2"}
    revoked = (await desk.ok("POST", path, second))["url"]
    assert (await desk.http.delete(revoked)).status_code == 204
    assert "ttl_expired" in (await desk.http.get(revoked)).headers["location"]
    declined = (await desk.ok("POST", path, second))["url"]
    await desk.http.get(declined)
    await desk.http.post(declined, data={"action": "decline"})
    assert (await desk.truth(envelope))["status"] == "declined"
    assert await desk.refused("POST", path, second) == "ENVELOPE_INVALID_STATUS"


async def test_a_signing_url_is_refused_to_the_wrong_and_the_early(desk: Desk) -> None:
    envelope = await desk.create(person("1", clientUserId="c1"), person("2", 2, clientUserId="c2"))
    path = f"/envelopes/{envelope}/views/recipient"
    who = {"returnUrl": "https://x", "authenticationMethod": "none", "recipientId": "1"}
    for wrong in ({"clientUserId": "c9"}, {}, {"clientUserId": "c1", "email": "b@example.com"}):
        code = await desk.refused("POST", path, {**who, **wrong})
        assert code == "UNKNOWN_ENVELOPE_RECIPIENT"
    early = {**who, "recipientId": "2", "clientUserId": "c2"}
    assert await desk.refused("POST", path, early) == "RECIPIENT_NOT_IN_SEQUENCE"


async def test_calls_are_logged_with_the_token_they_were_made_with(desk: Desk) -> None:
    """A mixed-up token shows: each call carries the integration key and user of its token."""
    other = await desk.register("integration-2", "user-2", ACCOUNT)
    envelope = await desk.create()
    await desk.ok("GET", f"/envelopes/{envelope}", token=other)
    calls = [
        (c["operationId"], c["integrationKey"], c["userId"], c["envelopeId"], c["status"])
        for c in (await desk.ledger())["calls"]
    ]
    assert calls == [
        ("Envelopes_PostEnvelopes", KEY, USER, envelope, 201),
        ("Envelopes_GetEnvelope", "integration-2", "user-2", envelope, 200),
    ]


async def test_accounts_do_not_see_each_other(desk: Desk) -> None:
    envelope = await desk.create()
    stranger = await desk.register("integration-2", "user-2", "acc-2")
    path = f"/envelopes/{envelope}"
    assert await desk.refused("GET", path, token=stranger) == "USER_LACKS_PERMISSIONS"
    headers = {"Authorization": f"Bearer {stranger}"}
    elsewhere = await desk.http.get(f"/restapi/v2.1/accounts/acc-2{path}", headers=headers)
    assert elsewhere.json()["errorCode"] == "ENVELOPE_DOES_NOT_EXIST"


async def test_bodies_that_are_no_json_are_refused(desk: Desk) -> None:
    for content in (b"{", b"[]", b"\xff"):
        assert await desk.refused("POST", "/envelopes", content=content) == "INVALID_REQUEST_BODY"
    assert (await desk.http.get("/nowhere")).json()["errorCode"] == "RESOURCE_NOT_FOUND"
