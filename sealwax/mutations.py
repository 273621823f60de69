"""Mutations: the changes a caller may ask of an envelope, and what each leaves.

When each is legal stands in ``legality``. ``project`` applies a mutation to a definition, so
that a request can be judged against the state as it will be when its turn comes. ``landed`` tells
from a read whether a mutation took effect, which is how an unknown outcome is resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from sealwax.definition import (
    Definition,
    Document,
    Expiration,
    Recipient,
    RecipientKind,
    Refusal,
    RefusalCode,
    Reminders,
    Tab,
    check_definition,
    check_documents,
    check_expiration,
    check_person,
    check_recipients,
    check_reminders,
    check_tabs,
    check_texts,
    with_custom_fields,
)
from sealwax.facts import ACTED, EnvelopeStatus, RecipientStatus
from sealwax.legality import LEAVES, check_legal

VOID_REASON_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class CreateEnvelope:
    """Make the envelope as a draft. Asked by the workflow itself, once, from its input."""

    definition: Definition
    kind: Literal["create"] = "create"


@dataclass(frozen=True, slots=True)
class SendEnvelope:
    """Send the draft to its first recipients."""

    kind: Literal["send"] = "send"


@dataclass(frozen=True, slots=True)
class AddDocuments:
    """Add documents under ids that the envelope does not have yet."""

    documents: tuple[Document, ...]
    kind: Literal["add_documents"] = "add_documents"


@dataclass(frozen=True, slots=True)
class ReplaceDocument:
    """Put another document in the place of the one with the same id."""

    document: Document
    kind: Literal["replace_document"] = "replace_document"


@dataclass(frozen=True, slots=True)
class RemoveDocuments:
    """Take documents out; tabs that stand on them go with them. At least one document stays."""

    document_ids: tuple[int, ...]
    kind: Literal["remove_documents"] = "remove_documents"


@dataclass(frozen=True, slots=True)
class AddRecipients:
    """Add recipients under ids that the envelope does not have."""

    recipients: tuple[Recipient, ...]
    kind: Literal["add_recipients"] = "add_recipients"


@dataclass(frozen=True, slots=True)
class UpdateRecipient:
    """Change a recipient; what is None stays. An e-mail given makes the provider mail again."""

    recipient_id: str
    name: str | None = None
    email: str | None = None
    routing_order: int | None = None
    kind: Literal["update_recipient"] = "update_recipient"


@dataclass(frozen=True, slots=True)
class RemoveRecipients:
    """Take recipients out. At least one who signs stays."""

    recipient_ids: tuple[str, ...]
    kind: Literal["remove_recipients"] = "remove_recipients"


@dataclass(frozen=True, slots=True)
class ReorderRouting:
    """Give recipients new routing orders (1 = first; the same order means at the same time)."""

    orders: Mapping[str, int]
    kind: Literal["reorder_routing"] = "reorder_routing"


@dataclass(frozen=True, slots=True)
class SetTabs:
    """Make a recipient's tabs exactly these."""

    recipient_id: str
    tabs: tuple[Tab, ...]
    kind: Literal["set_tabs"] = "set_tabs"


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """Change a draft's subject or message; what is None stays."""

    subject: str | None = None
    message: str | None = None
    kind: Literal["change_message"] = "change_message"


@dataclass(frozen=True, slots=True)
class CorrectEnvelope:
    """Change several things of a sent envelope in one call; what is None or empty stays."""

    subject: str | None = None
    message: str | None = None
    recipients: tuple[UpdateRecipient, ...] = ()
    kind: Literal["correct"] = "correct"


@dataclass(frozen=True, slots=True)
class SetReminders:
    """Make the provider remind those who have not signed. Both 0: never. No mail goes out now."""

    first_after_days: int
    every_days: int = 0
    kind: Literal["set_reminders"] = "set_reminders"


