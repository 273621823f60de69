"""What the stores are: interfaces and rows. The engines stand beside this module."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol


class StoreError(Exception):
    """A store cannot do what was asked. One line that says what to do."""


class StoreUnusable(StoreError):
    """The store cannot be opened here: engine too old, file not ours, folder not writable."""


class StoreFull(StoreError):
    """More waits to be written than may wait. Nothing was kept; ask again later."""


class StoreAway(StoreError):
    """The store's server does not answer, or cannot write. What was asked may have been done."""


class NotRegistered(StoreError):
    """The registry has no row for that workflow."""


class BoundElsewhere(StoreError):
    """Workflow and provider's envelope do not belong together: one is bound to another."""


class RegistryConflict(StoreError):
    """A row with this identity says something else."""


BEAT_EVERY_S = 5.0
BEAT_GAP_S = 15.0
"""A bridge that has not beaten for this long is not up, and what it missed is not known."""


@dataclass(frozen=True, slots=True)
class RegistryRow:
    """One envelope that was ever asked for. Kept when Temporal has forgotten its workflow.

    ``routing_token`` is the unguessable part of the envelope's webhook address.
    ``provider_envelope_id`` is "" until bound, ``final_status`` "" until finished. ``run_id`` is
    of the first workflow run that asked for it, ``order_digest`` tells what it asked for; both are
    "" in rows of files that did not keep them yet.
    """

    account: str
    provider: str
    workflow_id: str
    routing_token: str
    provider_envelope_id: str
    final_status: str
    created_at: datetime
    run_id: str = ""
    order_digest: str = ""


@dataclass(frozen=True, slots=True, order=True)
class EnvelopeName:
    """Whose webhooks are forwarded together and in order."""

    account: str
    provider_envelope_id: str


@dataclass(frozen=True, slots=True)
class Located:
    """Registry rows by the token of their webhook address, and by the envelope bound to them."""

    by_token: Mapping[str, RegistryRow]
    by_envelope: Mapping[EnvelopeName, RegistryRow]


class Registry(Protocol):
    """Who owns which envelope, and whether a bridge is up to hear of its signers.

    Durable when a call returns; safe from several processes.
    """

    async def register(
        self,
        *,
        account: str,
        business_key_digest: str,
        workflow_id: str,
        provider: str,
        run_id: str = "",
        order_digest: str = "",
    ) -> RegistryRow:
        """The row of this workflow, made now, by this run, unless it stands already.

        A row that stands keeps its ``run_id`` and ``order_digest``, by which its caller sees
        whether it is its own. Raises ``RegistryConflict`` where the workflow or the business key
        stands otherwise.
        """
        ...

    async def bind(self, workflow_id: str, provider_envelope_id: str) -> RegistryRow:
        """Write down the provider's id. Binding again to the same id changes nothing.

        Raises ``NotRegistered``, and ``BoundElsewhere`` where either side is bound to another.
        """
        ...

    async def finish(self, workflow_id: str, status: str) -> RegistryRow:
        """Write down the final status; a later one replaces it. Raises ``NotRegistered``."""
        ...

    async def by_token(self, token: str) -> RegistryRow | None:
        """The row whose webhook address bears this token."""
        ...

    async def by_envelope(self, account: str, provider_envelope_id: str) -> RegistryRow | None:
        """The row bound to this envelope of the account."""
        ...

    async def by_business_key(self, account: str, digest: str) -> RegistryRow | None:
        """The row of this business key (``keys.business_key_digest``)."""
        ...

    async def located(
        self, tokens: Collection[str], envelopes: Collection[EnvelopeName]
    ) -> Located:
        """The rows of many addresses and envelopes at once. Those without a row are left out."""
        ...

    async def beat(self, process: str, now: datetime) -> None:
        """A bridge process says that it is up, and that it can hand on what it hears.

        ``process`` is a name that no other process has, also not an earlier one of that bridge.
        To be repeated every ``BEAT_EVERY_S``.
        """
        ...

    async def up_since(self, now: datetime) -> datetime | None:
        """Since when at every moment some bridge was up; None where none is now."""
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


WebhookState = Literal["pending", "delivered", "late", "parked", "quarantined", "discarded"]
"""``pending``: to be signalled. ``delivered``: the server has the signal. ``late``: its workflow is
closed. ``parked``: nobody knows the envelope (yet). ``quarantined``: authentic, but not readable,
of another account, or undeliverable; a person looks at it. ``discarded``: a person has looked at it
and lets it go."""

UNDELIVERED: tuple[WebhookState, ...] = ("pending", "parked", "quarantined")
"""States in which a webhook still waits for something; it is never pruned in them."""

WebhookTrust = Literal["fact", "hint"]
"""``fact``: a MAC covers what it says. ``hint``: it says no more than where to look."""

