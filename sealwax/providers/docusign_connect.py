"""DocuSign Connect: which deliveries are believed, and what they say. Pure.

Messages are JSON SIM (docusign.com docs, "Connect event triggers" and ``connect.schema-v2.json`` of
docusign/OpenAPI-Specifications). They carry no event id and no sequence number, and are minimal
unless data was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from sealwax import keys
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent, RecipientStatus
from sealwax.providers import docusign_shapes as shapes
from sealwax.providers.base import UnreadableWebhook, WebhookName
from sealwax.providers.webhook_trust import BodyMac

SCHEME = BodyMac(re.compile(r"x-docusign-signature-[0-9]{1,3}"))
"""``X-DocuSign-Signature-1`` to ``-n``, one for each active key, base64 of HMAC-SHA256 over the raw
body; the key's text is used as it is, not decoded (docusign.com docs, "Connect: validate messages
with HMAC"). The numbers shift when a key is removed, so all are looked at."""


_ENVELOPE_EVENTS = {
    "envelope-created": EnvelopeStatus.CREATED,
    "envelope-sent": EnvelopeStatus.SENT,
    "envelope-resent": EnvelopeStatus.SENT,
    "envelope-delivered": EnvelopeStatus.DELIVERED,
    "envelope-completed": EnvelopeStatus.COMPLETED,
    "envelope-declined": EnvelopeStatus.DECLINED,
    "envelope-voided": EnvelopeStatus.VOIDED,
    "envelope-deleted": EnvelopeStatus.DELETED,
    "envelope-discard": EnvelopeStatus.DELETED,
}
_RECIPIENT_EVENTS = {
    "recipient-sent": RecipientStatus.SENT,
    "recipient-resent": RecipientStatus.SENT,
    "recipient-autoresponded": RecipientStatus.AUTORESPONDED,
    "recipient-delivered": RecipientStatus.DELIVERED,
    "recipient-completed": RecipientStatus.COMPLETED,
    "recipient-declined": RecipientStatus.DECLINED,
}
_FINISH_LATER = "recipient-finish-later"
_WITHOUT_FACTS = frozenset({"envelope-purge", "recipient-authenticationfailed", _FINISH_LATER})


class ConnectReader:
    """The ``WebhookReader`` of DocuSign Connect."""

    def identify(self, body: bytes) -> WebhookName:
        """See ``WebhookReader.identify``; the envelope's summary is not looked at."""
        return _named(*_parts(body))

    def read_webhook(self, body: bytes) -> ProviderEvent:
        """The normalised event. Raises ``UnreadableWebhook`` for what is no JSON SIM message."""
        message, data = _parts(body)
        named = _named(message, data)
        recipient = _text(data.get("recipientId"))
        summary = data.get("envelopeSummary")
        summary = summary if isinstance(summary, dict) else {}
        return ProviderEvent(
            event_key=named.event_key,
            name=named.name,
            account_id=named.account_id,
            provider_envelope_id=named.provider_envelope_id,
            facts=(
                *_facts_of_event(named.name, recipient, summary),
                *shapes.envelope_facts(summary),
            ),
            needs_read=_needs_read(named.name, recipient),
            recipient=recipient,
            session_left_at=(
                shapes.parse_time(message.get("generatedDateTime"))
                if named.name == _FINISH_LATER
                else None
            ),
        )


def _parts(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The message and its data object."""
    message = _message(body)
    data = message.get("data")
    if not isinstance(data, dict):
        raise UnreadableWebhook("the message has no data object")
    return message, data


def _named(message: Mapping[str, Any], data: Mapping[str, Any]) -> WebhookName:
    name = _required(message, "event").lower()
    account, envelope = _required(data, "accountId"), _required(data, "envelopeId")
    parts = (
        "docusign",
        account,
        envelope,
        name,
        _text(data.get("recipientId")),
        # Two configurations may tell of one event with and without its summary.
        _text(message.get("configurationId")),
        _text(message.get("generatedDateTime")),
    )
    try:
        key = keys.event_key(parts)
    except UnicodeEncodeError as error:
        raise UnreadableWebhook("the message has half a character") from error
    return WebhookName(key, name, account, envelope)


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = _json(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableWebhook("the body is not JSON") from error
    if not isinstance(message, dict):
        raise UnreadableWebhook("the body is not a JSON object")
    return message


def _json(body: bytes) -> Any:
    """JSON by the fast reader, and what that one does not take by the patient one: another
    encoding, or half a character in a text that was cut somewhere on its way."""
    try:
        return from_json(body)
    except ValueError:
        return json.loads(body)


def _required(holder: Mapping[str, Any], key: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableWebhook(f"the message has no {key}")
    return value


def _facts_of_event(name: str, recipient: str, summary: Mapping[str, Any]) -> tuple[Fact, ...]:
    # An event's own fact has no time: generatedDateTime is the delivery's, not the fact's.
    if name in _ENVELOPE_EVENTS:
        status = _ENVELOPE_EVENTS[name]
        deleted = status is EnvelopeStatus.DELETED
        return (Fact(status, mark=_text(summary.get("deletedDateTime")) if deleted else ""),)
    if name not in _RECIPIENT_EVENTS or not recipient:
        return ()
    said = _RECIPIENT_EVENTS[name]
    shown = next(
        (
            person
            for person in shapes.people(summary.get("recipients"))
            if _text(person.get("recipientId")) == recipient
        ),
        {},
    )
    guid = _text(shown.get("recipientIdGuid"))
    return (Fact(said, recipient=recipient, incarnation=guid),)


def _needs_read(name: str, recipient: str) -> bool:
    if name in _ENVELOPE_EVENTS or name in _WITHOUT_FACTS:
        return False
    # A correction, a recipient's event without its recipient, or a new event: something changed
    # which the message does not tell. After a reassignment or a delegation the same id may stand
    # for the old person or the new one; only a read can say.
    return name not in _RECIPIENT_EVENTS or not recipient


def _text(value: Any) -> str:
    return "" if value is None else str(value)
