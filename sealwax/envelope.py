"""One envelope's whole state, and what can be read off it. Frozen values only; no clock, no I/O.

``advance.advance`` is the only thing that makes a new state of an old one. What is here answers
questions: its status, who is waited on, whether a mutation may be asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Literal

from sealwax import keys
from sealwax.calls import ARCHIVE, ArchivedDocument, Call, Capabilities, Create, Mutate, Timing
from sealwax.definition import (
    Definition,
    RecipientKind,
    Refusal,
    RefusalCode,
    check_definition,
    check_provider_envelope_id,
)
from sealwax.facts import (
    ACTED,
    FINAL,
    EnvelopeStatus,
    Facts,
    ProviderEvent,
    RecipientStatus,
)
from sealwax.memory import OPERATIONS_MAX, Answer, Memory, same_request
from sealwax.merge import Changed, ConflictView, Expected
from sealwax.mutations import Mutation, Projection, project
from sealwax.observations import MailTrail
from sealwax.orphans import Orphans
from sealwax.quota_limits import Klass
from sealwax.session import SessionRules, Sessions

CREATE_OPERATION = "sealwax:create"
SEND_OPERATION = "sealwax:send"
TIMELINE_LENGTH_MAX = 200
EVENT_KEYS_MAX = 2_000
HELD_EVENTS_MAX = 500

DuringSession = Literal["wait", "end"]


@dataclass(frozen=True, slots=True)
class Order:
    """What an application asks for: one envelope, as a draft or sent at once.

    ``bulk``: it is one of many, and its calls wait until others leave room in the account's quota.
    ``adopted_envelope_id``: the provider's id of an envelope that was made elsewhere and is taken
    over as it stands; ``definition`` and ``send`` say nothing then.
    """

    account: str
    business_key: str
    definition: Definition
    send: bool = True
    principal: str = ""
    bulk: bool = False
    adopted_envelope_id: str = ""


def check_order(order: Order) -> None:
    """Raise ``Refusal`` where an order could not become an envelope."""
    if order.adopted_envelope_id:
        check_provider_envelope_id(order.adopted_envelope_id)
    else:
        check_definition(order.definition)


@dataclass(frozen=True, slots=True)
class QuotaHold:
    """The account's quota had no call to spare: until then, for this class and less urgent ones.

    ``polling``: only for polls of this envelope.
    """

    until: datetime
    klass: Klass
    polling: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """An accepted mutation that waits for its turn, or is at the head of the queue.

    ``marked``: a read of ``trail``, the trail of mails before a resend, was made; it stays None
    where the provider did not tell. ``numbers``: those that an earlier try gave to recipients whom
    it adds; it may have gone halfway, so a further try uses them again.
    """

    operation_id: str
    digest: str
    mutation: Mutation
    sequence: int
    accepted_at: datetime
    attempts: int = 0
    during_session: DuringSession = "wait"
    expected: Expected | None = None
    marked: bool = False
    trail: MailTrail | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnknownOutcome:
    """The head's last try got no answer. Nothing counts as not done before ``settled_at``."""

    call: Create | Mutate
    reason: str
    since: datetime
    settled_at: datetime
    look_at: datetime
    looks: int = 0