REROUTED = "rerouted"
"""The reason of a row that went to another workflow than the one that its address named."""

EVENT_KEYS_KEPT_S = 35 * 24 * 3600.0
"""A provider may deliver again for 15 days; a captured delivery must change nothing for longer."""

REFUSED_KEPT = 200
REFUSED_BODY_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Webhook:
    """One authentic webhook as it came, and what was read from it.

    ``token`` is that of the address it was posted to, "" for the account's own address.
    ``event_key`` identifies the delivery (``ProviderEvent.event_key``; of an unreadable body its
    digest). ``headers`` are those that matter, names in lower case.
    """

    account: str
    provider: str
    token: str
    event_key: str
    event_name: str
    provider_envelope_id: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: datetime
    state: WebhookState = "pending"
    reason: str = ""
    trust: WebhookTrust = "fact"


@dataclass(frozen=True, slots=True)
class JournalRow:
    """A webhook in the journal.

    ``attempts`` counts the times it was parked; ``retry_at`` is when a parked one is due, None
    where it is not tried again by itself.
    """

    id: int
    webhook: Webhook
    attempts: int
    duplicates: int
    retry_at: datetime | None

    @property
    def envelope(self) -> EnvelopeName:
        """Whose it is."""
        return EnvelopeName(self.webhook.account, self.webhook.provider_envelope_id)