@dataclass(frozen=True, slots=True)
class SetExpiration:
    """Make the envelope expire so many days after its sending, with a warning before (0: none)."""

    after_days: int
    warn_days: int = 0
    kind: Literal["set_expiration"] = "set_expiration"


@dataclass(frozen=True, slots=True)
class SetCustomFields:
    """Set text fields by name and take others out; the rest stay."""

    values: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    kind: Literal["set_custom_fields"] = "set_custom_fields"


@dataclass(frozen=True, slots=True)
class ResendEnvelope:
    """Mail again those who are waited on, or the given recipients of them. It changes no field."""

    recipient_ids: tuple[str, ...] = ()
    kind: Literal["resend"] = "resend"


@dataclass(frozen=True, slots=True)
class VoidEnvelope:
    """Void an envelope in process. It cannot be undone. The reason has 1 to 200 characters."""

    reason: str
    kind: Literal["void"] = "void"


@dataclass(frozen=True, slots=True)
class DiscardDraft:
    """Put a draft into the bin: the only way a draft ends without being sent."""

    kind: Literal["discard"] = "discard"


Mutation = (
    CreateEnvelope
    | SendEnvelope
    | AddDocuments
    | ReplaceDocument
    | RemoveDocuments
    | AddRecipients
    | UpdateRecipient
    | RemoveRecipients
    | ReorderRouting
    | SetTabs
    | ChangeMessage
    | CorrectEnvelope
    | SetReminders
    | SetExpiration
    | SetCustomFields
    | ResendEnvelope
    | VoidEnvelope
    | DiscardDraft
)


def described(mutation: Mutation) -> str:
    """A mutation in a few words, with ids of ours and no personal data."""
    match mutation:
        case AddDocuments(documents=documents):
            return f"Add document {', '.join(str(d.document_id) for d in documents)}"
        case ReplaceDocument(document=document):
            return f"Replace document {document.document_id}"
        case RemoveDocuments(document_ids=ids):
            return f"Remove document {', '.join(map(str, ids))}"
        case AddRecipients(recipients=recipients):
            return f"Add recipient {', '.join(r.recipient_id for r in recipients)}"
        case RemoveRecipients(recipient_ids=ids):
            return f"Remove recipient {', '.join(ids)}"
        case UpdateRecipient(recipient_id=recipient_id):
            return f"Update recipient {recipient_id}"
        case SetTabs(recipient_id=recipient_id):
            return f"Set the tabs of recipient {recipient_id}"
        case ReorderRouting(orders=orders):
            return f"Reorder routing of {', '.join(orders)}"
        case CorrectEnvelope(recipients=changes):
            of = f" of {', '.join(c.recipient_id for c in changes)}" if changes else ""
            return f"Correct the envelope{of}"
        case ResendEnvelope(recipient_ids=ids):
            return f"Resend to {', '.join(ids)}" if ids else "Resend to all who are waited on"
        case _:
            return {
                "create": "Create the draft",
                "send": "Send the envelope",
                "change_message": "Change subject or message",
                "set_reminders": "Set the reminders",
                "set_expiration": "Set the expiration",
                "set_custom_fields": "Set custom fields",
                "void": "Void the envelope",
                "discard": "Discard the draft",
            }[mutation.kind]


@dataclass(frozen=True, slots=True)
class Projection:
    """An envelope as it stands, or will stand: status, definition, and who has acted."""

    status: EnvelopeStatus
    definition: Definition
    recipients: Mapping[str, RecipientStatus] = field(default_factory=dict)


def project(before: Projection, mutation: Mutation) -> Projection:
    """The envelope after the mutation. Raises ``Refusal`` where it is illegal; nothing changes."""
    check_legal(before.status, mutation.kind)
    definition = _applied(before, mutation)
    return replace(before, definition=definition, status=LEAVES.get(mutation.kind, before.status))


