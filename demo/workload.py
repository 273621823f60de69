"""What the demonstration asks of both sides: one seeded description, free of any client's names.

Each `Life` is one envelope: a job that makes the draft (delivered twice, as a queue with
at-least-once delivery does), changes by several services at nearly the same time, the sending,
corrections in process, and how it ends. No two changes of a life conflict: in every order all of
them can stand at the end, and each leaves a mark of its own in the provider's ledger.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

from demo.contracts.render import MUTUAL_NDA, SERVICES_AGREEMENT, TITLES

Ending = Literal["completed", "declined", "voided", "deleted"]
FieldKind = Literal["sign_here", "date_signed", "text"]

BUYER, SELLER, WITNESS = "buyer", "seller", "witness"
AUDITOR, ARCHIVIST, OBSERVER = "auditor", "archivist", "observer"
MAIN_DOCUMENT_ID, APPENDIX_DOCUMENT_ID, ANNEX_DOCUMENT_ID = 1, 2, 3

_ENDINGS: Mapping[int, Ending] = {2: "voided", 11: "declined"}
_ENDINGS_PERIOD = 20
_STARTS_PER_S = 7.0
_REDELIVERY_S = (0.2, 0.6)
_DRAFT_SPREAD_S = 3.0
_CORRECTION_SPREAD_S = 0.2
_FIRST_NAMES = ("Ada", "Bela", "Chidi", "Dara", "Edda", "Farid", "Greta", "Hugo", "Ines", "Jonas")
_LAST_NAMES = ("Okafor", "Lindt", "Marsh", "Novak", "Quist", "Romero", "Sato", "Tamm", "Ueda")


@dataclass(frozen=True, slots=True)
class Party:
    """Somebody on the envelope. `role` is unique in it; `email` is unique in the whole workload."""

    role: str
    name: str
    email: str
    order: int
    signs: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """A field to place on a page, in pixels from its top left; `label` is unique for its party."""

    kind: FieldKind
    label: str
    page: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class AddDocument:
    """Add another contract as a further document."""

    document_id: int
    contract: str


@dataclass(frozen=True, slots=True)
class ChangeSubject:
    """Give the envelope another subject."""

    subject: str


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """Give the envelope another message."""

    message: str


@dataclass(frozen=True, slots=True)
class AddParty:
    """Add a party."""

    party: Party


@dataclass(frozen=True, slots=True)
class PlaceFields:
    """Place fields for a party that has none yet."""

    role: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Reorder:
    """Give a party another routing order."""

    role: str
    order: int


@dataclass(frozen=True, slots=True)
class Rename:
    """Correct a party's name."""

    role: str
    name: str


@dataclass(frozen=True, slots=True)
class ReplaceDocument:
    """Put another contract in the place of a document."""

    document_id: int
    contract: str


@dataclass(frozen=True, slots=True)
class RemoveDocument:
    """Take a document out that was added before."""

    document_id: int


@dataclass(frozen=True, slots=True)
class RemoveParty:
    """Take a party out that was added before."""

    role: str


@dataclass(frozen=True, slots=True)
class RenameAll:
    """Correct the names of several parties at once, by role."""

    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Readdress:
    """Correct a party's e-mail address; whose turn it is gets a mail there."""

    role: str
    email: str


@dataclass(frozen=True, slots=True)
class Remind:
    """Have those reminded who have not signed."""

    first_after_days: int
    every_days: int


@dataclass(frozen=True, slots=True)
class Expire:
    """Give the envelope an end."""

    after_days: int
    warn_days: int


@dataclass(frozen=True, slots=True)
class Label:
    """Set text fields by name, and take others out that were set before."""

    values: tuple[tuple[str, str], ...]
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resend:
    """Mail a party again that is waited on."""

    role: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Put the draft into the bin instead of sending it."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send the draft."""


@dataclass(frozen=True, slots=True)
class Void:
    """Void the envelope in process."""

    reason: str


