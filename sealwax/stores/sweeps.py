"""The memory of sweeps in one SQLite file, shared by the workers of one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import apsw

from sealwax.stores.base import StoreError
from sealwax.stores.sqlite import open_writer
from sealwax.stores.sweep_base import Change, Drifted, Envelope, Seen, Stranger, SweepView

T = TypeVar("T")

APPLICATION_ID = 0x53575357
STRANGERS_SHOWN = 20

_SCHEMA = """
CREATE TABLE IF NOT EXISTS account (
    name TEXT PRIMARY KEY,
    watermark REAL,
    swept_at REAL,
    cursor TEXT NOT NULL DEFAULT '',
    sweeps INTEGER NOT NULL DEFAULT 0,
    listed INTEGER NOT NULL DEFAULT 0,
    signalled INTEGER NOT NULL DEFAULT 0,
    asked INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS envelope (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    listed_key TEXT NOT NULL DEFAULT '',
    asked_at REAL,
    heard_at REAL,
    webhooks INTEGER NOT NULL DEFAULT 0,
    touched_at REAL NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS change (
    account TEXT NOT NULL,
    envelope TEXT NOT NULL,
    recipient TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    status TEXT NOT NULL,
    missed_at REAL,
    came INTEGER NOT NULL,
    PRIMARY KEY (account, envelope, recipient, incarnation, status)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS missed ON change (account, envelope, missed_at) WHERE came = 0;
CREATE TABLE IF NOT EXISTS stranger (
    account TEXT NOT NULL,
    id TEXT NOT NULL,
    status TEXT NOT NULL,
    seen_at REAL NOT NULL,
    PRIMARY KEY (account, id)
) STRICT, WITHOUT ROWID;
"""


def open_sweeps(path: Path) -> SqliteSweeps:
    """The store in this file, made where it is not there. Raises ``StoreUnusable``."""
    return SqliteSweeps(open_writer(path, _SCHEMA, APPLICATION_ID))


class SqliteSweeps:
    """See ``sweep_base.SweepStore``. One thread of its own does all its work."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweeps")

    async def watermark(self, account: str) -> datetime | None:
        """See ``SweepStore.watermark``."""
        found = await self._rows("SELECT watermark FROM account WHERE name = ?", account)
        return _moment(found[0][0]) if found else None

    async def advance(self, account: str, watermark: datetime) -> None:
        """See ``SweepStore.advance``."""
        await self._write(
            "INSERT INTO account (name, watermark) VALUES (?, ?) ON CONFLICT (name)"
            " DO UPDATE SET watermark = max(coalesce(watermark, 0), excluded.watermark)",
            [(account, watermark.timestamp())],
        )

    async def envelopes(self, account: str, ids: Sequence[str]) -> Mapping[str, Envelope]:
        """See ``SweepStore.envelopes``."""

        def work() -> dict[str, Envelope]:
            known = (self._envelope(account, each) for each in ids)
            return {e.provider_envelope_id: e for e in known if e is not None}

        return await self._in_thread(work)

    async def see(self, account: str, seen: Sequence[Seen], now: datetime) -> None:
        """See ``SweepStore.see``."""
        at = now.timestamp()

        def work() -> None:
            for each in seen:
                self._connection.execute(
                    "INSERT INTO envelope (account, id, listed_key, heard_at, webhooks, touched_at)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (account, id) DO UPDATE SET"
                    " listed_key = excluded.listed_key, webhooks = excluded.webhooks,"
                    " heard_at = coalesce(excluded.heard_at, heard_at),"
                    " touched_at = excluded.touched_at",
                    (
                        account,
                        each.provider_envelope_id,
                        each.listed_key,
                        _stamp(each.heard_at),
                        each.webhooks,
                        at,
                    ),
                )
                self._connection.executemany(
                    "INSERT INTO change VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET came = max(came, excluded.came)",
                    [
                        (
                            account,
                            each.provider_envelope_id,
                            change.recipient,
                            change.incarnation,
                            change.status,
                            None if came else at,
                            int(came),
                        )
                        for change, came in each.changes.items()
                    ],
                )

        await self._transaction(work)

    async def strangers(self, account: str, found: Sequence[Stranger], now: datetime) -> None:
        """See ``SweepStore.strangers``."""
        await self._write(
            "INSERT OR REPLACE INTO stranger VALUES (?, ?, ?, ?)",
            [(account, s.provider_envelope_id, s.status, now.timestamp()) for s in found],
        )

    async def ours(self, account: str, ids: Sequence[str]) -> None:
        """See ``SweepStore.ours``."""
        await self._write(
            "DELETE FROM stranger WHERE account = ? AND id = ?", [(account, i) for i in ids]
        )

    async def asking(self, account: str, ids: Sequence[str], now: datetime) -> None:
        """See ``SweepStore.asking``."""
        at = now.timestamp()
        await self._write(
            "INSERT INTO envelope (account, id, asked_at, touched_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (account, id) DO UPDATE SET asked_at = excluded.asked_at,"
            " touched_at = excluded.touched_at",
            [(account, i, at, at) for i in ids],
        )

    async def heard(self, account: str, at: Mapping[str, datetime]) -> None:
        """See ``SweepStore.heard``."""
        await self._write(
            "INSERT INTO envelope (account, id, heard_at, touched_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (account, id) DO UPDATE SET heard_at = excluded.heard_at,"
            " touched_at = excluded.touched_at",
            [(account, i, moment.timestamp(), moment.timestamp()) for i, moment in at.items()],
        )

    async def missed(self, account: str, after: str, limit: int) -> tuple[str, ...]:
        """See ``SweepStore.missed``."""
        found = await self._rows(
            "SELECT DISTINCT envelope FROM change WHERE account = ? AND came = 0 AND envelope > ?"
            " ORDER BY envelope LIMIT ?",
            account,
            after,
            limit,
        )
        return tuple(str(row[0]) for row in found)

    async def drift(self, account: str, late_before: datetime, limit: int) -> tuple[Drifted, ...]:
        """See ``SweepStore.drift``."""
        found = await self._rows(
            "SELECT envelope, status, recipient, incarnation, missed_at FROM change"
            " WHERE account = ? AND came = 0 AND missed_at <= ?"
            " ORDER BY missed_at, envelope, recipient, status LIMIT ?",
            account,
            late_before.timestamp(),
            limit,
        )
        return tuple(
            Drifted(str(e), Change(str(s), str(r), str(i)), _certain(at))
            for e, s, r, i, at in found
        )

    async def cursor(self, account: str) -> str:
        """See ``SweepStore.cursor``."""
        found = await self._rows("SELECT cursor FROM account WHERE name = ?", account)
        return str(found[0][0]) if found else ""

    async def move_cursor(self, account: str, cursor: str) -> None:
        """See ``SweepStore.move_cursor``."""
        await self._write(
            "INSERT INTO account (name, cursor) VALUES (?, ?) ON CONFLICT (name)"
            " DO UPDATE SET cursor = excluded.cursor",
            [(account, cursor)],
        )

    async def ended(
        self, account: str, now: datetime, counts: Mapping[str, int], problem: str
    ) -> None:
        """See ``SweepStore.ended``."""
        added = [counts.get(name, 0) for name in ("listed", "signalled", "asked")]
        await self._write(
            "INSERT INTO account (name, swept_at, sweeps, listed, signalled, asked, problem)"
            " VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
            " swept_at = CASE excluded.problem WHEN '' THEN excluded.swept_at ELSE swept_at END,"
            " sweeps = sweeps + 1, listed = listed + excluded.listed,"
            " signalled = signalled + excluded.signalled, asked = asked + excluded.asked,"
            " problem = excluded.problem",
            [(account, None if problem else now.timestamp(), *added, problem)],
        )

    async def look(self, account: str, late_before: datetime) -> SweepView:
        """See ``SweepStore.look``."""

        def work() -> SweepView:
            ask = self._connection.execute
            counted = ask(
                "SELECT count(*) FILTER (WHERE came = 0 AND missed_at <= ?),"
                " count(*) FILTER (WHERE came = 0),"
                " count(*) FILTER (WHERE came = 1 AND missed_at IS NOT NULL)"
                " FROM change WHERE account = ?",
                (late_before.timestamp(), account),
            )
            late, missed, came_late = next(counted)
            (strangers,) = next(ask("SELECT count(*) FROM stranger WHERE account = ?", (account,)))
            shown = ask(
                "SELECT id FROM stranger WHERE account = ? ORDER BY seen_at DESC, id LIMIT ?",
                (account, STRANGERS_SHOWN),
            ).fetchall()
            rows = ask(
                "SELECT watermark, swept_at, sweeps, listed, signalled, asked, problem"
                " FROM account WHERE name = ?",
                (account,),
            ).fetchall()
            row = rows[0] if rows else (None, None, 0, 0, 0, 0, "")
            sweeps, listed, signalled, asked = (_whole(v) for v in row[2:6])
            return SweepView(
                watermark=_moment(row[0]),
                swept_at=_moment(row[1]),
                drift=_whole(late),
                waiting=_whole(missed) - _whole(late),
                came_late=_whole(came_late),
                strangers=_whole(strangers),
                stranger_ids=tuple(str(r[0]) for r in shown),
                sweeps=sweeps,
                listed=listed,
                signalled=signalled,
                asked=asked,
                problem=str(row[6]),
            )

        return await self._in_thread(work)

    async def prune(self, before: datetime) -> None:
        """See ``SweepStore.prune``."""
        at = before.timestamp()

        def work() -> None:
            self._connection.execute(
                "DELETE FROM change WHERE EXISTS (SELECT 1 FROM envelope WHERE touched_at < ?"
                " AND envelope.account = change.account AND envelope.id = change.envelope)",
                (at,),
            )
            self._connection.execute("DELETE FROM envelope WHERE touched_at < ?", (at,))
            self._connection.execute("DELETE FROM stranger WHERE seen_at < ?", (at,))

        await self._transaction(work)

    async def close(self) -> None:
        """See ``SweepStore.close``."""
        await self._in_thread(self._connection.close)
        self._thread.shutdown()

    def _envelope(self, account: str, envelope_id: str) -> Envelope | None:
        found = self._connection.execute(
            "SELECT listed_key, asked_at, heard_at, webhooks FROM envelope"
            " WHERE account = ? AND id = ?",
            (account, envelope_id),
        ).fetchall()
        if not found:
            return None
        key, asked_at, heard_at, webhooks = found[0]
        changes = self._connection.execute(
            "SELECT status, recipient, incarnation, came FROM change"
            " WHERE account = ? AND envelope = ?",
            (account, envelope_id),
        ).fetchall()
        return Envelope(
            envelope_id,
            str(key),
            _moment(asked_at),
            _moment(heard_at),
            _whole(webhooks),
            {Change(str(s), str(r), str(i)): bool(came) for s, r, i, came in changes},
        )

    async def _rows(
        self, query: str, *values: str | float | int
    ) -> list[tuple[apsw.SQLiteValue, ...]]:
        return await self._in_thread(lambda: self._connection.execute(query, values).fetchall())

    async def _write(
        self, statement: str, rows: Iterable[tuple[str | float | int | None, ...]]
    ) -> None:
        await self._transaction(lambda: self._connection.executemany(statement, rows))

    async def _transaction(self, work: Callable[[], object]) -> None:
        def transaction() -> None:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                work()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

        await self._in_thread(transaction)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def translated() -> T:
            try:
                return work()
            except apsw.Error as error:
                raise StoreError(f"the memory of sweeps cannot be used: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)


def _stamp(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _moment(value: apsw.SQLiteValue) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, float | int) else None


def _certain(value: apsw.SQLiteValue) -> datetime:
    return _moment(value) or datetime.fromtimestamp(0, UTC)


def _whole(value: apsw.SQLiteValue) -> int:
    return value if isinstance(value, int) else 0
