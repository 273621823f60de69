"""What the webhooks in the journal say of an envelope: the other half of what a sweep compares.

The journal alone knows what came: an envelope's workflow may be closed, or be told by a read of
its own before any webhook, and it forgets old event keys.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sealwax.facts import Fact
from sealwax.providers.base import Changes, UnreadableWebhook, WebhookReader
from sealwax.stores.base import Journal, JournalEntry, WebhookFilter
from sealwax.stores.sweep_base import Change

PAGE = 200
UNDER_WAY = timedelta(seconds=60)
"""A webhook that came this lately is taken to reach its workflow, though it has not yet."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one envelope.

    ``facts``: all that its workflow was told by webhooks, or is about to be. ``changes``: those
    whose own webhook came, whatever became of it. ``webhooks``: how many the journal holds.
    """

    facts: tuple[Fact, ...] = ()
    changes: frozenset[Change] = frozenset()
    webhooks: int = 0
    last_at: datetime | None = None


class Hearing(Protocol):
    """What came by webhook. Raises ``StoreError``."""

    async def of(self, account: str, provider: str, provider_envelope_id: str) -> Heard:
        """All that came of an envelope."""
        ...

    async def count(self, account: str, provider_envelope_id: str) -> int:
        """How many webhooks of an envelope the journal holds."""
        ...

    async def since(
        self, account: str, provider_envelope_id: str, moment: datetime
    ) -> datetime | None:
        """When one of its webhooks came at that time or later; None where none did."""
        ...


class JournalHearing:
    """``Hearing`` by the journal; ``dialect`` gives a provider's reader and changes by its name.

    The journal is opened when it is first needed: a worker starts without it.
    """

    def __init__(
        self,
        opening: Callable[[], Awaitable[Journal]],
        dialect: Callable[[str], tuple[WebhookReader, Changes]],
    ) -> None:
        self._opening = opening
        self._dialect = dialect
        self._opened: Journal | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Let go of the journal."""
        async with self._lock:
            if self._opened is not None:
                await self._opened.close()
                self._opened = None

    async def _journal(self) -> Journal:
        async with self._lock:
            if self._opened is None:
                self._opened = await self._opening()
            return self._opened

    async def of(self, account: str, provider: str, provider_envelope_id: str) -> Heard:
        """See ``Hearing.of``. What is no longer kept, or is not readable, says nothing."""
        journal = await self._journal()
        reader, changes = self._dialect(provider)
        wanted = WebhookFilter(account=account, provider_envelope_id=provider_envelope_id)
        facts: list[Fact] = []
        told: set[Change] = set()
        count, after = 0, 0
        last_at: datetime | None = None
        while entries := await journal.find(wanted, after, PAGE):
            after = entries[-1].id
            count += len(entries)
            for entry in entries:
                last_at = max(last_at or entry.received_at, entry.received_at)
                row = await journal.row(entry.id)
                if row is None:
                    continue
                try:
                    event = reader.read_webhook(row.webhook.body)
                except UnreadableWebhook:
                    continue
                own = changes.told(event)
                if own is not None:
                    told.add(Change(own.status, own.recipient, own.incarnation))
                if row.webhook.trust == "fact" and _reaches(entry):
                    facts += event.facts
        return Heard(tuple(facts), frozenset(told), count, last_at)

    async def count(self, account: str, provider_envelope_id: str) -> int:
        """See ``Hearing.count``."""
        wanted = WebhookFilter(account=account, provider_envelope_id=provider_envelope_id)
        return await (await self._journal()).count(wanted)

    async def since(
        self, account: str, provider_envelope_id: str, moment: datetime
    ) -> datetime | None:
        """See ``Hearing.since``."""
        wanted = WebhookFilter(
            account=account, provider_envelope_id=provider_envelope_id, since=moment
        )
        entries = await (await self._journal()).find(wanted, 0, 1)
        return entries[0].received_at if entries else None


def _reaches(entry: JournalEntry) -> bool:
    """Whether the workflow was told, or is about to be."""
    if entry.state == "pending":
        return entry.received_at > datetime.now(UTC) - UNDER_WAY
    return entry.state in ("delivered", "late")
