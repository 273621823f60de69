"""The provider's own Python SDK drives the simulator, unpatched."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from docusign_esign import (
    ApiClient,
    CustomFields,
    Document,
    Envelope,
    EnvelopeDefinition,
    EnvelopesApi,
    Recipients,
    RecipientViewRequest,
    Signer,
    SignHere,
    Tabs,
    TextCustomField,
)
from docusign_esign.client.api_exception import ApiException

from tests.simulator.program import running, user_token

pytestmark = [
    pytest.mark.server,
    # The SDK leaves its pool's sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ACCOUNT = "acc-1"


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with running("--overlap", "off") as (url, _):
        yield url


@pytest.fixture
def envelopes(simulator: str) -> EnvelopesApi:
    client = ApiClient()
    client.host = f"{simulator}/restapi"
    client.set_default_header("Authorization", f"Bearer {user_token(simulator)}")
    return EnvelopesApi(client)


def signer(recipient_id: str, order: str = "1", **more: Any) -> Signer:
    return Signer(
        email=f"signer{recipient_id}@example.com",
        name=f"Signer {recipient_id}",
        recipient_id=recipient_id,
        routing_order=order,
        **more,
    )


def lease(status: str) -> EnvelopeDefinition:
    here = SignHere(document_id="1", page_number="1", x_position="10", y_position="10")
    return EnvelopeDefinition(
        email_subject="Lease",
        status=status,
        transaction_id="t-1",
        documents=[
            Document(
                document_base64=base64.b64encode(b"%PDF lease").decode(),
                name="lease.pdf",
                file_extension="pdf",
                document_id="1",
            )
        ],
        recipients=Recipients(signers=[signer("1", tabs=Tabs(sign_here_tabs=[here]))]),
        custom_fields=CustomFields(
            text_custom_fields=[TextCustomField(name="ref", value="7", show="false")]
        ),
    )


def truth(simulator: str, envelope_id: str) -> dict[str, Any]:
    body: dict[str, Any] = httpx.get(f"{simulator}/simulator/envelopes/{envelope_id}").json()
    return body


def test_create_and_read(simulator: str, envelopes: EnvelopesApi) -> None:
    made = envelopes.create_envelope(ACCOUNT, envelope_definition=lease("sent"))
    read = envelopes.get_envelope(ACCOUNT, made.envelope_id, include="recipients,custom_fields")
    assert (made.status, read.status, read.email_subject) == ("sent", "sent", "Lease")
    assert read.recipients.signers[0].status == "sent"
    assert read.custom_fields.text_custom_fields[0].value == "7"
    found = envelopes.list_status_changes(ACCOUNT, transaction_ids="t-1")
    assert made.envelope_id in [e.envelope_id for e in found.envelopes]
    assert found.envelope_transaction_statuses[0].transaction_id == "t-1"
    later = envelopes.list_status_changes(ACCOUNT, from_date="2026-01-01", custom_field="ref=7")
    assert int(later.result_set_size) >= 1
    tabs = envelopes.list_tabs(ACCOUNT, made.envelope_id, "1")
    assert tabs.sign_here_tabs[0].x_position == "10"
    assert truth(simulator, made.envelope_id)["documents"][0]["bytes"] == len(b"%PDF lease")


def test_recipients_are_listed_added_updated_and_deleted(
    simulator: str, envelopes: EnvelopesApi
) -> None:
    made = envelopes.create_envelope(ACCOUNT, envelope_definition=lease("created")).envelope_id
    more = Recipients(signers=[signer("2", "2"), signer("3", "3")])
    envelopes.create_recipient(ACCOUNT, made, recipients=more)
    update = Recipients(signers=[Signer(recipient_id="2", name="New Name")])
    result = envelopes.update_recipients(ACCOUNT, made, recipients=update)
    assert result.recipient_update_results[0].recipient_id == "2"
    envelopes.delete_recipient(ACCOUNT, made, "3")
    listed = envelopes.list_recipients(ACCOUNT, made)
    assert [s.name for s in listed.signers] == ["Signer 1", "New Name"]
    assert listed.recipient_count == "2"
    names = [r["name"] for r in truth(simulator, made)["recipients"]]
    assert names == ["Signer 1", "New Name"]


def test_send_void_and_the_error_of_a_second_void(simulator: str, envelopes: EnvelopesApi) -> None:
    made = envelopes.create_envelope(ACCOUNT, envelope_definition=lease("created")).envelope_id
    envelopes.update(ACCOUNT, made, envelope=Envelope(status="sent"))
    void = Envelope(status="voided", voided_reason="typo")
    envelopes.update(ACCOUNT, made, envelope=void)
    assert truth(simulator, made)["voidedReason"] == "typo"
    with pytest.raises(ApiException) as refused:
        envelopes.update(ACCOUNT, made, envelope=void)
    assert refused.value.status == 400
    assert json.loads(refused.value.body)["errorCode"] == "ENVELOPE_CANNOT_VOID_INVALID_STATE"


def test_the_sdk_sends_a_put_again_when_its_answer_is_lost(
    simulator: str, envelopes: EnvelopesApi
) -> None:
    """Its urllib3 retries a PUT up to three times: one resend may mail a signer four times."""
    made = envelopes.create_envelope(ACCOUNT, envelope_definition=lease("sent")).envelope_id
    plan = {"operation": "Envelopes_PutEnvelope", "mode": "commit_then_drop", "times": 4}
    harms = {"lost_answers": [plan]}
    httpx.patch(f"{simulator}/simulator/harms", json=harms).raise_for_status()
    with pytest.raises(Exception, match="Connection"):
        envelopes.update(ACCOUNT, made, resend_envelope="true", envelope=Envelope())
    ledger = httpx.get(f"{simulator}/simulator/ledger").json()
    mails = [m["why"] for m in ledger["mails"] if m["envelopeId"] == made]
    assert mails == ["sent"] + ["resent"] * 4


def test_a_signing_url_for_an_embedded_signer(simulator: str, envelopes: EnvelopesApi) -> None:
    """The SDK's recipient view request is understood, and its URL opens a signing page."""
    wanted = lease("sent")
    wanted.recipients = Recipients(signers=[signer("1", client_user_id="c1")])
    made = envelopes.create_envelope(ACCOUNT, envelope_definition=wanted).envelope_id
    request = RecipientViewRequest(
        authentication_method="none",
        client_user_id="c1",
        recipient_id="1",
        user_name="Signer 1",
        email="signer1@example.com",
        return_url="https://app.example.com/back",
        ping_url="https://app.example.com/ping",
        ping_frequency="600",
    )
    view = envelopes.create_recipient_view(ACCOUNT, made, recipient_view_request=request)
    assert "lease.pdf" in httpx.get(view.url).text
    done = httpx.post(view.url, data={"action": "sign"})
    assert done.headers["location"] == "https://app.example.com/back?event=signing_complete"
    assert truth(simulator, made)["status"] == "completed"
    request.client_user_id = "c2"
    with pytest.raises(ApiException) as refused:
        envelopes.create_recipient_view(ACCOUNT, made, recipient_view_request=request)
    assert refused.value.status == 400
