"""What an envelope is at the provider: its definition and, apart from it, its progress.

The definition is what the sender writes (subject, documents, recipients, tabs, custom fields,
notification). Writes of it read the whole, work on a copy and store the whole. Progress is what
recipients and the routing do (statuses and times); no write of the definition overwrites it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

IN_PROCESS = ("sent", "delivered")
EDITABLE = ("created", *IN_PROCESS)
RECIPIENT_DONE = ("completed", "declined")
# In the order of SPEC `recipients`; those who need no action of their own are done when reached.
RECIPIENT_KINDS = {
    "signers": "signer",
    "agents": "agent",
    "editors": "editor",
    "intermediaries": "intermediary",
    "carbonCopies": "carboncopy",
    "certifiedDeliveries": "certifieddelivery",
    "inPersonSigners": "inpersonsigner",
    "seals": "seal",
    "witnesses": "witness",
    "notaries": "notary",
}
DONE_WHEN_REACHED = ("carbonCopies", "seals")
DONE_WHEN_OPENED = ("certifiedDeliveries",)

Path = tuple[str, ...]


def now() -> datetime:
    """The provider's clock, UTC."""
    return datetime.now(UTC)


def stamp(moment: datetime | None) -> str | None:
    """A time as the API writes it: UTC, seven fraction digits, `2025-08-31T22:01:23.9770000Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


@dataclass
class Document:
    """One document; `content` is what was uploaded, byte for byte; replaced whole, never edited."""

    document_id: str
    guid: str
    name: str
    content: bytes
    order: int

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the uploaded bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass
class Recipient:
    """The sender's wish for one recipient; `guid` names this incarnation of the recipientId."""

    recipient_id: str
    guid: str
    kind: str
    fields: dict[str, Any]
    tabs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def clone(self) -> Recipient:
        """A copy whose lists of tabs may be edited."""
        tabs = {kind: list(given) for kind, given in self.tabs.items()}
        return Recipient(self.recipient_id, self.guid, self.kind, self.fields, tabs)

    @property
    def order(self) -> int:
        """Routing order, 1 when none is given."""
        return int(self.fields.get("routingOrder") or 1)

    @property
    def email(self) -> str:
        """E-mail address, of the host for an in-person signer."""
        return str(self.fields.get("email") or self.fields.get("hostEmail") or "")

    @property
    def name(self) -> str:
        """Name as given by the sender."""
        return str(self.fields.get("name") or self.fields.get("hostName") or "")

    @property
    def embedded(self) -> bool:
        """True for a recipient with a clientUserId: gets no mail, signs by a view URL."""
        return bool(self.fields.get("clientUserId"))


@dataclass
class CustomField:
    """One envelope custom field; `kind` is `textCustomFields` or `listCustomFields`."""

    field_id: str
    kind: str
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        """The field's name, unique in an envelope."""
        return str(self.fields.get("name", ""))


@dataclass
class Definition:
    """The sender's part of an envelope, stored whole by every write."""

    email_subject: str = ""
    email_blurb: str = ""
    documents: list[Document] = field(default_factory=list)
    recipients: list[Recipient] = field(default_factory=list)
    custom_fields: list[CustomField] = field(default_factory=list)
    notification: dict[str, Any] = field(default_factory=dict)

    def clone(self) -> Definition:
        """A copy to work on.

        Shared are documents and the dicts of fields and tabs, which changes replace whole and
        never edit; everything that changes edit in place is copied.
        """
        return Definition(
            self.email_subject,
            self.email_blurb,
            list(self.documents),
            [r.clone() for r in self.recipients],
            [CustomField(c.field_id, c.kind, c.fields) for c in self.custom_fields],
            self.notification,
        )

    def document(self, document_id: str) -> Document | None:
        """The document of an id, if any."""
        return next((d for d in self.documents if d.document_id == document_id), None)

    def recipient(self, recipient_id: str) -> Recipient | None:
        """The recipient of an id, if any."""
        return next((r for r in self.recipients if r.recipient_id == recipient_id), None)

    def flat(self) -> dict[Path, Any]:
        """Every leaf by its path, for comparing two states of a definition."""
        leaves: dict[Path, Any] = {
            ("emailSubject",): self.email_subject,
            ("emailBlurb",): self.email_blurb,
        }
        for document in self.documents:
            base: Path = ("documents", document.document_id)
            leaves[*base, "name"] = document.name
            leaves[*base, "sha256"] = document.sha256
        for recipient in self.recipients:
            base = ("recipients", recipient.recipient_id)
            leaves[*base, "recipientIdGuid"] = recipient.guid
            leaves[*base, "type"] = recipient.kind
            leaves.update(_leaves(base, recipient.fields))
            for kind, tabs in recipient.tabs.items():
                for tab in tabs:
                    leaves.update(_leaves((*base, kind, str(tab["tabId"])), tab))
        for custom in self.custom_fields:
            leaves.update(_leaves(("customFields", custom.field_id), custom.fields))
        leaves.update(_leaves(("notification",), self.notification))
        return leaves


def _leaves(base: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _leaves((*base, str(key)), child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _leaves((*base, str(index)), child)
    else:
        yield base, value


@dataclass
class RecipientProgress:
    """What one incarnation of a recipient did, and when."""

    status: str = "created"
    sent: datetime | None = None
    delivered: datetime | None = None
    signed: datetime | None = None
    declined: datetime | None = None
    declined_reason: str = ""
    autoresponded_reason: str = ""
    # What the recipient typed and the provider kept, by tabLabel.
    values: dict[str, str] = field(default_factory=dict)


@dataclass
class Removed:
    """An incarnation that is no longer part of the envelope, with the reason."""

    recipient: Recipient
    status: str
    why: str
    at: datetime


@dataclass
class Envelope:
    """One envelope: definition with its version, progress, and the history of both."""

    envelope_id: str
    account_id: str
    number: int
    sender_id: str
    transaction_id: str
    definition: Definition
    created: datetime
    status: str = "created"
    version: int = 1
    times: dict[str, datetime] = field(default_factory=dict)
    progress: dict[str, RecipientProgress] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)
    replaced: dict[str, Recipient] = field(default_factory=dict)
    voided_reason: str = ""
    folder: str = "draft"
    last_modified: datetime = field(default_factory=now)
    history: list[tuple[datetime, str]] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Append a line to the history."""
        self.history.append((now(), what))

    def progress_of(self, recipient: Recipient) -> RecipientProgress:
        """The progress of an incarnation; starts at `created`."""
        return self.progress.setdefault(recipient.guid, RecipientProgress())

    @property
    def current_order(self) -> int | None:
        """The lowest routing order with somebody not done; None when all are done."""
        pending = [
            r.order
            for r in self.definition.recipients
            if self.progress_of(r).status not in RECIPIENT_DONE
        ]
        return min(pending, default=None)
