"""The registry of envelopes in one SQLite file, shared by workers and bridges of one machine."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import apsw

from sealwax.stores.base import (
    BEAT_GAP_S,
    BoundElsewhere,
    EnvelopeName,
    Located,
    NotRegistered,
    RegistryConflict,
    RegistryRow,
    StoreError,
    StoreUnusable,
)
from sealwax.stores.sqlite import listed, open_writer

T = TypeVar("T")

TOKEN_BYTES = 32
APPLICATION_ID = 0x53575247
BEATS_KEPT = timedelta(days=1)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS envelope (
    workflow_id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    provider TEXT NOT NULL,
    business_key_digest TEXT NOT NULL,
    routing_token TEXT NOT NULL UNIQUE,
    provider_envelope_id TEXT,
    final_status TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL,
    run_id TEXT NOT NULL DEFAULT '',
    order_digest TEXT NOT NULL DEFAULT '',
    UNIQUE (account, business_key_digest),
    UNIQUE (account, provider_envelope_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_envelope ON envelope (account, workflow_id)
    WHERE final_status = '' AND provider_envelope_id IS NOT NULL;
CREATE TABLE IF NOT EXISTS bridge (
    process TEXT PRIMARY KEY,
    since TEXT NOT NULL,
    last TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""
_ADDED = ("run_id", "order_digest")
"""Columns that the first files did not have; "" says nothing."""

_SELECT = """
SELECT account, provider, workflow_id, routing_token, coalesce(provider_envelope_id, ''),
       final_status, created_at, run_id, order_digest, business_key_digest
