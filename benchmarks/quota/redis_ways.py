"""What the best kept rate limit libraries over Redis offer, used as their documents say.

Both hand out one permit per call by a script inside Redis that all processes share, and tell whom
they deny how long to wait. Both are set so that a strict sliding window at the provider refuses
nothing although calls take unequally long to arrive, by the same part of a window as the static
share. In each process callers wait in line, so that one asks at a time: without a line all who wait
would ask again at the same moment, and whoever is lucky would go first.
"""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

from pyrate_limiter import Limiter, Rate, RedisBucket
from redis.asyncio import Redis
from throttled import rate_limiter
from throttled.asyncio import RedisStore, Throttled

from benchmarks.quota.ways import Backoff, Call, Limited

GCRA_BURST = 10
"""So many calls may go at once after a pause, for what late timers lost; part of the limit."""

PACE_PARTS, PACE_SLACK = 20, 1.1
"""The log's second rate: no more than a twentieth of the window's calls, and a tenth of that, in a
twentieth of the window; else whole windows would be spent at once and all would wait for the next.
"""

PERIOD = timedelta(hours=1)
LEAST_WAIT_S = 0.001


class CountingRedis(Redis):
    """Counts what is asked of Redis by this process."""

    asked = 0

    async def execute_command(self, *args: object, **options: object) -> object:
        """See ``redis.asyncio.Redis``."""
        CountingRedis.asked += 1
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


class Gcra(Limited):
    """throttled-py: a generic cell rate algorithm, by Redis' own clock."""

    def __init__(
        self, url: str, key: str, calls: int, window_s: float, jitter: float, backoff: Backoff
    ) -> None:
        super().__init__(backoff)
        gap_s = window_s * (1 + jitter) / (calls - GCRA_BURST)
        limit = math.floor(PERIOD.total_seconds() / gap_s)
        client = f"{CountingRedis.__module__}.{CountingRedis.__qualname__}"
        self._store = RedisStore(server=url, options={"REDIS_CLIENT_CLASS": client})
        self._limiter = Throttled(
            key=key,
            using="gcra",
            quota=rate_limiter.per_duration(PERIOD, limit, burst=GCRA_BURST),
            store=self._store,
        )
        self._line = asyncio.Lock()

    async def turn(self, _: Call) -> None:
        """Ask, and wait as long as is told; the library's own waiting takes 200 ms at least."""
        async with self._line:
            found = await self._limiter.limit()
            while found.limited:
                await asyncio.sleep(max(LEAST_WAIT_S, found.state.retry_after))
                found = await self._limiter.limit()

    @property
    def round_trips(self) -> int:
        """How often Redis was asked."""
        return CountingRedis.asked


class SlidingLog(Limited):
    """pyrate-limiter: a log of the window's calls, and a pace, judged in one script."""

    def __init__(self, limiter: Limiter, client: Redis, key: str, backoff: Backoff) -> None:
        super().__init__(backoff)
        self._limiter, self._client, self._key = limiter, client, key

    async def turn(self, _: Call) -> None:
        """The library's own line: one waits inside, the others behind it."""
        await self._limiter.try_acquire_async(self._key)

    @property
    def round_trips(self) -> int:
        """How often Redis was asked."""
        return CountingRedis.asked

    async def close(self) -> None:
        """See ``Way``."""
        self._limiter.close()
        await self._client.aclose()


async def sliding_log(
    url: str, key: str, calls: int, window_s: float, jitter: float, backoff: Backoff
) -> SlidingLog:
    """See ``SlidingLog``."""
    window_ms = math.ceil(1000 * window_s * (1 + jitter))
    pace = math.ceil(PACE_SLACK * calls / PACE_PARTS)
    rates = [Rate(pace, window_ms // PACE_PARTS), Rate(calls, window_ms)]
    client = CountingRedis.from_url(url)
    bucket = await RedisBucket.init(rates, client, key)
    return SlidingLog(Limiter(bucket, buffer_ms=1), client, key, backoff)
