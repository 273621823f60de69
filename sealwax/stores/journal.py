"""The journal of webhooks in one SQLite file: one writing connection, one thread, group commit.

Whatever waits when the thread turns to it is written in one transaction, so the cost of a sync is
shared by all who wait, and an answer still means that the bytes are on disk.

Headers and body are sealed, each bound to its row's account, token and event key. The columns by
which rows are found hold digests, provider's ids and names of event kinds, and stand in clear.
"""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import apsw

from sealwax.crypto import CryptoError, Keyring, SealBroken, open_sealed, seal
from sealwax.stores.base import (
    Appended,
    EnvelopeName,
    JournalCounts,
    JournalRow,
    StoreError,
    StoreFull,
    Webhook,
    WebhookState,
)
from sealwax.stores.sqlite import open_reader, open_writer

T = TypeVar("T")

APPLICATION_ID = 0x53574A32
GROUP_MAX = 512
WAITING_MAX = 20_000
WAITING_BYTES_MAX = 256 * 1024 * 1024
READ_BYTES_MAX = 16 * 1024 * 1024
DUE_ROWS_PER_ENVELOPE = 20
SEALED_IN_LINE_BYTES = 256 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS webhook (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    token TEXT NOT NULL,
    event_key TEXT NOT NULL,
    provider TEXT NOT NULL,
    event_name TEXT NOT NULL,
    provider_envelope_id TEXT NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL,
    received_at TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    retry_at TEXT,
    duplicates INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, token, event_key)
) STRICT;
CREATE INDEX IF NOT EXISTS webhook_undelivered
    ON webhook (account, provider_envelope_id, id) WHERE state IN ('pending', 'parked');
