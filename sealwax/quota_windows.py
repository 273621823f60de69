"""The windows in which a provider counts calls, and what of them is taken. Pure arithmetic.

All times are whole microseconds of one clock, the store's, handed in by the caller; ``free`` and
``last`` are such times. The rule on which everything stands: the provider counts a call when it
*arrives*, which is no earlier than its start and no later than ``last``, the latest moment at which
it can have arrived (its completion, where it was answered). A call therefore holds a slot of a
sliding window from its start until ``last`` plus the window's length, and the next call in that
slot starts after that. So two arrivals in one slot lie further apart than the window is long, and
no window of that length, wherever it is laid, holds more arrivals than there are slots.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal

Purpose = Literal["read", "poll", "write", "other"]
"""What a call is towards its envelope. ``poll``: a read that nobody asked for, under the provider's
15-minute rule. ``other``: counted in the account's windows alone."""

MARGIN_DIVISOR_MAX = 20
MARGIN_HALF_LIFE_WINDOWS = 10
DRIFT_PER_PERIOD = 10_000
"""A clock's error of 100 millionths, as the divisor of the time since it was last compared."""


@dataclass(slots=True)
class Burst:
    """The account's sliding window: which slots are taken and when each is free again.

    ``free`` (sorted) holds the first moment at which each closed slot may serve again; entries that
    lie in the past are kept for a while, because the provider's answers speak of the past.
    ``opens`` counts calls that have a slot and have not ended. ``margin`` is how many slots are
    left unused for what was learned from refusals, ``caution`` how many for calls of others that
    are to be expected before the next answer tells of them. ``strangers`` is a fading count of such
    calls, ``urgent`` one of our own that are not paced: faded over a quarter of the window, four
    times a count is what comes in a window.
    """

    limit: int
    free: list[int] = field(default_factory=list)
    opens: int = 0
    margin: float = 0.0
    margin_at: int = 0
    raised_at: int = 0
    pace: int = 0
    strangers: float = 0.0
    urgent: float = 0.0
    faded_at: int = 0
    caution: int = 0

    @property
    def unused(self) -> int:
        """How many slots are left unused because others use the account too."""
        return math.ceil(self.margin) + self.caution

    @property
    def capacity(self) -> int:
        """How many slots may be used."""
        return max(1, self.limit - self.unused)

    def busy(self, now: int) -> int:
        """How many slots are taken now."""
        return len(self.free) - bisect_right(self.free, now) + self.opens

    def start(self, floor: int, now: int) -> int | None:
        """When a call may start that leaves ``floor`` slots to others; None: not known yet."""
        index = self._index(floor, now)
        if index is None:
            return now
        return self.free[index] if index < len(self.free) else None

    def take(self, floor: int, now: int) -> None:
        """Take the slot that ``start`` spoke of."""
        index = self._index(floor, now)
        if index is not None:
            del self.free[index]
        self.opens += 1

    def close(self, free: int) -> None:
        """An open call ended; its slot serves again from ``free``."""
        self.opens -= 1
        self.charge(free)

    def charge(self, free: int, count: int = 1) -> None:
        """Slots that are taken until ``free`` by calls which nobody was granted."""
        for _ in range(count):
            insort(self.free, free)

    def counted(self, sent: int) -> int:
        """The most of our own calls that the provider can have counted answering one sent then.

        A slot with an open call counts once: before its start, for the call that had it before.
        """
        return len(self.free) - bisect_right(self.free, sent) + self.opens

    def even(self, window: int) -> int:
        """Microseconds between paced calls that, with what is not paced, fill the window evenly.

        A twentieth less, since the slots bound it anyway and lost time can be made up for.
        """
        return round(0.95 * window / self.paced())

    def paced(self) -> float:
        """How many slots of a window are left to paced calls by those that are not."""
        return max(self.capacity / 20, self.capacity - 4 * self.urgent)

    def met(self, strangers: int, free: int) -> None:
        """The provider counted calls that are not ours; they count for a window."""
        self.charge(free, strangers)
        self.strangers += strangers

    def expect(self, now: int, window: int, lag: int) -> None:
        """Leave room for what others do within ``lag``: as many as lately, and thrice the root."""
        fading = math.exp(-4 * max(0, now - self.faded_at) / window)
        self.strangers *= fading if self.strangers * fading >= 0.5 else 0.0
        self.urgent *= fading
        self.faded_at = now
        expected = 4 * self.strangers * lag / window
        self.caution = math.ceil(expected + 3 * math.sqrt(expected))

    def forget(self, before: int) -> None:
        """Drop entries that no answer can speak of any more."""
        del self.free[: bisect_left(self.free, before)]

    def raise_margin(self, now: int, window: int) -> None:
        """Learn from a refusal: leave more slots unused, at most once in a tenth of a window."""
        if self.raised_at and now - self.raised_at < window // 10:
            return
        step = max(1.0, self.limit / 500)
        self.margin = min(self.limit / MARGIN_DIVISOR_MAX, self.margin + step)
        self.raised_at = self.margin_at = now

    def ease_margin(self, now: int, window: int) -> None:
        """Unlearn slowly: half of the margin is given back in ten windows without a refusal."""
        if not self.margin or now <= self.margin_at:
            return
        self.margin *= 0.5 ** ((now - self.margin_at) / (MARGIN_HALF_LIFE_WINDOWS * window))
        self.margin_at = now
        if self.margin < 0.05:
            self.margin = 0.0

    def _index(self, floor: int, now: int) -> int | None:
        passed = bisect_right(self.free, now)
        idle = self.capacity - (len(self.free) - passed) - self.opens
        return None if idle > floor else passed + floor - idle

    def saved(self) -> dict[str, Any]:
        """For JSON. Times of slots are written as differences, which makes them short."""
        gaps = [b - a for a, b in zip([0, *self.free], self.free, strict=False)]
        margin = [round(self.margin, 6), self.margin_at, self.raised_at]
        faded = [round(self.strangers, 6), round(self.urgent, 6), self.faded_at, self.caution]
        return {
            "limit": self.limit,
            "free": gaps,
            "margin": margin,
            "pace": self.pace,
            "faded": faded,
        }

    @classmethod
    def loaded(cls, saved: dict[str, Any], opens: int) -> Burst:
        """The reverse of ``saved``."""
        margin, at, raised = saved["margin"]
        free = list(accumulate(saved["free"]))
        return cls(saved["limit"], free, opens, margin, at, raised, saved["pace"], *saved["faded"])


