"""One thread that writes one SQLite connection: what waits is written in one transaction.

So the cost of a sync is shared by all who wait, and an answer still means that the bytes are on
disk.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar, cast

import apsw

from sealwax.stores.base import StoreError, StoreFull

A = TypeVar("A")
T = TypeVar("T")
Work = Callable[[apsw.Connection, list[A]], list[T]]
"""Does several callers' piece of a transaction and gives each one's outcome, in their order."""
Alone = Callable[[apsw.Connection, list[A]], list[T] | None]
"""Does the same in one statement, which needs no transaction around it; None, with nothing done,
where it takes more than that."""

GROUP_MAX = 512


# What says something of the disk or the file and nothing of who asked.
_EVERYBODYS = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
    apsw.PermissionsError,
    apsw.ProtocolError,
)


@dataclass(slots=True, eq=False)
class _Job:
    """One caller's piece of a transaction. It may be done twice, after a rollback."""

    work: Work[Any, Any]
    alone: Alone[Any, Any] | None
    value: Any
    size_bytes: int
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[Any]


class GroupWriter:
    """Writes ``connection`` in a thread of its own until it is closed.

    At most ``waiting_max`` jobs and ``waiting_bytes_max`` bytes wait; ``name`` is that of the store
    in messages. ``after_commit`` is called in that thread when those who waited have been told.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        name: str,
        waiting_max: int,
        waiting_bytes_max: int,
        after_commit: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._name = name
        self._waiting_max = waiting_max
        self._waiting_bytes_max = waiting_bytes_max
        self._after_commit = after_commit
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write_all, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait to be written."""
        return self._waiting

    async def do(
        self,
        work: Work[A, T],
        value: A,
        size_bytes: int = 0,
        *,
        bounded: bool = False,
        alone: Alone[A, T] | None = None,
    ) -> T:
        """Do ``work`` with ``value`` in a transaction; returns when that is on disk.

        ``alone`` is tried before, where a whole group has the same.

        Raises ``StoreError`` where it is not, and ``StoreFull``, if ``bounded``, where too much
        waits already.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, alone, value, size_bytes, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise StoreError(f"the {self._name} is closed; open it again")
            full = self._waiting >= self._waiting_max or (
                self._waiting_bytes + size_bytes > self._waiting_bytes_max and self._waiting > 0
            )
            if bounded and full:
                raise StoreFull(
                    f"the {self._name}'s disk is too slow for what comes; try again later"
                )
            self._waiting += 1
            self._waiting_bytes += size_bytes
            self._jobs.put(job)
        return cast(T, await job.done)

    async def close(self) -> None:
        """Write what waits and end the thread; the connection stays open."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

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
            self._after_commit()
            if ended:
                return

    def _commit(self, group: list[_Job]) -> None:
        try:
            outcomes = self.transaction(group)
        except Exception as error:
            if len(group) > 1 and not isinstance(error, _EVERYBODYS):
                # One of them may be to blame: each alone, so that it fails nobody else's.
                for job in group:
                    self._commit([job])
                return
            outcomes = [StoreError(f"the {self._name} cannot be written: {_why(error)}")] * len(
                group
            )
        with self._lock:
            self._waiting -= len(group)
            self._waiting_bytes -= sum(job.size_bytes for job in group)
        told = list(zip(group, outcomes, strict=True))
        for loop in {job.loop for job in group}:
            # Once for all: to wake a loop costs more than what it is told.
            if not loop.is_closed():
                loop.call_soon_threadsafe(_tell, [t for t in told if t[0].loop is loop])

    def transaction(self, group: list[_Job]) -> list[Any]:
        """Do all jobs' work or none; each one's outcome."""
        connection, alone = self._connection, group[0].alone
        if alone is not None and all(job.alone == alone for job in group):
            done = alone(connection, [job.value for job in group])
            if done is not None:
                return done
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes: list[Any] = []
            for work, jobs in groupby(group, key=lambda job: job.work):
                outcomes += work(connection, [job.value for job in jobs])
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcomes


def _why(error: Exception) -> str:
    if isinstance(error, apsw.FullError):
        return "its disk is full; make room, it goes on by itself"
    if isinstance(error, apsw.ReadOnlyError):
        return "its disk is read-only; mount it for writing, it goes on by itself"
    return f"{type(error).__name__}: {error}"


def _tell(outcomes: Iterable[tuple[_Job, Any]]) -> None:
    for job, outcome in outcomes:
        # A waiter that was cancelled is not told; what it asked for is done all the same.
        if job.done.done():
            continue
        if isinstance(outcome, StoreError):
            job.done.set_exception(outcome)
        else:
            job.done.set_result(outcome)
