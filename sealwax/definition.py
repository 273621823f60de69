"""What an envelope is made of: documents, recipients and their tabs.

Everything here is a frozen value. ``check_definition`` is the one place that knows what a
well-formed envelope is; it is asked by the client before anything leaves the application and
again by the workflow before anything enters history.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

SUBJECT_LENGTH_MAX = 100
MESSAGE_LENGTH_MAX = 10_000
NAME_LENGTH_MAX = 100
DOCUMENT_BYTES_MAX = 25 * 1024 * 1024
DOCUMENT_ID_MAX = 2_147_483_647
ROUTING_ORDER_MAX = 10_000
DAYS_MAX = 999
CUSTOM_FIELDS_MAX = 50
CUSTOM_FIELD_LENGTH_MAX = 100
"""SPEC textCustomField.value: at most 100 characters; we hold the name to the same."""

RESERVED_FIELD = "sealwax"
"""The custom field by which an envelope of ours is found again; nobody else may set it."""

_RECIPIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,35}")
_ENVELOPE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
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
class Reminders:
    """When the provider reminds those who have not signed, in whole days; both 0 is never.

    First ``first_after_days`` after a recipient got the envelope, then every ``every_days`` (0:
    only that once). SPEC reminders.
    """

    first_after_days: int
    every_days: int = 0


@dataclass(frozen=True, slots=True)
class Expiration:
    """When the provider voids an unfinished envelope by itself, in whole days after its sending.

    Recipients are warned ``warn_days`` before (0: not). SPEC expirations.
    """

    after_days: int
    warn_days: int = 0


@dataclass(frozen=True, slots=True)
class CustomField:
    """A text that senders keep with an envelope; recipients do not see it. Names are unique."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Definition:
    """What the sender says the envelope is; its progress stands elsewhere, in facts.

    Where ``reminders`` or ``expiration`` is None, the account's own settings hold.
    """

    subject: str
    message: str = ""
    documents: tuple[Document, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    reminders: Reminders | None = None
    expiration: Expiration | None = None
    custom_fields: tuple[CustomField, ...] = ()

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
    if definition.reminders is not None:
        check_reminders(definition.reminders)
    if definition.expiration is not None:
        check_expiration(definition.expiration)
    check_custom_fields(definition.custom_fields)


def check_provider_envelope_id(provider_envelope_id: str) -> None:
    """Raise ``Refusal`` for what cannot be a provider's id of an envelope."""
    if not _ENVELOPE_ID.fullmatch(provider_envelope_id):
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "a provider's envelope id has 1 to 100 letters, digits or '-', '_', such as"
            " 93be49ab-0000-4000-8000-f752070d71ec; copy it from the provider",
        )


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


def check_reminders(reminders: Reminders) -> None:
    """Raise ``Refusal`` for reminders that are neither off nor a number of days."""
    first, every = reminders.first_after_days, reminders.every_days
    if (first, every) == (0, 0):
        return
    if not (1 <= first <= DAYS_MAX and 0 <= every <= DAYS_MAX):
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"reminders start 1 to {DAYS_MAX} days after the envelope and repeat every 0 to"
            f" {DAYS_MAX} days (0: once); give 0 and 0 to switch them off",
        )


def check_expiration(expiration: Expiration) -> None:
    """Raise ``Refusal`` for an end or a warning that cannot be."""
    after, warn = expiration.after_days, expiration.warn_days
    if not (1 <= after <= DAYS_MAX and 0 <= warn < after):
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"an envelope expires after 1 to {DAYS_MAX} days, and its recipients are warned fewer"
            " days before (0: not at all)",
        )


def check_custom_fields(fields: Iterable[CustomField]) -> None:
    """Raise ``Refusal`` for a bad, repeated or reserved name, too long a value, or too many."""
    seen: set[str] = set()
    for field in fields:
        check_field_name(field.name)
        if field.name in seen:
            raise Refusal(
                RefusalCode.DUPLICATE_ID,
                f"custom field {field.name!r} is given twice; names are unique in an envelope",
            )
        seen.add(field.name)
        if len(field.value) > CUSTOM_FIELD_LENGTH_MAX:
            raise Refusal(
                RefusalCode.OVERSIZE,
                f"the value of custom field {field.name!r} has {len(field.value)} characters;"
                f" at most {CUSTOM_FIELD_LENGTH_MAX} are allowed",
            )
    if len(seen) > CUSTOM_FIELDS_MAX:
        raise Refusal(
            RefusalCode.OVERSIZE,
            f"an envelope has at most {CUSTOM_FIELDS_MAX} custom fields; these are {len(seen)}",
        )


def check_field_name(name: str) -> None:
    """Raise ``Refusal`` for a name that no custom field of a caller's may have."""
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise Refusal(
            RefusalCode.BAD_INPUT, "a custom field needs a name in one line, without outer spaces"
        )
    if len(name) > CUSTOM_FIELD_LENGTH_MAX:
        raise Refusal(
            RefusalCode.OVERSIZE,
            f"a custom field's name has at most {CUSTOM_FIELD_LENGTH_MAX} characters",
        )
    if name.casefold() == RESERVED_FIELD:
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"the custom field {RESERVED_FIELD!r} is Sealwax's own; choose another name",
        )


def with_custom_fields(
    definition: Definition, values: Mapping[str, str], remove: tuple[str, ...]
) -> Definition:
    """The definition with these text fields set and those taken out. Raises ``Refusal``."""
    if not values and not remove:
        raise Refusal(RefusalCode.BAD_INPUT, "give custom fields to set, or names to remove")
    held = {f.name: f.value for f in definition.custom_fields}
    for name in remove:
        check_field_name(name)
        if name in values or name not in held:
            why = "set and removed at once" if name in values else "not there"
            raise Refusal(
                RefusalCode.BAD_INPUT,
                f"custom field {name!r} is {why}; there are: {', '.join(held) or 'none'}",
            )
    after = {n: v for n, v in {**held, **values}.items() if n not in remove}
    fields = tuple(CustomField(name, value) for name, value in after.items())
    check_custom_fields(fields)
    return replace(definition, custom_fields=fields)