Change = (
    AddDocument
    | ChangeSubject
    | ChangeMessage
    | AddParty
    | PlaceFields
    | Reorder
    | Rename
    | ReplaceDocument
    | RemoveDocument
    | RemoveParty
    | RenameAll
    | Readdress
    | Remind
    | Expire
    | Label
    | Resend
    | Discard
    | Send
    | Void
)


@dataclass(frozen=True, slots=True)
class Request:
    """A service wants a change, `at_s` seconds after its phase began."""

    service: str
    at_s: float
    change: Change


@dataclass(frozen=True, slots=True)
class Life:
    """One envelope from the job that asks for it to its end.

    The job comes at `starts_at_s` and again `redelivered_after_s` later. `draft` runs at nearly
    the same time, then `sending`, then `in_process` at nearly the same time.
    """

    key: str
    contract: str
    subject: str
    message: str
    parties: tuple[Party, ...]
    starts_at_s: float
    redelivered_after_s: float
    draft: tuple[Request, ...]
    sending: Request
    in_process: tuple[Request, ...]
    ending: Ending

    def requests(self) -> Iterator[Request]:
        """Every mutation that is requested, in the order of the phases."""
        yield from self.draft
        yield self.sending
        yield from self.in_process

    def party(self, role: str) -> Party:
        """The party of a role, as it is when it joins; KeyError if there is none."""
        for party in self.parties:
            if party.role == role:
                return party
        for request in self.requests():
            if isinstance(request.change, AddParty) and request.change.party.role == role:
                return request.change.party
        raise KeyError(role)

    def address(self, role: str) -> str:
        """The e-mail address of a party as it is at the end."""
        corrected = [
            request.change.email
            for request in self.requests()
            if isinstance(request.change, Readdress) and request.change.role == role
        ]
        return [self.party(role).email, *corrected][-1]


@dataclass(frozen=True, slots=True)
class Intended:
    """How an envelope is meant to be at the end; documents by id, parties by e-mail address.

    ``reminders`` and ``expiration`` are in days, None where nobody asked for any. ``labels`` has
    None for a name that is not to be there.
    """

    status: str
    subject: str
    message: str
    documents: Mapping[int, str]
    parties: Mapping[str, Party]
    fields: Mapping[str, frozenset[str]]
    reminders: tuple[int, int] | None = None
    expiration: tuple[int, int] | None = None
    labels: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def intended(life: Life) -> Intended:
    """What all requested changes together come to."""
    subject, message = life.subject, life.message
    documents = {MAIN_DOCUMENT_ID: life.contract}
    parties = {party.role: party for party in life.parties}
    fields: dict[str, frozenset[str]] = {}
    for request in life.requests():
        change = request.change
        _change_parties(parties, change)
        match change:
            case AddDocument(document_id, contract) | ReplaceDocument(document_id, contract):
                documents[document_id] = contract
            case RemoveDocument(document_id):
                del documents[document_id]
            case ChangeSubject(text):
                subject = text
            case ChangeMessage(text):
                message = text
            case PlaceFields(role, placed):
                fields[role] = frozenset(field.label for field in placed)
            case _:
                pass
    return Intended(
        status=life.ending,
        subject=subject,
        message=message,
        documents=documents,
        parties={party.email: party for party in parties.values()},
        fields={parties[role].email: labels for role, labels in fields.items()},
        **_settings(life),
    )


def _change_parties(parties: dict[str, Party], change: Change) -> None:
    match change:
        case AddParty(party):
            parties[party.role] = party
        case RemoveParty(role):
            del parties[role]
        case Reorder(role, order):
            parties[role] = replace(parties[role], order=order)
        case Rename(role, name):
            parties[role] = replace(parties[role], name=name)
        case RenameAll(names):
            for role, name in names:
                parties[role] = replace(parties[role], name=name)
        case Readdress(role, email):
            parties[role] = replace(parties[role], email=email)
        case _:
            pass


class _Settings(TypedDict, total=False):
    reminders: tuple[int, int]
    expiration: tuple[int, int]
    labels: Mapping[str, str | None]