FROM envelope WHERE """
_OF_ENVELOPE = "account = ? AND provider_envelope_id = ?"
_OF_TOKENS = _SELECT + "routing_token IN (SELECT value FROM json_each(?))"
_OF_ENVELOPES = (
    _SELECT
    + "(account, provider_envelope_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
)


def open_registry(path: Path) -> SqliteRegistry:
    """The registry in this file, made where it is not there. Raises ``StoreUnusable``."""
    connection = open_writer(path, _SCHEMA, APPLICATION_ID)
    try:
        _upgrade(connection)
    except apsw.Error as error:
        connection.close()
        raise StoreUnusable(f"{path} cannot be upgraded: {error}") from error
    return SqliteRegistry(connection)


def _upgrade(connection: apsw.Connection) -> None:
    """Add the columns that files of earlier versions lack. Several programs may do so at once."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        held = {row[1] for row in connection.execute("PRAGMA table_info(envelope)")}
        for column in _ADDED:
            if column not in held:
                added = f"ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"
                connection.execute(f"ALTER TABLE envelope {added}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


class SqliteRegistry:
    """See ``stores.base.Registry``. One thread of its own does all its work."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")

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
        """See ``Registry.register``."""
        wanted = (account, provider, workflow_id, business_key_digest)

        def work() -> RegistryRow:
            self._connection.execute(
                "INSERT INTO envelope (account, provider, workflow_id, business_key_digest,"
                " routing_token, created_at, run_id, order_digest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (
                    *wanted,
                    secrets.token_urlsafe(TOKEN_BYTES),
                    datetime.now(UTC).isoformat(),
                    run_id,
                    order_digest,
                ),
            )
            found = self._connection.execute(
                _SELECT + "workflow_id = ? OR (account = ? AND business_key_digest = ?)",
                (workflow_id, account, business_key_digest),
            ).fetchall()
            if [(r[0], r[1], r[2], r[9]) for r in found] != [wanted]:
                raise RegistryConflict(
                    f"workflow {workflow_id} or its business key is registered with another"
                    " account, provider or key; use a new business key"
                )
            return _row(found[0])

        return await self._write(work)

    async def bind(self, workflow_id: str, provider_envelope_id: str) -> RegistryRow:
        """See ``Registry.bind``."""
        if not provider_envelope_id:
            raise BoundElsewhere("an empty envelope id cannot be bound; give the provider's id")

        def work() -> RegistryRow:
            row = self._needed(workflow_id)
            other = self._one(_OF_ENVELOPE, (row.account, provider_envelope_id))
            if other is not None and other.workflow_id != workflow_id:
                raise BoundElsewhere(
                    f"envelope {provider_envelope_id} is bound to {other.workflow_id};"
                    " it cannot belong to two workflows"
                )
            if row.provider_envelope_id not in ("", provider_envelope_id):
                raise BoundElsewhere(
                    f"{workflow_id} is bound to envelope {row.provider_envelope_id};"
                    f" it cannot be bound to {provider_envelope_id} as well"
                )
            if row.provider_envelope_id == provider_envelope_id:
                return row
            self._connection.execute(
                "UPDATE envelope SET provider_envelope_id = ? WHERE workflow_id = ?",
                (provider_envelope_id, workflow_id),
            )
            return self._needed(workflow_id)

        return await self._write(work)

    async def finish(self, workflow_id: str, status: str) -> RegistryRow:
        """See ``Registry.finish``."""

        def work() -> RegistryRow:
            self._connection.execute(
                "UPDATE envelope SET final_status = ? WHERE workflow_id = ?", (status, workflow_id)
            )
            return self._needed(workflow_id)

        return await self._write(work)

    async def by_token(self, token: str) -> RegistryRow | None:
        """See ``Registry.by_token``."""
        return await self._read("routing_token = ?", (token,))

    async def by_envelope(self, account: str, provider_envelope_id: str) -> RegistryRow | None:
        """See ``Registry.by_envelope``."""
        return await self._read(_OF_ENVELOPE, (account, provider_envelope_id))

    async def by_business_key(self, account: str, digest: str) -> RegistryRow | None:
        """See ``Registry.by_business_key``."""
        return await self._read("account = ? AND business_key_digest = ?", (account, digest))

    async def located(
        self, tokens: Collection[str], envelopes: Collection[EnvelopeName]
    ) -> Located:
        """See ``Registry.located``. One visit of the thread, however many are asked for."""

        def work() -> Located:
            found = map(_row, self._connection.execute(_OF_TOKENS, (json.dumps([*tokens]),)))
            bound = map(_row, self._connection.execute(_OF_ENVELOPES, (listed(envelopes),)))
            return Located(
                {row.routing_token: row for row in found},
                {EnvelopeName(row.account, row.provider_envelope_id): row for row in bound},
            )

        return await self._in_thread(work)

    async def open_envelopes(
        self, account: str, after: str, limit: int
    ) -> tuple[tuple[str, str, datetime], ...]:
        """See ``sweep_base.OpenEnvelopes``."""

        def work() -> list[tuple[apsw.SQLiteValue, ...]]:
            return self._connection.execute(
                "SELECT workflow_id, provider_envelope_id, created_at FROM envelope"
                " WHERE account = ? AND final_status = '' AND provider_envelope_id IS NOT NULL"
                " AND workflow_id > ? ORDER BY workflow_id LIMIT ?",
                (account, after, limit),
            ).fetchall()

        found = await self._in_thread(work)
        return tuple((str(w), str(i), datetime.fromisoformat(str(at))) for w, i, at in found)

    async def beat(self, process: str, now: datetime) -> None:
        """See ``Registry.beat``."""

        def work() -> None:
            run = [r for r in self._runs() if r.process == process and r.reaches(now)]
            since = run[0].since if run else now
            self._connection.execute(
                "INSERT OR REPLACE INTO bridge VALUES (?, ?, ?)",
                (process, _time(since), _time(now)),
            )
            self._connection.execute(
                "DELETE FROM bridge WHERE last < ?", (_time(now - BEATS_KEPT),)
            )

        await self._write(work)

    async def up_since(self, now: datetime) -> datetime | None:
        """See ``Registry.up_since``.

        A process is known to have been up until its last beat, not until now. So one joins another
        only where it beat after the other had begun: a ping may have come between them.
        """
        runs = sorted(await self._in_thread(self._runs), key=lambda r: r.last, reverse=True)
        if not runs or not runs[0].reaches(now):
            return None
        since = runs[0].since
        for run in runs:
            if run.last >= since:
                since = min(since, run.since)
        return since

    async def close(self) -> None:
        """See ``Registry.close``."""
        await self._in_thread(self._connection.close)
        self._thread.shutdown()

    async def _read(self, where: str, values: tuple[str, ...]) -> RegistryRow | None:
        return await self._in_thread(lambda: self._one(where, values))

    async def _write(self, work: Callable[[], T]) -> T:
        def transaction() -> T:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return result

        return await self._in_thread(transaction)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def translated() -> T:
            try:
                return work()
            except apsw.Error as error:
                raise StoreError(f"the registry cannot be used: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, translated)

    def _runs(self) -> list[_Run]:
        found = self._connection.execute("SELECT process, since, last FROM bridge").fetchall()
        return [
            _Run(str(p), datetime.fromisoformat(str(s)), datetime.fromisoformat(str(e)))
            for p, s, e in found
        ]

    def _one(self, where: str, values: tuple[str, ...]) -> RegistryRow | None:
        found = self._connection.execute(_SELECT + where, values).fetchall()
        return _row(found[0]) if found else None

    def _needed(self, workflow_id: str) -> RegistryRow:
        row = self._one("workflow_id = ?", (workflow_id,))
        if row is None:
            raise NotRegistered(f"{workflow_id} is not in the registry; register it first")
        return row


@dataclass(frozen=True, slots=True)
class _Run:
    """From when to when a bridge process was up, as far as it said so."""

    process: str
    since: datetime
    last: datetime

    def reaches(self, now: datetime) -> bool:
        """Whether it is up now. A last beat in the future is that of a clock that was put back."""
        return abs(now - self.last) <= timedelta(seconds=BEAT_GAP_S)


def _time(at: datetime) -> str:
    # Texts of one zone and width, so that comparing texts compares times.
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _row(found: tuple[apsw.SQLiteValue, ...]) -> RegistryRow:
    account, provider, workflow_id, token, envelope_id, status, created_at, *rest = map(str, found)
    run_id, order_digest, _ = rest
    return RegistryRow(
        account,
        provider,
        workflow_id,
        token,
        envelope_id,
        status,
        datetime.fromisoformat(created_at),
        run_id,
        order_digest,
    )
