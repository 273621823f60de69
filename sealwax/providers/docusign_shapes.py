"""DocuSign's JSON: definitions into it, facts and observations out of it. Pure.

Every scalar is a string there, numbers and booleans included (SPEC, all definitions).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from sealwax.definition import (
    RESERVED_FIELD,
    BlobRef,
    CustomField,
    Definition,
    Document,
    Expiration,
    Recipient,
    RecipientKind,
    Reminders,
    Tab,
    TabKind,
)
from sealwax.facts import RESTORED, EnvelopeStatus, Fact, Facts, RecipientStatus
from sealwax.observations import Observation, ObservedRecipient
from sealwax.providers.base import NewEnvelope
from sealwax.providers.docusign_errors import objects

MARKER_FIELD = RESERVED_FIELD
"""The hidden custom field that finds an envelope after its transaction id's seven days."""

TAB_KEYS = {
    TabKind.SIGN_HERE: "signHereTabs",
    TabKind.INITIAL_HERE: "initialHereTabs",
    TabKind.DATE_SIGNED: "dateSignedTabs",
    TabKind.FULL_NAME: "fullNameTabs",
    TabKind.TEXT: "textTabs",
    TabKind.CHECKBOX: "checkboxTabs",
}
RECIPIENT_KEYS = {
    RecipientKind.SIGNER: "signers",
    RecipientKind.CARBON_COPY: "carbonCopies",
}
# SPEC eventNotification.events. Left out: purge and authentication failures, which say nothing of
# an envelope's progress or of its signing sessions.
WEBHOOK_EVENTS = (
    "envelope-created",
    "envelope-sent",
    "envelope-resent",
    "envelope-delivered",
    "envelope-completed",
    "envelope-declined",
    "envelope-voided",
    "envelope-corrected",
    "envelope-deleted",
    "envelope-discard",
    "recipient-sent",
    "recipient-resent",
    "recipient-delivered",
    "recipient-completed",
    "recipient-declined",
    "recipient-autoresponded",
    "recipient-reassign",
    "recipient-delegate",
    "recipient-finish-later",
)
_EXTENSIONS = {
    "application/pdf": "pdf",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "text/plain": "txt",
    "text/html": "html",
}
_SELECTED = frozenset({"true", "x", "1", "yes", "on"})
_ENVELOPE_STATUSES = frozenset(s.value for s in EnvelopeStatus) - {"new", "rejected"}
_RECIPIENT_STATUSES = frozenset(s.value for s in RecipientStatus)
_WHO_SIGN = frozenset({"signers", "inPersonSigners", "notaries", "witnesses"})
_IN_PROCESS = frozenset({"sent", "delivered", "signed"})
_SENT, _DELIVERED = "sent", "delivered"


def flag(value: bool) -> str:
    """A boolean as DocuSign writes it."""
    return "true" if value else "false"


def create_body(new: NewEnvelope) -> dict[str, Any]:
    """The body of a create that leaves a draft (SPEC Envelopes_PostEnvelopes).

    Raises ``KeyError`` where ``contents`` lacks a document's digest.
    """
    call = new.call
    definition = call.definition
    body: dict[str, Any] = {
        "status": "created",
        "emailSubject": definition.subject,
        "emailBlurb": definition.message,
        "transactionId": call.transaction_id,
        "documents": documents_json(definition.documents, new.contents),
        "recipients": recipients_json(
            (r, recipient_json(r, call.numbers[r.recipient_id], with_tabs=True))
            for r in definition.recipients
        ),
        "customFields": {
            "textCustomFields": [
                text_field(MARKER_FIELD, call.marker),
                *(text_field(f.name, f.value) for f in definition.custom_fields),
            ]
        },
    }
    if definition.reminders is not None or definition.expiration is not None:
        body["notification"] = notification_json(definition)
    if new.webhook_url:
        body["eventNotification"] = _event_notification(new.webhook_url)
    return body


def text_field(name: str, value: str) -> dict[str, str]:
    """A text custom field that nobody has to fill in (SPEC textCustomField)."""
    return {"name": name, "value": value, "show": "false", "required": "false"}


def notification_json(definition: Definition, held: Mapping[str, Any] | None = None) -> Any:
    """A whole notification (SPEC notification): what the definition says, the rest as ``held``.

    Without ``expirations`` the account's default end holds.
    """
    shown = held or {}
    body: dict[str, Any] = {"useAccountDefaults": "false"}
    for key in ("reminders", "expirations"):
        if isinstance(shown.get(key), dict):
            body[key] = shown[key]
    reminders, expiration = definition.reminders, definition.expiration
    if reminders is not None:
        body["reminders"] = {
            "reminderEnabled": flag(reminders != Reminders(0)),
            "reminderDelay": str(reminders.first_after_days),
            "reminderFrequency": str(reminders.every_days),
        }
    if expiration is not None:
        body["expirations"] = {
            "expireEnabled": "true",
            "expireAfter": str(expiration.after_days),
            "expireWarn": str(expiration.warn_days),
        }
    return body


