"""The contract between applications, the envelope workflow and the bridge.

Names of the workflow, its handlers and search attributes, and one frozen model for every message.
An application in another language starts the workflow by these names with JSON of these shapes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sealwax import keys
from sealwax.calls import ArchivedDocument
from sealwax.definition import Expiration, Refusal, RefusalCode, Reminders, Tab
from sealwax.envelope import DuringSession, Envelope, Order
from sealwax.facts import EnvelopeStatus, ProviderEvent, RecipientStatus
from sealwax.merge import ConflictView, Expected
from sealwax.mutations import Mutation
from sealwax.quota_reports import Counters
from sealwax.resolving import Choice

WORKFLOW = "envelope"
WORKFLOW_ACCOUNT = "account"
TASK_QUEUE = "sealwax"

UPDATE_SUBMIT = "submit"
UPDATE_RESULT = "result"
UPDATE_OPEN_SESSION = "open_session"
UPDATE_SESSION = "session"
UPDATE_CLOSE_SESSION = "close_session"
UPDATE_RESOLVE = "resolve"
SIGNAL_EVENTS = "provider_events"
SIGNAL_SESSION = "session_signs"
SIGNAL_RENEW = "renew"
QUERY_TICKET = "ticket"
QUERY_LANDING = "landing"
QUERY_SNAPSHOT = "snapshot"
QUERY_TIMELINE = "timeline"
QUERY_ANSWER = "answer"
UPDATE_REFRESH = "refresh"
QUERY_QUOTA = "quota"

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

ERROR_REPLAYED_TOO_FAR = "SealwaxReplayedTooFar"
"""What a query fails with where a worker had to give the run up first (``workflows.punctual``)."""

MESSAGE_BYTES_MAX = 1_000_000
"""The most that one message may have as JSON; the server refuses payloads over 2 MiB."""


class Message(BaseModel):
    """Base of every message: frozen, and open to fields that a later version adds."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Carried(Message):
    """An envelope's whole state, taken from one run of its workflow to the next.

    A worker that does not know the version leaves the run to one that does.
    """

    version: Literal[1] = 1
    state: Envelope


class EnvelopeInput(Message):
    """What starts the envelope workflow. Its workflow id is ``keys.workflow_id`` of the order.

    ``carried`` is for the workflow's own next run; an application leaves it out.
    """

    order: Order
    carried: Carried | None = None


def order_digest(order: Order) -> str:
    """What tells two orders under one business key apart.

    Defaults are left out, so that a field added later does not make an old order another one.
    """
    start = EnvelopeInput(order=order)
    return keys.digest(("order", start.model_dump_json(exclude_defaults=True)))


class Submit(Message):
    """Ask for a mutation. Asking twice with one operation id gives the first answer.

    ``during_session``: what to do while a signer is at work and the mutation would disturb:
    ``wait`` until the session is over, or ``end`` it, which may lose what was typed.
    ``wait_s``: how long the update may be held for the result, at most 20 seconds.
    ``expected_revision``: the revision that the caller read; at another one the request is refused
    with code ``conflict``, or with ``merge`` joined with what others changed since, unless both
    touch the same field. Neither tells requests under one operation id apart: repeated with another
    expectation, a request still gets its first answer.
    """

    operation_id: str
    mutation: Annotated[Mutation, Field(discriminator="kind")]
    during_session: DuringSession = "wait"
    expected_revision: int | None = None
    merge: bool = False
    wait_s: float = Field(default=20.0, ge=0, le=20)

    def expected(self) -> Expected | None:
        """What the caller read. Raises ``Refusal`` for what nobody can have read."""
        if self.expected_revision is not None and self.expected_revision < 0:
            raise Refusal(
                RefusalCode.BAD_INPUT, "a revision is a whole number from 0 on; give a snapshot's"
            )
        if self.expected_revision is not None:
            return Expected(self.expected_revision, self.merge)
        if self.merge:
            raise Refusal(
                RefusalCode.BAD_INPUT,
                "a merge needs the revision that you read; give it as the expected revision",
            )
        return None


class AskResult(Message):
    """Ask what came of an operation, waiting up to ``wait_s`` seconds (at most 20)."""

    operation_id: str
    wait_s: float = Field(default=20.0, ge=0, le=20)


class MutationResult(Message):
    """What came of a mutation, or the ticket of one that still waits.

    ``waiting``: a ticket; ``position`` mutations stand before it. ``applied``: done at the
    provider. ``refused``: the law said no when its turn came. ``rejected``: the provider said no.
    ``sequence`` is its place in the order of acceptance, from 1 (0: it was not accepted);
    ``revision`` the envelope's count of changes afterwards. ``why``: what a ticket waits for, in a
    person's words. ``digest``: of the request that this is the answer to, or its beginning.
    ``conflict`` comes with the code ``conflict``.
    """

    operation_id: str
    state: Literal["waiting", "applied", "refused", "rejected"]
    sequence: int
    revision: int
    position: int = 0
    why: str = ""
    code: str = ""
    message: str = ""
    digest: str = ""
    conflict: ConflictView | None = None


class OpenSession(Message):
    """Ask for an embedded signing session of a recipient. Sessions are granted one by one.

    ``return_url`` is where your application wants the signer afterwards. ``takeover`` ends the
    recipient's own live session, which may lose what was typed there.
    """

    operation_id: str
    recipient_id: str
    return_url: str
    takeover: bool = False
    wait_s: float = Field(default=20.0, ge=0, le=20)


class AskSession(Message):
    """Ask how a session request stands, waiting up to ``wait_s`` seconds (at most 20)."""

    operation_id: str
    wait_s: float = Field(default=20.0, ge=0, le=20)


