"""What became of webhooks, written into the journal by as few transactions as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sealwax.stores.base import Journal, StoreError

GATHER_S = 0.025


class Marks:
    """Gathers what is delivered while the journal writes what was delivered before."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[tuple[Sequence[int], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def delivered(self, ids: Sequence[int]) -> None:
        """Return when it is written down. Raises ``StoreError``."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((ids, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        try:
            while self._waiting:
                # Nobody waits for a mark but who would go on with the same envelope.
                await asyncio.sleep(GATHER_S)
                gathered, self._waiting = self._waiting, []
                error: Exception | None = None
                try:
                    await self._journal.mark([i for ids, _ in gathered for i in ids], "delivered")
                except Exception as raised:
                    error = raised if isinstance(raised, StoreError) else StoreError(str(raised))
                for _, done in gathered:
                    # Who was cut off is not told; what it asked for is written all the same.
                    if done.cancelled():
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(error)
        finally:
            self._writing = None