def reminders_of(notification: Mapping[str, Any]) -> Reminders:
    """The reminders that a notification shows; off where they are not enabled."""
    shown = notification.get("reminders")
    if not isinstance(shown, dict) or _text(shown.get("reminderEnabled")).lower() != "true":
        return Reminders(0)
    return Reminders(_days(shown.get("reminderDelay")), _days(shown.get("reminderFrequency")))


def expiration_of(notification: Mapping[str, Any]) -> Expiration:
    """The end that a notification shows; 0 days where it is not the envelope's own."""
    shown = notification.get("expirations")
    if not isinstance(shown, dict) or _text(shown.get("expireEnabled")).lower() != "true":
        return Expiration(0)
    return Expiration(_days(shown.get("expireAfter")), _days(shown.get("expireWarn")))


def held_fields(custom_fields: Any) -> dict[str, list[dict[str, str]]]:
    """The text custom fields that DocuSign shows, by name, without ours (SPEC customFields)."""
    held: dict[str, list[dict[str, str]]] = {}
    shown = custom_fields.get("textCustomFields") if isinstance(custom_fields, dict) else None
    for entry in _dicts(shown):
        name = _text(entry.get("name"))
        if name.casefold() != MARKER_FIELD:
            plain = {"fieldId": _text(entry.get("fieldId")), "value": _text(entry.get("value"))}
            held.setdefault(name, []).append(plain)
    return held


def _days(value: Any) -> int:
    text = _text(value)
    return int(text) if text.isdecimal() else 0


def _event_notification(url: str) -> dict[str, Any]:
    return {
        "url": url,
        "requireAcknowledgment": "true",
        "loggingEnabled": "true",
        "includeHMAC": "true",
        "deliveryMode": "SIM",
        "events": list(WEBHOOK_EVENTS),
        "eventData": {"version": "restv2.1", "format": "json", "includeData": ["recipients"]},
    }


def documents_json(
    documents: Iterable[Document], contents: Mapping[str, bytes]
) -> list[dict[str, Any]]:
    """Documents with their bytes. Raises ``KeyError`` for a digest that is not in ``contents``."""
    return [
        {
            "documentId": str(d.document_id),
            "name": d.name,
            "fileExtension": extension(d),
            "documentBase64": base64.b64encode(contents[d.blob.digest]).decode("ascii"),
        }
        for d in documents
    ]


def extension(document: Document) -> str:
    """The file extension by which DocuSign knows a document's format."""
    known = _EXTENSIONS.get(document.blob.media_type)
    return known or PurePath(document.name).suffix.removeprefix(".").lower() or "pdf"


def recipient_json(recipient: Recipient, number: str, *, with_tabs: bool) -> dict[str, Any]:
    """A new recipient. ``number`` is the id by which DocuSign will know it."""
    body: dict[str, Any] = {
        "recipientId": number,
        "name": recipient.name,
        "email": recipient.email,
        "routingOrder": str(recipient.routing_order),
    }
    if recipient.client_user_id:
        body["clientUserId"] = recipient.client_user_id
    if with_tabs and recipient.tabs:
        body["tabs"] = tabs_json((t.kind, tab_json(t)) for t in recipient.tabs)
    return body


def recipients_json(
    recipients: Iterable[tuple[Recipient, dict[str, Any]]],
) -> dict[str, list[dict[str, Any]]]:
    """Recipients' bodies under DocuSign's key of each one's kind."""
    body: dict[str, list[dict[str, Any]]] = {}
    for recipient, entry in recipients:
        body.setdefault(RECIPIENT_KEYS[recipient.kind], []).append(entry)
    return body


def tab_json(tab: Tab) -> dict[str, str]:
    """A tab, placed by page and position or beside its anchor text."""
    body = {"tabLabel": tab.label, "documentId": str(tab.document_id)}
    if tab.anchor:
        body |= {"anchorString": tab.anchor, "anchorUnits": "pixels"}
        body |= {"anchorXOffset": str(tab.x), "anchorYOffset": str(tab.y)}
    else:
        body |= {"pageNumber": str(tab.page), "xPosition": str(tab.x), "yPosition": str(tab.y)}
    match tab.kind:
        case TabKind.SIGN_HERE | TabKind.INITIAL_HERE:
            body["optional"] = flag(not tab.required)
        case TabKind.TEXT:
            body |= {"required": flag(tab.required), "value": tab.value}
        case TabKind.CHECKBOX:
            body["selected"] = flag(tab.value.strip().lower() in _SELECTED)
        case TabKind.DATE_SIGNED | TabKind.FULL_NAME:
            pass
    return body