CREATE INDEX IF NOT EXISTS webhook_pending ON webhook (id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS webhook_parked
    ON webhook (retry_at) WHERE state = 'parked' AND retry_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS tally_new AFTER INSERT ON webhook BEGIN
    INSERT INTO tally VALUES (new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS tally_moved AFTER UPDATE OF state ON webhook
WHEN old.state != new.state BEGIN
    UPDATE tally SET count = count - 1 WHERE name = old.state;
    INSERT INTO tally VALUES (new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER IF NOT EXISTS tally_duplicate AFTER UPDATE OF duplicates ON webhook BEGIN
    INSERT INTO tally VALUES ('duplicates', new.duplicates - old.duplicates)
        ON CONFLICT DO UPDATE SET count = count + excluded.count;
END;
CREATE TRIGGER IF NOT EXISTS tally_rerouted AFTER UPDATE OF reason ON webhook
WHEN new.reason = 'rerouted' AND old.reason != 'rerouted' BEGIN
    INSERT INTO tally VALUES ('rerouted', 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
"""
_APPEND = """
INSERT INTO webhook (account, token, event_key, provider, event_name, provider_envelope_id,
                     headers, body, received_at, state, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (account, token, event_key) DO UPDATE SET duplicates = duplicates + 1
RETURNING id, duplicates
"""
_SELECT = """
SELECT id, attempts, duplicates, account, provider, token, event_key, event_name,
       provider_envelope_id, headers, body, received_at, state, reason, retry_at
FROM webhook WHERE """
# The oldest rows only: after a long outage the backlog is large, and this is asked again and again.
_DUE = """
SELECT account, provider_envelope_id FROM (
    SELECT * FROM (SELECT account, provider_envelope_id, id FROM webhook
                   WHERE state = 'pending' ORDER BY id LIMIT :rows)
    UNION ALL
    SELECT * FROM (SELECT account, provider_envelope_id, id FROM webhook
                   WHERE state = 'parked' AND retry_at IS NOT NULL AND retry_at <= :now
                   ORDER BY retry_at LIMIT :rows)
) GROUP BY account, provider_envelope_id ORDER BY min(id) LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class _Job:
    """One piece of a transaction, and who waits for it. It may be run twice, after a rollback."""

    work: Callable[[apsw.Connection], Any]
    size_bytes: int
    done: Future[Any]


def open_journal(path: Path, keyring: Keyring) -> SqliteJournal:
    """The journal in this file, made where it is not there. Raises ``StoreUnusable``."""
    writer = open_writer(path, _SCHEMA, APPLICATION_ID)
    return SqliteJournal(writer, open_reader(path), keyring)


class SqliteJournal:
    """See ``stores.base.Journal``. Readers have a connection and a thread of their own."""

    def __init__(self, writer: apsw.Connection, reader: apsw.Connection, keyring: Keyring) -> None:
        self._keyring = keyring
        self._writer = writer
        self._reader = reader
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting_lock = threading.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="journal-reader")
        self._writing = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._writing.start()

    async def append(self, webhook: Webhook) -> Appended:
        """See ``Journal.append``."""
        if len(webhook.body) > SEALED_IN_LINE_BYTES:
            values = await asyncio.to_thread(_values, webhook, self._keyring)
        else:
            values = _values(webhook, self._keyring)

        def work(connection: apsw.Connection) -> Appended:
            found = connection.execute(_APPEND, values).fetchall()
            row_id, duplicates = cast(tuple[int, int], found[0])
            return Appended(row_id, duplicates > 0)

        return await self._write(work, len(webhook.body), bounded=True)

    async def due(self, now: datetime, limit: int) -> tuple[EnvelopeName, ...]:
        """See ``Journal.due``."""
        found = await self._read(
            _DUE, {"now": _time(now), "limit": limit, "rows": limit * DUE_ROWS_PER_ENVELOPE}
        )
        return tuple(EnvelopeName(str(account), str(envelope)) for account, envelope in found)

    async def undelivered(
        self, envelope: EnvelopeName, after: int, limit: int
    ) -> tuple[JournalRow, ...]:
        """See ``Journal.undelivered``."""
        return await self._rows(
            "state IN ('pending', 'parked') AND account = ? AND provider_envelope_id = ?"
            " AND id > ? ORDER BY id LIMIT ?",
            (envelope.account, envelope.provider_envelope_id, after, limit),
        )

    async def pending(self, limit: int) -> tuple[JournalRow, ...]:
        """See ``Journal.pending``."""
        return await self._rows("state = 'pending' ORDER BY id LIMIT ?", (limit,))

    async def next_due(self) -> datetime | None:
        """See ``Journal.next_due``."""
        found = await self._read(
            "SELECT min(retry_at) FROM webhook WHERE state = 'parked' AND retry_at IS NOT NULL"
        )
        return datetime.fromisoformat(str(found[0][0])) if found[0][0] else None

    async def mark(self, ids: Iterable[int], state: WebhookState, reason: str = "") -> None:
        """See ``Journal.mark``."""
        values = [(state, reason, row_id) for row_id in ids]

        def work(connection: apsw.Connection) -> None:
            connection.executemany(
                "UPDATE webhook SET state = ?, reason = ?, retry_at = NULL WHERE id = ?", values
            )

        await self._write(work)

    async def park(self, ids: Sequence[int], retry_at: datetime, reason: str) -> None:
        """See ``Journal.park``."""
        values = [(_time(retry_at), reason, row_id) for row_id in ids]

        def work(connection: apsw.Connection) -> None:
            connection.executemany(
                "UPDATE webhook SET state = 'parked', retry_at = ?, reason = ?,"
                " attempts = attempts + 1 WHERE id = ?",
                values,
            )

        await self._write(work)

    async def counts(self) -> JournalCounts:
        """See ``Journal.counts``."""
        found = {str(n): cast(int, c) for n, c in await self._read("SELECT * FROM tally")}
        return JournalCounts(
            pending=found.get("pending", 0),
            delivered=found.get("delivered", 0),
            late=found.get("late", 0),
            parked=found.get("parked", 0),
            quarantined=found.get("quarantined", 0),
            duplicates=found.get("duplicates", 0),
            rerouted=found.get("rerouted", 0),
        )

    async def close(self) -> None:
        """See ``Journal.close``."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._writing.join)
        await asyncio.get_running_loop().run_in_executor(self._reading, self._reader.close)
        self._reading.shutdown()
        # The last connection to close folds the log back into the file, so the reader goes first.
        await asyncio.to_thread(self._writer.close)

    async def _write(
        self, work: Callable[[apsw.Connection], T], size_bytes: int = 0, bounded: bool = False
    ) -> T:
        if self._closed:
            raise StoreError("the journal is closed; open it again")
        job = _Job(work, size_bytes, Future())
        with self._waiting_lock:
            full = self._waiting >= WAITING_MAX or (
                self._waiting_bytes + size_bytes > WAITING_BYTES_MAX and self._waiting > 0
            )
            if bounded and full:
                raise StoreFull("the journal's disk is too slow for what comes; try again later")
            self._waiting += 1
            self._waiting_bytes += size_bytes
        self._jobs.put(job)
        return cast(T, await asyncio.wrap_future(job.done))

    async def _rows(self, where: str, values: tuple[Any, ...]) -> tuple[JournalRow, ...]:
        def work() -> list[JournalRow]:
            rows: list[JournalRow] = []
            size_bytes = 0
            for found in self._reader.execute(_SELECT + where, values):
                rows.append(_row(found, self._keyring))
                size_bytes += len(rows[-1].webhook.body)
                if size_bytes >= READ_BYTES_MAX:
                    break
            return rows

        return tuple(await self._in_reader(work))

    async def _read(self, sql: str, values: Mapping[str, Any] | None = None) -> list[Any]:
        return await self._in_reader(lambda: self._reader.execute(sql, values).fetchall())

    async def _in_reader(self, work: Callable[[], list[T]]) -> list[T]:
        def translated() -> list[T]:
            try:
                return work()
            except (apsw.Error, CryptoError) as error:
                raise StoreError(f"the journal cannot be read: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._reading, translated)

    def _write_all(self) -> None:
        while (first := self._jobs.get()) is not None:
            group, ended = [first], False
            while len(group) < GROUP_MAX and not ended:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    ended = True
                else:
                    group.append(job)
            self._commit(group)
            if ended:
                return

    def _commit(self, group: list[_Job]) -> None:
        try:
            outcomes = self._transaction(group)
        except Exception as error:
            if len(group) > 1:
                # One of them may be to blame: each alone, so that it fails nobody else's.
                for job in group:
                    self._commit([job])
                return
            outcomes = [StoreError(f"the journal cannot be written: {error}")]
        with self._waiting_lock:
            self._waiting -= len(group)
            self._waiting_bytes -= sum(job.size_bytes for job in group)
        for job, outcome in zip(group, outcomes, strict=True):
            # A waiter that was cancelled is not told; what it asked for is done all the same.
            if not job.done.set_running_or_notify_cancel():
                continue
            if isinstance(outcome, StoreError):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)

    def _transaction(self, group: list[_Job]) -> list[Any]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [job.work(self._writer) for job in group]
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return outcomes


def _time(at: datetime) -> str:
    # Texts of one zone and width, so that comparing texts compares times.
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _purpose(part: str, account: str, token: str, event_key: str) -> str:
    return "\0".join(("journal", part, account, token, event_key))


def _values(webhook: Webhook, keyring: Keyring) -> tuple[apsw.SQLiteValue, ...]:
    row = (webhook.account, webhook.token, webhook.event_key)
    return (
        webhook.account,
        webhook.token,
        webhook.event_key,
        webhook.provider,
        webhook.event_name,
        webhook.provider_envelope_id,
        seal(keyring, json.dumps(webhook.headers).encode(), _purpose("headers", *row)),
        seal(keyring, webhook.body, _purpose("body", *row)),
        _time(webhook.received_at),
        webhook.state,
        webhook.reason,
    )


def _row(found: tuple[Any, ...], keyring: Keyring) -> JournalRow:
    (row_id, attempts, duplicates, account, provider, token, key, name, envelope, headers, body,
     received_at, state, reason, retry_at) = found  # fmt: skip
    try:
        plain_headers = open_sealed(keyring, headers, _purpose("headers", account, token, key))
        plain_body = open_sealed(keyring, body, _purpose("body", account, token, key))
    except SealBroken:
        # One damaged row must hold up no other: without a body its reader puts it aside. What is
        # on disk stays as it is. A key that is missing is another matter: it can be brought back.
        plain_headers, plain_body = b"[]", b""
    return JournalRow(
        id=row_id,
        attempts=attempts,
        duplicates=duplicates,
        retry_at=datetime.fromisoformat(retry_at) if retry_at else None,
        webhook=Webhook(
            account=account,
            provider=provider,
            token=token,
            event_key=key,
            event_name=name,
            provider_envelope_id=envelope,
            headers=tuple((n, v) for n, v in json.loads(plain_headers)),
            body=plain_body,
            received_at=datetime.fromisoformat(received_at),
            state=state,
            reason=reason,
        ),
    )