def _applied(before: Projection, mutation: Mutation) -> Definition:
    definition = before.definition
    match mutation:
        case CreateEnvelope():
            check_definition(mutation.definition)
            return mutation.definition
        case AddDocuments() | ReplaceDocument() | RemoveDocuments():
            return _with_documents(definition, mutation)
        case AddRecipients(recipients=recipients):
            return _with_added(definition, recipients)
        case UpdateRecipient():
            return _with_updated(before, definition, mutation)
        case RemoveRecipients(recipient_ids=ids):
            return _without_recipients(before, ids)
        case ReorderRouting(orders=orders):
            if not orders:
                raise Refusal(RefusalCode.BAD_INPUT, "give at least one recipient's routing order")
            for recipient_id, order in orders.items():
                change = UpdateRecipient(recipient_id, routing_order=order)
                definition = _with_updated(before, definition, change)
            return definition
        case SetTabs(recipient_id=recipient_id, tabs=tabs):
            held = _untouched(before, definition, recipient_id)
            check_tabs(recipient_id, tabs, {d.document_id for d in definition.documents})
            return _with_recipient(definition, replace(held, tabs=tabs))
        case ChangeMessage(subject=subject, message=message):
            return _with_texts(definition, subject, message)
        case CorrectEnvelope():
            return _corrected(before, mutation)
        case SetReminders() | SetExpiration() | SetCustomFields():
            return _with_settings(definition, mutation)
        case ResendEnvelope(recipient_ids=ids):
            for recipient_id in ids:
                _mailed(_untouched(before, definition, recipient_id))
            return definition
        case VoidEnvelope(reason=reason):
            if not reason.strip() or len(reason) > VOID_REASON_LENGTH_MAX:
                raise Refusal(
                    RefusalCode.BAD_INPUT,
                    f"a void needs a reason of 1 to {VOID_REASON_LENGTH_MAX} characters",
                )
            return definition
        case SendEnvelope():
            check_definition(definition)
            return definition
        case DiscardDraft():
            return definition


def _with_documents(
    definition: Definition, mutation: AddDocuments | ReplaceDocument | RemoveDocuments
) -> Definition:
    match mutation:
        case AddDocuments(documents=added):
            if not added:
                raise Refusal(RefusalCode.EMPTY_DOCUMENTS, "give at least one document to add")
            documents = definition.documents + added
        case ReplaceDocument(document=document):
            _known_document(definition, document.document_id)
            documents = tuple(
                document if d.document_id == document.document_id else d
                for d in definition.documents
            )
        case RemoveDocuments(document_ids=ids):
            if not ids:
                raise Refusal(RefusalCode.EMPTY_DOCUMENTS, "give at least one document to remove")
            for document_id in ids:
                _known_document(definition, document_id)
            documents = tuple(d for d in definition.documents if d.document_id not in ids)
            if not documents:
                raise Refusal(
                    RefusalCode.EMPTY_DOCUMENTS,
                    "an envelope keeps at least one document; add another before removing this",
                )
    check_documents(documents)
    kept = {d.document_id for d in documents}
    recipients = tuple(
        replace(r, tabs=tuple(t for t in r.tabs if t.document_id in kept))
        for r in definition.recipients
    )
    return replace(definition, documents=documents, recipients=recipients)


def _with_settings(
    definition: Definition, mutation: SetReminders | SetExpiration | SetCustomFields
) -> Definition:
    match mutation:
        case SetReminders(first_after_days=first, every_days=every):
            reminders = Reminders(first, every)
            check_reminders(reminders)
            return replace(definition, reminders=reminders)
        case SetExpiration(after_days=after, warn_days=warn):
            expiration = Expiration(after, warn)
            check_expiration(expiration)
            return replace(definition, expiration=expiration)
        case SetCustomFields(values=values, remove=remove):
            return with_custom_fields(definition, values, remove)


def _mailed(recipient: Recipient) -> None:
    if recipient.client_user_id:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"recipient {recipient.recipient_id} signs in your application and gets no mail;"
            " ask for a signing session",
        )


