"""What a holder reports to the quota ledger, what it wants, and what it is told.

Times are whole microseconds of the store's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sealwax.quota_limits import Klass
from sealwax.quota_windows import Purpose

Refusal = Literal["burst", "hour", "envelope_burst", "envelope_hour"]
Ending = Literal["answered", "lost", "unused"]
Cause = Literal["burst", "hour", "envelope"]


@dataclass(frozen=True, slots=True)
class Clock:
    """The store's clock. ``epoch`` names its zero: times of another epoch say nothing."""

    epoch: str
    now: int
    wall: int


@dataclass(frozen=True, slots=True)
class Want:
    """One call that waits. ``patience``: how long it can wait for its start, in microseconds."""

    klass: Klass
    envelope: str | None = None
    purpose: Purpose = "other"
    operation: str = ""
    patience: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer said of the limits; None where it said nothing.

    ``reset_in``: within which time of the answer the hour's counter starts anew, at the earliest
    and at the latest, in microseconds.
    """

    burst_limit: int | None = None
    burst_left: int | None = None
    hour_limit: int | None = None
    hour_left: int | None = None
    reset_in: tuple[int, int] | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """How a permit ended. ``sent`` is no later, ``done`` no earlier than the real moment.

    ``lost``: there was no answer, ``done`` is when it was given up. ``unused``: nothing was sent.
    ``late``: its holder was stopped meanwhile for longer than a permit lives. ``number`` 0: a call
    made without the ledger, while the store was away.
    """

    number: int
    ending: Ending
    sent: int
    done: int
    envelope: str | None = None
    purpose: Purpose = "other"
    operation: str = ""
    late: bool = False
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One holder's report and wants. ``turn`` counts its reports: repeated, one counts once.

    ``known`` is the highest permit number that it was told of. ``more``: how many calls of each
    class wait behind those that are spoken of, in the order of ``Klass``; empty: none.
    """

    holder: str
    turn: int
    known: int = 0
    closes: tuple[Close, ...] = ()
    wants: tuple[Want, ...] = ()
    more: tuple[int, ...] = ()

    def envelopes(self) -> tuple[str, ...]:
        """The envelopes whose rows the exchange needs."""
        names = [close.envelope for close in self.closes] + [want.envelope for want in self.wants]
        return tuple(sorted({name for name in names if name}))


@dataclass(frozen=True, slots=True)
class Grant:
    """A permit: its number, and from when on it may be used, for ``Limits.life_s``."""

    number: int
    start: int


@dataclass(frozen=True, slots=True)
class Denied:
    """No permit now: when to expect one, and which window is full."""

    retry: int
    cause: Cause


@dataclass(slots=True)
class Counters:
    """What ever happened to an account, as far as the ledger knows.

    ``expired``: permits of holders that fell silent. ``taken_back``: granted in an answer that
    never reached the holder. ``lost``: calls without an answer. ``foreign``: calls of others, seen
    in the provider's figures.
    """

    granted: int = 0
    unused: int = 0
    lost: int = 0
    expired: int = 0
    taken_back: int = 0
    refusals: int = 0
    foreign: int = 0
    breaches: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to an ``Ask``: one decision for each want, in their order.

    ``breaches`` is how many this report disclosed.
    """

    now: int
    decisions: tuple[Grant | Denied, ...]
    breaches: int


@dataclass(frozen=True, slots=True)
class QuotaView:
    """An account's quota at a moment. ``reset_in_s``: until the hour's budget is whole again.

    ``waiting`` is by class, in the order of ``Klass``, as last reported.
    """

    burst_limit: int
    burst_used: int
    burst_margin: int
    hour_limit: int
    hour_used: int
    reset_in_s: float
    waiting: tuple[int, ...]
    holders: int
    counters: Counters


@dataclass(frozen=True, slots=True)
class Row:
    """A row to be kept; after ``expires`` (0: never) it may be dropped."""

    text: str
    expires: int
