"""JSON out: envelopes, recipients, tabs, documents and custom fields as the API writes them.

Key names are those of SPEC definitions `envelope`, `recipients`, `tabs`, `envelopeDocument`,
`customFieldsEnvelope`; which of them a real answer carries follows captured answers (GET envelope
of 2025-08-31, Connect messages of 2022). Scalars are strings, statuses lower case.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

from simulator.model import (
    DONE_WHEN_OPENED,
    DONE_WHEN_REACHED,
    RECIPIENT_KINDS,
    CustomField,
    Document,
    Envelope,
    Recipient,
    stamp,
)

DEFAULT_EXPIRE_DAYS = "120"
EXPIRE_LIMIT_DAYS = 100_000

# What a sender may not set and an answer computes.
RECIPIENT_COMPUTED = frozenset(
    {
        "recipientId",
        "recipientIdGuid",
        "status",
        "tabs",
        "errorDetails",
        "recipientType",
        "sentDateTime",
        "deliveredDateTime",
        "signedDateTime",
        "declinedDateTime",
        "declinedReason",
        "autoRespondedReason",
        "totalTabCount",
        "completedCount",
        "creationReason",
    }
)


def text(value: Any) -> str:
    """A scalar as the API writes it: always a string, booleans in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def texts(value: Any) -> Any:
    """A JSON value with every scalar turned into its string form; nulls are left out."""
    if isinstance(value, dict):
        return {str(k): texts(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [texts(v) for v in value if v is not None]
    return text(value)


def whole(value: Any) -> int | None:
    """A whole number of at most ten ASCII digits, from its string form; None for anything else."""
    given = text(value)
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 10 else None


def recipient_shape(envelope: Envelope, recipient: Recipient, tabs: bool) -> dict[str, Any]:
    """One recipient, with his tabs if asked for."""
    progress = envelope.progress_of(recipient)
    shape: dict[str, Any] = {
        **recipient.fields,
        "recipientId": recipient.recipient_id,
        "recipientIdGuid": recipient.guid,
        "recipientType": RECIPIENT_KINDS[recipient.kind],
        "routingOrder": str(recipient.order),
        "status": progress.status,
        "creationReason": "sender",
        "requireIdLookup": recipient.fields.get("requireIdLookup", "false"),
        "deliveryMethod": recipient.fields.get("deliveryMethod", "email"),
        "sentDateTime": stamp(progress.sent),
        "deliveredDateTime": stamp(progress.delivered),
        "signedDateTime": stamp(progress.signed),
        "declinedDateTime": stamp(progress.declined),
        "declinedReason": progress.declined_reason or None,
        "autoRespondedReason": progress.autoresponded_reason or None,
    }
    if recipient.kind not in (*DONE_WHEN_REACHED, *DONE_WHEN_OPENED):
        shape["completedCount"] = "1" if progress.status == "completed" else "0"
    if tabs:
        shape["tabs"] = recipient.tabs
        shape["totalTabCount"] = str(sum(len(t) for t in recipient.tabs.values()))
    return {k: v for k, v in shape.items() if v is not None}


def recipients_shape(
    envelope: Envelope, tabs: bool = False, only: list[Recipient] | None = None
) -> dict[str, Any]:
    """The `recipients` object: a list per kind, the count, and the order now asked."""
    chosen = envelope.definition.recipients if only is None else only
    shape: dict[str, Any] = {
        kind: [recipient_shape(envelope, r, tabs) for r in chosen if r.kind == kind]
        for kind in RECIPIENT_KINDS
    }
    shape["recipientCount"] = str(len(chosen))
    order = envelope.current_order
    if order is None:
        order = max((r.order for r in envelope.definition.recipients), default=1)
    shape["currentRoutingOrder"] = str(order)
    return shape


def custom_field_shape(custom: CustomField) -> dict[str, Any]:
    """One custom field."""
    return {"fieldId": custom.field_id, **custom.fields}


def custom_fields_shape(fields: list[CustomField]) -> dict[str, Any]:
    """Both lists of custom fields."""
    return {
        kind: [custom_field_shape(c) for c in fields if c.kind == kind]
        for kind in ("textCustomFields", "listCustomFields")
    }


def document_shape(envelope: Envelope, document: Document, content: bool = False) -> dict[str, Any]:
    """One document; with `content` its bytes as PDFBytes, as Connect sends them."""
    shape: dict[str, Any] = {
        "documentId": document.document_id,
        "documentIdGuid": document.guid,
        "name": document.name,
        "type": "content",
        "uri": f"/envelopes/{envelope.envelope_id}/documents/{document.document_id}",
        "order": str(document.order),
        "sizeBytes": str(len(document.content)),
        "display": "inline",
        "includeInDownload": "true",
        "signerMustAcknowledge": "no_interaction",
        "templateRequired": "false",
        "authoritativeCopy": "false",
    }
    if content:
        shape.pop("sizeBytes")
        shape["PDFBytes"] = base64.b64encode(document.content).decode()
    return shape


def documents_shape(envelope: Envelope, content: bool = False) -> list[dict[str, Any]]:
    """All documents; once sent, the certificate of completion is listed too (captured message)."""
    shapes = [document_shape(envelope, d, content) for d in envelope.definition.documents]
    if "sent" in envelope.times:
        shapes.append(
            {
                "documentId": "certificate",
                "documentIdGuid": envelope.envelope_id,
                "name": "Summary",
                "type": "summary",
                "uri": f"/envelopes/{envelope.envelope_id}/documents/certificate",
                "order": "999",
                "display": "inline",
                "includeInDownload": "true",
                "signerMustAcknowledge": "no_interaction",
                "templateRequired": "false",
                "authoritativeCopy": "false",
            }
        )
    return shapes


def notification_shape(envelope: Envelope) -> dict[str, Any]:
    """Reminders and expiry; 120 days is the default seen in a real GET."""
    given = envelope.definition.notification
    return {
        "useAccountDefaults": given.get("useAccountDefaults", "false" if given else "true"),
        "reminders": {
            "reminderEnabled": "false",
            "reminderDelay": "0",
            "reminderFrequency": "0",
            **given.get("reminders", {}),
        },
        "expirations": {
            "expireEnabled": "true",
            "expireAfter": DEFAULT_EXPIRE_DAYS,
            "expireWarn": "0",
            **given.get("expirations", {}),
        },
    }


def _times(envelope: Envelope) -> dict[str, str | None]:
    times = envelope.times
    expirations = notification_shape(envelope)["expirations"]
    sent = times.get("sent")
    expire = None
    days = whole(expirations["expireAfter"])
    enabled = expirations["expireEnabled"] == "true"
    if sent and enabled and days is not None and days < EXPIRE_LIMIT_DAYS:
        expire = sent + timedelta(days=days)
    return {
        "createdDateTime": stamp(envelope.created),
        "lastModifiedDateTime": stamp(envelope.last_modified),
        "initialSentDateTime": stamp(times.get("initialSent")),
        "sentDateTime": stamp(sent),
        "deliveredDateTime": stamp(times.get("delivered")),
        "completedDateTime": stamp(times.get("completed")),
        "declinedDateTime": stamp(times.get("declined")),
        "voidedDateTime": stamp(times.get("voided")),
        "deletedDateTime": stamp(times.get("deleted")),
        "statusChangedDateTime": stamp(times.get("statusChanged", envelope.created)),
        "expireDateTime": stamp(expire),
        "expireEnabled": expirations["expireEnabled"],
        "expireAfter": expirations["expireAfter"],
    }


def envelope_shape(
    envelope: Envelope, include: frozenset[str], sender: dict[str, str], content: bool = False
) -> dict[str, Any]:
    """The `envelope` object; `include` as in SPEC Envelopes_GetEnvelope.

    `content` puts document bytes into it, which only Connect messages do.
    """
    base = f"/envelopes/{envelope.envelope_id}"
    shape: dict[str, Any] = {
        "envelopeId": envelope.envelope_id,
        "status": envelope.status,
        "emailSubject": envelope.definition.email_subject,
        "emailBlurb": envelope.definition.email_blurb or None,
        "voidedReason": envelope.voided_reason or None,
        "envelopeUri": base,
        "documentsUri": f"{base}/documents",
        "documentsCombinedUri": f"{base}/documents/combined",
        "certificateUri": f"{base}/documents/certificate",
        "recipientsUri": f"{base}/recipients",
        "notificationUri": f"{base}/notification",
        "customFieldsUri": f"{base}/custom_fields",
        "attachmentsUri": f"{base}/attachments",
        "templatesUri": f"{base}/templates",
        "purgeState": "unpurged",
        "envelopeIdStamping": "true",
        "signingLocation": "online",
        "autoNavigation": "true",
        "allowMarkup": "false",
        "allowReassign": "true",
        "isSignatureProviderEnvelope": "false",
        "sender": sender,
        "transactionId": envelope.transaction_id or None,
        **_times(envelope),
    }
    shape = {k: v for k, v in shape.items() if v is not None}
    # Present with null in captured answers, although declared as a string.
    shape["anySigner"] = None
    if include & {"recipients", "tabs"}:
        shape["recipients"] = recipients_shape(envelope, tabs="tabs" in include)
    if "documents" in include:
        shape["envelopeDocuments"] = documents_shape(envelope, content)
    if "custom_fields" in include:
        shape["customFields"] = custom_fields_shape(envelope.definition.custom_fields)
    if "folders" in include:
        shape["folders"] = [{"name": envelope.folder, "type": envelope.folder}]
    return shape
