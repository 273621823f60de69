"""Facts: what anybody said of an envelope's progress, and the join that makes one state of them.

A fact is "subject S has status X". Webhooks, reads and answers all yield facts, in any order and
any number. The state keeps the *set* of them and the status is a function of that set alone, so
permutation, duplication and delay cannot matter. Times are kept to be shown, never to decide:
DocuSign stamps a delivery with the time it was generated, not with the time of the fact, and its
``lastModifiedDateTime`` is not monotone.

The rule for each pair of statuses stands in two text tables below; the join is their fold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import combinations


class EnvelopeStatus(StrEnum):
    """Where an envelope stands. ``new``: not yet made at the provider. ``rejected``: never made.

    The rest are DocuSign's words (SPEC Envelopes_GetEnvelopes, ``status``). ``delivered`` means
    that every current recipient has opened it.
    """

    NEW = "new"
    REJECTED = "rejected"
    CREATED = "created"
    SENT = "sent"
    DELIVERED = "delivered"
    SIGNED = "signed"
    DELETED = "deleted"
    DECLINED = "declined"
    VOIDED = "voided"
    COMPLETED = "completed"


class RecipientStatus(StrEnum):
    """Where a recipient stands (SPEC ``signer.status``).

    Reassigned and delegated are no statuses: they make another incarnation, which a read shows.
    """

    CREATED = "created"
    SENT = "sent"
    AUTORESPONDED = "autoresponded"
    DELIVERED = "delivered"
    FAXPENDING = "faxpending"
    SIGNED = "signed"
    DECLINED = "declined"
    COMPLETED = "completed"


FINAL = frozenset(
    {
        EnvelopeStatus.REJECTED,
        EnvelopeStatus.DELETED,
        EnvelopeStatus.DECLINED,
        EnvelopeStatus.VOIDED,
        EnvelopeStatus.COMPLETED,
    }
)
ACTED = frozenset(
    {
        RecipientStatus.SIGNED,
        RecipientStatus.DECLINED,
        RecipientStatus.COMPLETED,
    }
)

# Rows: what we hold. Columns: what is said. A name is the status after both are known, '.' means
# that the row's status stays; '!' marks a pair that cannot both be true of one life, which is
# recorded and shown. 'completed' beats 'voided' because a signer can finish while a void is in
# flight; a binned envelope that was in process is voided by the provider (SPEC
# Folders_PutFolderById).
_ENVELOPE_TABLE = """
           created   sent      delivered  signed     deleted    declined   voided     completed
new        created   sent      delivered  signed     deleted    declined   voided     completed
created    .         sent      delivered  signed     deleted    declined   voided     completed
sent       .         .         delivered  signed     deleted    declined   voided     completed
delivered  .         .         .          signed     deleted    declined   voided     completed
signed     .         .         .          .          deleted    declined!  voided     completed
deleted    .         .         .          .          .          declined   voided     completed
declined   .         .         .          .!         .          .          voided!    completed!
voided     .         .         .          .          .          .!         .          completed!
completed  .         .         .          .          .          .!         .!         .
"""

_RECIPIENT_TABLE = """
              created sent autoresponded delivered faxpending signed declined  completed