def tabs_json(tabs: Iterable[tuple[TabKind, dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    """Tabs' bodies under DocuSign's key of each one's kind."""
    body: dict[str, list[dict[str, str]]] = {}
    for kind, entry in tabs:
        body.setdefault(TAB_KEYS[kind], []).append(entry)
    return body


def held_tabs(tabs: Any) -> dict[tuple[TabKind, str], list[dict[str, str]]]:
    """The tabs that DocuSign shows, by kind and label; several where an anchor occurs often."""
    held: dict[tuple[TabKind, str], list[dict[str, str]]] = {}
    for kind, key in TAB_KEYS.items():
        for entry in _dicts(tabs.get(key) if isinstance(tabs, dict) else None):
            plain = {k: _text(v) for k, v in entry.items() if isinstance(v, str | int | float)}
            held.setdefault((kind, plain.get("tabLabel", "")), []).append(plain)
    return held


def parse_time(value: Any) -> datetime | None:
    """A DocuSign time (UTC, up to seven fraction digits); None where there is none to read."""
    if not isinstance(value, str) or not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed


def people(recipients: Any) -> Iterator[dict[str, Any]]:
    """Every recipient of a ``recipients`` object, of whatever kind, that has an id."""
    if isinstance(recipients, dict):
        for entries in recipients.values():
            yield from (e for e in _dicts(entries) if _text(e.get("recipientId")))


def incarnations(body: Any) -> dict[str, str]:
    """Recipient id -> guid, from any answer that names both."""
    return {
        _text(item["recipientId"]): _text(item["recipientIdGuid"])
        for item in objects(body)
        if item.get("recipientId") and item.get("recipientIdGuid")
    }


def envelope_facts(envelope: Mapping[str, Any]) -> tuple[Fact, ...]:
    """All that an ``envelope`` object says: its own status and its recipients'.

    A status that is not one of the lifecycle's (``processing``, ``correct``, a new word) yields no
    fact. A draft in the bin is known by ``deletedDateTime``, whatever its status says; an envelope
    that is in process in spite of it came back from the bin, since binning one in process voids it
    (SPEC Folders_PutFolderById).
    """
    status = _text(envelope.get("status")).lower()
    facts: list[Fact] = []
    deleted = _text(envelope.get("deletedDateTime"))
    if status == EnvelopeStatus.DELETED or deleted:
        facts.append(Fact(EnvelopeStatus.DELETED, mark=deleted, at=parse_time(deleted)))
    if deleted and status in _IN_PROCESS:
        facts.append(Fact(RESTORED, mark=deleted))
    if status in _ENVELOPE_STATUSES and status != EnvelopeStatus.DELETED:
        facts.append(Fact(status, at=_time_of_status(envelope, status)))
    facts += [Fact(s, at=at) for s, at in _steps_before(envelope, status)]
    for person in people(envelope.get("recipients")):
        facts += recipient_facts(person)
    return tuple(facts)


def recipient_facts(person: Mapping[str, Any]) -> tuple[Fact, ...]:
    """What one recipient object says of its incarnation."""
    status = _text(person.get("status")).lower()
    if status not in _RECIPIENT_STATUSES:
        return ()
    number, guid = _text(person.get("recipientId")), _text(person.get("recipientIdGuid"))
    said = [(status, _time_of_status(person, status)), *_steps_before(person, status)]
    return tuple(Fact(s, recipient=number, incarnation=guid, at=at) for s, at in said)


def observation(envelope: Mapping[str, Any], with_tabs: bool) -> Observation:
    """A read of one envelope (SPEC Envelopes_GetEnvelope). ``with_tabs``: tabs were asked for."""
    facts = envelope_facts(envelope)
    own = Facts().joined(f for f in facts if not f.recipient)
    return Observation(
        provider_envelope_id=_text(envelope.get("envelopeId")),
        status=own.envelope_status(),
        facts=facts,
        subject=_text(envelope.get("emailSubject")),
        message=_text(envelope.get("emailBlurb")),
        documents={
            int(number): _text(document.get("name"))
            for document in _dicts(envelope.get("envelopeDocuments"))
            if (number := _text(document.get("documentId"))).isdecimal()
        },
        recipients=tuple(
            _observed(person, with_tabs, kind)
            for person, kind in _people_of_kinds(envelope.get("recipients"))
        ),
        custom_fields={
            name: tuple(e["value"] for e in entries)
            for name, entries in held_fields(envelope.get("customFields")).items()
        },
    )


def definition_of(envelope: Mapping[str, Any], notification: Mapping[str, Any]) -> Definition:
    """What an envelope of others is, from a read with tabs and its notification.

    Recipients bear DocuSign's ids. Documents are known by id and name; their bytes stay there.
    Of fields that stand more than once under one name, and of tabs that do, the first counts.
    """
    shown = envelope.get("recipients")
    return Definition(
        subject=_text(envelope.get("emailSubject")),
        message=_text(envelope.get("emailBlurb")),
        documents=tuple(
            Document(int(number), _text(document.get("name")), BlobRef("", 0))
            for document in _dicts(envelope.get("envelopeDocuments"))
            if (number := _text(document.get("documentId"))).isdecimal() and int(number)
        ),
        recipients=tuple(_recipient(person, kind) for person, kind in _people_of_kinds(shown)),
        reminders=reminders_of(notification),
        expiration=expiration_of(notification),
        custom_fields=tuple(
            CustomField(name, entries[0]["value"])
            for name, entries in held_fields(envelope.get("customFields")).items()
        ),
    )


def _recipient(person: Mapping[str, Any], kind: RecipientKind) -> Recipient:
    seen = _observed(person, True, kind)
    held = held_tabs(person.get("tabs"))
    tabs = (_tab(tab_kind, label, entries[0]) for (tab_kind, label), entries in held.items())
    return replace(seen.as_recipient(seen.recipient), tabs=tuple(tabs))


def _tab(kind: TabKind, label: str, entry: Mapping[str, str]) -> Tab:
    required = entry.get("required", "true") if kind is TabKind.TEXT else "true"
    if kind in (TabKind.SIGN_HERE, TabKind.INITIAL_HERE):
        required = flag(entry.get("optional", "false").lower() != "true")
    anchored = bool(entry.get("anchorString"))
    x, y = ("anchorXOffset", "anchorYOffset") if anchored else ("xPosition", "yPosition")
    return Tab(
        kind,
        label,
        _days(entry.get("documentId")),
        page=_days(entry.get("pageNumber")) or 1,
        x=_days(entry.get(x)),
        y=_days(entry.get(y)),
        anchor=entry.get("anchorString", ""),
        value=entry.get("selected" if kind is TabKind.CHECKBOX else "value", ""),
        required=required.lower() == "true",
    )


def _people_of_kinds(recipients: Any) -> Iterator[tuple[dict[str, Any], RecipientKind]]:
    """Every recipient with the kind of ours that is nearest: those who sign, and all others."""
    for key, entries in recipients.items() if isinstance(recipients, dict) else ():
        kind = RecipientKind.SIGNER if key in _WHO_SIGN else RecipientKind.CARBON_COPY
        yield from ((e, kind) for e in _dicts(entries) if _text(e.get("recipientId")))


def _observed(person: Mapping[str, Any], with_tabs: bool, kind: RecipientKind) -> ObservedRecipient:
    order = _text(person.get("routingOrder"))
    return ObservedRecipient(
        recipient=_text(person.get("recipientId")),
        incarnation=_text(person.get("recipientIdGuid")),
        name=_text(person.get("name")),
        email=_text(person.get("email")),
        routing_order=int(order) if order.isdecimal() else 0,
        status=_text(person.get("status")).lower(),
        client_user_id=_text(person.get("clientUserId")),
        tabs=frozenset(held_tabs(person.get("tabs"))) if with_tabs else None,
        kind=kind,
    )


def _steps_before(thing: Mapping[str, Any], status: str) -> list[tuple[str, datetime]]:
    # A time stamped on a status that the thing has left again (a corrected envelope goes back to
    # "sent") would be a fact that no longer holds, so only steps below the present one are taken.
    if status in ("", "created", _SENT):
        return []
    earlier = (_SENT,) if status in (_DELIVERED, "autoresponded") else (_SENT, _DELIVERED)
    times = ((step, parse_time(thing.get(f"{step}DateTime"))) for step in earlier)
    return [(step, at) for step, at in times if at is not None]


def _time_of_status(thing: Mapping[str, Any], status: str) -> datetime | None:
    # A recipient's completion is stamped as signedDateTime (SPEC signer).
    stamps = (f"{status}DateTime", "signedDateTime" if status == "completed" else "")
    return next((at for s in stamps if (at := parse_time(thing.get(s))) is not None), None)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)
