"""Law: whatever happens, no window of the provider's ever holds more calls than it allows.

Workers play against the ledger in any order: blocks granted, answers of the store lost,
calls sent at any moment of a permit's life and arriving anywhere between sending and transit bound,
answered, given up or never reported, workers killed, the store away, the provider's figures heard.
The provider's own count is kept beside it from arrivals alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import hypothesis.strategies as st
from hypothesis import given

from sealwax import quota
from sealwax.quota_limits import Klass, Limits, micros
from sealwax.quota_reports import Ask, Clock, Close, Ending, Grant, Seen, Want
from sealwax.quota_windows import Purpose

LIMITS = Limits(
    burst_calls=6,
    burst_window_s=0.001,
    hour_calls=16,
    hour_s=0.005,
    hour_slack_s=0.000_300,
    hour_guard_s=0.000_010,
    envelope_reads=3,
    envelope_reads_per_hour=5,
    envelope_writes=2,
    envelope_writes_per_hour=4,
    poll_every_s=0.0025,
    transit_s=0.000_060,
    life_s=0.000_200,
    deadline_max_s=0.000_500,
    ahead_s=0.000_150,
    interactive_reserve=0.17,
    urgent_per_hour=3,
    workers_max=1,
    away_calls=0,
    away_calls_per_hour=0,
)
WINDOW, LIFE, TRANSIT = (
    micros(LIMITS.burst_window_s),
    micros(LIMITS.life_s),
    micros(LIMITS.transit_s),
)
HOUR, POLL = micros(LIMITS.hour_s), micros(LIMITS.poll_every_s)
START = 1_000_000


@dataclass
class Call:
    """A request that was sent."""

    number: int
    want: Want
    sent: int
    arrives: int


@dataclass
class Worker:
    """What a process knows: permits not yet used, calls under way, ends not yet reported."""

    name: str
    turn: int = 0
    known: int = 0
    heard_at: int = START
    permits: list[tuple[Grant, Want]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    closes: list[Close] = field(default_factory=list)
    unsettled: tuple[Close, ...] | None = None


@dataclass(frozen=True)
class Weather:
    """How often something goes wrong, in thousandths of a worker's turns."""

    unheard: int
    killed: int
    store_lost: int
    call_lost: int
    slow: int
    others: int


CALM = Weather(0, 0, 0, 0, 0, 0)
weathers = st.builds(
    Weather,
    unheard=st.sampled_from([0, 50, 300]),
    killed=st.sampled_from([0, 0, 10, 50]),
    store_lost=st.sampled_from([0, 0, 5, 30]),
    call_lost=st.sampled_from([0, 100, 500]),
    slow=st.sampled_from([0, 100, 600]),
    others=st.sampled_from([0, 0, 100]),
)


