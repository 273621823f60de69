"""What the stores are: interfaces and rows. The engines stand beside this module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol


class StoreError(Exception):
    """A store cannot do what was asked. One line that says what to do."""


class StoreUnusable(StoreError):
    """The store cannot be opened here: engine too old, file not ours, folder not writable."""


class StoreFull(StoreError):
    """More waits to be written than may wait. Nothing was kept; ask again later."""


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


WebhookState = Literal["pending", "delivered", "late", "parked", "quarantined"]
"""``pending``: to be signalled. ``delivered``: the server has the signal. ``late``: its workflow is
closed. ``parked``: nobody knows the envelope (yet). ``quarantined``: authentic, but not readable,
of another account, or undeliverable; a person looks at it."""


REROUTED = "rerouted"
"""The reason of a row that went to another workflow than the one that its address named."""


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


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a webhook stands. ``duplicate``: it was there already and only counted."""

    id: int
    duplicate: bool


@dataclass(frozen=True, slots=True)
class JournalCounts:
    """What the journal holds: rows by state, repeated deliveries of them, and how many rows were
    marked ``REROUTED``."""

    pending: int = 0
    delivered: int = 0
    late: int = 0
    parked: int = 0
    quarantined: int = 0
    duplicates: int = 0
    rerouted: int = 0

    @property
    def kept(self) -> int:
        """How many webhooks the journal holds."""
        return self.pending + self.delivered + self.late + self.parked + self.quarantined


@dataclass(frozen=True, slots=True, order=True)
class EnvelopeName:
    """Whose webhooks are forwarded together and in order."""

    account: str
    provider_envelope_id: str


class Journal(Protocol):
    """The bridge's durable record of webhooks. One process writes it."""

    async def append(self, webhook: Webhook) -> Appended:
        """Keep a webhook; returns when it is on disk.

        One account's event at one address is one row, however often it is delivered. Raises
        ``StoreFull``, or ``StoreError`` where the disk refuses.
        """
        ...

    async def due(self, now: datetime, limit: int) -> tuple[EnvelopeName, ...]:
        """Envelopes with pending webhooks, or parked ones whose next try has come, oldest first.

        With a large backlog they are fewer than ``limit``; asked again, others follow.
        """
        ...

    async def undelivered(
        self, envelope: EnvelopeName, after: int, limit: int
    ) -> tuple[JournalRow, ...]:
        """The envelope's pending and parked webhooks, in the order in which they came.

        Those with an id above ``after``: at most ``limit``, and fewer where bodies are large.
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

    async def counts(self) -> JournalCounts:
        """What the journal holds."""
        ...

    async def close(self) -> None:
        """Write what waits and let go of the store."""
        ...