def tried(head: Pending, call: Create | Mutate) -> Pending:
    """The head of the queue before its next try, after one that did not land, or not whole."""
    return replace(head, attempts=head.attempts + 1, numbers=dict(call.numbers))


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline: when, and what, in a person's words."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """Everything that is known of one envelope.

    ``numbers`` maps our recipient ids to the provider's; a number is never used twice, so facts
    about a removed recipient cannot fall on a later one. ``incarnations`` holds the current guid
    of each number, ``superseded`` the guids that are no longer anybody's, ``removed`` the numbers
    that we took out, ``absent`` those spoken of that a read does not show. ``changes`` holds what
    fields were before the revisions after ``changes_from``, ``conflicts`` the latest of them told.
    ``refused``: the order was, as a whole, and nothing was made of it.
    """

    order: Order
    opened_at: datetime
    timing: Timing = field(default_factory=Timing)
    registered: bool = False
    provider: str = ""
    provider_account_id: str = ""
    bound: bool = False
    provider_envelope_id: str = ""
    definition: Definition = field(default_factory=lambda: Definition(subject=""))
    facts: Facts = field(default_factory=Facts)
    failed_to_create: bool = False
    adopted: bool = False
    refused: RefusalCode | None = None
    numbers: Mapping[str, str] = field(default_factory=dict)
    incarnations: Mapping[str, str] = field(default_factory=dict)
    superseded: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    revision: int = 0
    changes: tuple[Changed, ...] = ()
    changes_from: int = 0
    conflicts: Mapping[str, ConflictView] = field(default_factory=dict)
    sequence: int = 0
    queue: tuple[Pending, ...] = ()
    memory: Memory = field(default_factory=Memory)
    in_flight: Call | None = None
    started_at: datetime | None = None
    facts_at_read: Facts = field(default_factory=Facts)
    unknown: UnknownOutcome | None = None
    in_flight_klass: Klass = Klass.MUTATION
    retry_at: datetime | None = None
    quota_hold: QuotaHold | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    refresh_wanted: bool = False
    unplaced_at_read: int = 0
    read_at: datetime | None = None
    final_since: datetime | None = None
    confirm_tries: int = 0
    confirmed: bool = False
    archive: tuple[ArchivedDocument, ...] | None = None
    closed: bool = False
    attention: str = ""
    blocked: str = ""
    orphans: Orphans = field(default_factory=Orphans)
    capabilities: Capabilities = field(default_factory=Capabilities)
    rules: SessionRules = field(default_factory=SessionRules)
    return_origins: tuple[str, ...] = ()
    sessions: Sessions = field(default_factory=Sessions)
    held: tuple[ProviderEvent, ...] = ()
    event_keys: tuple[str, ...] = ()
    events_seen: int = 0
    events_swept: int = 0
    events_duplicate: int = 0
    events_foreign: int = 0
    events_unreadable: int = 0
    last_event: Entry | None = None
    timeline: tuple[Entry, ...] = ()

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The last answers by operation id; what is older has left a trace in ``memory``."""
        return self.memory.answers

    @property
    def workflow_id(self) -> str:
        """The id of the workflow that owns this envelope."""
        return keys.workflow_id(self.order.account, self.order.business_key)

    @property
    def status(self) -> EnvelopeStatus:
        """The status, from facts alone; ``rejected`` where the provider refused to make it."""
        if self.failed_to_create:
            return EnvelopeStatus.REJECTED
        return self.facts.envelope_status()

    @property
    def adopting(self) -> bool:
        """Whether it was made elsewhere, and no read has shown yet what it is."""
        return bool(self.order.adopted_envelope_id) and not (self.adopted or self.failed_to_create)

    @property
    def final(self) -> bool:
        """Whether the status is one that ends an envelope."""
        return self.status in FINAL


def unarchived(state: Envelope) -> tuple[str, ...]:
    """What is still to be fetched of a completed envelope, in the order in which it will be."""
    held = {document.name for document in state.archive or ()}
    return tuple(name for name in ARCHIVE if name not in held)


def mutation_digest(mutation: Mutation) -> str:
    """What tells two requests under one operation id apart.

    The revision that a caller expects is none of it: a caller that died and reads again before it
    repeats its request expects another one, and gets its first answer all the same.
    """
    return keys.digest((mutation.kind, json.dumps(asdict(mutation), sort_keys=True)))


def names_of(state: Envelope, number: str) -> tuple[str, ...]:
    """The incarnations whose facts count for a provider's recipient id.

    Facts without a guid count for a number that only ever had one; after a change of guid they
    could mean either, and a read settles it (``unplaced``).
    """
    gone = {guid for held, guid in state.superseded if held == number}
    current = state.incarnations.get(number)
    if current is None:
        known = state.facts.incarnations(number) - gone
        current = next(iter(known)) if len(known) == 1 else None
    named = () if current is None else (current,)
    return named if gone else (*named, "")


def recipient_statuses(state: Envelope) -> dict[str, RecipientStatus]:
    """Status of each of our recipients, by our id."""
    return {
        recipient.recipient_id: state.facts.recipient_status(number, names_of(state, number))
        for recipient in state.definition.recipients
        if (number := state.numbers.get(recipient.recipient_id))
    }


def claimed(state: Envelope) -> set[str]:
    """The provider's recipient ids that are ours, with those that a call of ours may have added."""
    claims = set(state.numbers.values())
    if state.unknown is not None:
        claims |= set(state.unknown.call.numbers.values())
    if state.queue:
        claims |= set(state.queue[0].numbers.values())
    return claims


def unplaced(state: Envelope) -> int:
    """How many facts cannot be laid to one recipient without a read. Grows with facts alone."""
    gone = set(state.superseded)
    reminted = {number for number, _ in gone}
    ours = claimed(state)
    settled = ours | set(state.removed) | set(state.absent)
    count = 0
    for fact in state.facts.seen:
        number = fact.recipient
        if not number or number in state.removed:
            continue
        if number not in settled:
            count += 1
        elif fact.incarnation:
            known = (number, fact.incarnation) in gone or fact.incarnation in names_of(
                state, number
            )
            count += not known
        else:
            count += number in reminted
    return count


