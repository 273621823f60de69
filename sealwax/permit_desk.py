"""One account's waiting room in one process: who waits, what is out, and when to ask the ledger.

Local times are whole microseconds of this process's clock. The ledger speaks the store's; from the
last exchange it is known between which bounds the difference lies, and each time is moved to the
side on which nothing can go wrong: a start later, an end of life earlier, a sending earlier, a
completion later.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sealwax.quota import PACE_TOLERANCE_MIN
from sealwax.quota_limits import Klass, Limits, micros
from sealwax.quota_reports import Ask, Close, Denied, Ending, Grant, Seen, Told, Want
from sealwax.quota_windows import Burst
from sealwax.stores.base import StoreError
from sealwax.stores.quota_base import QuotaStore

log = logging.getLogger("sealwax.quota")

WANTS_MAX = 64
"""Calls that one exchange speaks of; who comes later is spoken of in a later one."""

ENVELOPE_FULL = "envelope limit"
ENDING = "this process is about to end"
STORE_TIMEOUT_S = 3.0
PROBE_EVERY_S = 0.25
LEAD_US = 5_000
"""At least so long before the next slot the ledger is asked for it."""

Reader = Callable[[Mapping[str, str], str | None], Seen]


def local_us() -> int:
    """A clock of this machine that is never put back and counts sleep where the system can."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic_ns() if clock is None else time.clock_gettime_ns(clock)) // 1000


