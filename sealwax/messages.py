"""The contract between applications, the envelope workflow and the bridge.

Names of the workflow, its handlers and search attributes, and one frozen model for every message.
An application in another language starts the workflow by these names with JSON of these shapes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sealwax.calls import ArchivedDocument
from sealwax.envelope import Order
from sealwax.facts import EnvelopeStatus, ProviderEvent, RecipientStatus
from sealwax.mutations import Mutation

WORKFLOW = "envelope"
TASK_QUEUE = "sealwax"

UPDATE_SUBMIT = "submit"
UPDATE_RESULT = "result"
SIGNAL_EVENTS = "provider_events"
QUERY_SNAPSHOT = "snapshot"
QUERY_TIMELINE = "timeline"
QUERY_ANSWER = "answer"

ATTRIBUTE_ACCOUNT = "SealwaxAccount"
ATTRIBUTE_PROVIDER = "SealwaxProvider"
ATTRIBUTE_STATUS = "SealwaxStatus"
ATTRIBUTE_ENVELOPE_ID = "SealwaxEnvelopeId"
ATTRIBUTE_WAITING_ON = "SealwaxWaitingOn"
ATTRIBUTE_NEEDS_ATTENTION = "SealwaxNeedsAttention"

SEARCH_ATTRIBUTES: dict[str, str] = {
    ATTRIBUTE_ACCOUNT: "Keyword",
    ATTRIBUTE_PROVIDER: "Keyword",
    ATTRIBUTE_STATUS: "Keyword",
    ATTRIBUTE_ENVELOPE_ID: "Keyword",
    ATTRIBUTE_WAITING_ON: "KeywordList",
    ATTRIBUTE_NEEDS_ATTENTION: "Bool",
}
"""Name -> type, to be registered with the server before the first workflow starts."""

ERROR_REFUSAL = "SealwaxRefusal"
"""``ApplicationError.type`` of a refused request; its details hold the refusal's code."""

MESSAGE_BYTES_MAX = 1_000_000
"""The most that one message may have as JSON; the server refuses payloads over 2 MiB."""


class Message(BaseModel):
    """Base of every message: frozen, and open to fields that a later version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class EnvelopeInput(Message):
    """What starts the envelope workflow. Its workflow id is ``keys.workflow_id`` of the order."""

    order: Order


class Submit(Message):
    """Ask for a mutation. Asking twice with one operation id gives the first answer.

    ``wait_s``: how long the update may be held for the result, at most 20.
    """

    operation_id: str
    mutation: Annotated[Mutation, Field(discriminator="kind")]
    wait_s: float = Field(default=20.0, ge=0, le=20)


class AskResult(Message):
    """Ask what came of an operation, waiting up to ``wait_s`` seconds (at most 20)."""

    operation_id: str
    wait_s: float = Field(default=20.0, ge=0, le=20)


class MutationResult(Message):
    """What came of a mutation, or the ticket of one that still waits.

    ``waiting``: a ticket; ``position`` mutations stand before it. ``applied``: done at the
    provider. ``refused``: the law said no when its turn came. ``rejected``: the provider said no.
    ``sequence`` is its place in the order of acceptance, from 1; ``revision`` the envelope's
    count of applied mutations afterwards.
    """

    operation_id: str
    state: Literal["waiting", "applied", "refused", "rejected"]
    sequence: int
    revision: int
    position: int = 0
    code: str = ""
    message: str = ""


class RecipientView(Message):
    """One recipient as it stands."""

    recipient_id: str
    name: str
    email: str
    routing_order: int
    kind: str
    status: RecipientStatus
    provider_recipient_id: str = ""


class DocumentView(Message):
    """One document as it stands."""

    document_id: int
    name: str
    digest: str
    size_bytes: int


class Snapshot(Message):
    """An envelope as the workflow knows it.

    ``closed``: the final status was confirmed by a read, the archive is done and the queue
    drained. ``events_foreign`` counts webhooks whose signed account or envelope id is another's.
    """

    account: str
    business_key: str
    status: EnvelopeStatus
    revision: int
    provider_envelope_id: str
    subject: str
    documents: tuple[DocumentView, ...]
    recipients: tuple[RecipientView, ...]
    waiting_on: tuple[str, ...]
    waiting_since: datetime | None
    queue_length: int
    in_flight: str
    attention: str
    contradictions: tuple[str, ...]
    archive: tuple[ArchivedDocument, ...]
    closed: bool
    events_seen: int
    events_duplicate: int
    events_foreign: int
    events_unreadable: int
    last_event: str
    last_event_at: datetime | None


class TimelineEntry(Message):
    """One line of an envelope's timeline."""

    at: datetime
    text: str


class EventBatch(Message):
    """What the bridge signals: events of one envelope, normalised. Versioned, always decodable.

    The handler takes it as plain JSON and reads it itself, because the SDK drops a signal whose
    input does not decode.
    """

    version: Literal[1] = 1
    events: tuple[ProviderEvent, ...]


MUTATION: TypeAdapter[Any] = TypeAdapter(Annotated[Mutation, Field(discriminator="kind")])
"""Reads a mutation from JSON, for those who have it as text (the command line, other tools)."""
