"""How a listener in a surge makes room for itself on the machine that it shares with forwarders.

A provider waits seconds for its answer; what was taken in has all the time there is, and costs a
multiple of taking it in. So while it is short of processor time, the listener says so (``Strain``),
and its forwarder signals less often, though never less than a little (``Brake``).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from bridge.gathering import Rate

LOOK_EVERY_S = 0.01
LATE_S = 0.01
"""Who wakes up so much too late has waited for the processor; a slow disk does not show here."""

SURGE_PER_S = 200.0
"""With fewer webhooks a second, it is not they who need the machine."""

FLOOR_PER_S, FIRST_PER_S, FREE_PER_S = 3.0, 10.0, 100.0
AT_ONCE, AT_ONCE_STEP = 8.0, 1.0
HALVED_EVERY_S = 0.1
DOUBLED_EVERY_S = 1.0


class Strain:
    """Calls ``strained`` when a surge begins, and as long as the event loop is late in it."""

    def __init__(self, strained: Callable[[], None]) -> None:
        self._strained = strained
        self._rate = Rate()
        self._surging = False

    def arrived(self) -> None:
        """A webhook was taken in."""
        self._rate.count(1, asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            now = loop.time()
            per_s = self._rate.per_s(now)
            # What is begun at once when the first of it is forwarded holds up the rest.
            begins = not self._surging and per_s > SURGE_PER_S
            if begins or (self._surging and now - due > LATE_S):
                self._strained()
            self._surging = per_s > (SURGE_PER_S / 2 if self._surging else SURGE_PER_S)


class Brake:
    """How often signals may begin: freely, until ``press``; then half as often with each press.

    Never less than ``FLOOR_PER_S``; without a press twice as often every second, until free again.
    Times are seconds of a clock that only goes forward. ``at_once``: how many may be in flight. It
    begins small and grows while so many are, so that a surge is noticed before all of it is.
    """

    def __init__(self) -> None:
        self._at_once = AT_ONCE
        self._per_s = math.inf
        self._pressed_s = -math.inf
        self._next_s = -math.inf

    def press(self, now_s: float) -> None:
        """Somebody else needs the machine."""
        if now_s - self._pressed_s < HALVED_EVERY_S:
            return
        self._per_s = max(FLOOR_PER_S, min(self.per_s(now_s) / 2, FIRST_PER_S))
        self._pressed_s = now_s
        self._at_once = AT_ONCE

    @property
    def at_once(self) -> int:
        """How many signals may be in flight."""
        return int(self._at_once)

    def ended(self, in_flight: int) -> None:
        """One of so many is over."""
        if in_flight >= self.at_once:
            self._at_once += AT_ONCE_STEP

    def per_s(self, now_s: float) -> float:
        """How many signals a second may begin; infinite where none is held back."""
        passed_s = max(0.0, now_s - self._pressed_s - HALVED_EVERY_S)
        # Beyond a thousand doublings there is no such number, and long before it is free.
        grown = self._per_s * 2.0 ** min(passed_s / DOUBLED_EVERY_S, 1_000.0)
        return grown if grown < FREE_PER_S else math.inf

    def wait_s(self, now_s: float) -> float:
        """How long until the next signal may begin."""
        return max(0.0, self._next_s - now_s) if self.per_s(now_s) < math.inf else 0.0

    def began(self, now_s: float) -> None:
        """A signal begins."""
        self._next_s = max(self._next_s, now_s) + 1.0 / self.per_s(now_s)
