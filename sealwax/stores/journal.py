"""The journal of webhooks in one SQLite file, for the bridge and the forwarders of one machine.

Each process has one writing connection in one thread with group commit (``group_writer``), and one
for reading in another. The bridge's commits are synced; a forwarder's need not be, because what it
forgets in a power failure it sends again, and that changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import apsw

from sealwax.crypto import CryptoError, Keyring
from sealwax.stores import journal_schema as sql
from sealwax.stores.base import (
    Appended,
    EnvelopeName,
    ForwarderBeat,
    JournalCounts,
    JournalEntry,
    JournalHealth,
    JournalRow,
    RefusedWebhook,
    Retention,
    StoreError,
    Webhook,
    WebhookFilter,
    WebhookState,
    by_envelope,
)
from sealwax.stores.group_writer import GroupWriter
from sealwax.stores.journal_appending import Appending
from sealwax.stores.journal_pruning import PruneStep, forget_steps, prune_steps
from sealwax.stores.journal_refusals import RefusalValve
from sealwax.stores.journal_rows import (
    delivery_to_write,
    entry_of,
    meant,
    refused_of,
    row_of,
    time_or_none,
)
from sealwax.stores.journal_sealing import microseconds, seal_refused, time_of
from sealwax.stores.sqlite import (
    RESTART_PAGES,
    RESTART_PAGES_OF_OTHERS,
    LogKeeper,
    Patience,
    check_whole,
    listed,
    open_folder,
    open_reader,
    open_writer,
    rows,
)

T = TypeVar("T")

WAITING_MAX = 20_000
WAITING_BYTES_MAX = 256 * 1024 * 1024
READ_BYTES_MAX = 16 * 1024 * 1024
VISIT_ROWS = 400
DUE_ROWS_PER_ENVELOPE = (2, 20)
DUE_STEPS_PER_ENVELOPE = 4
SEALED_IN_LINE_BYTES = 256 * 1024
CHECK_S = 5.0
BEATS_S = 3600.0
LOOK_FIRST_S = 0.02
LOOK_MAX_S = 0.06
LOOK_CLOSELY_S = 0.25


def open_journal(
    path: Path,
    keyring: Keyring,
    *,
    synced: Literal["full", "normal"] = "full",
    check_s: float = CHECK_S,
) -> SqliteJournal:
    """The journal in this file, made where it is not there. Raises ``StoreUnusable``.

    ``synced``: what SQLite calls ``synchronous``; ``normal`` is for forwarders. ``check_s`` bounds
    how long the file is looked through for damage before it is used; 0 does without.
    """
    with ExitStack() as opened:
        writer = open_writer(path, sql.SCHEMA, sql.APPLICATION_ID)
        opened.callback(writer.close)
        if check_s > 0:
            check_whole(writer, path, check_s)
        writer.pragma("synchronous", synced)
        reader = open_reader(path)
        opened.callback(reader.close)
        # The bridge folds; what a forwarder writes meanwhile is little.
        bridge = synced == "full"
        pages = RESTART_PAGES if bridge else RESTART_PAGES_OF_OTHERS
        folder = open_folder(path) if bridge else None
        keeper = LogKeeper(writer, Patience(writer), pages, folder)
        opened.pop_all()
    return SqliteJournal(writer, reader, keyring, keeper)


class SqliteJournal:
    """See ``stores.base.Journal``."""

    def __init__(
        self,
        writer: apsw.Connection,
        reader: apsw.Connection,
        keyring: Keyring,
        keeper: LogKeeper,
    ) -> None:
        self._keyring = keyring
        self._connection = writer
        self._keeper = keeper
        self._reader = reader
        self._writer = GroupWriter(
            writer, "journal", WAITING_MAX, WAITING_BYTES_MAX, keeper.after_commit
        )
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._appending = Appending()
        self._valve = RefusalValve()
        self._refusing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._look_from = EnvelopeName("", "")
        self._log = Path(f"{reader.filename}-wal")
        self._log_seen: tuple[int, int] | None = None
        self._arrivals = reader.execute(sql.ARRIVED).fetchall()[0]

    async def append(self, webhook: Webhook) -> Appended:
        """See ``Journal.append``."""
        if len(webhook.body) > SEALED_IN_LINE_BYTES:
            delivery = await asyncio.to_thread(delivery_to_write, webhook, self._keyring)
        else:
            delivery = delivery_to_write(webhook, self._keyring)
        way = self._appending
        return await self._writer.do(
            way.within, delivery, len(webhook.body), bounded=True, alone=way.alone
        )

    def refuse(self, refused: RefusedWebhook) -> None:
        """See ``Journal.refuse``."""
        if self._closed or not self._valve.lets_in(refused.account):
            return
        kept = self._valve.cut(refused)
        sealed = seal_refused(self._keyring, kept.account, kept.headers, kept.body)
        at_us = microseconds(kept.received_at)
        values = (kept.account, kept.status, kept.reason, kept.size_bytes, at_us, sealed)
        task = asyncio.create_task(self._keep_refused(values))
        self._refusing.add(task)
        task.add_done_callback(self._refusing.discard)

    async def refused(self, account: str | None, limit: int) -> tuple[RefusedWebhook, ...]:
        """See ``Journal.refused``."""

        def work() -> list[RefusedWebhook]:
            found = self._reader.execute(sql.REFUSED, {"account": account, "limit": limit})
            return [refused_of(row, self._keyring) for row in found]

        return tuple(await self._in_reader(work))

    async def claim(
        self, forwarder: str, now: datetime, hold_s: float, limit: int
    ) -> tuple[EnvelopeName, ...]:
        """See ``Journal.claim``."""
        now_us = microseconds(now)
        due = await self._in_reader(lambda: self._due(now_us, limit))
        if not due:
            return ()
        asked = {
            "names": listed(due),
            "forwarder": forwarder,
            "until": now_us + round(hold_s * 1e6),
            "now": now_us,
        }
        got = await self._writer.do(_claim, asked)
        return tuple(name for name in due if name in got)

    async def release(self, forwarder: str, envelopes: Iterable[EnvelopeName]) -> None:
        """See ``Journal.release``."""
        names = list(envelopes)
        if names:
            await self._writer.do(_release, (forwarder, listed(names)))

    async def arrived(self, timeout_s: float) -> bool:
        """See ``Journal.arrived``."""
        end = time.monotonic() + timeout_s
        wait_s, looked_at = LOOK_FIRST_S, 0.0
        while True:
            now = time.monotonic()
            # The log's time tells of nearly every commit and costs next to nothing to ask.
            if self._log_moved() or now - looked_at >= LOOK_CLOSELY_S:
                looked_at = now
                (arrivals,) = await self._read(sql.ARRIVED)
                if arrivals != self._arrivals:
                    self._arrivals = arrivals
                    return True
            if now >= end:
                return False
            await asyncio.sleep(min(wait_s, end - now))
            wait_s = min(LOOK_MAX_S, wait_s * 1.1)

    async def undelivered(
        self, envelope: EnvelopeName, after: int, limit: int
    ) -> tuple[JournalRow, ...]:
        """See ``Journal.undelivered``."""
        return await self._rows(sql.UNDELIVERED, _undelivered_of(envelope, after, limit))

    async def undelivered_of(
        self, envelopes: Sequence[EnvelopeName], limit: int
    ) -> dict[EnvelopeName, tuple[JournalRow, ...]]:
        """See ``Journal.undelivered_of``."""
        asked = {"names": listed(envelopes), "limit": limit}
        read = await self._rows(sql.UNDELIVERED_OF, asked, VISIT_ROWS)
        return {name: rows_of[:limit] for name, rows_of in by_envelope(read).items()}

    async def pending(self, limit: int) -> tuple[JournalRow, ...]:
        """See ``Journal.pending``."""
        return await self._rows(sql.PENDING, (limit,))

    async def next_due(self) -> datetime | None:
        """See ``Journal.next_due``."""
        found = await self._read(
            "SELECT min(retry_us) FROM webhook WHERE state = 'parked' AND retry_us IS NOT NULL"
        )
        return time_or_none(found[0][0])

    async def mark(self, ids: Iterable[int], state: WebhookState, reason: str = "") -> None:
        """See ``Journal.mark``."""
        await self._writer.do(_mark, (state, reason, json.dumps(list(ids))))

    async def park(self, ids: Sequence[int], retry_at: datetime, reason: str) -> None:
        """See ``Journal.park``."""
        await self._writer.do(_park, (microseconds(retry_at), reason, json.dumps(list(ids))))

    async def find(self, wanted: WebhookFilter, after: int, limit: int) -> tuple[JournalEntry, ...]:
        """See ``Journal.find``."""
        where, values = meant(wanted)
        values = {**values, "after": after, "limit": limit}
        text = f"{sql.ENTRIES}{where} AND w.id > :after ORDER BY w.id LIMIT :limit"
        return tuple(entry_of(found) for found in await self._read(text, values))

    async def count(self, wanted: WebhookFilter) -> int:
        """See ``Journal.count``."""
        where, values = meant(wanted)
        found = await self._read(f"SELECT count(*) FROM webhook w WHERE {where}", values)
        return int(found[0][0])

    async def row(self, row_id: int) -> JournalRow | None:
        """See ``Journal.row``."""
        found = await self._rows(sql.ROW, (row_id,))
        return found[0] if found else None

    async def prune(self, now: datetime, retention: Retention) -> int:
        """See ``Journal.prune``."""
        step = PruneStep.first(now, retention)
        while not step.ended:
            step = await self._small_step(prune_steps, step)
        while await self._small_step(forget_steps, step):
            pass
        return step.dropped

    async def kept_after(self, after: int, limit: int) -> tuple[JournalRow, ...]:
        """Webhooks in any state with an id above ``after``, in the order of their ids."""
        return await self._rows(sql.KEPT, (after, limit))

    async def drop(self, ids: Iterable[int]) -> None:
        """Forget webhooks and their keys at once, because another journal keeps them."""
        await self._writer.do(_drop, json.dumps(list(ids)))

    async def beat(self, forwarder: str, now: datetime, reaching: bool) -> None:
        """See ``Journal.beat``."""
        await self._writer.do(_beat, (forwarder, microseconds(now), int(reaching)))

    async def counts(self) -> JournalCounts:
        """See ``Journal.counts``."""
        found = dict(await self._read("SELECT name, count FROM tally WHERE name != 'again'"))
        return JournalCounts(**found)

    async def health(self) -> JournalHealth:
        """See ``Journal.health``."""

        def work() -> list[JournalHealth]:
            oldest = rows(self._reader, sql.OLDEST_PENDING)
            ((size_bytes,),) = rows(self._reader, sql.USED_BYTES)
            newest_us = round((time.time() - BEATS_S) * 1e6)
            beats = tuple(
                ForwarderBeat(name, time_of(at_us), bool(reaching))
                for name, at_us, reaching in rows(self._reader, sql.BEATS, (newest_us,))
            )
            return [
                JournalHealth(time_or_none(oldest[0][0] if oldest else None), size_bytes, beats)
            ]

        (health,) = await self._in_reader(work)
        return health

    async def close(self) -> None:
        """See ``Journal.close``."""
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*self._refusing)
        await self._writer.close()
        await asyncio.get_running_loop().run_in_executor(self._reading, self._reader.close)
        self._reading.shutdown()
        await asyncio.to_thread(self._keeper.close)
        # The last connection to close folds the log back into the file, so the reader goes first.
        await asyncio.to_thread(self._connection.close)

    async def _keep_refused(self, values: tuple[Any, ...]) -> None:
        try:
            await self._writer.do(_refuse, values)
        except StoreError:
            # It was answered already and nobody is owed it.
            return

    async def _small_step(self, work: Callable[[apsw.Connection, list[T]], list[Any]], v: T) -> Any:
        began = time.monotonic()
        outcome = await self._writer.do(work, v)
        # As long for others as for this, so that nobody waits for more than one step.
        await asyncio.sleep(time.monotonic() - began)
        return outcome

    def _log_moved(self) -> bool:
        try:
            stat = os.stat(self._log)
        except OSError:
            return True
        seen = (stat.st_mtime_ns, stat.st_size)
        moved, self._log_seen = seen != self._log_seen, seen
        return moved

    def _due(self, now_us: int, limit: int) -> list[EnvelopeName]:
        found: list[EnvelopeName] = []
        for rows_per_envelope in DUE_ROWS_PER_ENVELOPE:
            asked = {"now": now_us, "limit": limit, "rows": limit * rows_per_envelope}
            ((looked_at, names),) = rows(self._reader, sql.DUE, asked)
            found = _names(names)
            if len(found) >= limit or looked_at < limit * rows_per_envelope:
                return found
        # The oldest rows are those of envelopes that are held or few: look at others, by name.
        held = {EnvelopeName(str(a), str(e)) for a, e in rows(self._reader, sql.HELD, (now_us,))}
        self._add_by_name(found, held, limit)
        return found

    def _add_by_name(self, found: list[EnvelopeName], held: set[EnvelopeName], limit: int) -> None:
        start = name = self._look_from
        wrapped = False
        for _ in range(limit * DUE_STEPS_PER_ENVELOPE):
            key = (name.account, name.provider_envelope_id)
            next_one = self._reader.execute(sql.NEXT_PENDING_OF, key).fetchall()
            if not next_one:
                if wrapped:
                    break
                name, wrapped = EnvelopeName("", ""), True
                continue
            name = EnvelopeName(*map(str, next_one[0]))
            if name not in held and name not in found:
                found.append(name)
            if len(found) >= limit or (wrapped and name >= start):
                break
        self._look_from = name

    async def _rows(
        self, text: str, values: tuple[Any, ...] | dict[str, Any], visit: float = math.inf
    ) -> tuple[JournalRow, ...]:
        return tuple(await self._in_reader(lambda: self._opened(text, values, visit)))

    def _opened(
        self, text: str, values: tuple[Any, ...] | dict[str, Any], visit: float
    ) -> list[JournalRow]:
        """Whole rows, no more than ``READ_BYTES_MAX`` and one, and after ``visit`` of them none of
        another envelope; for the thread that reads."""
        read: list[JournalRow] = []
        size_bytes = 0
        for found in self._reader.execute(text, values):
            row = row_of(found, self._keyring)
            if len(read) >= visit and row.envelope != read[-1].envelope:
                break
            read.append(row)
            size_bytes += len(row.webhook.body)
            if size_bytes >= READ_BYTES_MAX:
                break
        return read

    async def _read(self, text: str, values: dict[str, Any] | None = None) -> list[Any]:
        return await self._in_reader(lambda: self._reader.execute(text, values).fetchall())

    async def _in_reader(self, work: Callable[[], list[T]]) -> list[T]:
        def translated() -> list[T]:
            try:
                return work()
            except (apsw.Error, CryptoError) as error:
                raise StoreError(f"the journal cannot be read: {error}") from error

        if self._closed:
            raise StoreError("the journal is closed; open it again")
        return await asyncio.get_running_loop().run_in_executor(self._reading, translated)


def _undelivered_of(envelope: EnvelopeName, after: int, limit: int) -> dict[str, Any]:
    return {
        "account": envelope.account,
        "envelope": envelope.provider_envelope_id,
        "after": after,
        "limit": limit,
    }


def _names(listed: str) -> list[EnvelopeName]:
    return [EnvelopeName(account, envelope) for account, envelope in json.loads(listed)]


def _claim(connection: apsw.Connection, asked: list[dict[str, Any]]) -> list[set[EnvelopeName]]:
    claimed = []
    for claims in asked:
        connection.execute(sql.CLAIM, claims)
        claimed.append(set(_names(rows(connection, sql.CLAIMED, claims)[0][0])))
    return claimed


def _release(connection: apsw.Connection, asked: list[tuple[str, str]]) -> list[None]:
    connection.executemany(sql.RELEASE, asked)
    return [None] * len(asked)


def _mark(connection: apsw.Connection, asked: list[tuple[Any, ...]]) -> list[None]:
    connection.executemany(sql.MARK, asked)
    return [None] * len(asked)


def _park(connection: apsw.Connection, asked: list[tuple[Any, ...]]) -> list[None]:
    connection.executemany(sql.PARK, asked)
    return [None] * len(asked)


def _drop(connection: apsw.Connection, asked: list[str]) -> list[None]:
    for ids in asked:
        connection.execute(sql.DROP_PAYLOADS, (ids,))
        connection.execute(sql.DROP_WEBHOOKS, (ids,))
    return [None] * len(asked)


def _refuse(connection: apsw.Connection, asked: list[tuple[Any, ...]]) -> list[None]:
    connection.executemany(sql.REFUSE, asked)
    for account in {values[0] for values in asked}:
        connection.execute(sql.REFUSED_TRIM, (account, RefusalValve.kept))
    return [None] * len(asked)


def _beat(connection: apsw.Connection, asked: list[tuple[Any, ...]]) -> list[None]:
    connection.executemany(sql.BEAT, asked)
    connection.execute(sql.FORGET_BEATS, (asked[0][1] - round(BEATS_S * 1e6),))
    return [None] * len(asked)
