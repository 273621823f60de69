"""What a read of an envelope shows, and what it proves about a mutation.

A read is a set of facts and a picture of the definition; it never replaces our state. It is used
to join facts, to learn who a recipient's current incarnation is, and to find out whether a
mutation whose answer was lost took effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealwax.definition import Definition, Recipient, RecipientKind, TabKind
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    CreateEnvelope,
    DiscardDraft,
    Mutation,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)


@dataclass(frozen=True, slots=True)
class ObservedRecipient:
    """A recipient as the provider shows it. ``recipient`` is the provider's id for it.

    ``tabs`` is None where the read did not ask for them.
    """

    recipient: str
    incarnation: str
    name: str
    email: str
    routing_order: int
    status: str
    client_user_id: str = ""
    tabs: frozenset[tuple[TabKind, str]] | None = None
    kind: RecipientKind = RecipientKind.SIGNER

    def as_recipient(self, recipient_id: str) -> Recipient:
        """It as one of ours, under an id of ours."""
        return Recipient(
            recipient_id,
            self.name,
            self.email,
            self.routing_order,
            self.kind,
            self.client_user_id,
        )


@dataclass(frozen=True, slots=True)
class Observation:
    """One read of one envelope: its facts and its definition as the provider shows them."""

    provider_envelope_id: str
    status: EnvelopeStatus
    facts: tuple[Fact, ...]
    subject: str
    message: str
    documents: Mapping[int, str]
    recipients: tuple[ObservedRecipient, ...]

    def recipient(self, recipient: str) -> ObservedRecipient | None:
        """The recipient of that provider's id, or None."""
        return next((r for r in self.recipients if r.recipient == recipient), None)


REPEATABLE = frozenset({"replace_document", "set_tabs"})
"""Mutations that may be made again whatever came of the last try (SPEC Documents_PutDocument:
the same document id replaces). Making a recipient's tabs exactly a list starts with a read."""

TOLD_BY_TABS = frozenset({"add_recipients", "set_tabs"})
"""Mutations of which only a read with tabs can tell whether they landed whole: new recipients and
their tabs are separate requests (SPEC Recipients_PostRecipients ignores tabs)."""


def landed(
    mutation: Mutation, after: Definition, numbers: Mapping[str, str], seen: Observation
) -> bool | None:
    """Whether the read shows what the mutation would have left; None where it cannot tell.

    ``after`` is the definition as the mutation leaves it; ``numbers`` gives the provider's id
    of each of our recipients.
    """
    match mutation:
        case CreateEnvelope():
            return True
        case SendEnvelope():
            return seen.status not in (EnvelopeStatus.NEW, EnvelopeStatus.CREATED)
        case VoidEnvelope():
            return seen.status is EnvelopeStatus.VOIDED
        case DiscardDraft():
            return seen.status is EnvelopeStatus.DELETED
        case AddDocuments(documents=documents):
            return all(seen.documents.get(d.document_id) == d.name for d in documents)
        case ReplaceDocument():
            return None
        case RemoveDocuments(document_ids=ids):
            return not any(i in seen.documents for i in ids)
        case AddRecipients(recipients=added):
            return all(_shows(seen, numbers, r) and _bears(seen, numbers, r) for r in added)
        case RemoveRecipients(recipient_ids=ids):
            return not any(seen.recipient(numbers.get(i, "")) for i in ids)
        case SetTabs(recipient_id=recipient_id, tabs=tabs):
            held = seen.recipient(numbers.get(recipient_id, ""))
            if held is None or held.tabs is None:
                return None
            return held.tabs == frozenset((t.kind, t.label) for t in tabs)
        case UpdateRecipient(recipient_id=recipient_id):
            return _changed(seen, numbers, after, (recipient_id,))
        case ReorderRouting(orders=orders):
            return _changed(seen, numbers, after, tuple(orders))
        case ChangeMessage():
            return seen.subject == after.subject and seen.message == after.message
        case CorrectEnvelope(recipients=changes):
            texts = seen.subject == after.subject and seen.message == after.message
            ids = tuple(c.recipient_id for c in changes)
            return texts and _changed(seen, numbers, after, ids)


def _changed(
    seen: Observation, numbers: Mapping[str, str], after: Definition, ids: tuple[str, ...]
) -> bool:
    wanted = [r for r in after.recipients if r.recipient_id in ids]
    return all(_shows(seen, numbers, r) for r in wanted)


def _shows(seen: Observation, numbers: Mapping[str, str], wanted: Recipient) -> bool:
    held = seen.recipient(numbers.get(wanted.recipient_id, ""))
    return (
        held is not None
        and held.name == wanted.name
        and held.email.casefold() == wanted.email.casefold()
        and held.routing_order == wanted.routing_order
    )


def _bears(seen: Observation, numbers: Mapping[str, str], wanted: Recipient) -> bool:
    held = seen.recipient(numbers.get(wanted.recipient_id, ""))
    if held is None or held.tabs is None:
        return held is not None
    return held.tabs >= {(t.kind, t.label) for t in wanted.tabs}