def _settings(life: Life) -> _Settings:
    held: _Settings = {}
    labels: dict[str, str | None] = {}
    for request in life.requests():
        match request.change:
            case Remind(first, every):
                held["reminders"] = (first, every)
            case Expire(after, warn):
                held["expiration"] = (after, warn)
            case Label(values, remove):
                labels |= {**dict(values), **dict.fromkeys(remove)}
            case _:
                pass
    return {**held, "labels": labels}


def make(seed: int, envelopes: int) -> tuple[Life, ...]:
    """The workload of a seed: the same lives every time. At least one envelope, else ValueError."""
    if envelopes < 1:
        raise ValueError("the demonstration needs at least one envelope")
    draw = random.Random(f"sealwax-demo:{seed}")
    return tuple(_life(draw, number, envelopes / _STARTS_PER_S) for number in range(envelopes))


def _life(draw: random.Random, number: int, spread_s: float) -> Life:
    key = f"order-{number + 1:03d}"
    contract = (SERVICES_AGREEMENT, MUTUAL_NDA)[number % 2]
    ending = _ENDINGS.get(number % _ENDINGS_PERIOD, "completed")
    buyer = _party(draw, number, BUYER, 1)
    seller = _party(draw, number, SELLER, 1)
    return Life(
        key=key,
        contract=contract,
        subject=f"{TITLES[contract]} (draft)",
        message="Please review.",
        parties=(buyer, seller),
        starts_at_s=draw.uniform(0, spread_s),
        redelivered_after_s=draw.uniform(*_REDELIVERY_S),
        draft=_draft_requests(draw, number, key, contract),
        sending=Request("sales", 0.0, Send()),
        in_process=_in_process(draw, number, seller, ending),
        ending=ending,
    )


def _draft_requests(
    draw: random.Random, number: int, key: str, contract: str
) -> tuple[Request, ...]:
    appendix = MUTUAL_NDA if contract == SERVICES_AGREEMENT else SERVICES_AGREEMENT
    witness = _party(draw, number, WITNESS, 3)
    auditor = _party(draw, number, AUDITOR, 4, signs=False)
    fields = (
        Field("sign_here", "signature", 2, 180, 520),
        Field("date_signed", "signed-on", 2, 400, 520),
        Field("text", "purchase-order", 2, 180, 600),
    )
    changes: tuple[tuple[str, Change], ...] = (
        ("legal", AddDocument(APPENDIX_DOCUMENT_ID, appendix)),
        ("sales", ChangeSubject(f"{TITLES[contract]} {key}: please sign")),
        ("hr", AddParty(witness)),
        ("compliance", AddParty(auditor)),
        ("operations", PlaceFields(BUYER, fields)),
        ("finance", ChangeMessage(f"Payment terms for {key}: thirty days net.")),
        ("procurement", Reorder(SELLER, 2)),
    )
    return tuple(
        Request(service, draw.uniform(0, _DRAFT_SPREAD_S), change) for service, change in changes
    )


def _in_process(
    draw: random.Random, number: int, seller: Party, ending: Ending
) -> tuple[Request, ...]:
    if ending == "voided":
        return (Request("compliance", 0.0, Void("The customer asked for other terms.")),)
    archivist = _party(draw, number, ARCHIVIST, 4, signs=False)
    changes: tuple[tuple[str, Change], ...] = (
        ("hr", Rename(SELLER, f"{seller.name}-Holt")),
        ("records", AddParty(archivist)),
    )
    return tuple(
        Request(service, draw.uniform(0, _CORRECTION_SPREAD_S), change)
        for service, change in changes
    )


def _party(draw: random.Random, number: int, role: str, order: int, *, signs: bool = True) -> Party:
    first, last = draw.choice(_FIRST_NAMES), draw.choice(_LAST_NAMES)
    email = f"{first}.{last}.{role}{number + 1}@example.com".lower()
    return Party(role, f"{first} {last}", email, order, signs)
