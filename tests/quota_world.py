"""A world in virtual time for the quota's keepers: an event loop, a store, a strict provider.

The keepers run as they are; only time is played. Each keeper's own clock may be wrong.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Coroutine, Mapping
from random import Random
from typing import Any, TypeVar

from sealwax import quota
from sealwax.quota import ACCOUNT
from sealwax.quota_limits import Limits
from sealwax.quota_reports import Ask, Clock, QuotaView, Told
from sealwax.stores.base import StoreError

T = TypeVar("T")

US = 1_000_000
BEGIN_US = 1_800_000_000 * US
"""A full hour of the wall clock."""


class VirtualSelector(selectors.SelectSelector):
    """Where a real one would sleep, time passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen: all wait for each other")
        self.passed_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while nothing can be done."""

    def __init__(self) -> None:
        self.clock = VirtualSelector()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.passed_s

    def now_us(self) -> int:
        """Microseconds since the world's beginning."""
        return round(self.clock.passed_s * US)


def play(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual_now_us() -> int:
    """The running world's time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now_us()


class MemoryStore:
    """Ledgers in memory. An exchange takes ``delay_s`` each way; ``away``: nobody is answered."""

    def __init__(self, delay_s: float = 0.000_5) -> None:
        self.round_trips = 0
        self.away = False
        self.delay_s = delay_s
        self.rows: dict[tuple[str, str], str] = {}

    def clock(self) -> Clock:
        now = BEGIN_US + virtual_now_us()
        return Clock("world", now, now)

    async def exchange(self, account: str, limits: Limits, ask: Ask) -> Told:
        self.round_trips += 1
        await asyncio.sleep(self.delay_s)
        if self.away:
            raise StoreError("the store is away; wait")
        rows = {name: self.rows.get((account, name)) for name in (ACCOUNT, *ask.envelopes())}
        kept, told = quota.exchange(limits, self.clock(), rows, ask)
        self.rows.update({(account, name): row.text for name, row in kept.items()})
        await asyncio.sleep(self.delay_s)
        return told

    async def look(self, account: str, limits: Limits) -> QuotaView:
        return quota.look(limits, self.clock(), self.rows.get((account, ACCOUNT)))

    async def close(self) -> None:
        return None


class StrictProvider:
    """Counts arrivals as documented: a sliding burst window, an hour that begins at its top.

    Refused calls are not counted. ``hour_us`` of the world begin ``ahead_us`` before our clock's.
    """

    def __init__(self, limits: Limits, seed: int, latency_s: float = 0.01) -> None:
        self.limits = limits
        self.random = Random(seed)
        self.latency_s = latency_s
        self.window: deque[int] = deque()
        self.hours: dict[int, int] = {}
        self.accepted = 0
        self.refused = 0
        self.most = 0
        self.skew_us = 3 * US

    async def call(self) -> tuple[Mapping[str, str], str | None]:
        """One request: its headers, and the error code where it was refused."""
        await asyncio.sleep(self._transit())
        answer = self.arrive()
        await asyncio.sleep(self._transit())
        return answer

    def arrive(self) -> tuple[Mapping[str, str], str | None]:
        """A request arrives now."""
        now, limits = virtual_now_us(), self.limits
        while self.window and self.window[0] < now - round(limits.burst_window_s * US):
            self.window.popleft()
        wall = BEGIN_US + now + self.skew_us
        hour_us = round(limits.hour_s * US)
        hour = wall // hour_us
        used = self.hours.get(hour, 0)
        code = None
        if len(self.window) >= limits.burst_calls:
            code = "BURST_APIINVOCATION_LIMIT_EXCEEDED"
        elif used >= limits.hour_calls:
            code = "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"
        if code is None:
            self.window.append(now)
            self.hours[hour] = used + 1
            self.accepted += 1
            self.most = max(self.most, len(self.window))
        else:
            self.refused += 1
        return self._headers(wall, (hour + 1) * hour_us, used + (code is None)), code

    def _headers(self, wall: int, reset: int, used: int) -> Mapping[str, str]:
        limits = self.limits
        return {
            "x-burstlimit-limit": str(limits.burst_calls),
            "x-burstlimit-remaining": str(limits.burst_calls - len(self.window)),
            "x-ratelimit-limit": str(limits.hour_calls),
            "x-ratelimit-remaining": str(limits.hour_calls - used),
            # A delay that is rounded up, since a scaled hour ends within a second.
            "x-ratelimit-reset": str(-(-(reset - wall) // US)),
        }

    def _transit(self) -> float:
        return min(self.latency_s * 8, self.random.lognormvariate(0, 0.8) * self.latency_s / 2)
