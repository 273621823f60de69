"""What an operator says of an account's limits, and what is only assumed of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Literal

from sealwax.quota_windows import Purpose, Sliding

Window = Literal["burst", "poll"]
"""A time that has to pass by itself: the burst's, or that between two polls of an envelope."""


class Klass(IntEnum):
    """Who goes first. A more urgent class has the smaller number.

    ``INTERACTIVE``: somebody waits for a page. ``MUTATION``: a change of one envelope. ``BULK``:
    batches. ``BACKGROUND``: sweeps and archives.
    """

    INTERACTIVE = 0
    MUTATION = 1
    BULK = 2
    BACKGROUND = 3


def micros(seconds: float) -> int:
    """Seconds as whole microseconds."""
    return round(seconds * 1_000_000)


@dataclass(frozen=True, slots=True)
class Limits:
    """One account's limits, and how they are shared. Raises ``ValueError``, naming the key.

    ``burst_calls`` in ``burst_window_s`` and ``hour_calls`` in ``hour_s`` are DocuSign's documented
    defaults for production accounts (docusign.com docs, "Resource limits"; developer accounts have
    200 in 30 s); what answers say of them replaces them. The ``envelope_*`` thresholds are
    unpublished and **guessed**: reads and writes are counted apart, each in a sliding window like
    the burst's and one like the hour's (docusign.com blog, "Service protection: new API errors for
    excessive polling and envelope updates"). ``poll_every_s``: the same read of one envelope is
    wanted no more often (the same page, and "Rules and limits").

    ``transit_s``: a request arrives at most this long after it was sent, whatever becomes of its
    answer. ``life_s``: a permit is used within this time of its start or not at all, and a holder
    that was not heard of for so long is taken for dead. ``deadline_max_s`` is the longest deadline
    of any call. ``ahead_s``: bulk and mutations are granted no further ahead than this.

    ``interactive_reserve`` is the share of the burst that only interactive calls may use,
    ``mutation_reserve`` what only they and mutations may, ``bulk_reserve`` what background work
    leaves. ``urgent_per_hour`` is a first estimate of interactive calls and mutations in an hour;
    bulk leaves room for them until the hour's last moments.

    ``away_calls`` (in the burst window) and ``away_calls_per_hour`` are what each of at most
    ``workers_max`` processes may do while the store is away. They are set aside at all times, since
    a process that is cut off cannot be told what the others do; 0: without the store, nothing.
    """

    burst_calls: int = 500
    burst_window_s: float = 30.0
    hour_calls: int = 3_000
    hour_s: float = 3_600.0
    hour_slack_s: float = 15.0
    hour_guard_s: float = 0.25
    envelope_reads: int = 20
    envelope_reads_per_hour: int = 200
    envelope_writes: int = 20
    envelope_writes_per_hour: int = 200
    poll_every_s: float = 900.0
    transit_s: float = 2.0
    life_s: float = 1.5
    deadline_max_s: float = 120.0
    ahead_s: float = 0.3
    interactive_reserve: float = 0.02
    mutation_reserve: float = 0.0
    bulk_reserve: float = 0.0
    urgent_per_hour: int = 300
    workers_max: int = 4
    away_calls: int = 1
    away_calls_per_hour: int = 10

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{part.name} must be a number of 0 or more; correct it")
        for name in ("burst_calls", "burst_window_s", "hour_calls", "hour_s", "life_s", "ahead_s",
                     "envelope_reads", "envelope_writes", "envelope_reads_per_hour",
                     "envelope_writes_per_hour", "poll_every_s", "workers_max"):  # fmt: skip
            if not getattr(self, name):
                raise ValueError(f"{name} must be more than 0; correct it")
        reserves = self.interactive_reserve + self.mutation_reserve + self.bulk_reserve
        if reserves > 0.5 or self.aside * 2 > self.burst_calls:
            raise ValueError(
                "the reserves take more than half of the burst; lower interactive_reserve,"
                " mutation_reserve, bulk_reserve or away_calls"
            )

    @property
    def aside(self) -> int:
        """Slots of the burst set aside for processes that are cut off."""
        return self.away_calls * self.workers_max

    @property
    def aside_per_hour(self) -> int:
        """Calls of the hour set aside for processes that are cut off."""
        return self.away_calls_per_hour * self.workers_max

    def scaled(self, factor: float) -> Limits:
        """The same budgets in windows, and other times of the provider's, shorter by a factor.

        ``life_s`` stays above half a second and ``ahead_s`` above a tenth: a busy machine stops a
        process for as long. ``deadline_max_s`` belongs to the caller and stays.
        """
        scaled = (
            "burst_window_s",
            "hour_s",
            "hour_slack_s",
            "poll_every_s",
            "transit_s",
        )
        times = {name: getattr(self, name) / factor for name in scaled}
        life_s, ahead_s = max(0.5, self.life_s / factor), max(0.1, self.ahead_s / factor)
        return replace(self, **times, life_s=life_s, ahead_s=ahead_s)

    def window_s(self, window: Window) -> float:
        """How long the account's burst is counted, or an envelope is not to be polled again."""
        return self.burst_window_s if window == "burst" else self.poll_every_s

    def floor(self, klass: Klass, capacity: int) -> int:
        """How many slots of the burst a call of this class leaves to more urgent ones."""
        if klass is Klass.INTERACTIVE:
            return self.aside
        floor = max(self.aside, math.ceil(self.interactive_reserve * capacity))
        if klass >= Klass.BULK:
            floor += math.ceil(self.mutation_reserve * capacity)
        if klass is Klass.BACKGROUND:
            floor += math.ceil(self.bulk_reserve * capacity)
        return floor

    def envelope_windows(self, purpose: Purpose, operation: str) -> dict[str, tuple[Sliding, ...]]:
        """Under which keys a call of one envelope is counted, and in which windows."""
        burst, hour = micros(self.burst_window_s), micros(self.hour_s)
        reads = Sliding(self.envelope_reads, burst), Sliding(self.envelope_reads_per_hour, hour)
        if purpose == "read":
            return {"read": reads}
        if purpose == "poll":
            spaced = (Sliding(1, micros(self.poll_every_s)),)
            return {"read": reads, f"poll:{operation}": spaced}
        if purpose == "write":
            writes = Sliding(self.envelope_writes, burst)
            return {"write": (writes, Sliding(self.envelope_writes_per_hour, hour))}
        return {}
