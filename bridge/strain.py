"""How a listener in a surge makes room for itself on the machine that it shares with forwarders.

A provider waits seconds for its answer; what was taken in has all the time there is, and to bring
it on costs more than to take it in. So while it is short of processor time, the listener says so
(``Strain``), and its forwarder signals less often, though never less than a little (``Brake``).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from enum import StrEnum

from bridge.gathering import Rate

LOOK_EVERY_S = 0.01
LATE_S = 0.01
"""Who wakes up so much too late has waited for the processor; a slow disk does not show here."""

BEGINS_PER_S, BEGINS_WITHIN_S = 400.0, 0.05
ENDS_PER_S = 100.0
"""A surge begins with so many webhooks within moments, and lasts until they are few again."""

TELL_EVERY_S = 0.25
TOLD_FOR_S = 1.0

FLOOR_PER_S, FIRST_PER_S, FREE_PER_S = 3.0, 15.0, 100.0
AT_ONCE, AT_ONCE_STEP = 4.0, 0.5
HALVED_EVERY_S = 0.1
DOUBLED_S, DOUBLED_UNDER_STRAIN_S = 1.0, 10.0


class Sign(StrEnum):
    """What a listener tells its forwarder: that there is a surge, or that it suffers from it."""

    SURGE = "s"
    STRAIN = "!"


class Strain:
    """Tells of a surge every ``TELL_EVERY_S``, and whenever the event loop is late in it."""

    def __init__(self, tell: Callable[[Sign], None]) -> None:
        self._tell = tell
        self._arrived = 0
        self._lately = Rate(BEGINS_WITHIN_S)
        self._rate = Rate()
        self._surging = False
        self._told_s = -math.inf

    def arrived(self) -> None:
        """A webhook was taken in."""
        self._arrived += 1

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            now = loop.time()
            arrived, self._arrived = self._arrived, 0
            self._lately.count(arrived, now)
            self._rate.count(arrived, now)
            if self._surging:
                self._surging = self._rate.per_s(now) > ENDS_PER_S
            else:
                self._surging = self._lately.per_s(now) > BEGINS_PER_S
            if not self._surging:
                continue
            if now - due > LATE_S:
                self._tell(Sign.STRAIN)
            elif now - self._told_s >= TELL_EVERY_S:
                self._told_s = now
                self._tell(Sign.SURGE)


class Brake:
    """How often signals may begin: freely but in a surge; there half as often with each strain.

    A surge begins with ``FIRST_PER_S``, twice as many every ``DOUBLED_S``. Once there was strain in
    it they grow slowly, ever between ``FLOOR_PER_S`` and ``FREE_PER_S``; when the surge is over
    quickly again, until free. Times are seconds of a clock that only goes forward. ``at_once``: how
    many may be in flight. It begins small, grows while so many are, and begins anew when none is
    left, so that a surge is noticed before all of it is.
    """

    def __init__(self) -> None:
        self._per_s = math.inf
        self._as_of_s = 0.0
        self._slowly_until_s = -math.inf
        self._strained_s = -math.inf
        self._told_s = -math.inf
        self._next_s = -math.inf
        self._at_once = AT_ONCE

    def told(self, sign: Sign, now_s: float) -> None:
        """The listener says something."""
        again = now_s - self._told_s < TOLD_FOR_S
        self._settle(now_s)
        self._told_s = now_s
        if not again:
            self._per_s, self._at_once = min(self._per_s, FIRST_PER_S), AT_ONCE
        if sign is Sign.STRAIN and now_s - self._strained_s >= HALVED_EVERY_S:
            self._per_s = max(FLOOR_PER_S, min(self._per_s, FREE_PER_S) / 2)
            self._strained_s, self._at_once = now_s, AT_ONCE
        if sign is Sign.STRAIN or (again and self._slowly_until_s >= now_s):
            self._slowly_until_s = now_s + TOLD_FOR_S

    def per_s(self, now_s: float) -> float:
        """How many signals a second may begin; infinite where none is held back."""
        passed_s = max(0.0, now_s - self._as_of_s)
        slowly_s = min(passed_s, max(0.0, self._slowly_until_s - self._as_of_s))
        doubled = slowly_s / DOUBLED_UNDER_STRAIN_S + (passed_s - slowly_s) / DOUBLED_S
        # Beyond a thousand doublings there is no such number, and long before it is free.
        grown = self._per_s * 2.0 ** min(doubled, 1_000.0)
        return grown if grown < FREE_PER_S else math.inf

    def wait_s(self, now_s: float) -> float:
        """How long until the next signal may begin."""
        return max(0.0, self._next_s - now_s) if self.per_s(now_s) < math.inf else 0.0

    def began(self, now_s: float) -> None:
        """A signal begins."""
        self._next_s = max(self._next_s, now_s) + 1.0 / self.per_s(now_s)

    @property
    def at_once(self) -> int:
        """How many signals may be in flight."""
        return int(self._at_once)

    def ended(self, left: int) -> None:
        """One is over, and so many are still in flight."""
        if left == 0:
            self._at_once = AT_ONCE
        elif left + 1 >= self.at_once:
            self._at_once += AT_ONCE_STEP

    def _settle(self, now_s: float) -> None:
        self._per_s, self._as_of_s = self.per_s(now_s), now_s
