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

FLOOR_PER_S, FIRST_PER_S, FREE_PER_S = 3.0, 30.0, 100.0
HALVED_EVERY_S = 0.1
DOUBLED_EVERY_S = 1.0


class Strain:
    """Calls ``strained`` as long as the event loop is late while many webhooks arrive."""

    def __init__(self, strained: Callable[[], None]) -> None:
        self._strained = strained
        self._rate = Rate()

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
            if now - due > LATE_S and self._rate.per_s(now) > SURGE_PER_S:
                self._strained()


class Brake:
    """How often signals may begin: freely, until ``press``; then half as often with each press.

    Never less than ``FLOOR_PER_S``; without a press twice as often every second, until free again.
    Times are seconds of a clock that only goes forward.
    """

    def __init__(self) -> None:
        self._per_s = math.inf
        self._pressed_s = -math.inf
        self._next_s = -math.inf

    def press(self, now_s: float) -> None:
        """Somebody else needs the machine."""
        if now_s - self._pressed_s < HALVED_EVERY_S:
            return
        self._per_s = max(FLOOR_PER_S, min(self.per_s(now_s) / 2, FIRST_PER_S))
        self._pressed_s = now_s

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