@dataclass(slots=True)
class Hour:
    """The account's fixed window: a counter that starts anew at ``reset``, give or take ``slack``.

    Until ``reset + slack`` the old budget is spent; what may have arrived after ``reset - slack``
    is counted in the new one too (``coming``). ``urgent`` counts calls before which people stand.
    """

    limit: int
    reset: int
    slack: int
    used: int = 0
    coming: int = 0
    urgent: int = 0

    def ends(self) -> int:
        """From when on the new budget may be used."""
        return self.reset + self.slack + 1

    def roll(self, now: int, period: int, opens: int) -> None:
        """Start the hours that began until now; open calls may yet arrive in the new one."""
        if now < self.ends():
            return
        passed = (now - self.ends()) // period
        self.used = opens + (self.coming if passed == 0 else 0)
        self.coming = self.urgent = 0
        self.reset += (passed + 1) * period
        self.slack += (passed + 1) * (period // DRIFT_PER_PERIOD)

    def spend(self, urgent: bool) -> None:
        """A call was granted."""
        self.used += 1
        self.urgent += urgent

    def unspend(self) -> None:
        """A call was never made."""
        self.used = max(0, self.used - 1)

    def ended(self, last: int) -> None:
        """A call ended, having arrived at ``last`` at the latest."""
        if last >= self.reset - self.slack:
            self.coming += 1

    def left(self, now: int, opens: int, aside: int) -> int:
        """How many calls may be granted now; ``aside`` are never granted from here."""
        left = self.limit - self.used
        if now >= self.reset - self.slack:
            left = min(left, self.limit - self.coming - opens)
        return left - aside

    def learn(self, earliest: int, latest: int, now: int, period: int, guard: int) -> None:
        """An answer said that the reset lies between these moments."""
        reset, slack = (earliest + latest) // 2, (latest - earliest) // 2 + guard + 1
        if not now - period <= reset <= now + period + slack:
            return
        # An answer that is reported late may speak of the hour before.
        same = reset + round((self.reset - reset) / period) * period
        if abs(same - self.reset) > slack + self.slack:
            self.reset, self.slack = reset + (period if reset <= now else 0), slack
        elif slack < self.slack:
            self.reset, self.slack = same, slack

    def saved(self) -> list[int]:
        """For JSON."""
        return [self.limit, self.reset, self.slack, self.used, self.coming, self.urgent]

    @classmethod
    def loaded(cls, saved: list[int]) -> Hour:
        """The reverse of ``saved``."""
        return cls(*saved)


@dataclass(frozen=True, slots=True)
class Sliding:
    """A sliding window of one envelope: at most ``calls`` within ``length`` microseconds."""

    calls: int
    length: int


@dataclass(slots=True)
class EnvelopeCalls:
    """One envelope's calls of the last hour, by what they are counted as.

    A key is ``read``, ``write``, or ``poll:`` and the operation. Each call is its ``last`` and a
    tag that names it until it ended; an open call stands with the latest time that it can have.
    ``blocked``: until when the provider, having refused, is not asked again.
    """

    calls: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    blocked: dict[str, int] = field(default_factory=dict)

    def start(self, key: str, windows: tuple[Sliding, ...], now: int) -> int:
        """When a call may start that is counted under this key in all these windows."""
        start = max(now, self.blocked.get(key, 0))
        lasts = self.calls.get(key, [])
        for window in windows:
            if len(lasts) >= window.calls:
                start = max(start, lasts[-window.calls][0] + window.length + 1)
        return start

    def add(self, key: str, last: int, tag: str) -> None:
        """A call was granted, or made unasked."""
        insort(self.calls.setdefault(key, []), (last, tag))

    def end(self, tag: str, last: int | None) -> None:
        """The call with this tag arrived at ``last`` at the latest; None: it was never made."""
        for lasts in self.calls.values():
            for index, (_, found) in enumerate(lasts):
                if found == tag:
                    del lasts[index]
                    if last is not None:
                        insort(lasts, (last, ""))
                    break

    def block(self, key: str, until: int) -> None:
        """The provider refused a call; leave this envelope alone until then."""
        self.blocked[key] = max(until, self.blocked.get(key, 0))

    def forget(self, now: int, kept: int) -> None:
        """Drop calls that ended longer than ``kept`` ago, and blocks that are over."""
        for key, lasts in list(self.calls.items()):
            del lasts[: bisect_left(lasts, (now - kept, ""))]
            if not lasts:
                del self.calls[key]
        self.blocked = {key: until for key, until in self.blocked.items() if until > now}

    def expires(self, kept: int) -> int:
        """From when on nothing of it matters."""
        ends = [lasts[-1][0] + kept + 1 for lasts in self.calls.values()]
        return max([1, *ends, *self.blocked.values()])

    def saved(self, epoch: str) -> str:
        """As JSON."""
        whole = {"epoch": epoch, "calls": self.calls, "blocked": self.blocked}
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def loaded(cls, text: str | None, epoch: str, began: int) -> EnvelopeCalls:
        """The reverse of ``saved``. Calls of an earlier epoch ended by the time this one began."""
        if text is None:
            return cls()
        saved = json.loads(text)
        same = saved["epoch"] == epoch
        calls = {
            key: [(last if same else min(last, began), tag) for last, tag in lasts]
            for key, lasts in saved["calls"].items()
        }
        return cls(calls, dict(saved["blocked"]) if same else {})