def by_envelope(rows: Iterable[JournalRow]) -> dict[EnvelopeName, tuple[JournalRow, ...]]:
    """Each envelope's rows, in the order of their ids."""
    found: dict[EnvelopeName, list[JournalRow]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        found.setdefault(row.envelope, []).append(row)
    return {name: tuple(of) for name, of in found.items()}


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What is known of a webhook without opening what is sealed; fields as in ``JournalRow``."""

    id: int
    account: str
    provider: str
    token: str
    event_key: str
    event_name: str
    provider_envelope_id: str
    received_at: datetime
    state: WebhookState
    reason: str
    trust: WebhookTrust
    attempts: int
    duplicates: int
    retry_at: datetime | None

    def opened(self, headers: tuple[tuple[str, str], ...], body: bytes) -> JournalRow:
        """The whole row."""
        return JournalRow(
            id=self.id,
            attempts=self.attempts,
            duplicates=self.duplicates,
            retry_at=self.retry_at,
            webhook=Webhook(
                account=self.account,
                provider=self.provider,
                token=self.token,
                event_key=self.event_key,
                event_name=self.event_name,
                provider_envelope_id=self.provider_envelope_id,
                headers=headers,
                body=body,
                received_at=self.received_at,
                state=self.state,
                reason=self.reason,
                trust=self.trust,
            ),
        )


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    """Which webhooks are meant; what is left empty leaves out none.

    ``since``: received at that time or later.
    """

    account: str = ""
    provider_envelope_id: str = ""
    since: datetime | None = None
    states: tuple[WebhookState, ...] = ()
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedWebhook:
    """A delivery that was not taken in.

    ``account`` is one of the settings, "" where the address named none. ``body`` is cut to
    ``REFUSED_BODY_BYTES_MAX``, ``size_bytes`` is what it had. ``id`` is 0 until it is kept.
    """

    account: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    size_bytes: int
    received_at: datetime
    id: int = 0


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a webhook stands. ``duplicate``: it was there already and only counted.

    ``spooled``: it stands in this machine's spool until the database is back, and ``id`` is there.
    """

    id: int
    duplicate: bool
    spooled: bool = False


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """What the journal holds: rows by state, repeated deliveries, and how many rows were ever
    marked ``REROUTED`` and ever pruned. ``spooled`` rows wait on this machine for the database,
    beside the others; while that is away, the others are not known and 0."""

    pending: int = 0
    delivered: int = 0
    late: int = 0
    parked: int = 0
    quarantined: int = 0
    discarded: int = 0
    duplicates: int = 0
    rerouted: int = 0
    pruned: int = 0
    spooled: int = 0

    @property
    def kept(self) -> int:
        """How many webhooks the journal holds, those in the spool included."""
        undelivered = self.pending + self.parked + self.quarantined + self.spooled
        return undelivered + self.delivered + self.late + self.discarded


@dataclass(frozen=True, slots=True)
class ForwarderBeat:
    """A forwarder said at ``at`` that it is up; ``reaching``: and that Temporal takes signals."""

    name: str
    at: datetime
    reaching: bool


@dataclass(frozen=True, slots=True)
class JournalHealth:
    """How the journal does.

    ``oldest_pending`` is when the pending webhook that waits longest came. ``size_bytes``: what its
    rows take, free room inside the file not counted. ``away``: the database does not answer, and
    webhooks are spooled on this machine.
    """

    oldest_pending: datetime | None
    size_bytes: int
    forwarders: tuple[ForwarderBeat, ...]
    spooled: int = 0
    away: bool = False


@dataclass(frozen=True, slots=True)
class Retention:
    """How long webhooks that wait for nothing are kept: by age, and by the size of all.

    An event's key is kept for ``keys_s`` from its receipt, whatever became of its body.
    """

    keep_s: float
    bytes_max: int
    keys_s: float = EVENT_KEYS_KEPT_S


class Journal(Protocol):
    """The durable record of webhooks, between the bridges that append and the forwarders.

    Safe from several processes. Every method raises ``StoreError`` where the store does not do
    what was asked, and then nothing was done, or nothing is known of it.
    """

    async def append(self, webhook: Webhook) -> Appended:
        """Keep a webhook; returns when it is on disk.

        One account's event at one address is one row, however often it is delivered, also when
        the row was pruned since. Raises ``StoreFull`` where too many wait.
        """
        ...

    def refuse(self, refused: RefusedWebhook) -> None:
        """Keep a refused delivery for people to see, soon and if there is room; never waits.

        The newest ``REFUSED_KEPT`` of an account are kept, and of a flood only some.
        """
        ...

    async def refused(self, account: str | None, limit: int) -> tuple[RefusedWebhook, ...]:
        """Refused deliveries, newest first; of that account ("" for none), or None for all."""
        ...

    async def claim(
        self, forwarder: str, now: datetime, hold_s: float, limit: int
    ) -> tuple[EnvelopeName, ...]:
        """Envelopes with pending webhooks, or parked ones whose next try has come, oldest first.

        They are this forwarder's until it releases them or ``hold_s`` have passed, and nobody is
        given them meanwhile, itself included. ``forwarder`` is a name that no other process has.
        There may be more than were given: asked again, others follow.
        """
        ...

    async def release(self, forwarder: str, envelopes: Iterable[EnvelopeName]) -> None:
        """Let go of claims; those that are not (or no longer) this forwarder's stay as they are."""
        ...

    async def arrived(self, timeout_s: float) -> bool:
        """Wait until something became pending since the last call, at most that long.

        The first call counts from when the journal was opened. False where nothing did.
        """
        ...

    async def undelivered(
        self, envelope: EnvelopeName, after: int, limit: int
    ) -> tuple[JournalRow, ...]:
        """The envelope's pending and parked webhooks, in the order in which they came.

        Those with an id above ``after``: at most ``limit``, and fewer where bodies are large.
        """
        ...

    async def undelivered_of(
        self, envelopes: Sequence[EnvelopeName], limit: int
    ) -> dict[EnvelopeName, tuple[JournalRow, ...]]:
        """The first ``undelivered`` ones of many envelopes, at most ``limit`` of each.

        Left out are those with none, and those that a visit of bounded length did not come to.
        """
        ...

    async def pending(self, limit: int) -> tuple[JournalRow, ...]:
        """Pending webhooks in the order in which they came; fewer where bodies are large."""
        ...

    async def next_due(self) -> datetime | None:
        """When the next parked webhook is to be tried; None where none is."""
        ...

    async def mark(self, ids: Iterable[int], state: WebhookState, reason: str = "") -> None:
        """Write down what became of webhooks; parked ones are not tried again by themselves.

        Marked ``pending``, a webhook is forwarded again.
        """
        ...

    async def park(self, ids: Sequence[int], retry_at: datetime, reason: str) -> None:
        """Park webhooks until ``retry_at``, and count the attempt."""
        ...

    async def find(self, wanted: WebhookFilter, after: int, limit: int) -> tuple[JournalEntry, ...]:
        """Webhooks with an id above ``after``, in the order of their ids; no body is opened."""
        ...

    async def count(self, wanted: WebhookFilter) -> int:
        """How many webhooks are meant."""
        ...

    async def row(self, row_id: int) -> JournalRow | None:
        """One webhook with its headers and body; None where it is not there (any more)."""
        ...

    async def prune(self, now: datetime, retention: Retention) -> int:
        """Drop webhooks that wait for nothing and are too old or too many; says how many.

        Done in small steps, between which appends are written. Never one of ``UNDELIVERED``.
        """
        ...

    async def beat(self, forwarder: str, now: datetime, reaching: bool) -> None:
        """A forwarder says that it is up, and whether Temporal takes its signals."""
        ...

    async def counts(self) -> JournalCounts:
        """What the journal holds."""
        ...

    async def health(self) -> JournalHealth:
        """How the journal does; ``forwarders`` are those that beat within the last hour."""
        ...

    async def close(self) -> None:
        """Write what waits and let go of the store."""
        ...
