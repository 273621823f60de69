"""The journal of a bridge whose database may be away: then webhooks wait in a file of this machine.

An answer never depends on a network. What waits in the spool goes to the database in its order, and
as long as something waits there, what is new waits behind it. Each row is dropped here when it is
kept there; where a crash comes in between, the event's key makes it one row all the same.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from sealwax.stores.base import (
    Appended,
    EnvelopeName,
    JournalCounts,
    JournalEntry,
    JournalHealth,
    JournalRow,
    RefusedWebhook,
    Retention,
    StoreAway,
    StoreError,
    StoreFull,
    Webhook,
    WebhookFilter,
    WebhookState,
)
from sealwax.stores.journal import SqliteJournal
from sealwax.stores.journal_postgres import PostgresJournal

log = logging.getLogger("sealwax.journal")

MOVED_AT_ONCE = 500
AGAIN_FIRST_S = 0.1
AGAIN_MAX_S = 5.0
SETTLE_S = 0.002


class SpooledJournal:
    """See ``stores.base.Journal``: ``database``, and ``spool`` for as long as that is away.

    Everything but appending is the database's.
    """

    def __init__(self, database: PostgresJournal, spool: SqliteJournal) -> None:
        self._database = database
        self._spool = spool
        # Nothing waits in the spool, and the database answered last: append there.
        self._direct = False
        self._away = False
        self._spooling = 0
        self._spooled_ever = 0
        self._passed_over = 0
        self._moving: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to move what an earlier process has left in the spool."""
        self._move()

    async def append(self, webhook: Webhook) -> Appended:
        """See ``Journal.append``; kept in the spool where the database cannot take it now."""
        if self._direct:
            try:
                return await self._database.append(webhook)
            except (StoreAway, StoreFull) as error:
                # It may be there all the same: kept twice, it is one row in the end.
                self._lost(error)
        self._spooling += 1
        try:
            appended = await self._spool.append(webhook)
        finally:
            self._spooling -= 1
            self._spooled_ever += 1
        self._move()
        return replace(appended, spooled=True)

    def refuse(self, refused: RefusedWebhook) -> None:
        """See ``Journal.refuse``; what comes while the database is away is not kept."""
        if self._direct:
            self._database.refuse(refused)

    async def refused(self, account: str | None, limit: int) -> tuple[RefusedWebhook, ...]:
        """See ``Journal.refused``."""
        return await self._database.refused(account, limit)

    async def claim(
        self, forwarder: str, now: datetime, hold_s: float, limit: int
    ) -> tuple[EnvelopeName, ...]:
        """See ``Journal.claim``."""
        return await self._database.claim(forwarder, now, hold_s, limit)

    async def release(self, forwarder: str, envelopes: Iterable[EnvelopeName]) -> None:
        """See ``Journal.release``."""
        await self._database.release(forwarder, envelopes)

    async def arrived(self, timeout_s: float) -> bool:
        """See ``Journal.arrived``."""
        return await self._database.arrived(timeout_s)

    async def undelivered(
        self, envelope: EnvelopeName, after: int, limit: int
    ) -> tuple[JournalRow, ...]:
        """See ``Journal.undelivered``."""
        return await self._database.undelivered(envelope, after, limit)

    async def undelivered_of(
        self, envelopes: Sequence[EnvelopeName], limit: int
    ) -> dict[EnvelopeName, tuple[JournalRow, ...]]:
        """See ``Journal.undelivered_of``."""
        return await self._database.undelivered_of(envelopes, limit)

    async def pending(self, limit: int) -> tuple[JournalRow, ...]:
        """See ``Journal.pending``."""
        return await self._database.pending(limit)

    async def next_due(self) -> datetime | None:
        """See ``Journal.next_due``."""
        return await self._database.next_due()

    async def mark(self, ids: Iterable[int], state: WebhookState, reason: str = "") -> None:
        """See ``Journal.mark``."""
        await self._database.mark(ids, state, reason)

    async def park(self, ids: Sequence[int], retry_at: datetime, reason: str) -> None:
        """See ``Journal.park``."""
        await self._database.park(ids, retry_at, reason)

    async def find(self, wanted: WebhookFilter, after: int, limit: int) -> tuple[JournalEntry, ...]:
        """See ``Journal.find``."""
        return await self._database.find(wanted, after, limit)

    async def count(self, wanted: WebhookFilter) -> int:
        """See ``Journal.count``."""
        return await self._database.count(wanted)

    async def row(self, row_id: int) -> JournalRow | None:
        """See ``Journal.row``."""
        return await self._database.row(row_id)

    async def prune(self, now: datetime, retention: Retention) -> int:
        """See ``Journal.prune``. Nothing is pruned that waits in the spool."""
        return await self._database.prune(now, retention)

    async def beat(self, forwarder: str, now: datetime, reaching: bool) -> None:
        """See ``Journal.beat``."""
        await self._database.beat(forwarder, now, reaching)

    async def counts(self) -> JournalCounts:
        """See ``Journal.counts``."""
        spooled = (await self._spool.counts()).kept
        try:
            return replace(await self._database.counts(), spooled=spooled)
        except StoreAway:
            return JournalCounts(spooled=spooled)

    async def health(self) -> JournalHealth:
        """See ``Journal.health``."""
        spooled = (await self._spool.counts()).kept
        try:
            return replace(await self._database.health(), spooled=spooled, away=self._away)
        except StoreAway:
            size_bytes = (await self._spool.health()).size_bytes
            return JournalHealth(None, size_bytes, (), spooled=spooled, away=True)

    async def close(self) -> None:
        """See ``Journal.close``. What waits in the spool is moved after the next start."""
        if self._closed:
            return
        self._closed = True
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
        await self._spool.close()
        await self._database.close()

    def _lost(self, error: StoreError) -> None:
        if self._direct:
            log.warning("webhooks are spooled on this machine: %s", error)
        self._direct = False
        self._away = True

    def _move(self) -> None:
        if not self._closed and (self._moving is None or self._moving.done()):
            self._moving = asyncio.create_task(self._move_until_empty())

    async def _move_until_empty(self) -> None:
        tries = 0
        while not self._direct:
            try:
                await self._database.ready()
                await self._empty()
            except StoreError as error:
                if not self._away or tries == 0:
                    log.warning("the spool waits: %s", error)
                self._away = True
                tries += 1
                most_s = min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(tries, 30))
                await asyncio.sleep(random.uniform(most_s / 2, most_s))
            except Exception:
                # Whatever it is, nobody else will move what waits.
                log.exception("the spool cannot be moved; it is tried again")
                await asyncio.sleep(AGAIN_MAX_S)

    async def _empty(self) -> None:
        moved = 0
        while True:
            before = self._spooled_ever
            rows = await self._spool.kept_after(self._passed_over, MOVED_AT_ONCE)
            if rows:
                await self._take_over(rows)
                self._away = False
                moved += len(rows)
            elif self._spooling == 0 and self._spooled_ever == before:
                self._direct, self._away = True, False
                if moved:
                    log.info("%d webhooks went from the spool to the database", moved)
                return
            else:
                await asyncio.sleep(SETTLE_S)

    async def _take_over(self, rows: Sequence[JournalRow]) -> None:
        try:
            await self._database.take_over(rows)
        except (StoreAway, StoreFull):
            raise
        except StoreError as error:
            if len(rows) > 1:
                for row in rows:
                    await self._take_over([row])
                return
            # The database will never take it: it must not hold up the others, and is kept here.
            log.error("webhook %d stays in the spool: %s", rows[0].id, error)
            await self._spool.mark([rows[0].id], "quarantined", str(error))
            self._passed_over = rows[0].id
            return
        await self._spool.drop(row.id for row in rows)
