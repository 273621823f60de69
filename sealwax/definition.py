"""What an envelope is made of: documents, recipients and their tabs.

Everything here is a frozen value. ``check_definition`` is the one place that knows what a
well-formed envelope is; it is asked by the client before anything leaves the application and
again by the workflow before anything enters history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

SUBJECT_LENGTH_MAX = 100
MESSAGE_LENGTH_MAX = 10_000
NAME_LENGTH_MAX = 100
DOCUMENT_BYTES_MAX = 25 * 1024 * 1024
DOCUMENT_ID_MAX = 2_147_483_647
ROUTING_ORDER_MAX = 10_000

_RECIPIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,35}")
_EMAIL = re.compile(r"[^@\s<>\",;:]+@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)+")


class RefusalCode(StrEnum):
    """Why a request was refused. Stable: applications may branch on these."""

    BAD_INPUT = "bad_input"
    BAD_EMAIL = "bad_email"
    BAD_ROUTING_ORDER = "bad_routing_order"
    DUPLICATE_ID = "duplicate_id"
    EMPTY_RECIPIENTS = "empty_recipients"
    EMPTY_DOCUMENTS = "empty_documents"
    OVERSIZE = "oversize"
    UNKNOWN_RECIPIENT = "unknown_recipient"
    UNKNOWN_DOCUMENT = "unknown_document"
    RECIPIENT_HAS_ACTED = "recipient_has_acted"
    ILLEGAL_IN_STATUS = "illegal_in_status"
    OPERATION_ID_REUSED = "operation_id_reused"
    TOO_MANY_OPERATIONS = "too_many_operations"
    CONFLICT = "conflict"
    UNKNOWN_OPERATION = "unknown_operation"
    BUSINESS_KEY_REUSED = "business_key_reused"
    BAD_KEY = "bad_key"
    CLOSED = "closed"
    NOTHING_TO_DECIDE = "nothing_to_decide"
    ALREADY_OPEN = "already_open"
    NOT_EMBEDDED = "not_embedded"
    BAD_RETURN_URL = "bad_return_url"
    STALE_TOKEN = "stale_token"
    UNKNOWN_SESSION = "unknown_session"
    SESSION_OVER = "session_over"


class Refusal(Exception):
    """A request that the law refuses. Nothing was changed by it.

    ``code`` says why in one stable word, ``str(refusal)`` says it to a person, in one line that
    names what to do instead.
    """

    def __init__(self, code: RefusalCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Where a document's bytes stand: SHA-256 in hex, size in bytes, media type.

    References travel, bytes never do.
    """

    digest: str
    size_bytes: int
    media_type: str = "application/pdf"


@dataclass(frozen=True, slots=True)
class Document:
    """One document. ``document_id`` is the caller's, 1 to 2147483647, unique in the envelope."""

    document_id: int
    name: str
    blob: BlobRef


class RecipientKind(StrEnum):
    """Who a recipient is to the envelope: one who signs, or one who gets a copy in turn."""

    SIGNER = "signer"
    CARBON_COPY = "carbon_copy"


class TabKind(StrEnum):
    """What a tab asks of its signer."""

    SIGN_HERE = "sign_here"
    INITIAL_HERE = "initial_here"
    DATE_SIGNED = "date_signed"
    FULL_NAME = "full_name"
    TEXT = "text"
    CHECKBOX = "checkbox"


@dataclass(frozen=True, slots=True)
class Tab:
    """A field on a document's page. ``label`` is unique for its recipient and kind.

    Placed either at ``x``, ``y`` (pixels from the page's top left, as the provider counts them)
    of ``page`` (1 = first), or beside the text ``anchor``.
    """

    kind: TabKind
    label: str
    document_id: int
    page: int = 1
    x: int = 0
    y: int = 0
    anchor: str = ""
    value: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient. Same ``routing_order`` means at the same time; lower orders go first.

    ``recipient_id`` is the caller's: letters, digits, ``-`` and ``_``. With a ``client_user_id``
    the recipient signs embedded in the application and gets no mail from the provider.
    """

    recipient_id: str
    name: str
    email: str
    routing_order: int = 1
    kind: RecipientKind = RecipientKind.SIGNER
    client_user_id: str = ""
    tabs: tuple[Tab, ...] = ()


@dataclass(frozen=True, slots=True)
class Definition:
    """What the sender says the envelope is; its progress stands elsewhere, in facts."""

    subject: str
    message: str = ""
    documents: tuple[Document, ...] = ()
    recipients: tuple[Recipient, ...] = ()

    def recipient(self, recipient_id: str) -> Recipient | None:
        """The recipient of that id, or None."""
        return next((r for r in self.recipients if r.recipient_id == recipient_id), None)

    def document(self, document_id: int) -> Document | None:
        """The document of that id, or None."""
        return next((d for d in self.documents if d.document_id == document_id), None)


def check_definition(definition: Definition) -> None:
    """Raise ``Refusal`` where a definition could not be an envelope's."""
    check_texts(definition.subject, definition.message)
    if not definition.documents:
        raise Refusal(RefusalCode.EMPTY_DOCUMENTS, "an envelope needs at least one document")
    check_documents(definition.documents)
    if not any(r.kind is RecipientKind.SIGNER for r in definition.recipients):
        raise Refusal(
            RefusalCode.EMPTY_RECIPIENTS, "an envelope needs at least one recipient who signs"
        )
    check_recipients(definition.recipients)
    known = {d.document_id for d in definition.documents}
    for recipient in definition.recipients:
        check_tabs(recipient.recipient_id, recipient.tabs, known)


