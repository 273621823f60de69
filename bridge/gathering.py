"""How long an envelope that is signalled again and again waits, so that one signal says more.

A signal costs the server and the worker about as much with ten events as with one. At a usual rate
nothing waits. In a surge, the first event of an envelope goes at once and what follows is gathered;
the more comes in all, the longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Up to ``free_per_s`` events a second in all nothing waits; at ``full_per_s`` an envelope is
    signalled every ``longest_s`` at the least."""

    free_per_s: float = 100.0
    full_per_s: float = 1_500.0
    longest_s: float = 4.0

    def rest_s(self, per_s: float) -> float:
        """How long an envelope rests after a signal, at this rate of events."""
        part = (per_s - self.free_per_s) / (self.full_per_s - self.free_per_s)
        return self.longest_s * min(1.0, max(0.0, part))


class Rate:
    """Events a second, of about the last ``memory_s``. Clocks (``now_s``) only go forward."""

    def __init__(self, memory_s: float = 1.0) -> None:
        self._memory_s = memory_s
        self._per_s = 0.0
        self._at_s = -math.inf

    def count(self, events: int, now_s: float) -> None:
        """So many happened now."""
        self._per_s = self.per_s(now_s) + events / self._memory_s
        self._at_s = now_s

    def per_s(self, now_s: float) -> float:
        """The rate as of now."""
        return self._per_s * math.exp(-max(0.0, now_s - self._at_s) / self._memory_s)