def _with_added(definition: Definition, added: tuple[Recipient, ...]) -> Definition:
    if not added:
        raise Refusal(RefusalCode.EMPTY_RECIPIENTS, "give at least one recipient to add")
    recipients = definition.recipients + added
    check_recipients(recipients)
    known = {d.document_id for d in definition.documents}
    for recipient in added:
        check_tabs(recipient.recipient_id, recipient.tabs, known)
    return replace(definition, recipients=recipients)


def _with_updated(
    before: Projection, definition: Definition, change: UpdateRecipient
) -> Definition:
    if change.name is None and change.email is None and change.routing_order is None:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"recipient {change.recipient_id}: give a name, an e-mail address or a routing order",
        )
    held = _untouched(before, definition, change.recipient_id)
    updated = replace(
        held,
        name=held.name if change.name is None else change.name,
        email=held.email if change.email is None else change.email,
        routing_order=held.routing_order if change.routing_order is None else change.routing_order,
    )
    check_person(updated.recipient_id, updated.name, updated.email, updated.routing_order)
    return _with_recipient(definition, updated)


def _without_recipients(before: Projection, ids: tuple[str, ...]) -> Definition:
    definition = before.definition
    if not ids:
        raise Refusal(RefusalCode.EMPTY_RECIPIENTS, "give at least one recipient to remove")
    for recipient_id in ids:
        _untouched(before, definition, recipient_id)
    kept = tuple(r for r in definition.recipients if r.recipient_id not in ids)
    if not any(r.kind is RecipientKind.SIGNER for r in kept):
        raise Refusal(
            RefusalCode.EMPTY_RECIPIENTS,
            "an envelope keeps at least one recipient who signs; add another before removing this",
        )
    return replace(definition, recipients=kept)


def _corrected(before: Projection, mutation: CorrectEnvelope) -> Definition:
    definition = before.definition
    if mutation.subject is None and mutation.message is None and not mutation.recipients:
        raise Refusal(
            RefusalCode.BAD_INPUT, "a correction needs a subject, a message or recipients"
        )
    if mutation.subject is not None or mutation.message is not None:
        definition = _with_texts(definition, mutation.subject, mutation.message)
    for change in mutation.recipients:
        definition = _with_updated(before, definition, change)
    return definition


def _with_texts(definition: Definition, subject: str | None, message: str | None) -> Definition:
    if subject is None and message is None:
        raise Refusal(RefusalCode.BAD_INPUT, "give a subject or a message to change")
    changed = replace(
        definition,
        subject=definition.subject if subject is None else subject,
        message=definition.message if message is None else message,
    )
    check_texts(changed.subject, changed.message)
    return changed


def _with_recipient(definition: Definition, recipient: Recipient) -> Definition:
    return replace(
        definition,
        recipients=tuple(
            recipient if r.recipient_id == recipient.recipient_id else r
            for r in definition.recipients
        ),
    )


def _known_document(definition: Definition, document_id: int) -> Document:
    held = definition.document(document_id)
    if held is None:
        known = ", ".join(str(d.document_id) for d in definition.documents)
        raise Refusal(
            RefusalCode.UNKNOWN_DOCUMENT,
            f"the envelope has no document {document_id}; it has {known}",
        )
    return held


def _untouched(before: Projection, definition: Definition, recipient_id: str) -> Recipient:
    held = definition.recipient(recipient_id)
    if held is None:
        known = ", ".join(r.recipient_id for r in definition.recipients)
        raise Refusal(
            RefusalCode.UNKNOWN_RECIPIENT,
            f"the envelope has no recipient {recipient_id[:40]!r}; it has {known}",
        )
    status = before.recipients.get(recipient_id, RecipientStatus.CREATED)
    if status in ACTED:
        raise Refusal(
            RefusalCode.RECIPIENT_HAS_ACTED,
            f"recipient {recipient_id} has acted already ({status}) and can no longer be changed",
        )
    return held
