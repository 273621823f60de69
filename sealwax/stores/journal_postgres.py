"""The journal of webhooks in PostgreSQL, for bridges and forwarders of any number of machines.

Needs ``asyncpg``. What waits to be appended goes in one statement, so that all who wait share its
round trip and its sync. Commits are as durable as the server's settings make them: an answer means
"on disk" only where ``fsync`` and ``synchronous_commit`` are on, as they are from the factory.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import asyncpg

from sealwax.crypto import CryptoError, Keyring
from sealwax.stores import journal_postgres_schema as sql
from sealwax.stores.base import (
    REFUSED_KEPT,
    Appended,
    EnvelopeName,
    ForwarderBeat,
    JournalCounts,
    JournalEntry,
    JournalHealth,
    JournalRow,
    RefusedWebhook,
    Retention,
    StoreAway,
    StoreError,
    StoreUnusable,
    Webhook,
    WebhookFilter,
    WebhookState,
    by_envelope,
)
from sealwax.stores.journal_postgres_groups import AppendGroups
from sealwax.stores.journal_postgres_rows import (
    columns,
    delivery_to_write,
    entry_of,
    meant,
    plain,
    refused_of,
    row_of,
    taken_over,
)
from sealwax.stores.journal_refusals import RefusalValve
from sealwax.stores.journal_sealing import seal_refused

T = TypeVar("T")

CONNECTIONS_MAX = 8
WAITING_MAX = 20_000
WAITING_BYTES_MAX = 256 * 1024 * 1024
READ_BYTES_MAX = 16 * 1024 * 1024
READ_ROWS_AT_ONCE = 20
VISIT_ROWS = 400
DUE_ROWS_PER_ENVELOPE = 20
DUE_STEPS_PER_ENVELOPE = 4
SEALED_IN_LINE_BYTES = 256 * 1024
PRUNE_ROWS = 200
PRUNE_BYTES = 4 * 1024 * 1024
ROW_BYTES = 400
KEYS_AT_ONCE = 1000
BEATS_S = 3600.0
LOOK_S = 0.5
NOTIFY_EVERY_S = 0.01

# TimeoutError is an OSError. The last is what asyncpg says of a connection lost between two words.
_AWAY = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    asyncpg.InternalClientError,
)
_NOT_AWAY = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


def open_postgres_journal(dsn: str, keyring: Keyring, timeout_s: float = 5.0) -> PostgresJournal:
    """The journal in this database. Its tables are made when it first answers.

    ``dsn`` is a ``postgresql://`` address; ``timeout_s`` bounds one round trip. Raises
    ``StoreUnusable`` where that can be no address, and never with the address in it.
    """
    if not dsn.startswith(("postgresql://", "postgres://")):
        raise StoreUnusable(
            "the journal's database has no address like postgresql://USER:PASSWORD@HOST/NAME;"
            " correct what [storage] journal names"
        )
    return PostgresJournal(dsn, keyring, timeout_s)


class PostgresJournal:
    """See ``stores.base.Journal``. Raises ``StoreAway`` for all that another try may mend."""

    def __init__(self, dsn: str, keyring: Keyring, timeout_s: float) -> None:
        self._dsn = dsn
        self._keyring = keyring
        self._timeout_s = timeout_s
        self._pool: asyncpg.Pool[Any] | None = None
        self._opening = asyncio.Lock()
        self._groups = AppendGroups(self._append_group, WAITING_MAX, WAITING_BYTES_MAX)
        self._valve = RefusalValve()
        self._refusals: deque[tuple[Any, ...]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._look_from = EnvelopeName("", "")
        self._notify_at = 0.0
        self._listener: asyncpg.Connection[Any] | None = None
        self._told = asyncio.Event()
        self._arrivals: int | None = None

    async def ready(self) -> None:
        """Make sure that the database answers and has the tables. Raises ``StoreAway``."""
        await self._connected(lambda connection: connection.execute("SELECT"))

    async def append(self, webhook: Webhook) -> Appended:
        """See ``Journal.append``."""
        if len(webhook.body) > SEALED_IN_LINE_BYTES:
            row = await asyncio.to_thread(delivery_to_write, webhook, self._keyring)
        else:
            row = delivery_to_write(webhook, self._keyring)
        return await self._groups.append(row, len(webhook.body))

    async def take_over(self, rows: Sequence[JournalRow]) -> None:
        """Append what another journal kept, with its repetitions; what was parked is pending.

        Done again, it changes nothing: the same receipt of the same event is not counted.
        """
        await self._append_group([taken_over(row, self._keyring) for row in rows], again=True)

    def refuse(self, refused: RefusedWebhook) -> None:
        """See ``Journal.refuse``."""
        full = len(self._refusals) >= REFUSED_KEPT
        if self._closed or full or not self._valve.lets_in(refused.account):
            return
        kept = self._valve.cut(refused)
        sealed = seal_refused(self._keyring, kept.account, kept.headers, kept.body)
        values = (kept.account, kept.status, plain(kept.reason), kept.size_bytes)
        self._refusals.append((*values, kept.received_at, sealed))
        if len(self._refusals) == 1:
            self._apart(self._keep_refused())

    async def refused(self, account: str | None, limit: int) -> tuple[RefusedWebhook, ...]:
        """See ``Journal.refused``."""
        found = await self._fetch(sql.REFUSED, account, limit)
        return tuple(self._opened(refused_of, row) for row in found)

    async def claim(
        self, forwarder: str, now: datetime, hold_s: float, limit: int
    ) -> tuple[EnvelopeName, ...]:
        """See ``Journal.claim``."""
        due = await self._due(now, limit)
        if not due:
            return ()
        until = now + timedelta(seconds=hold_s)
        found = await self._fetch(sql.CLAIM, list(due.values()), forwarder, now, until)
        got = {EnvelopeName(*row) for row in found}
        return tuple(name for name in due if name in got)

    async def release(self, forwarder: str, envelopes: Iterable[EnvelopeName]) -> None:
        """See ``Journal.release``."""
        if names := sorted(envelopes):
            await self._execute(sql.RELEASE, forwarder, *columns(names))

    async def arrived(self, timeout_s: float) -> bool:
        """See ``Journal.arrived``: told by ``NOTIFY``, and looked for where nobody tells."""
        end = time.monotonic() + timeout_s
        if self._arrivals is None:
            self._arrivals = 0
        while True:
            await self._listen()
            self._told.clear()
            arrivals = int((await self._fetch(sql.ARRIVED))[0][0])
            if arrivals != self._arrivals:
                self._arrivals = arrivals
                return True
            if (left_s := end - time.monotonic()) <= 0:
                return False
            try:
                async with asyncio.timeout(min(LOOK_S, left_s)):
                    await self._told.wait()
            except TimeoutError:
                continue

    async def undelivered(
        self, envelope: EnvelopeName, after: int, limit: int
    ) -> tuple[JournalRow, ...]:
        """See ``Journal.undelivered``."""
        name = (envelope.account, envelope.provider_envelope_id)
        return await self._rows(sql.UNDELIVERED, *name, after, limit)

    async def undelivered_of(
        self, envelopes: Sequence[EnvelopeName], limit: int
    ) -> dict[EnvelopeName, tuple[JournalRow, ...]]:
        """See ``Journal.undelivered_of``."""
        values = (*columns(envelopes), limit, VISIT_ROWS)
        return by_envelope(await self._rows(sql.UNDELIVERED_OF, *values))

    async def pending(self, limit: int) -> tuple[JournalRow, ...]:
        """See ``Journal.pending``."""
        return await self._rows(sql.PENDING, limit)

    async def next_due(self) -> datetime | None:
        """See ``Journal.next_due``."""
        found: datetime | None = (await self._fetch(sql.NEXT_DUE))[0][0]
        return found

    async def mark(self, ids: Iterable[int], state: WebhookState, reason: str = "") -> None:
        """See ``Journal.mark``."""
        await self._execute(sql.MARK, list(ids), state, plain(reason))
        if state == "pending":
            self._tell()

    async def park(self, ids: Sequence[int], retry_at: datetime, reason: str) -> None:
        """See ``Journal.park``."""
        await self._execute(sql.PARK, list(ids), retry_at, plain(reason))

    async def find(self, wanted: WebhookFilter, after: int, limit: int) -> tuple[JournalEntry, ...]:
        """See ``Journal.find``."""
        where, values = meant(wanted, 3)
        text = f"{sql.ENTRIES}{where} AND w.id > $1 ORDER BY w.id LIMIT $2"
        return tuple(entry_of(row) for row in await self._fetch(text, after, limit, *values))

    async def count(self, wanted: WebhookFilter) -> int:
        """See ``Journal.count``."""
        where, values = meant(wanted, 1)
        found = await self._fetch(f"SELECT count(*) FROM sealwax_webhook w WHERE {where}", *values)
        return int(found[0][0])

    async def row(self, row_id: int) -> JournalRow | None:
        """See ``Journal.row``."""
        found = await self._rows(sql.ROW, row_id)
        return found[0] if found else None

    async def prune(self, now: datetime, retention: Retention) -> int:
        """See ``Journal.prune``. Any number may prune at once.

        A repetition that comes in the very moment in which its row goes may be kept as new; it is
        forwarded, and its workflow counts it once.
        """
        old = now - timedelta(seconds=retention.keep_s)
        keys = now - timedelta(seconds=retention.keys_s)
        dropped = after = 0
        while True:
            excess_bytes = int((await self._fetch(sql.SIZE))[0][0]) - retention.bytes_max
            going: list[int] = []
            step_bytes = 0
            for row_id, received_at, size_bytes in await self._fetch(
                sql.PRUNABLE, after, PRUNE_ROWS
            ):
                if step_bytes > PRUNE_BYTES:
                    break
                after = row_id
                if received_at < old or excess_bytes > 0:
                    going.append(row_id)
                    excess_bytes -= size_bytes + ROW_BYTES
                    step_bytes += size_bytes
            if not going:
                break
            dropped += int((await self._fetch(sql.PRUNE, going, keys))[0][0])
        while (await self._execute(sql.FORGET, keys, KEYS_AT_ONCE)) == f"DELETE {KEYS_AT_ONCE}":
            pass
        return dropped

    async def beat(self, forwarder: str, now: datetime, reaching: bool) -> None:
        """See ``Journal.beat``."""
        await self._execute(sql.BEAT, forwarder, now, reaching, now - timedelta(seconds=BEATS_S))

    async def counts(self) -> JournalCounts:
        """See ``Journal.counts``."""
        return JournalCounts(**{str(n): int(c) for n, c in await self._fetch(sql.COUNTS)})

    async def health(self) -> JournalHealth:
        """See ``Journal.health``."""
        oldest = await self._fetch(sql.OLDEST_PENDING)
        size_bytes = int((await self._fetch(sql.SIZE))[0][0])
        newest = datetime.now().astimezone() - timedelta(seconds=BEATS_S)
        beats = tuple(ForwarderBeat(*row) for row in await self._fetch(sql.BEATS, newest))
        return JournalHealth(oldest[0][0] if oldest else None, size_bytes, beats)

    async def close(self) -> None:
        """See ``Journal.close``."""
        if self._closed:
            return
        self._closed = True
        await self._groups.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.terminate()
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _keep_refused(self) -> None:
        """One after the other: that is their order."""

        async def work(connection: Any) -> None:
            async with connection.transaction():
                await connection.execute(sql.REFUSE, *values)
                await connection.execute(sql.REFUSED_TRIM, values[0], RefusalValve.kept)

        try:
            while self._refusals:
                values = self._refusals[0]
                await self._connected(work)
                self._refusals.popleft()
        except StoreError:
            # They were answered already and nobody is owed them.
            self._refusals.clear()

    async def _append_group(
        self, group: Sequence[tuple[Any, ...]], again: bool = False
    ) -> list[Appended]:
        """Append in one statement, or none of them. One event may be there several times."""
        first: dict[bytes, list[Any]] = {}
        for row in group:
            if (seen := first.get(row[0])) is None:
                first[row[0]] = list(row)
            else:
                seen[-1] += row[-1] + 1
        columns = [list(column) for column in zip(*first.values(), strict=True)]
        found = await self._fetch(sql.APPEND, *columns, again)
        self._tell()
        known = {delivery: (row_id, duplicate) for delivery, row_id, duplicate in found}
        outcomes = []
        for row in group:
            row_id, duplicate = known[row[0]]
            outcomes.append(Appended(row_id, duplicate))
            known[row[0]] = (row_id, True)
        return outcomes

    async def _due(self, now: datetime, limit: int) -> dict[EnvelopeName, int]:
        """Envelopes that may be claimed, and the id of a row of each that is due."""
        rows_max = limit * DUE_ROWS_PER_ENVELOPE
        found: dict[EnvelopeName, int] = {}
        looked_at = 0
        for account, envelope, first, rows, held in await self._fetch(sql.DUE, now, rows_max):
            looked_at += rows
            if not held and len(found) < limit:
                found[EnvelopeName(account, envelope)] = first
        if len(found) < limit and looked_at >= rows_max:
            # The oldest rows are those of envelopes that are held or few: look at others, by name.
            start = (self._look_from.account, self._look_from.provider_envelope_id)
            steps = limit * DUE_STEPS_PER_ENVELOPE
            by_name = await self._fetch(sql.DUE_BY_NAME, now, *start, steps)
            for account, envelope, first, held in by_name:
                self._look_from = EnvelopeName(account, envelope)
                if not held and self._look_from not in found:
                    found[self._look_from] = first
                if len(found) >= limit:
                    break
            else:
                if len(by_name) < steps:
                    self._look_from = EnvelopeName("", "")
        return found

    def _tell(self) -> None:
        """Wake those who wait in ``arrived``, at most every ``NOTIFY_EVERY_S``, and soon.

        Not within the append itself: transactions that notify commit one after the other.
        """
        if self._notify_at > (now := time.monotonic()) or self._closed:
            return
        self._notify_at = now + NOTIFY_EVERY_S

        async def later() -> None:
            await asyncio.sleep(self._notify_at - time.monotonic())
            await self._execute(sql.NOTIFY)

        async def at_once() -> None:
            await self._execute(sql.NOTIFY)
            await later()

        self._apart(at_once())

    async def _listen(self) -> None:
        if self._listener is not None and not self._listener.is_closed():
            return
        await self.ready()

        def told(*_: object) -> None:
            self._told.set()

        try:
            self._listener = await asyncpg.connect(
                self._dsn, timeout=self._timeout_s, command_timeout=self._timeout_s
            )
            await self._listener.add_listener(sql.CHANNEL, told)
        except _AWAY as error:
            raise _away(error) from error

    def _apart(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do what nobody waits for; that it fails is nobody's harm."""

        async def quietly() -> None:
            try:
                await work
            except StoreError:
                return

        task = asyncio.create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _rows(self, text: str, *values: Any) -> tuple[JournalRow, ...]:
        """Whole rows, no more than ``READ_BYTES_MAX`` of them and one more portion."""

        async def work(connection: Any) -> list[Any]:
            read: list[Any] = []
            size_bytes = 0
            async with connection.transaction(readonly=True):
                cursor = await connection.cursor(text, *values)
                while size_bytes < READ_BYTES_MAX:
                    part = await cursor.fetch(READ_ROWS_AT_ONCE)
                    for found in part:
                        read.append(found)
                        size_bytes += len(found[-1])
                        if size_bytes >= READ_BYTES_MAX:
                            return read
                    if len(part) < READ_ROWS_AT_ONCE:
                        break
            return read

        return tuple(self._opened(row_of, found) for found in await self._connected(work))

    def _opened(self, reading: Callable[[Sequence[Any], Keyring], T], found: Sequence[Any]) -> T:
        try:
            return reading(found, self._keyring)
        except CryptoError as error:
            raise StoreError(f"the journal cannot be read: {error}") from error

    async def _fetch(self, text: str, *values: Any) -> list[Any]:
        found: list[Any] = await self._connected(lambda c: c.fetch(text, *values))
        return found

    async def _execute(self, text: str, *values: Any) -> str:
        done: str = await self._connected(lambda c: c.execute(text, *values))
        return done

    async def _connected(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        try:
            pool = self._pool or await self._open()
            async with pool.acquire(timeout=self._timeout_s) as connection:
                try:
                    return await work(connection)
                except _NOT_AWAY as error:
                    raise StoreError(
                        f"the journal's database refuses it: {type(error).__name__}"
                    ) from error
                except (*_AWAY, asyncio.CancelledError):
                    # What is left of a conversation that broke off must not meet the next one.
                    connection.terminate()
                    raise
        except _AWAY as error:
            raise _away(error) from error

    async def _open(self) -> asyncpg.Pool[Any]:
        async def keep_as_it_is(_: object) -> None:
            """A connection has no state of ours: asyncpg's reset would be one more round trip."""

        async with self._opening:
            if self._pool is not None:
                return self._pool
            if self._closed:
                raise StoreError("the journal is closed; open it again")
            pool = await asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=CONNECTIONS_MAX,
                timeout=self._timeout_s,
                command_timeout=self._timeout_s,
                reset=keep_as_it_is,
                server_settings={"application_name": "sealwax-journal"},
            )
            try:
                async with pool.acquire() as connection, connection.transaction():
                    # Two that make a table at once would stumble over each other.
                    await connection.execute(f"SELECT pg_advisory_xact_lock({sql.SCHEMA_LOCK})")
                    await connection.execute(sql.SCHEMA)
            except BaseException:
                pool.terminate()
                raise
            self._pool = pool
            return pool


def _away(error: BaseException) -> StoreAway:
    return StoreAway(
        f"the journal's database is away: {type(error).__name__}; check its address, that it runs,"
        " and that the role may create tables and write"
    )