class CloseSession(Message):
    """The application is done with a session, or no longer waits for one.

    ``token`` is the fencing token of the session that the caller means; one of an earlier session
    is refused (``stale_token``). None where the request was still waiting.
    """

    operation_id: str
    token: int | None = None


class SessionTicket(Message):
    """How a session request stands.

    ``waiting``: ``position`` requests stand before it, ``why`` says what it waits for.
    ``granted``: ``url`` opens the session, once, until ``url_until``. ``spent``: granted, and the
    URL was opened or has expired. ``ended``: over, ``how`` says how. ``refused``: never granted,
    ``message`` says why. ``url`` is filled in answers to updates alone.
    """

    operation_id: str
    recipient_id: str
    state: Literal["waiting", "granted", "spent", "ended", "refused"]
    position: int = 0
    why: str = ""
    url: str = Field(default="", repr=False)
    token: int = 0
    url_until: datetime | None = None
    how: str = ""
    event: str = ""
    message: str = ""


class Resolve(Message):
    """A person's answer to what the envelope asks (``Snapshot.question``).

    ``choice`` is one of the question's choices; ``provider_envelope_id`` goes with ``adopt``.
    """

    choice: Choice
    provider_envelope_id: str = ""


class QuestionView(Message):
    """What only a person can decide: what is the matter, and each possible answer's meaning."""

    text: str
    choices: dict[Choice, str]


class Ping(Message):
    """The provider asked for our ping URL: the page of this session was open at that time."""

    token: int
    at: datetime


class Return(Message):
    """The signer's browser came to our landing page from this session, with this ``event``."""

    token: int
    event: str


class SessionSigns(Message):
    """What the bridge saw of an envelope's sessions. Taken raw and read inside, like webhooks."""

    version: Literal[1] = 1
    pings: tuple[Ping, ...] = ()
    returns: tuple[Return, ...] = ()


class Landing(Message):
    """Where a signer who came back is sent on to; "" for a session that nobody knows."""

    return_url: str = ""


class SigningView(Message):
    """Who is signing now, since when, and who waits, by the application's ids."""

    recipient_id: str = ""
    since: datetime | None = None
    opened: bool = False
    waiting: tuple[str, ...] = ()
    losses: int = 0
    alive_after_end: int = 0


class RecipientView(Message):
    """One recipient as it stands. ``tabs`` are those that senders placed."""

    recipient_id: str
    name: str
    email: str
    routing_order: int
    kind: str
    status: RecipientStatus
    provider_recipient_id: str = ""
    tabs: tuple[Tab, ...] = ()


class DocumentView(Message):
    """One document as it stands."""

    document_id: int
    name: str
    digest: str
    size_bytes: int


class Snapshot(Message):
    """An envelope as the workflow knows it.

    ``reminders`` and ``expiration`` are None where the provider's account decides.
    ``revision`` counts its changes: mutations applied, and reads that showed a change of others.
    ``closed``: the final status was confirmed by a read, the archive is done and the queue
    drained. ``events_foreign`` counts webhooks whose signed account or envelope id is another's.
    ``refused``: the order was, with this code, and there is no envelope of it. Our client raises
    it instead of showing such a snapshot.
    """

    account: str
    business_key: str
    status: EnvelopeStatus
    revision: int
    provider_envelope_id: str
    subject: str
    message: str = ""
    documents: tuple[DocumentView, ...]
    recipients: tuple[RecipientView, ...]
    reminders: Reminders | None = None
    expiration: Expiration | None = None
    custom_fields: dict[str, str] = Field(default_factory=dict)
    waiting_on: tuple[str, ...]
    waiting_since: datetime | None
    queue_length: int
    in_flight: str
    signing: SigningView = SigningView()
    attention: str
    refused: RefusalCode | None = None
    question: QuestionView | None = None
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

    The handler takes it raw and reads it itself, because the SDK drops a signal whose
    input does not decode.
    """

    version: Literal[1] = 1
    events: tuple[ProviderEvent, ...]


class WindowView(Message):
    """How many calls a window of the provider's takes, how many are taken, and how many are left.

    What is ``left`` is for all classes together; each leaves the reserve of the more urgent alone.
    """

    limit: int
    used: int
    left: int


class QuotaSnapshot(Message):
    """An account's quota as the ledger held it at ``looked_at`` (None: nobody has looked yet).

    ``burst`` is the provider's short window, ``hour`` the one that is whole again at
    ``resets_at``. ``margin``: calls of the burst left unused for those of others, as learned from
    the provider's figures and refusals. ``waiting``: calls that wait in ``workers`` processes for
    room in these windows, by class; what waits for one envelope's own limits is not among them.
    ``counters`` are of the ledger's whole life. ``problem`` says, since ``problem_since``, why the
    figures are no newer.
    """

    account: str
    looked_at: datetime | None = None
    burst: WindowView | None = None
    hour: WindowView | None = None
    resets_at: datetime | None = None
    margin: int = 0
    waiting: dict[str, int] = Field(default_factory=dict)
    workers: int = 0
    counters: Counters = Field(default_factory=Counters)
    problem: str = ""
    problem_since: datetime | None = None


class AccountInput(Message):
    """What starts the account workflow, under the id ``keys.account_workflow_id``.

    ``carried`` and ``unknown_since`` are for the workflow's own next run: the last figures, and
    since when the settings do not name the account.
    """

    account: str
    carried: QuotaSnapshot | None = None
    unknown_since: datetime | None = None


MUTATION: TypeAdapter[Any] = TypeAdapter(Annotated[Mutation, Field(discriminator="kind")])
"""Reads a mutation from JSON, for those who have it as text (the command line, other tools)."""
