"""Quota ledgers in PostgreSQL, shared by any number of machines. Needs ``asyncpg``.

The arithmetic runs in the worker and the server keeps its result only if nobody came between: an
exchange is two round trips, read and compare-and-swap, and no lock is ever held while a worker, who
may be stopped at any moment, has the word. The time is the server's; it must not be put forward by
more than the transit bound at once. Commits are as durable as the server's settings make them.

asyncpg rather than psycopg: both were measured equally fast, both are kept up well, and asyncpg's
licence (Apache 2.0) asks nothing of who ships an image with it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg

from sealwax import quota
from sealwax.quota import ACCOUNT
from sealwax.quota_limits import Limits
from sealwax.quota_reports import Ask, Clock, QuotaView, Row, Told
from sealwax.stores.base import StoreError, StoreUnusable
from sealwax.stores.quota_base import PURGE_EVERY

T = TypeVar("T")

CONNECTIONS_MAX = 4
TRIES_MAX = 30
_SCHEMA_LOCK = 0x53575154

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sealwax_quota (
    account text PRIMARY KEY,
    version bigint NOT NULL,
    state text NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS sealwax_quota_envelope (
    account text NOT NULL,
    name text NOT NULL,
    expires bigint NOT NULL,
    state text NOT NULL,
    PRIMARY KEY (account, name)
);
CREATE INDEX IF NOT EXISTS sealwax_quota_envelope_expires ON sealwax_quota_envelope (expires);
"""
_READ = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now, a.version, a.state,
       (SELECT json_object_agg(e.name, e.state)::text FROM sealwax_quota_envelope e
        WHERE e.account = $1 AND e.name = ANY($2::text[])) AS envelopes
FROM (SELECT 1) one LEFT JOIN sealwax_quota a ON a.account = $1
"""
_SWAP = """
WITH swapped AS (
    INSERT INTO sealwax_quota AS a (account, version, state) VALUES ($1, 1, $3)
    ON CONFLICT (account) DO UPDATE SET version = a.version + 1, state = excluded.state
    WHERE a.version = $2 RETURNING a.version
), kept AS (
    INSERT INTO sealwax_quota_envelope (account, name, state, expires)
    SELECT $1, e.name, e.state, e.expires
    FROM unnest($4::text[], $5::text[], $6::bigint[]) AS e (name, state, expires)
    WHERE EXISTS (SELECT FROM swapped)
    ON CONFLICT (account, name) DO UPDATE SET state = excluded.state, expires = excluded.expires
)
SELECT count(*) FROM swapped
"""


async def open_quota(dsn: str, timeout_s: float = 2.0) -> PostgresQuota:
    """The ledgers in this database, made where they are not there.

    ``dsn`` is a ``postgresql://`` address; ``timeout_s`` bounds one round trip. Raises
    ``StoreUnusable``, never with the address in it.
    """

    async def keep_as_it_is(_: object) -> None:
        """A connection has no state of ours: asyncpg's reset would be one more round trip."""

    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=CONNECTIONS_MAX,
            timeout=timeout_s,
            command_timeout=timeout_s,
            reset=keep_as_it_is,
            server_settings={"application_name": "sealwax-quota"},
        )
        try:
            async with pool.acquire() as connection, connection.transaction():
                # Two that make a table at once would stumble over each other in the catalogue.
                await connection.execute(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")
                await connection.execute(_SCHEMA)
        except BaseException:
            pool.terminate()
            raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
        raise StoreUnusable(
            f"the quota database cannot be opened: {type(error).__name__}; check its address, that"
            " it runs, and that the role may create tables"
        ) from error
    return PostgresQuota(pool, timeout_s)


# TimeoutError is an OSError. The last is what asyncpg says of a connection lost between two words.
_AWAY = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    asyncpg.InternalClientError,
)


@dataclass(frozen=True, slots=True)
class _Found:
    clock: Clock
    version: int
    rows: dict[str, str | None]


class PostgresQuota:
    """See ``stores.quota_base.QuotaStore``."""

    def __init__(self, pool: asyncpg.Pool[Any], timeout_s: float) -> None:
        self.round_trips = 0
        self._pool = pool
        self._timeout_s = timeout_s
        self._exchanges = 0

    async def exchange(self, account: str, limits: Limits, ask: Ask) -> Told:
        """See ``QuotaStore.exchange``."""

        async def work(connection: Any) -> Told:
            for tried in range(TRIES_MAX):
                found = await self._read(connection, account, ask.envelopes())
                kept, told = quota.exchange(limits, found.clock, found.rows, ask)
                if await self._swap(connection, account, found.version, kept):
                    await self._purge(connection, account, found.clock.now)
                    return told
                await asyncio.sleep(random.uniform(0, min(0.02, 0.000_5 * 2**tried)))
            raise StoreError("the quota ledger is contended; run fewer workers on one account")

        return await self._connected(work)

    async def look(self, account: str, limits: Limits) -> QuotaView:
        """See ``QuotaStore.look``."""

        async def work(connection: Any) -> QuotaView:
            found = await self._read(connection, account, ())
            return quota.look(limits, found.clock, found.rows[ACCOUNT])

        return await self._connected(work)

    async def close(self) -> None:
        """See ``QuotaStore.close``."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def _read(self, connection: Any, account: str, names: tuple[str, ...]) -> _Found:
        self.round_trips += 1
        row = await connection.fetchrow(_READ, account, list(names))
        envelopes = json.loads(row["envelopes"] or "{}")
        rows = {ACCOUNT: row["state"], **{name: envelopes.get(name) for name in names}}
        return _Found(Clock("server", row["now"], row["now"]), row["version"] or 0, rows)

    async def _swap(
        self, connection: Any, account: str, version: int, kept: dict[str, Row]
    ) -> bool:
        self.round_trips += 1
        others = [name for name in kept if name != ACCOUNT]
        swapped = await connection.fetchval(
            _SWAP,
            account,
            version,
            kept[ACCOUNT].text,
            others,
            [kept[name].text for name in others],
            [kept[name].expires for name in others],
        )
        return bool(swapped)

    async def _purge(self, connection: Any, account: str, now: int) -> None:
        self._exchanges += 1
        if self._exchanges % PURGE_EVERY == 0:
            self.round_trips += 1
            await connection.execute(
                "DELETE FROM sealwax_quota_envelope WHERE account = $1 AND expires < $2",
                account,
                now,
            )

    async def _connected(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        try:
            async with self._pool.acquire(timeout=self._timeout_s) as connection:
                try:
                    return await work(connection)
                except _AWAY:
                    # What is left of a conversation that broke off must not meet the next one.
                    connection.terminate()
                    raise
        except _AWAY as error:
            raise StoreError(f"the quota database is away: {type(error).__name__}") from error
