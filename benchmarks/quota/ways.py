"""How a worker may decide when to call: by Sealwax's ledger, or as one does without it.

A way makes calls until one is accepted. ``send`` makes exactly one request. The baselines serve
first who comes first, as libraries of rate limits do; ``PeopleFirst`` is what a team can write in
an afternoon on top of one.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Protocol

from sealwax.permits import Figures, Permits, QuotaWait
from sealwax.quota_limits import Klass


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider said: headers with names in lower case, and an error code or None."""

    headers: Mapping[str, str]
    refused: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """One read of an envelope, by a person who waits for a page or by a batch."""

    klass: Klass
    envelope_id: str
    send: Callable[[], Awaitable[Answer]]


class Way(Protocol):
    """How one process decides when to call."""

    async def make(self, call: Call) -> None:
        """Send, as often as it is refused, and return once it was accepted."""
        ...

    async def close(self) -> None:
        """Let go of what is held."""
        ...


class ByLedger:
    """Sealwax: a permit for every request."""

    def __init__(self, permits: Permits, account: str) -> None:
        self._permits, self._account = permits, account

    async def make(self, call: Call) -> None:
        """See ``Way``."""
        while True:
            try:
                async with self._permits.permit(
                    self._account,
                    call.envelope_id,
                    call.klass,
                    "Envelopes_GetEnvelope",
                    purpose="read",
                ) as permit:
                    answer = await call.send()
                    permit.completed(answer.headers, answer.refused)
            except QuotaWait as wait:
                await asyncio.sleep(wait.after_s)
                continue
            if answer.refused is None:
                return

    def figures(self) -> Figures:
        """What this process's keeper knows."""
        return self._permits.figures(self._account)

    async def close(self) -> None:
        """See ``Way``."""
        await self._permits.close()


class Backoff:
    """No limiter: full jitter that doubles up to a window after each refusal.

    The provider tells no moment at which its burst window has room again (docusign.com docs,
    "Resource limits": there is a reset header for the hour alone); ``Retry-After`` is obeyed where
    it is sent.
    """

    def __init__(self, window_s: float, random: Random) -> None:
        self._window_s, self._random = window_s, random

    async def make(self, call: Call) -> None:
        """See ``Way``."""
        for tried in count():
            answer = await call.send()
            if answer.refused is None:
                return
            await self.after_refusal(answer, tried)

    async def after_refusal(self, answer: Answer, tried: int) -> None:
        """Wait as long as such a client does."""
        told = answer.headers.get("retry-after", "")
        at_most_s = min(self._window_s, self._window_s / 30 * 2 ** min(tried, 10))
        least_s = float(told) if told.isdecimal() else 0.0
        await asyncio.sleep(least_s + self._random.uniform(0, at_most_s))

    async def close(self) -> None:
        """See ``Way``."""


class Limited:
    """Every call waits for its turn, and for another one where it is refused all the same."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff

    async def make(self, call: Call) -> None:
        """See ``Way``."""
        for tried in count():
            await self.turn(call)
            answer = await call.send()
            if answer.refused is None:
                return
            await self._backoff.after_refusal(answer, tried)

    async def turn(self, call: Call) -> None:
        """Wait until this call may be sent."""
        raise NotImplementedError

    async def close(self) -> None:
        """See ``Way``."""


class Paced(Limited):
    """A static share of the account for each process, one call every ``gap_s``, in their order."""

    def __init__(self, gap_s: float, backoff: Backoff) -> None:
        super().__init__(backoff)
        self._gap_s = gap_s
        self._turn = asyncio.Lock()
        self._next_s = 0.0

    async def turn(self, _: Call) -> None:
        """Wait for the next moment of this process's share."""
        async with self._turn:
            await self.pause()

    async def pause(self) -> None:
        """By a schedule, so that a late timer costs nothing; at most one gap is made up for."""
        now_s = time.monotonic()
        self._next_s = max(self._next_s, now_s - self._gap_s) + self._gap_s
        await asyncio.sleep(self._next_s - now_s)


class PeopleFirst(Paced):
    """The same share, with people before batches inside each process."""

    def __init__(self, gap_s: float, backoff: Backoff) -> None:
        super().__init__(gap_s, backoff)
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._come = asyncio.Event()
        self._serving = asyncio.create_task(self._serve(), name="paced share")

    async def turn(self, call: Call) -> None:
        """See ``Paced``."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (call.klass, next(self._numbers), mine))
        self._come.set()
        await mine

    async def _serve(self) -> None:
        while True:
            await self._come.wait()
            await self.pause()
            # Chosen only now, so that a person who came meanwhile goes first.
            mine = heapq.heappop(self._queue)[2]
            if not self._queue:
                self._come.clear()
            if not mine.done():
                mine.set_result(None)

    async def close(self) -> None:
        """See ``Way``."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)


def share_gap_s(calls: int, window_s: float, workers: int, jitter: float) -> float:
    """Seconds between two calls of one of ``workers`` equal processes that is never refused.

    ``calls`` in ``window_s`` seconds are shared. A window, lengthened by the part ``jitter`` for
    calls that take unequally long to arrive, holds one call more than gaps, and one more that was
    made up for.
    """
    share = calls // workers
    if share < 3:
        raise ValueError("each worker's share has to be 3 calls or more; run fewer workers")
    return window_s * (1 + jitter) / (share - 2)
