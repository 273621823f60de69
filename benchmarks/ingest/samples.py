"""What is told of many samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from benchmarks.ingest.load import Sent

Spread = dict[str, float | None]
"""``p50`` and ``p99``; None where nothing was measured."""


def rank(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def spread(values: Sequence[float]) -> Spread:
    """The middle and the slowest hundredth, rounded."""
    if not values:
        return {"p50": None, "p99": None}
    return {"p50": round(rank(values, 0.5), 1), "p99": round(rank(values, 0.99), 1)}


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median of the rounds' ratios: what slows the machine in a round slows both."""
    return round(median(a / b for a, b in zip(these, those, strict=True)), 2)


def per_second(sent: Sent) -> float:
    """Acknowledgements a second, while there was sending."""
    return sum(at is not None and at <= sent.seconds for at in sent.acked) / sent.seconds


def latencies_ms(sent: Sent, from_s: float = 0.0) -> list[float]:
    """From each event's time to its acknowledgement, of those due from ``from_s`` on.

    Who got none counts as one whose answer came when the sender gave up waiting.
    """
    pairs = zip(sent.due, sent.acked, strict=True)
    return [
        1000 * ((sent.ended if acked is None else acked) - due)
        for due, acked in pairs
        if due >= from_s
    ]
