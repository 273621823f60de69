"""Those who append to a database at once go together: one statement, one round trip, one sync."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sealwax.stores.base import Appended, StoreAway, StoreError, StoreFull

GROUP_MAX = 512
GROUP_BYTES_MAX = 16 * 1024 * 1024
WRITERS = 2

Row = tuple[Any, ...]
WriteGroup = Callable[[Sequence[Row]], Coroutine[Any, Any, list[Appended]]]


@dataclass(slots=True, eq=False)
class _Waiting:
    row: Row
    size_bytes: int
    done: asyncio.Future[Appended]


class AppendGroups:
    """Hands what waits to ``write``, as many as wait, at most ``WRITERS`` groups at once.

    ``write`` keeps a whole group or nothing of it.
    """

    def __init__(self, write: WriteGroup, waiting_max: int, waiting_bytes_max: int) -> None:
        self._write = write
        self._waiting_max = waiting_max
        self._waiting_bytes_max = waiting_bytes_max
        self._queue: deque[_Waiting] = deque()
        self._waiting = 0
        self._waiting_bytes = 0
        self._writers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def append(self, row: Row, size_bytes: int) -> Appended:
        """Returns when the row is kept. Raises ``StoreFull``, and what ``write`` raises."""
        if self._closed:
            raise StoreError("the journal is closed; open it again")
        if self._waiting >= self._waiting_max or (
            self._waiting_bytes + size_bytes > self._waiting_bytes_max and self._waiting > 0
        ):
            raise StoreFull("the journal's database is too slow for what comes; try again later")
        waiting = _Waiting(row, size_bytes, asyncio.get_running_loop().create_future())
        self._waiting += 1
        self._waiting_bytes += size_bytes
        self._queue.append(waiting)
        if len(self._writers) < WRITERS:
            task = asyncio.create_task(self._write_all())
            self._writers.add(task)
            task.add_done_callback(self._writers.discard)
        return await waiting.done

    async def close(self) -> None:
        """Write what waits; nothing more is taken."""
        self._closed = True
        while self._writers:
            await asyncio.gather(*self._writers, return_exceptions=True)

    async def _write_all(self) -> None:
        while self._queue:
            group: list[_Waiting] = []
            size_bytes = 0
            while self._queue and len(group) < GROUP_MAX and size_bytes < GROUP_BYTES_MAX:
                group.append(self._queue.popleft())
                size_bytes += group[-1].size_bytes
            await self._commit(group)

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            outcomes: list[Any] = list(await self._write([waiting.row for waiting in group]))
        except Exception as error:
            if len(group) > 1 and not isinstance(error, StoreAway):
                # One of them may be to blame: each alone, so that it fails nobody else's.
                for waiting in group:
                    await self._commit([waiting])
                return
            outcomes = [error] * len(group)
        for waiting, outcome in zip(group, outcomes, strict=True):
            self._waiting -= 1
            self._waiting_bytes -= waiting.size_bytes
            # A waiter that was cancelled is not told; what it asked for is done all the same.
            if waiting.done.done():
                continue
            if isinstance(outcome, StoreError):
                waiting.done.set_exception(outcome)
            elif isinstance(outcome, Exception):
                waiting.done.set_exception(
                    StoreError(f"the journal cannot be written: {type(outcome).__name__}")
                )
            else:
                waiting.done.set_result(outcome)
