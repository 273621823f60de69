"""Figures of samples, and the table that a person reads."""

from __future__ import annotations

import math
from collections.abc import Sequence


def rank(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """p50 and p99, rounded; None where there are no values."""
    if not values:
        return {"p50": None, "p99": None}
    return {"p50": round(rank(values, 0.5), 1), "p99": round(rank(values, 0.99), 1)}
