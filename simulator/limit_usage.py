"""What was made of an account's limits: when calls were accepted and refused, and of how many.

Times are seconds since 1970 of the simulator's clock, intervals hold their start and not their
end.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

LISTED_MAX = 1_000


def times() -> array[float]:
    """An empty log of times, eight bytes each."""
    return array("d")


def count(log: array[float], start_s: float, end_s: float) -> int:
    """How many times of a sorted log lie in an interval."""
    return max(0, bisect_left(log, end_s) - bisect_left(log, start_s))


def most_sliding(
    limit: int, length_s: float, before: Iterable[float], start_s: float, end_s: float
) -> int:
    """The most calls that a strict sliding window could have accepted in an interval.

    `before`: times accepted before it. Each of the `limit` places is free from the end of what
    holds it at the start, and can then be taken once per length of the window.
    """
    frees = sorted(t + length_s for t in before if t + length_s > start_s)[-limit:]
    starts = [start_s] * (limit - len(frees)) + frees
    return sum(math.ceil((end_s - free) / length_s) for free in starts if free < end_s)


def most_aligned(
    limit: int, length_s: float, log: array[float], start_s: float, end_s: float
) -> int:
    """The most calls that windows aligned to the clock could have accepted in an interval."""
    if end_s <= start_s:
        return 0
    first = math.floor(start_s / length_s)
    windows = math.ceil(end_s / length_s) - first
    return windows * limit - min(limit, count(log, first * length_s, start_s))


@dataclass
class Caller:
    """The calls of the account's own clients, or of its tenant: accepted, and refused by kind."""

    accepted: array[float] = field(default_factory=times)
    refused: dict[str, array[float]] = field(default_factory=dict)

    def refuse(self, kind: str, at_s: float) -> None:
        """Note a refusal."""
        self.refused.setdefault(kind, times()).append(at_s)

    def truth(self, start_s: float, end_s: float) -> dict[str, Any]:
        """JSON form of an interval."""
        refused = {k: n for k, log in self.refused.items() if (n := count(log, start_s, end_s))}
        return {
            "accepted": count(self.accepted, start_s, end_s),
            "refused": refused,
            "refused_total": sum(refused.values()),
        }


@dataclass(frozen=True)
class Breach:
    """The same GET of one envelope again, too soon: `gap_s` seconds after the last one."""

    at_s: float
    gap_s: float
    operation_id: str
    envelope_id: str
    path: str
    refused: bool

    def truth(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "at": self.at_s,
            "gap_s": round(self.gap_s, 6),
            "operationId": self.operation_id,
            "envelopeId": self.envelope_id,
            "path": self.path,
            "refused": self.refused,
        }


class Usage:
    """The account's log: its clients, its tenant, both together, and polling breaches."""

    def __init__(self) -> None:
        self.clients, self.tenant = Caller(), Caller()
        # Both callers' accepted calls in one order, for the windows.
        self.accepted = times()
        self.listed: deque[Breach] = deque(maxlen=LISTED_MAX)
        self._breaches: dict[str, array[float]] = {}

    def breach(self, breach: Breach) -> None:
        """Note a polling breach; the last 1,000 are listed, all are counted."""
        self.listed.append(breach)
        self._breaches.setdefault(breach.operation_id, times()).append(breach.at_s)

    def recent(self, length_s: float, now_s: float) -> array[float]:
        """The accepted calls of the last seconds; one exactly that long ago is not among them."""
        return self.accepted[bisect_right(self.accepted, now_s - length_s) :]

    def polling(self, start_s: float, end_s: float) -> dict[str, Any]:
        """Polling breaches of an interval."""
        by = {k: n for k, log in self._breaches.items() if (n := count(log, start_s, end_s))}
        listed = [b.truth() for b in self.listed if start_s <= b.at_s < end_s]
        return {"breaches": sum(by.values()), "by_operation": by, "listed": listed}

    def most_sliding(self, limit: int, length_s: float, start_s: float, end_s: float) -> int:
        """See the function of this name; `before` is this log."""
        low = bisect_right(self.accepted, start_s - length_s)
        before = self.accepted[low : bisect_left(self.accepted, start_s)]
        return most_sliding(limit, length_s, before, start_s, end_s)

    def most_aligned(self, limit: int, length_s: float, start_s: float, end_s: float) -> int:
        """See the function of this name."""
        return most_aligned(limit, length_s, self.accepted, start_s, end_s)

    def peak(self, length_s: float, start_s: float, end_s: float) -> int:
        """The most calls that any stretch of that length within an interval held."""
        log = self.accepted
        first, most = bisect_left(log, start_s), 0
        for index in range(first, bisect_left(log, end_s)):
            while log[first] <= log[index] - length_s:
                first += 1
            most = max(most, index - first + 1)
        return most

    def utilisation(self, most: int, start_s: float, end_s: float) -> dict[str, Any]:
        """`most`, and the part of it that was used: of what the tenant left, and by both.

        None where nothing could have been accepted.
        """
        own = count(self.clients.accepted, start_s, end_s)
        other = count(self.tenant.accepted, start_s, end_s)
        left = most - other
        return {
            "most": most,
            "left_by_tenant": left,
            "utilisation": round(own / left, 6) if left > 0 else None,
            "utilisation_with_tenant": round((own + other) / most, 6) if most > 0 else None,
        }
