"""The quota ledger of one account: who may call when. Pure arithmetic over given times.

``exchange`` takes what a store holds of an account, one holder's report and its wants, and gives
back what the store shall hold and the holder's permits. Stores make it atomic; ``permits`` asks.

What is proven (see ``quota_windows``): as long as nobody else uses the account, every permit is
used between its start and its life's end or not at all, and a request arrives within the transit
bound of its sending, the provider never counts more calls in any window than it allows. What breaks
an assumption is found and counted: foreign callers in the provider's own figures (``foreign``,
``refusals``), holders that were stopped for longer than a permit lives (``breaches``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import zip_longest
from typing import Any

from sealwax.quota_limits import Klass, Limits, micros
from sealwax.quota_reports import (
    Ask,
    Clock,
    Close,
    Counters,
    Denied,
    Grant,
    QuotaView,
    Row,
    Seen,
    Told,
    Want,
)
from sealwax.quota_windows import Burst, EnvelopeCalls, Hour

ACCOUNT = ""
"""The name of the account's own row; every other row is named after its envelope."""

PACE_TOLERANCE_DIVISOR = 30
"""Which part of their share of the burst paced calls may take at once after a pause.

Slots become free in clumps, because people took some and answers take unequally long, and what
waits for its pace lies idle; but the more goes at once, the longer people wait where they are many.
Measured in virtual time, four workers, 500 calls in a window, 2 % for people, 10 ms for an answer
(parts of the budget used where 45 people come in a window; the longest wait but one in a hundred
where 150 do, three times what the reserve is for): 8: 97.6 %, 468 ms; 15: 97.6 %, 255 ms; 30:
97.5 %, 153 ms; 60: 97.3 %, 33 ms; no clumps: 97.3 %, 25 ms.
"""

PACE_TOLERANCE_MIN = 4

STRANGERS_AHEAD_DIVISOR = 3
"""Which part of the usual time calls are granted ahead while others use the account, too.

What is granted cannot be taken back when an answer tells of calls by others, so room is left for
what they may do until then: less time, less room.
"""

RELEASE_DIVISOR = 720
"""The hour's reserve is released when this part of the hour is left (5 s)."""


@dataclass(slots=True)
class _Holder:
    at: int
    number: int = 0
    turn: int = 0
    dead: int = 0
    opens: dict[int, int] = field(default_factory=dict)
    unmet: list[int] = field(default_factory=lambda: [0] * len(Klass))

    def saved(self) -> list[Any]:
        opens = list(self.opens.items())
        return [self.at, self.number, self.turn, self.dead, opens, self.unmet]

    @classmethod
    def loaded(cls, saved: list[Any]) -> _Holder:
        at, number, turn, dead, opens, unmet = saved
        return cls(at, number, turn, dead, dict(opens), unmet)


def exchange(
    limits: Limits, clock: Clock, rows: Mapping[str, str | None], ask: Ask
) -> tuple[dict[str, Row], Told]:
    """Take in a report and grant what may be granted: the rows to keep, and the answer.

    ``rows`` holds the account's row and those of ``ask.envelopes()``. The same rows, clock and
    report give the same result, so a store may try again.
    """
    ledger = _Ledger(limits, clock, rows)
    holder = ledger.heard(ask)
    before = ledger.counters.breaches
    decisions = ledger.decide(holder, ask)
    ledger.counters.granted += sum(isinstance(d, Grant) for d in decisions)
    return ledger.saved(), Told(ledger.now, decisions, before - ledger.breaches_before)