class World:
    """The workers, the store's rows, and what arrived at the provider."""

    def __init__(self, seed: int, weather: Weather) -> None:
        self.random = Random(seed)
        self.weather = weather
        self.now = START
        self.rows: dict[str, str | None] = {}
        self.made = 0
        self.away = False
        self.denied: set[str] = set()
        self.workers = [self._new() for _ in range(3)]
        self.arrivals: list[Call] = []
        # The hour really ends somewhere in what is assumed of it at first.
        self.reset = START - START % HOUR + HOUR + self.random.randint(-290, 290)

    def step(self) -> None:
        """One worker does something, or time passes."""
        random, weather = self.random, self.weather
        who = random.randrange(3)
        worker = self.workers[who]
        if self._happens(weather.killed):
            # What it sent arrives. Another begins in its place.
            self.workers[who] = self._new()
        if self._happens(weather.store_lost):
            self.away = True
        elif self.away and self._happens(150):
            self.away = False
        what = random.random()
        if what < 0.25:
            self._exchange(worker, self._block(), heard=not self._happens(weather.unheard))
        elif what < 0.55:
            for _ in range(random.randint(1, 6)):
                self._send(worker)
        elif what < 0.75:
            for _ in range(random.randint(1, 6)):
                self._finish(worker)
        else:
            self._pass_time(random.choice([1, 5, 20, 60, 60, 150, 150, 400]))

    def _happens(self, thousandths: int) -> bool:
        return self.random.randrange(1000) < thousandths

    def _block(self) -> tuple[Want, ...]:
        random = self.random
        urgent = [Klass.INTERACTIVE]
        klasses = random.choice([list(Klass), urgent, urgent, [Klass.BULK]])
        places: list[list[str | None]] = [[None], [None], [None, "e1", "e2"], ["e1"]]
        envelopes = random.choice(places)
        kinds: list[list[Purpose]] = [["read"], ["write"], ["poll", "read"]]
        purposes = random.choice(kinds)
        return tuple(
            Want(
                random.choice(klasses),
                random.choice(envelopes),
                random.choice(purposes),
                "Envelopes_GetEnvelope",
                random.choice([0, 150, 900, 900]),
            )
            for _ in range(random.randint(0, 8))
        )

    def _new(self) -> Worker:
        self.made += 1
        return Worker(f"worker-{self.made}", heard_at=self.now)

    def _exchange(self, worker: Worker, block: tuple[Want, ...] = (), heard: bool = True) -> None:
        if self.away:
            return
        if worker.unsettled is None:
            worker.unsettled, worker.closes = tuple(worker.closes), []
            worker.turn += 1
        ask = Ask(worker.name, worker.turn, worker.known, worker.unsettled, block)
        rows = {name: self.rows.get(name) for name in (quota.ACCOUNT, *ask.envelopes())}
        kept, told = quota.exchange(LIMITS, Clock("epoch", self.now, self.now), rows, ask)
        self.rows.update({name: row.text for name, row in kept.items()})
        worker.heard_at = self.now
        if not heard:
            return
        worker.unsettled = None
        for want, decision in zip(block, told.decisions, strict=True):
            if isinstance(decision, Grant):
                assert decision.start >= self.now
                worker.known = max(worker.known, decision.number)
                worker.permits.append((decision, want))
            else:
                self.denied.add(decision.cause)

    def _pass_time(self, dt: int) -> None:
        """Who is alive says so in every third of a life, unless the store is away."""
        until = self.now + dt
        while self.now < until:
            self.now = min(until, self.now + LIFE // 6)
            for worker in self.workers:
                if self.now - worker.heard_at >= LIFE // 3:
                    self._exchange(worker)

    def _send(self, worker: Worker) -> None:
        """A worker uses a permit in its life, or finds that it is over and gives it back."""
        ready = [p for p in worker.permits if p[0].start <= self.now]
        if not ready:
            return
        permit = self.random.choice(ready)
        worker.permits.remove(permit)
        grant, want = permit
        call = Call(grant.number, want, self.now, self.now)
        if self.now > grant.start + LIFE or self._happens(30):
            worker.closes.append(self._close(call, "unused", 0))
            return
        slow = self._happens(self.weather.slow)
        call.arrives += TRANSIT if slow else self.random.randint(0, TRANSIT)
        worker.calls.append(call)
        self.arrivals.append(call)

    def _finish(self, worker: Worker) -> None:
        """A call is answered after it arrived, or given up at any moment."""
        lost = self._happens(self.weather.call_lost)
        ended = [c for c in worker.calls if lost or c.arrives <= self.now]
        if not ended:
            return
        call = self.random.choice(ended)
        worker.calls.remove(call)
        error = self.random.choice([0, 0, 3, 30])
        close = self._close(call, "lost" if lost else "answered", error)
        if not lost and self._happens(700):
            close = replace(close, seen=self._figures(call, error))
        worker.closes.append(close)

    def _close(self, call: Call, ending: Ending, error: int) -> Close:
        want, sent, done = call.want, call.sent - error, self.now + error
        return Close(call.number, ending, sent, done, want.envelope, want.purpose, want.operation)

    def _figures(self, call: Call, error: int) -> Seen:
        """What the provider says: its true figures, or those of an account that others use too."""
        in_window = sum(call.arrives - WINDOW <= c.arrives <= call.arrives for c in self.arrivals)
        left = self.reset - call.arrives
        while left <= 0:
            left += HOUR
        others = 2 if self._happens(self.weather.others) else 0
        return Seen(
            burst_left=max(0, LIMITS.burst_calls - in_window - others),
            reset_in=(left - error - (self.now - call.arrives), left + error),
        )

    def check(self) -> None:
        """Burst, hour, envelopes and polls: counted from arrivals alone."""
        times = sorted(c.arrives for c in self.arrivals)
        assert most_within(times, WINDOW) <= LIMITS.burst_calls
        hours = Counter((at - self.reset) // HOUR for at in times)
        assert max(hours.values(), default=0) <= LIMITS.hour_calls
        for envelope in ("e1", "e2"):
            mine = [c for c in self.arrivals if c.want.envelope == envelope]
            reads = sorted(c.arrives for c in mine if c.want.purpose in ("read", "poll"))
            writes = sorted(c.arrives for c in mine if c.want.purpose == "write")
            polls = sorted(c.arrives for c in mine if c.want.purpose == "poll")
            assert most_within(reads, WINDOW) <= LIMITS.envelope_reads
            assert most_within(reads, HOUR) <= LIMITS.envelope_reads_per_hour
            assert most_within(writes, WINDOW) <= LIMITS.envelope_writes
            assert most_within(writes, HOUR) <= LIMITS.envelope_writes_per_hour
            assert most_within(polls, POLL) <= 1


def most_within(times: list[int], length: int) -> int:
    """The most of these sorted times that any closed interval of this length holds."""
    most = first = 0
    for index, at in enumerate(times):
        while times[first] < at - length:
            first += 1
        most = max(most, index - first + 1)
    return most


@given(seed=st.integers(0, 2**32), weather=weathers)
def test_no_window_ever_holds_too_many(seed: int, weather: Weather) -> None:
    """For any interleaving, in any weather: every window holds at most what it may."""
    world = World(seed, weather)
    for _ in range(400):
        world.step()
    world.check()


def test_the_windows_are_filled() -> None:
    """The law is not kept by idleness: in these worlds every window is full at some time."""
    filled: Counter[str] = Counter()
    for seed in range(40):
        world = World(seed, CALM)
        for _ in range(400):
            world.step()
        times = sorted(c.arrives for c in world.arrivals)
        hours = Counter((at - world.reset) // HOUR for at in times)
        filled["burst"] += most_within(times, WINDOW) == LIMITS.burst_calls
        filled["hour"] += max(hours.values()) == LIMITS.hour_calls
        filled["envelope"] += "envelope" in world.denied

    assert filled["burst"] > 20
    assert filled["hour"] > 1
    assert filled["envelope"] > 20