def check_texts(subject: str, message: str) -> None:
    """Raise ``Refusal`` for a missing or oversize subject, or an oversize message."""
    if not subject.strip():
        raise Refusal(RefusalCode.BAD_INPUT, "an envelope needs a subject; give a short one")
    if len(subject) > SUBJECT_LENGTH_MAX:
        raise Refusal(
            RefusalCode.OVERSIZE,
            f"the subject has {len(subject)} characters; at most {SUBJECT_LENGTH_MAX} are allowed",
        )
    if len(message) > MESSAGE_LENGTH_MAX:
        raise Refusal(
            RefusalCode.OVERSIZE,
            f"the message has {len(message)} characters; at most {MESSAGE_LENGTH_MAX} are allowed",
        )


def check_documents(documents: Iterable[Document]) -> None:
    """Raise ``Refusal`` for a bad or repeated document id, a missing name or too many bytes."""
    seen: set[int] = set()
    for document in documents:
        if not 1 <= document.document_id <= DOCUMENT_ID_MAX:
            raise Refusal(
                RefusalCode.BAD_INPUT,
                f"document id {document.document_id} is not between 1 and {DOCUMENT_ID_MAX}",
            )
        if document.document_id in seen:
            raise Refusal(
                RefusalCode.DUPLICATE_ID,
                f"document id {document.document_id} is given twice; ids are unique in an envelope",
            )
        seen.add(document.document_id)
        if not document.name.strip() or len(document.name) > NAME_LENGTH_MAX:
            raise Refusal(
                RefusalCode.BAD_INPUT,
                f"document {document.document_id} needs a name of 1 to {NAME_LENGTH_MAX}"
                " characters",
            )
        if document.blob.size_bytes > DOCUMENT_BYTES_MAX:
            raise Refusal(
                RefusalCode.OVERSIZE,
                f"document {document.document_id} has {document.blob.size_bytes} bytes;"
                f" at most {DOCUMENT_BYTES_MAX} are allowed",
            )


def check_recipients(recipients: Iterable[Recipient]) -> None:
    """Raise ``Refusal`` for a bad or repeated recipient id, name, e-mail or routing order."""
    seen: set[str] = set()
    for recipient in recipients:
        key = recipient.recipient_id
        if not _RECIPIENT_ID.fullmatch(key):
            raise Refusal(
                RefusalCode.BAD_INPUT,
                "a recipient id has 1 to 36 letters, digits, '-' or '_' and is not personal data;"
                " give another",
            )
        if key in seen:
            raise Refusal(
                RefusalCode.DUPLICATE_ID,
                f"recipient id {key} is given twice; ids are unique in an envelope",
            )
        seen.add(key)
        check_person(key, recipient.name, recipient.email, recipient.routing_order)
        if len(recipient.client_user_id) > NAME_LENGTH_MAX:
            raise Refusal(
                RefusalCode.OVERSIZE,
                f"recipient {key}: a client user id has at most {NAME_LENGTH_MAX} characters",
            )


def check_person(recipient_id: str, name: str, email: str, routing_order: int) -> None:
    """Raise ``Refusal`` where the name, e-mail address or routing order cannot be used."""
    if not name.strip() or len(name) > NAME_LENGTH_MAX:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"recipient {recipient_id} needs a name of 1 to {NAME_LENGTH_MAX} characters",
        )
    if len(email) > NAME_LENGTH_MAX or not _EMAIL.fullmatch(email):
        raise Refusal(
            RefusalCode.BAD_EMAIL,
            f"recipient {recipient_id}: the e-mail address is malformed;"
            " give one like name@example.com",
        )
    if not 1 <= routing_order <= ROUTING_ORDER_MAX:
        raise Refusal(
            RefusalCode.BAD_ROUTING_ORDER,
            f"recipient {recipient_id}: routing order {routing_order} is not a whole number"
            f" between 1 and {ROUTING_ORDER_MAX}",
        )


def check_tabs(recipient_id: str, tabs: Iterable[Tab], document_ids: set[int]) -> None:
    """Raise ``Refusal`` for a tab without a label, on no known document, or given twice."""
    seen: set[tuple[TabKind, str]] = set()
    for tab in tabs:
        if not tab.label.strip() or len(tab.label) > NAME_LENGTH_MAX:
            raise Refusal(
                RefusalCode.BAD_INPUT,
                f"a tab of recipient {recipient_id} needs a label of 1 to {NAME_LENGTH_MAX}"
                " characters",
            )
        if tab.document_id not in document_ids:
            raise Refusal(
                RefusalCode.UNKNOWN_DOCUMENT,
                f"tab {tab.label} of recipient {recipient_id} stands on document"
                f" {tab.document_id}, which the envelope does not have",
            )
        if (tab.kind, tab.label) in seen:
            raise Refusal(
                RefusalCode.DUPLICATE_ID,
                f"tab {tab.label} ({tab.kind}) of recipient {recipient_id} is given twice",
            )
        seen.add((tab.kind, tab.label))