class QuotaWait(Exception):
    """No permit can be had now. Come back after ``after_s`` seconds; ``cause`` names the limit."""

    def __init__(self, after_s: float, cause: str) -> None:
        super().__init__(f"no call may be made now ({cause}); come back in {after_s:.1f} s")
        self.after_s = after_s
        self.cause = cause


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits until ``until``.

    ``retry``: when to ask for it again, once asked. ``held``: by the account's windows, not by its
    envelope's, so that whoever comes after it is held as well.
    """

    want: Want
    until: int
    permit: asyncio.Future[Permit]
    retry: int | None = None
    held: bool = False
    cause: str = "the quota store has not answered"


@dataclass(slots=True, eq=False)
class Permit:
    """The right to send one request between ``starts`` and ``expires`` (local time).

    ``number`` 0: from the share set aside for times without the store.
    """

    number: int
    want: Want
    starts: int
    expires: int
    now_us: Callable[[], int] = field(repr=False)
    sent: int = 0
    done: int | None = None
    ending: Ending = "lost"
    answer: tuple[Mapping[str, str], str | None] | None = None
    late: bool = False

    def completed(self, headers: Mapping[str, str], refused: str | None = None) -> None:
        """The request was answered just now. ``headers``: names in lower case.

        ``refused`` is the provider's error code, or None. Without this call the request counts as
        never answered.
        """
        self.ending, self.done, self.answer = "answered", self.now_us(), (headers, refused)

    def unused(self) -> None:
        """Certainly nothing was sent: the call is given back."""
        self.ending, self.done = "unused", self.now_us()


@dataclass(frozen=True, slots=True)
class Figures:
    """One process's view of one account. ``waiting`` is by class, in the order of ``Klass``.

    ``away_s``: for how long the store has been away, 0 where it is there. ``away_calls`` were made
    meanwhile. ``breaches``: calls that may have arrived later than the ledger believed.
    """

    waiting: tuple[int, ...]
    in_flight: int
    granted: int
    exchanges: int
    breaches: int
    away_s: float
    away_calls: int


class Desk:
    """See the module."""

    def __init__(
        self,
        account: str,
        limits: Limits,
        store: QuotaStore,
        holder: str,
        read_answer: Reader,
        now_us: Callable[[], int],
        waiting_max: int | None = None,
    ) -> None:
        self._account = account
        self._limits = limits
        self._store = store
        self._holder = holder
        self._read_answer = read_answer
        self._now = now_us
        self._life = micros(limits.life_s)
        self._tick = micros(limits.ahead_s) // 4
        self._lead = max(LEAD_US, micros(limits.ahead_s) // 3)
        within = math.ceil(limits.ahead_s * limits.burst_calls / limits.burst_window_s)
        self._paced_max = 2 * within + PACE_TOLERANCE_MIN
        self._waiters: list[Waiter] = []
        self._out: set[Permit] = set()
        self._closes: list[Close] = []
        self._unsettled: list[Close] | None = None
        self._waiting_max = waiting_max
        self._even = max(1, micros(limits.burst_window_s) // limits.burst_calls)
        self._back: dict[Klass, int] = {}
        self._turn = 0
        self._known = 0
        self._asked = 0
        self._unmet = False
        self._closed = False
        self._offset = (0, 0)
        self._counts: Counter[str] = Counter()
        self._away_since: int | None = None
        self._aside = Burst(max(1, limits.away_calls))
        self._aside_made: deque[int] = deque()
        self._beaten = now_us()
        self._beat: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._pump = asyncio.create_task(self._run(), name=f"quota {account}")

    # -- what the keeper asks ------------------------------------------------------------------

    async def wait(self, waiter: Waiter) -> Permit:
        """A permit for this waiter. Raises ``QuotaWait``."""
        if self._closed:
            raise QuotaWait(1.0, ENDING)
        self._check_room(waiter)
        self._waiters.append(waiter)
        self._wake.set()
        left_s = (waiter.until - self._now()) / 1_000_000
        try:
            await asyncio.wait([waiter.permit], timeout=max(0.0, left_s))
        except BaseException:
            self._leave(waiter, fetched=False)
            raise
        self._leave(waiter, fetched=True)
        if waiter.permit.cancelled():
            raise self._too_long(waiter)
        return waiter.permit.result()

    def begun(self, permit: Permit) -> bool:
        """The request is sent now; False where the permit's life is over."""
        permit.sent = self._now()
        if self._closed or not permit.starts <= permit.sent <= permit.expires:
            permit.sent = 0
            return False
        if self._beat is None:
            self._beaten = permit.sent
            self._watch()
        return True

    def returned(self, permit: Permit) -> None:
        """The permit was not used."""
        permit.unused()
        self.ended(permit)

    def ended(self, permit: Permit) -> None:
        """The caller is done with its permit."""
        if permit not in self._out:
            return
        now = self._now()
        self._out.remove(permit)
        done = now if permit.done is None else permit.done
        late = permit.late or (permit.sent > 0 and now - self._beaten > self._life)
        seen = self._read_answer(*permit.answer) if permit.answer is not None else None
        want = permit.want
        if permit.number == 0:
            self._aside.close(done + micros(self._limits.burst_window_s) + 1)
            if permit.ending == "unused":
                return
        low, high = self._offset
        self._closes.append(
            Close(
                permit.number,
                permit.ending,
                permit.sent + low,
                done + high,
                want.envelope,
                want.purpose,
                want.operation,
                late,
                seen,
            )
        )
        self._wake.set()

    def figures(self) -> Figures:
        """See ``Permits.figures``."""
        waiting = Counter(w.want.klass for w in self._waiters)
        away = 0 if self._away_since is None else self._now() - self._away_since
        return Figures(
            tuple(waiting[klass] for klass in Klass),
            len(self._out),
            self._counts["granted"],
            self._counts["exchanges"],
            self._counts["breaches"],
            away / 1_000_000,
            self._counts["away"],
        )

    async def close(self) -> None:
        """Report what ended, and end. Who waits, or has not sent yet, is told to come back."""
        self._closed = True
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        if self._beat is not None:
            self._beat.cancel()
        for waiter in self._waiters:
            if not waiter.permit.done():
                waiter.permit.set_exception(QuotaWait(1.0, ENDING))
        self._waiters.clear()
        for permit in [p for p in self._out if not p.sent]:
            self.returned(permit)
        if self._closes or self._unsettled:
            await self._exchange()

    # -- when to ask ---------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            due = self._due()
            now = self._now()
            if due is not None and due <= now:
                await self._exchange()
                continue
            try:
                async with asyncio.timeout(None if due is None else (due - now) / 1_000_000):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _due(self) -> int | None:
        """When the ledger is to be asked next; None: not before something happens."""
        if self._away_since is not None:
            return self._asked + micros(PROBE_EVERY_S)
        times = []
        if self._closes or self._out or self._waiters or self._unmet:
            times.append(self._asked + self._life // 3)
        if not self._waiters:
            return min(times, default=None)
        if self._closes:
            # What answers said of other callers decides on who waits.
            times.append(self._asked + 2 * self._tick)
        fresh = [w for w in self._waiters if w.retry is None]
        if len(fresh) == len(self._waiters) or any(w.want.klass < Klass.BULK for w in fresh):
            return self._now()
        retries = [w.retry - self._lead for w in self._waiters if w.retry is not None]
        times.append(max(self._asked + self._tick, min(retries)))
        # Who came after one that waits for its class's turn would hear no better answer.
        held = min((w.want.klass for w in self._waiters if w.held), default=None)
        if any(held is None or w.want.klass < held for w in fresh):
            times.append(self._asked + self._tick)
        return min(times)

    async def _exchange(self) -> None:
        if self._unsettled is None:
            self._unsettled, self._closes = self._closes, []
            self._turn += 1
        asking, behind = self._order()
        now = self._now()
        wants = tuple(replace(w.want, patience=max(0, w.until - now)) for w in asking)
        more = Counter(w.want.klass for w in behind)
        ask = Ask(
            self._holder,
            self._turn,
            self._known,
            tuple(self._unsettled),
            wants,
            tuple(more[klass] for klass in Klass) if behind else (),
        )
        self._asked = now
        self._counts["exchanges"] += 1
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                told = await self._store.exchange(self._account, self._limits, ask)
        except Exception as error:
            # Whatever a store fails with, calls must neither go unlimited nor wait unheard.
            if not isinstance(error, StoreError | TimeoutError):
                log.exception("quota store of account %s failed unexpectedly", self._account)
            self._away(error)
            return
        after = self._now()
        self._unsettled = None
        self._offset = (told.now - after, told.now - now)
        if self._away_since is not None:
            log.warning("quota store of account %s is back", self._account)
            self._away_since = None
        self._hear(asking, behind, told)

    def _order(self) -> tuple[list[Waiter], list[Waiter]]:
        """Who is spoken of in one exchange, and who stands behind them, the most urgent first.

        Of those who are paced no more than can be granted at once: every name costs the store.
        """
        line = sorted(self._waiters, key=lambda w: (w.want.klass, w.until))
        urgent = sum(w.want.klass < Klass.BULK for w in line)
        asked = min(WANTS_MAX, urgent + self._paced_max)
        return line[:asked], line[asked:]

    def _hear(self, asking: list[Waiter], behind: list[Waiter], told: Told) -> None:
        self._unmet = any(isinstance(d, Denied) for d in told.decisions)
        for waiter, decision in zip(asking, told.decisions, strict=True):
            if isinstance(decision, Grant):
                self._counts["granted"] += 1
                self._known = max(self._known, decision.number)
                self._hand_over(waiter, decision)
            else:
                waiter.retry = decision.retry - self._offset[0]
                waiter.cause = f"{decision.cause} limit"
                waiter.held = decision.cause != "envelope"
                if waiter.retry > waiter.until and not waiter.permit.done():
                    waiter.permit.set_exception(self._too_long(waiter))
        self._expect(asking, behind)
        if told.breaches:
            self._counts["breaches"] += told.breaches
            log.error(
                "account %s: %d calls may have reached the provider after their permits' life,"
                " because this process was stopped; the quota may have been exceeded",
                self._account,
                told.breaches,
            )

    def _expect(self, asking: list[Waiter], behind: list[Waiter]) -> None:
        """Who was not spoken of goes on as the line before it does."""
        retries = sorted(w.retry for w in asking if w.retry is not None)
        if not behind:
            return
        last = retries[-1] if retries else self._now() + self._tick
        step = (last - retries[0]) // (len(retries) - 1) if len(retries) > 1 else 0
        for place, waiter in enumerate(behind, 1):
            waiter.retry = last + place * step
            waiter.cause = "others wait before it"
            if waiter.retry > waiter.until and not waiter.permit.done():
                waiter.permit.set_exception(self._too_long(waiter))

    def _hand_over(self, waiter: Waiter, grant: Grant) -> None:
        low, high = self._offset
        permit = Permit(
            grant.number,
            waiter.want,
            grant.start - low,
            grant.start + self._life - high,
            self._now,
        )
        self._give(waiter, permit)

    def _give(self, waiter: Waiter, permit: Permit) -> None:
        self._out.add(permit)
        # Who waits may have gone meanwhile, or been granted one that it will not fetch.
        if waiter.permit.done() or waiter not in self._waiters:
            self.returned(permit)
        else:
            self._waiters.remove(waiter)
            waiter.permit.set_result(permit)

    def _leave(self, waiter: Waiter, fetched: bool) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        if not waiter.permit.cancel() and not fetched and waiter.permit.exception() is None:
            self.returned(waiter.permit.result())

    def _check_room(self, waiter: Waiter) -> None:
        """Raise ``QuotaWait`` where too many wait already who go before this one."""
        klass = waiter.want.klass
        if klass is Klass.INTERACTIVE or self._waiting_max is None:
            return
        # Who was not denied yet waits for the store alone, and not for long.
        held = [w.retry for w in self._waiters if w.retry and 0 < w.want.klass <= klass]
        if len(held) >= self._waiting_max:
            waiter.retry, waiter.cause = max(held), "others wait before it"
            raise self._too_long(waiter)

    def _too_long(self, waiter: Waiter) -> QuotaWait:
        """Tell when to come back. Who is sent away later comes back later: not all at once."""
        now, klass = self._now(), waiter.want.klass
        back = now + 1_000_000 if waiter.retry is None else waiter.retry
        if klass is not Klass.INTERACTIVE and waiter.cause != ENVELOPE_FULL:
            back = self._back[klass] = max(back, self._back.get(klass, 0) + self._even)
        return QuotaWait(max(0.001, (back - now) / 1_000_000), waiter.cause)

    # -- without the store ---------------------------------------------------------------------

    def _away(self, error: Exception) -> None:
        now = self._now()
        if self._away_since is None:
            self._away_since = now
            log.warning(
                "quota store of account %s is away (%s); urgent calls have %d per %g s here,"
                " others wait",
                self._account,
                str(error) or type(error).__name__,
                self._limits.away_calls,
                self._limits.burst_window_s,
            )
        for waiter in sorted(self._waiters, key=lambda w: (w.want.klass, w.until)):
            waiter.retry = now + micros(1.0)
            waiter.cause = "the quota store is away"
            if waiter.want.klass < Klass.BULK and waiter.want.purpose != "poll":
                self._give_from_aside(waiter, now)

    def _give_from_aside(self, waiter: Waiter, now: int) -> None:
        while self._aside_made and self._aside_made[0] <= now - micros(self._limits.hour_s):
            self._aside_made.popleft()
        if not self._limits.away_calls or self._aside.start(0, now) != now:
            return
        if len(self._aside_made) >= self._limits.away_calls_per_hour:
            return
        self._aside.take(0, now)
        self._aside_made.append(now)
        self._counts["away"] += 1
        self._give(waiter, Permit(0, waiter.want, now, now + self._life, self._now))

    # -- whether this process was stopped ------------------------------------------------------

    def _watch(self) -> None:
        """Look at the clock often; a gap means that calls in flight may have been sent late."""
        now = self._now()
        if now - self._beaten > self._life:
            for permit in self._out:
                permit.late = permit.late or permit.sent > 0
        self._beaten = now
        running = asyncio.get_running_loop()
        every_s = self._limits.life_s / 4
        self._beat = running.call_later(every_s, self._watch) if self._out else None