created       .       sent autoresponded delivered faxpending signed declined  completed
sent          .       .    autoresponded delivered faxpending signed declined  completed
autoresponded .       .    .             delivered faxpending signed declined  completed
delivered     .       .    .             .         faxpending signed declined  completed
faxpending    .       .    .             .         .          signed declined  completed
signed        .       .    .             .         .          .      declined! completed
declined      .       .    .             .         .          .!     .         completed!
completed     .       .    .             .         .          .      .!        .
"""


@dataclass(frozen=True, slots=True)
class Move:
    """What a pair in the table comes to: the status after both, and whether they contradict."""

    to: str
    contradiction: bool


def read_cells(text: str) -> dict[tuple[str, str], str]:
    """Read a text table: (row's name, column's name) -> cell."""
    header, *rows = (line.split() for line in text.strip().splitlines())
    return {
        (row, column): cell
        for row, *cells in rows
        for column, cell in zip(header, cells, strict=True)
    }


def read_table(text: str) -> dict[tuple[str, str], Move]:
    """Read a table of pairs as written above."""
    table: dict[tuple[str, str], Move] = {}
    for (row, column), cell in read_cells(text).items():
        name = cell.rstrip("!")
        table[row, column] = Move(row if name == "." else name, cell.endswith("!"))
    return table


ENVELOPE_TABLE = read_table(_ENVELOPE_TABLE)
RECIPIENT_TABLE = read_table(_RECIPIENT_TABLE)

_ENVELOPE_STATUSES = frozenset(said for _, said in ENVELOPE_TABLE)
_RECIPIENT_STATUSES = frozenset(said for _, said in RECIPIENT_TABLE)

RESTORED = "restored"
"""Said of an envelope that came back from the bin; takes the ``deleted`` of the same mark away."""

LISTED = "listed"
"""The name of an event that no webhook brought: a sweep found it in a list of the provider's."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Subject S has status X.

    ``recipient`` is the provider's recipient id, "" for the envelope itself. ``incarnation`` is
    the provider's guid of that recipient ("" where the source does not say: Connect's minimal
    messages carry only the id). ``mark`` tells one deletion of the envelope from the next.
    ``at`` is the provider's time where it gave one; it is shown, never compared.
    """

    status: str
    recipient: str = ""
    incarnation: str = ""
    mark: str = ""
    at: datetime | None = None

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes two facts the same fact. Its time is not part of it."""
        return (self.recipient, self.incarnation, self.status, self.mark)


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One verified webhook, normalised. Account and envelope id are as signed by the provider.

    By the name ``LISTED`` it is no webhook, but what a sweep of ours saw.

    ``recipient`` is the provider's id of whom the event is about, "" for the envelope itself.
    ``needs_read``: the event says that something changed which it does not carry (a correction).
    ``session_left_at``: its recipient left a signing session without an end; the provider's time
    of the message, at or after that of the leaving.
    """

    event_key: str
    name: str
    account_id: str
    provider_envelope_id: str
    facts: tuple[Fact, ...] = ()
    needs_read: bool = False
    received_at: datetime | None = None
    journal_ref: str = ""
    recipient: str = ""
    session_left_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The set of facts known of one envelope, sorted by identity."""

    seen: tuple[Fact, ...] = field(default=())

    def joined(self, facts: Iterable[Fact]) -> Facts:
        """The union. Of two equal facts the one with the earlier time is kept."""
        known = {fact.identity: fact for fact in self.seen}
        for fact in facts:
            held = known.get(fact.identity)
            if held is None or _earlier(fact.at, held.at):
                known[fact.identity] = fact
        return Facts(tuple(known[key] for key in sorted(known)))

    def envelope_status(self) -> EnvelopeStatus:
        """The envelope's status: the fold of the table over all that was said of it."""
        status: str = EnvelopeStatus.NEW
        for said in sorted(self._of_envelope()):
            status = ENVELOPE_TABLE[status, said].to
        return EnvelopeStatus(status)

    def recipient_status(self, recipient: str, incarnations: Iterable[str]) -> RecipientStatus:
        """One recipient's status, from facts that name one of ``incarnations``."""
        status: str = RecipientStatus.CREATED
        for said in sorted(self.of_recipient(recipient, incarnations)):
            status = RECIPIENT_TABLE[status, said].to
        return RecipientStatus(status)

    def of_recipient(self, recipient: str, incarnations: Iterable[str]) -> set[str]:
        """The statuses said of a recipient under any of ``incarnations``."""
        wanted = set(incarnations)
        return {
            f.status
            for f in self.seen
            if f.recipient == recipient
            and f.incarnation in wanted
            and f.status in _RECIPIENT_STATUSES
        }

    def incarnations(self, recipient: str) -> set[str]:
        """Every guid under which a provider's recipient id was spoken of."""
        return {f.incarnation for f in self.seen if f.recipient == recipient and f.incarnation}

    def recipients(self) -> set[str]:
        """Every provider's recipient id that was spoken of."""
        return {f.recipient for f in self.seen if f.recipient}

    def time_of(self, status: str, recipient: str = "") -> datetime | None:
        """The earliest provider time at which this status was said, where any was given."""
        times = [
            f.at for f in self.seen if f.recipient == recipient and f.status == status and f.at
        ]
        return min(times, default=None)

    def contradictions(self) -> tuple[str, ...]:
        """Pairs said of the envelope that cannot both be true, in words, sorted."""
        return tuple(
            f"envelope said to be both {a} and {b}"
            for a, b in combinations(sorted(self._of_envelope()), 2)
            if ENVELOPE_TABLE[a, b].contradiction
        )

    def _of_envelope(self) -> set[str]:
        own = [f for f in self.seen if not f.recipient]
        restored = {f.mark for f in own if f.status == RESTORED}
        return {
            f.status
            for f in own
            if f.status != RESTORED
            and f.status in _ENVELOPE_STATUSES
            and not (f.status == EnvelopeStatus.DELETED and f.mark in restored)
        }


def _earlier(a: datetime | None, b: datetime | None) -> bool:
    return a is not None and (b is None or a < b)