def waiting_on(state: Envelope) -> tuple[str, ...]:
    """Our ids of the recipients whose turn it is, in the order of the definition."""
    if state.status not in (EnvelopeStatus.SENT, EnvelopeStatus.DELIVERED):
        return ()
    statuses = recipient_statuses(state)
    open_ = [
        r
        for r in state.definition.recipients
        if statuses.get(r.recipient_id, RecipientStatus.CREATED) not in ACTED
        and r.kind is RecipientKind.SIGNER
    ]
    current = min((r.routing_order for r in open_), default=0)
    return tuple(r.recipient_id for r in open_ if r.routing_order == current)


def projected(state: Envelope) -> Projection:
    """The envelope as it will stand when everything in the queue has had its turn."""
    projection = Projection(state.status, state.definition, recipient_statuses(state))
    revision = state.revision
    for pending in state.queue:
        expected = pending.expected
        if expected is not None and not expected.merge and expected.revision != revision:
            continue
        try:
            projection = project(projection, pending.mutation)
        except Refusal:
            continue
        revision += 1
    return projection


def check_acceptable(
    state: Envelope, operation_id: str, mutation: Mutation, expected: Expected | None = None
) -> None:
    """Raise ``Refusal`` where a mutation may not even enter the queue; nothing changes.

    An operation id that was used before is fine with the same body: it gets the first answer. One
    that is to be merged is held against the law when its turn comes, with what it comes to then.
    """
    keys.check_opaque(operation_id, "operation id")
    if mutation.kind == "create":
        raise Refusal(
            RefusalCode.ILLEGAL_IN_STATUS,
            "an envelope is created by starting its workflow, not by a mutation",
        )
    if used_before(state, operation_id, mutation_digest(mutation)):
        return
    if state.closed:
        raise Refusal(RefusalCode.CLOSED, f"the envelope is closed; it ended {state.status}")
    # What an adopted envelope is stands in its first read; until then nothing can be judged.
    if not state.adopting and (expected is None or not expected.merge):
        project(projected(state), mutation)


def used_before(state: Envelope, operation_id: str, digest: str) -> bool:
    """Whether this very request was made before, be it a mutation or a session.

    Raises ``Refusal`` where the id was used for another request, or no further id can be kept.
    """
    known = known_digest(state, operation_id)
    if known is None:
        if len(state.memory) + len(state.queue) >= OPERATIONS_MAX:
            raise Refusal(
                RefusalCode.TOO_MANY_OPERATIONS,
                f"the envelope has had {OPERATIONS_MAX} operations, the most that one can have",
            )
        return False
    if not same_request(known, digest):
        raise Refusal(
            RefusalCode.OPERATION_ID_REUSED,
            f"operation id {operation_id} was used for another request;"
            " give each request its own id",
        )
    return True


def known_digest(state: Envelope, operation_id: str) -> str | None:
    """The digest, or its beginning, under which an id was first used, be it for a mutation or a
    session; None for a new id."""
    held = state.memory.digest_of(operation_id) or state.sessions.digest_of(operation_id)
    if held is not None:
        return held
    return next((p.digest for p in state.queue if p.operation_id == operation_id), None)


def position(state: Envelope, operation_id: str) -> int | None:
    """How many stand before this operation in the queue (0 = it is at the head)."""
    return next((i for i, p in enumerate(state.queue) if p.operation_id == operation_id), None)


def numbered(state: Envelope, definition: Definition) -> dict[str, str]:
    """The provider's recipient ids. DocuSign's are whole numbers that the sender chooses.

    An id of ours that is a whole number is used as it is while it is free; no number is ever
    used for a second recipient.
    """
    numbers = {
        r.recipient_id: state.numbers[r.recipient_id]
        for r in definition.recipients
        if r.recipient_id in state.numbers
    }
    used = {*state.numbers.values(), *state.removed, *state.absent, *state.facts.recipients()}
    unnumbered = [r.recipient_id for r in definition.recipients if r.recipient_id not in numbers]
    for wanted in [*filter(_whole, unnumbered), *(u for u in unnumbered if not _whole(u))]:
        if _whole(wanted) and wanted not in used:
            number = wanted
        else:
            number = str(max((int(u) for u in used if _whole(u)), default=0) + 1)
        numbers[wanted] = number
        used.add(number)
    return numbers


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and text[0] != "0" and len(text) <= 9