def pace_tolerance(paced: float) -> int:
    """How many paced calls may go at once after a pause, where so many go in a window."""
    return max(PACE_TOLERANCE_MIN, int(paced) // PACE_TOLERANCE_DIVISOR)


def look(limits: Limits, clock: Clock, text: str | None) -> QuotaView:
    """The account as its row shows it, changing nothing."""
    ledger = _Ledger(limits, clock, {ACCOUNT: text})
    ledger.expire(keep=None)
    ledger.hour.roll(ledger.now, ledger.period, ledger.burst.opens)
    alive = [h for h in ledger.holders.values() if ledger.alive(h)]
    return QuotaView(
        burst_limit=ledger.burst.limit,
        burst_used=ledger.burst.busy(ledger.now),
        burst_margin=ledger.burst.unused,
        hour_limit=ledger.hour.limit,
        hour_used=ledger.hour.used,
        reset_in_s=max(0, ledger.hour.reset - ledger.now) / 1_000_000,
        waiting=tuple(sum(h.unmet[klass] for h in alive) for klass in Klass),
        holders=len(alive),
        counters=ledger.counters,
    )


class _Ledger:
    """One account's rows, opened for one exchange."""

    def __init__(self, limits: Limits, clock: Clock, rows: Mapping[str, str | None]) -> None:
        self.limits = limits
        self.epoch = clock.epoch
        self.window = micros(limits.burst_window_s)
        self.period = micros(limits.hour_s)
        self.transit = micros(limits.transit_s)
        self.life = micros(limits.life_s)
        self.kept = max(self.period, micros(limits.poll_every_s))
        self._open_account(clock, rows.get(ACCOUNT))
        self.breaches_before = self.counters.breaches
        self.envelopes = {
            name: EnvelopeCalls.loaded(text, clock.epoch, self.transit)
            for name, text in rows.items()
            if name != ACCOUNT
        }
        self.changed: set[str] = set()

    def _open_account(self, clock: Clock, text: str | None) -> None:
        self.now = clock.now
        self.holders: dict[str, _Holder] = {}
        self.counters = Counters()
        slack = micros(self.limits.hour_slack_s)
        # Until an answer says when the hour ends, it is taken to end at the top of the clock's.
        reset = clock.now + self.period - clock.wall % self.period
        self.hour = Hour(self.limits.hour_calls, reset, slack)
        self.burst = Burst(self.limits.burst_calls)
        if text is None:
            return
        saved = json.loads(text)
        self.counters = Counters(*saved["counters"])
        holders = {name: _Holder.loaded(h) for name, h in saved["holders"].items()}
        self.burst = Burst.loaded(saved["burst"], sum(len(h.opens) for h in holders.values()))
        hour = Hour.loaded(saved["hour"])
        if saved["epoch"] == clock.epoch:
            # A clock that is put back stands still here until it has caught up.
            self.now = max(clock.now, saved["now"])
            self.holders, self.hour = holders, hour
            return
        # The clock began anew with the machine: all earlier calls had ended when it began.
        taken = len(self.burst.free) + self.burst.opens
        free = [self.transit + self.window + 1] * taken
        self.burst = Burst(self.burst.limit, free, 0, self.burst.margin, self.now)
        self.hour = Hour(hour.limit, reset, slack, hour.used, 0, hour.urgent)

    def saved(self) -> dict[str, Row]:
        """The rows that changed, as they stand now."""
        self.burst.forget(self.now - self.window // 10)
        account = {
            "epoch": self.epoch,
            "now": self.now,
            "burst": self.burst.saved(),
            "hour": self.hour.saved(),
            "holders": {name: h.saved() for name, h in self.holders.items()},
            "counters": [getattr(self.counters, part.name) for part in fields(Counters)],
        }
        rows = {ACCOUNT: Row(json.dumps(account, separators=(",", ":")), 0)}
        for name in self.changed:
            calls = self.envelopes[name]
            calls.forget(self.now, self.kept)
            rows[name] = Row(calls.saved(self.epoch), calls.expires(self.kept))
        return rows

    def alive(self, holder: _Holder) -> bool:
        return holder.at + self.life >= self.now

    def ahead(self) -> int:
        """How far ahead paced calls are granted: less while others use the account, too."""
        ahead = micros(self.limits.ahead_s)
        return ahead // STRANGERS_AHEAD_DIVISOR if self.burst.strangers else ahead

    def expire(self, keep: str | None) -> None:
        """Close the permits of holders that fell silent; forget holders that matter no more.

        A permit was sent by the end of its life, and its life by the last word of its holder.
        """
        for name, holder in list(self.holders.items()):
            if name == keep or self.alive(holder):
                continue
            for start in holder.opens.values():
                last = max(holder.at, start) + self.life + self.transit
                holder.dead = max(holder.dead, last)
                self.burst.close(last + self.window + 1)
                self.hour.ended(last)
                self.counters.expired += 1
            holder.opens.clear()
            if holder.at + self.life + self.transit + self.window < self.now:
                del self.holders[name]

    def heard(self, ask: Ask) -> _Holder:
        """Take in a holder's report."""
        self.expire(keep=ask.holder)
        self.hour.roll(self.now, self.period, self.burst.opens)
        holder = self.holders.setdefault(ask.holder, _Holder(self.now))
        holder.at = self.now
        holder.number = max(holder.number, ask.known)
        for number in [n for n in holder.opens if n > ask.known]:
            self._never_made(holder, number)
            self.counters.taken_back += 1
        fresh = ask.turn > holder.turn
        holder.turn = max(holder.turn, ask.turn)
        closes = ask.closes if fresh else ()
        for close in closes:
            self._close(holder, close, ask.holder)
        self.burst.ease_margin(self.now, self.window)
        for close in closes:
            if close.seen is not None:
                self._learn(close, close.seen)
        # What is granted ahead cannot be taken back, and answers are reported as often.
        self.burst.expect(self.now, self.window, 2 * self.ahead())
        return holder

    def _never_made(self, holder: _Holder, number: int) -> None:
        # Its slot may have become free only at its start: until then it stays taken.
        self.burst.close(holder.opens.pop(number))
        self.hour.unspend()

    def _close(self, holder: _Holder, close: Close, name: str) -> None:
        last = min(close.done, self.now) + (self.transit if close.ending == "lost" else 0)
        known = close.number in holder.opens
        self.counters.lost += close.ending == "lost"
        if close.ending == "unused":
            self.counters.unused += 1
            if known:
                self._never_made(holder, close.number)
        elif known:
            start = holder.opens.pop(close.number)
            self.burst.close(max(last, start) + self.window + 1)
            self.hour.ended(last)
        elif close.number == 0:
            # Made from what is set aside in the burst; the hour has to hear of it.
            self.hour.spend(urgent=True)
            self.hour.ended(last)
        else:
            # Its holder was taken for dead, and the call may have arrived later than was believed.
            if last > holder.dead:
                self.burst.charge(last + self.window + 1)
                self.hour.spend(urgent=False)
                self.hour.ended(last)
            self.counters.breaches += close.late
        if close.envelope is not None and close.envelope in self.envelopes:
            self._close_in_envelope(close, last, f"{name}:{close.number}")

    def _close_in_envelope(self, close: Close, last: int, tag: str) -> None:
        name = close.envelope or ""
        self.changed.add(name)
        calls = self.envelopes[name]
        keys = self.limits.envelope_windows(close.purpose, close.operation)
        if close.number == 0:
            for key in keys:
                calls.add(key, last, "")
        calls.end(tag, None if close.ending == "unused" else last)
        refusal = close.seen.refusal if close.seen else None
        wait = {"envelope_burst": self.window, "envelope_hour": self.period}.get(refusal or "")
        if wait is not None:
            for key in keys:
                calls.block(key, close.done + wait)

    def _learn(self, close: Close, seen: Seen) -> None:
        """Take the provider's own figures where they are worse than ours, and its limits always."""
        if seen.refusal is not None:
            self.counters.refusals += 1
        self.burst.limit = seen.burst_limit or self.burst.limit
        self.hour.limit = seen.hour_limit or self.hour.limit
        burst_left = 0 if seen.refusal == "burst" else seen.burst_left
        if burst_left is not None:
            foreign = self.burst.limit - burst_left - self.burst.counted(close.sent)
            # A refused call holds its slot here; whether the provider counts it is not documented.
            foreign += seen.refusal == "burst"
            if foreign > 0:
                self.burst.met(foreign, close.done + self.window + 1)
                self.counters.foreign += foreign
        if seen.refusal == "burst":
            self.burst.raise_margin(self.now, self.window)
        if seen.reset_in is not None:
            earliest, latest = close.sent + seen.reset_in[0], close.done + seen.reset_in[1]
            guard = micros(self.limits.hour_guard_s)
            self.hour.learn(earliest, latest, self.now, self.period, guard)
        began = self.hour.reset - self.period + self.hour.slack
        within = began < close.sent and close.done < self.hour.reset - self.hour.slack
        hour_left = 0 if seen.refusal == "hour" else seen.hour_left
        if hour_left is not None and within:
            foreign = self.hour.limit - hour_left - self.hour.used
            if foreign > 0:
                self.hour.used += foreign
                self.counters.foreign += foreign if burst_left is None else 0

    def decide(self, holder: _Holder, ask: Ask) -> tuple[Grant | Denied, ...]:
        """Grant or deny each want, the more urgent first, and note what stays unmet."""
        holder.unmet = [0] * len(Klass)
        others = [h for h in self.holders.values() if h is not holder and self.alive(h)]
        paced = _Paced(self, others)
        decisions: dict[int, Grant | Denied] = {}
        for index in sorted(range(len(ask.wants)), key=lambda i: ask.wants[i].klass):
            want = ask.wants[index]
            above = sum(sum(h.unmet[: want.klass]) for h in others)
            decision = self._decide(want, holder, above, paced)
            if isinstance(decision, Denied) and decision.cause != "envelope":
                holder.unmet[want.klass] += 1
            if isinstance(decision, Grant):
                self._grant(want, holder, decision, f"{ask.holder}:{decision.number}")
            decisions[index] = decision
        holder.unmet = [
            unmet + more for unmet, more in zip_longest(holder.unmet, ask.more, fillvalue=0)
        ]
        return tuple(decisions[index] for index in range(len(ask.wants)))

    def _decide(self, want: Want, holder: _Holder, above: int, paced: _Paced) -> Grant | Denied:
        own = self.now
        if want.envelope is not None:
            calls = self.envelopes[want.envelope]
            for key, windows in self.limits.envelope_windows(want.purpose, want.operation).items():
                own = max(own, calls.start(key, windows, self.now))
        ahead = self.ahead()
        if want.klass is Klass.INTERACTIVE:
            ahead = max(ahead, want.patience)
        if own > self.now + ahead:
            return Denied(own, "envelope")
        if paced.hour_left(want.klass) <= 0:
            return Denied(paced.hour_retry(want.klass), "hour")
        floor = self.limits.floor(want.klass, self.burst.capacity) + above
        if want.klass is Klass.INTERACTIVE:
            # Who waits for a page goes first, also before what others may do.
            floor -= self.burst.caution
        slot = self.burst.start(floor, self.now)
        if slot is None:
            return Denied(self.now + ahead, "burst")
        start = max(own, slot)
        if want.klass >= Klass.BULK:
            start = max(start, paced.start())
            if start > self.now + ahead or not paced.share(want.klass):
                return Denied(paced.later(max(start, self.now + ahead)), "burst")
            paced.granted(want.klass, start)
        if start > self.now + ahead:
            return Denied(start, "burst")
        if start >= self.hour.ends():
            return Denied(self.hour.ends(), "hour")
        self.burst.take(floor, self.now)
        holder.number += 1
        return Grant(holder.number, start)

    def _grant(self, want: Want, holder: _Holder, grant: Grant, tag: str) -> None:
        holder.opens[grant.number] = grant.start
        self.hour.spend(urgent=want.klass < Klass.BULK)
        self.burst.urgent += want.klass < Klass.BULK
        if want.envelope is not None:
            self.changed.add(want.envelope)
            latest = grant.start + self.life + micros(self.limits.deadline_max_s) + self.transit
            for key in self.limits.envelope_windows(want.purpose, want.operation):
                self.envelopes[want.envelope].add(key, latest, tag)


class _Paced:
    """What is left of the hour for each class, and the pace at which bulk may use it."""

    def __init__(self, ledger: _Ledger, others: list[_Holder]) -> None:
        self._ledger = ledger
        self._others = others
        self._given = [0] * len(Klass)
        self._denied = 0
        # One exchange changes neither by much, and each decision asks for them.
        self._reserves = [self._reserve(klass) for klass in Klass]
        self._interval = self._spacing()
        self._tolerance = pace_tolerance(ledger.burst.paced())

    def _left(self) -> int:
        ledger = self._ledger
        return ledger.hour.left(ledger.now, ledger.burst.opens, ledger.limits.aside_per_hour)

    def _time_left(self) -> int:
        return self._ledger.hour.reset - self._ledger.now

    def _reserve(self, klass: Klass) -> int:
        """Calls of the hour that this class leaves to more urgent ones."""
        ledger, left = self._ledger, self._time_left()
        if klass is Klass.INTERACTIVE or left * RELEASE_DIVISOR < ledger.period:
            return 0
        if klass is Klass.MUTATION:
            share = ledger.limits.interactive_reserve * left / ledger.period
            return math.ceil(share * ledger.hour.limit)
        gone = max(1, ledger.period - left)
        rate = max(
            ledger.limits.urgent_per_hour / ledger.period,
            # A short time says little: at first the estimate alone counts.
            ledger.hour.urgent / gone if gone * 10 > ledger.period else 0.0,
        )
        expected = rate * left
        return math.ceil(expected + 2 * math.sqrt(expected))

    def hour_left(self, klass: Klass) -> int:
        return self._left() - self._reserves[klass]

    def hour_retry(self, klass: Klass) -> int:
        ledger = self._ledger
        released = ledger.hour.reset - ledger.period // RELEASE_DIVISOR + 1
        if klass is Klass.INTERACTIVE or self._left() <= 0 or released <= ledger.now:
            return ledger.hour.ends()
        return released

    def _spacing(self) -> int:
        """Microseconds between two paced calls: the burst's even rate, or what the hour leaves."""
        ledger = self._ledger
        even = ledger.burst.even(ledger.window)
        left = max(1, self.hour_left(Klass.BULK))
        return max(1, even, self._time_left() // left)

    def start(self) -> int:
        """When the next paced call may start."""
        tolerance = (self._tolerance - 1) * self._interval
        return max(self._ledger.now, self._ledger.burst.pace - tolerance)

    def share(self, klass: Klass) -> bool:
        """Whether this holder may take one more, since others of its class wait too."""
        rivals = sum(h.unmet[klass] > 0 for h in self._others)
        within = self._ledger.ahead() // self._interval + self._tolerance
        return self._given[klass] < math.ceil(within / (rivals + 1))

    def granted(self, klass: Klass, start: int) -> None:
        self._given[klass] += 1
        burst = self._ledger.burst
        burst.pace = max(burst.pace, start) + self._interval

    def later(self, start: int) -> int:
        """When to expect a paced call that was denied: one interval after the one before it."""
        self._denied += 1
        return start + (self._denied - 1) * self._interval
