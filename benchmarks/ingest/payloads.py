"""Webhooks as the provider signs them, all of them true of envelopes that exist.

The shape is that of a captured Connect delivery with data (``envelopeSummary`` with recipients and
documents, about 4 KB). Each has a ``generatedDateTime`` of its own, which makes it another event,
and says only what the simulator's ledger holds: so no state drifts from the provider's by them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CONFIGURATION = 10055427
_TIME = "@generated@"
_OPENED = frozenset({"delivered", "signed", "completed"})


@dataclass(frozen=True, slots=True)
class Target:
    """An envelope at the provider, as far as a message tells of it.

    ``recipients``: id, guid, name, address and status of each.
    """

    envelope_id: str
    status: str
    subject: str
    recipients: tuple[tuple[str, str, str, str, str], ...]


def target(truth: Mapping[str, Any]) -> Target:
    """From the simulator's ledger of truth."""
    people = tuple(
        (one["recipientId"], one["recipientIdGuid"], one["name"], one["email"], one["status"])
        for one in truth["recipients"]
    )
    return Target(truth["envelopeId"], truth["status"], truth["emailSubject"], people)


def invented(count: int, seed: int) -> list[Target]:
    """Envelopes that nobody has: for a listener alone, which looks none of them up."""
    dice = Random(f"{seed} invented")
    return [
        Target(_guid(dice), "sent", "Services agreement", (_person(dice, 1), _person(dice, 2)))
        for _ in range(count)
    ]


def _person(dice: Random, number: int) -> tuple[str, str, str, str, str]:
    return (str(number), _guid(dice), f"Signer {number}", f"signer{number}@example.com", "sent")


def _guid(dice: Random) -> str:
    raw = f"{dice.getrandbits(128):032x}"
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"


class Sender:
    """Makes the webhooks of an account. Equal arguments, equal webhooks, in whichever process.

    Event n is of a target that depends on n and the seed, or with ``in_turn`` on n alone.
    """

    def __init__(
        self, account_id: str, targets: Sequence[Target], seed: int, *, in_turn: bool = False
    ) -> None:
        self._templates = [[t.split(_TIME) for t in _templates(account_id, t)] for t in targets]
        self._seed = seed
        self._in_turn = in_turn

    def chosen(self, number: int) -> tuple[int, int]:
        """Which envelope the event is of, and which of its messages it is: by number and seed."""
        mixed = hashlib.blake2b(f"{self._seed}:{number}".encode(), digest_size=8).digest()
        whose = number if self._in_turn else int.from_bytes(mixed[:4], "big")
        whose %= len(self._templates)
        return whose, mixed[4] % len(self._templates[whose])

    def body(self, number: int) -> bytes:
        """The event's body."""
        whose, kind = self.chosen(number)
        # Seven digits of a second, as the provider writes them.
        at = EPOCH + timedelta(milliseconds=number)
        before, after = self._templates[whose][kind]
        return f"{before}{at:%Y-%m-%dT%H:%M:%S.%f}0Z{after}".encode()


def request(host: str, path: str, key: bytes, body: bytes) -> bytes:
    """The whole HTTP request of a delivery, signed."""
    signature = base64.b64encode(hmac.digest(key, body, hashlib.sha256)).decode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Docusign-Connect\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"X-DocuSign-Signature-1: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _templates(account_id: str, about: Target) -> list[str]:
    return [
        json.dumps(_message(account_id, about, event, recipient), separators=(",", ":"))
        for event, recipient in _true_events(about)
    ]


def _true_events(about: Target) -> Iterable[tuple[str, str]]:
    yield "envelope-sent", ""
    if about.status in _OPENED:
        yield "envelope-delivered", ""
    for number, _, _, _, status in about.recipients:
        if status != "created":
            yield "recipient-sent", number
        if status in _OPENED:
            yield "recipient-delivered", number


def _message(account_id: str, about: Target, event: str, recipient: str) -> dict[str, Any]:
    data: dict[str, Any] = {"accountId": account_id, "userId": account_id}
    data["envelopeId"] = about.envelope_id
    if recipient:
        data["recipientId"] = recipient
    data["envelopeSummary"] = _summary(about)
    return {
        "event": event,
        "apiVersion": "v2.1",
        "uri": f"/restapi/v2.1/accounts/{account_id}/envelopes/{about.envelope_id}",
        "retryCount": 0,
        "configurationId": CONFIGURATION,
        "generatedDateTime": _TIME,
        "data": data,
    }


def _summary(about: Target) -> dict[str, Any]:
    own = f"/envelopes/{about.envelope_id}"
    parts = ("documents", "recipients", "attachments", "notification", "templates")
    return {
        "status": about.status,
        **{f"{part}Uri": f"{own}/{part}" for part in parts},
        "envelopeUri": own,
        "emailSubject": about.subject,
        "envelopeId": about.envelope_id,
        "signingLocation": "online",
        "customFieldsUri": f"{own}/custom_fields",
        "documentsCombinedUri": f"{own}/documents/combined",
        "certificateUri": f"{own}/documents/certificate",
        "enableWetSign": "true",
        "allowMarkup": "false",
        "allowReassign": "true",
        "expireEnabled": "true",
        "expireAfter": "120",
        "sender": {"userName": "Test Sender", "email": "sender@example.com"},
        "recipients": _recipients(about),
        "envelopeDocuments": [_document(about, number) for number in ("1", "2")],
        "purgeState": "unpurged",
        "envelopeIdStamping": "true",
        "is21CFRPart11": "false",
        "signerCanSignOnMobile": "true",
        "autoNavigation": "true",
        "isSignatureProviderEnvelope": "false",
        "hasFormDataChanged": "false",
        "allowComments": "true",
        "hasComments": "false",
        "allowViewHistory": "true",
        "disableResponsiveDocument": "false",
        "envelopeMetadata": {"allowAdvancedCorrect": "true", "allowCorrect": "true"},
        "envelopeLocation": "current_site",
        "isDynamicEnvelope": "false",
    }


def _recipients(about: Target) -> dict[str, Any]:
    kinds = ("agents", "editors", "intermediaries", "carbonCopies", "certifiedDeliveries")
    more = ("inPersonSigners", "seals", "witnesses", "notaries")
    return {
        "signers": [_signer(*person) for person in about.recipients],
        **{kind: [] for kind in (*kinds, *more)},
        "recipientCount": str(len(about.recipients)),
        "currentRoutingOrder": "1",
    }


def _signer(number: str, guid: str, name: str, email: str, status: str) -> dict[str, Any]:
    return {
        "creationReason": "sender",
        "canSignOffline": "false",
        "isBulkRecipient": "false",
        "requireUploadSignature": "false",
        "name": name,
        "email": email,
        "recipientId": number,
        "recipientIdGuid": guid,
        "requireIdLookup": "false",
        "routingOrder": "1",
        "note": "",
        "status": status,
        "completedCount": "0",
        "deliveryMethod": "email",
        "recipientType": "signer",
    }


def _document(about: Target, number: str) -> dict[str, Any]:
    page = {"pageId": about.envelope_id, "sequence": "1", "height": "842", "width": "595"}
    return {
        "documentId": number,
        "documentIdGuid": about.envelope_id,
        "name": f"Services agreement, part {number}.pdf",
        "type": "content",
        "uri": f"/envelopes/{about.envelope_id}/documents/{number}",
        "order": number,
        "pages": [{**page, "dpi": "72"}],
        "display": "inline",
        "includeInDownload": "true",
        "signerMustAcknowledge": "no_interaction",
        "templateRequired": "false",
        "authoritativeCopy": "false",
    }
