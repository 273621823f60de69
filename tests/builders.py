"""The smallest valid values; a test takes one and changes the one thing that it is about."""

from __future__ import annotations

from datetime import UTC, datetime

from sealwax.calls import ARCHIVE, Archived, ArchivedDocument
from sealwax.definition import BlobRef, Definition, Document, Recipient
from sealwax.envelope import Order
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from sealwax.observations import Observation, ObservedRecipient

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
ACCOUNT_ID = "8b411bfe-54f5-47fc-bbf2-55d9a71a200f"
ENVELOPE_ID = "71799c95-8417-4b16-90d5-86ff24a91d09"


def archived(name: str = "") -> Archived:
    """What came of fetching one file of the archive, or all of them."""
    names = (name,) if name else ARCHIVE
    blob = BlobRef("c" * 64, 100, "application/pdf")
    return Archived(tuple(ArchivedDocument(each, blob) for each in names))


def a_document(document_id: int = 1, name: str = "contract.pdf") -> Document:
    """A document of a thousand bytes that nobody stored."""
    return Document(document_id, name, BlobRef(f"{document_id:064x}", 1_000))


def a_recipient(recipient_id: str = "1", routing_order: int = 1, name: str = "Ana") -> Recipient:
    """A signer without tabs."""
    return Recipient(recipient_id, name, f"{name.lower()}@example.com", routing_order)


def a_definition(
    recipients: tuple[Recipient, ...] = (), documents: tuple[Document, ...] = ()
) -> Definition:
    """One document, one signer."""
    return Definition(
        subject="Please sign",
        documents=documents or (a_document(),),
        recipients=recipients or (a_recipient(),),
    )


def an_order(definition: Definition | None = None, send: bool = True) -> Order:
    """An envelope to be sent at once."""
    return Order("acme", "order-17", definition or a_definition(), send)


def an_event(
    name: str = "envelope-completed",
    facts: tuple[Fact, ...] = (Fact(EnvelopeStatus.COMPLETED),),
    *,
    event_key: str = "",
    account_id: str = ACCOUNT_ID,
    envelope_id: str = ENVELOPE_ID,
    needs_read: bool = False,
    recipient: str = "",
    session_left_at: datetime | None = None,
) -> ProviderEvent:
    """A verified webhook of the envelope that the playbooks play."""
    return ProviderEvent(
        event_key or name,
        name,
        account_id,
        envelope_id,
        facts,
        needs_read,
        recipient=recipient,
        session_left_at=session_left_at,
    )


def an_observation(
    status: EnvelopeStatus = EnvelopeStatus.SENT,
    recipients: tuple[ObservedRecipient, ...] = (),
    facts: tuple[Fact, ...] = (),
    subject: str = "Please sign",
    documents: dict[int, str] | None = None,
) -> Observation:
    """A read of that envelope with one signer who has done nothing yet."""
    seen = recipients or (seen_recipient(),)
    told = (Fact(status), *(Fact(r.status, r.recipient, r.incarnation) for r in seen))
    return Observation(
        ENVELOPE_ID, status, (*told, *facts), subject, "", documents or {1: "contract.pdf"}, seen
    )


def seen_recipient(
    recipient: str = "1", guid: str = "guid-1", status: str = "sent", name: str = "Ana"
) -> ObservedRecipient:
    """A signer as a read shows one."""
    return ObservedRecipient(recipient, guid, name, f"{name.lower()}@example.com", 1, status)
