"""Quota ledgers in one SQLite file, shared by all processes of one machine.

A commit survives the death of any process, not of the machine: after a boot the ledger's clock
begins anew and the arithmetic takes every earlier slot for used (``quota``). So nothing is synced
per exchange.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from sealwax import quota
from sealwax.quota import ACCOUNT
from sealwax.quota_limits import Limits
from sealwax.quota_reports import Ask, Clock, QuotaView, Told
from sealwax.stores.base import StoreError
from sealwax.stores.quota_base import PURGE_EVERY, machine_clock
from sealwax.stores.sqlite import open_writer

T = TypeVar("T")

APPLICATION_ID = 0x53575154
BUSY_MAX_S = 2.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS quota (
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    expires INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (account, name)
) STRICT;
CREATE INDEX IF NOT EXISTS quota_expires ON quota (expires) WHERE expires > 0;
"""


def open_quota(path: Path, clock: Callable[[], Clock] = machine_clock) -> SqliteQuota:
    """The ledgers in this file, made where it is not there. Raises ``StoreUnusable``."""
    connection = open_writer(path, _SCHEMA, APPLICATION_ID)
    connection.pragma("synchronous", "normal")
    return SqliteQuota(connection, clock)


class SqliteQuota:
    """See ``stores.quota_base.QuotaStore``. One thread of its own does all its work."""

    def __init__(self, connection: apsw.Connection, clock: Callable[[], Clock]) -> None:
        self.round_trips = 0
        self._connection = connection
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quota")
        self._waiting_since = 0.0
        # SQLite's own waits grow to a tenth of a second; an exchange takes a fraction of one ms.
        connection.set_busy_handler(self._busy)

    async def exchange(self, account: str, limits: Limits, ask: Ask) -> Told:
        """See ``QuotaStore.exchange``."""
        names = (ACCOUNT, *ask.envelopes())

        def work() -> Told:
            rows = {name: self._text(account, name) for name in names}
            clock = self._clock()
            kept, told = quota.exchange(limits, clock, rows, ask)
            self._connection.executemany(
                "INSERT OR REPLACE INTO quota (account, name, text, expires) VALUES (?, ?, ?, ?)",
                [(account, name, row.text, row.expires) for name, row in kept.items()],
            )
            if self.round_trips % PURGE_EVERY == 0:
                self._connection.execute(
                    "DELETE FROM quota WHERE expires > 0 AND expires < ?", (clock.now,)
                )
            return told

        return await self._in_thread(lambda: self._transaction(work))

    async def look(self, account: str, limits: Limits) -> QuotaView:
        """See ``QuotaStore.look``."""
        return await self._in_thread(
            lambda: quota.look(limits, self._clock(), self._text(account, ACCOUNT))
        )

    async def close(self) -> None:
        """See ``QuotaStore.close``."""
        await self._in_thread(self._connection.close)
        self._thread.shutdown()

    def _text(self, account: str, name: str) -> str | None:
        found = self._connection.execute(
            "SELECT text FROM quota WHERE account = ? AND name = ?", (account, name)
        ).fetchall()
        return str(found[0][0]) if found else None

    def _transaction(self, work: Callable[[], T]) -> T:
        self._waiting_since = time.monotonic()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    def _busy(self, _: int) -> bool:
        time.sleep(random.uniform(0.000_2, 0.001))
        return time.monotonic() - self._waiting_since < BUSY_MAX_S

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self.round_trips += 1

        def translated() -> T:
            try:
                return work()
            except apsw.Error as error:
                raise StoreError(f"the quota ledger cannot be used: {error}") from error

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, translated)
        except RuntimeError as error:
            raise StoreError("the quota ledger is closed; open it again") from error
