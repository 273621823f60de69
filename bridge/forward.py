"""From the journal to the workflows: each event at least once, one envelope's in their order.

Who does not know an envelope yet will: the create call's answer may be slower than its first
webhook. So what nobody knows is parked and tried again. Several forwarders share the work: each
takes envelopes that no other holds, for a time, so that those of one that died pass on.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import secrets
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.gathering import Rate
from bridge.marks import Marks
from bridge.pace import Pace
from bridge.routes import Item, Router, grouped
from bridge.sink import SignalSink, SinkUnavailable, Undeliverable, WorkflowGone
from bridge.strain import Brake, Sign
from sealwax.messages import EventBatch
from sealwax.providers.base import WebhookReader
from sealwax.stores.base import (
    BEAT_EVERY_S,
    REROUTED,
    EnvelopeName,
    Journal,
    JournalRow,
    Registry,
    StoreError,
)

log = logging.getLogger("sealwax.forwarder")

LOOK_AGAIN_S = 0.02
LOOK_SOON_S, LOOK_EVERY_S = 0.05, 1.0
"""How soon, and after a while how often, the journal is asked though nothing arrived: what another
forwarder has claimed may become free."""

LISTEN_S = 5.0
STOP_GRACE_S = 3.0
CLAIM_GAP_MAX_S = 0.1
CLAIMED_AHEAD_S = 1.0
HELD_MAX = 10_000
WHOLE_BYTES_MAX = 1024 * 1024
"""A portion with less in its bodies, and fewer rows than were asked for, is all that there was."""


@dataclass(frozen=True, slots=True)
class _Hold:
    """An envelope that is not to be signalled before ``until``: its signals failed so often in a
    row, or with 0 ``tries`` the last one was a moment ago."""

    tries: int
    until: float


class Forwarder:
    """Takes pending webhooks out of ``journal`` and signals them to their workflows.

    Nothing is marked before the server has it; what happens twice (a crash in between, or a claim
    that ended too soon) is the same event with the same key, which the workflow counts once.
    ``counts`` says what became of webhooks since the start, and how many ``signals`` it took.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        registry: Registry,
        sink: SignalSink,
        readers: Mapping[str, WebhookReader],
        now: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.counts: Counter[str] = Counter()
        self._journal = journal
        self._router = Router(registry, readers)
        self._marks = Marks(journal)
        self._sink = sink
        self._now = now
        self._pace = pace or Pace()
        self._wake = asyncio.Event()
        self._ready: deque[EnvelopeName] = deque()
        self._tasks: dict[EnvelopeName, asyncio.Task[None]] = {}
        self._marking = 0
        self._resting: set[EnvelopeName] = set()
        self._done: set[EnvelopeName] = set()
        self._claimed: dict[EnvelopeName, float] = {}
        self._held: dict[EnvelopeName, _Hold] = {}
        self._failing: set[EnvelopeName] = set()
        self._failures = 0
        self._resume_at = 0.0
        self._look_s = LOOK_SOON_S
        self._claim_at = 0.0
        self._first: dict[EnvelopeName, tuple[JournalRow, ...]] = {}
        self._rate = Rate()
        self._brake = Brake()
        self._stopping = False

    @property
    def reaching(self) -> bool:
        """Whether nothing failed since the server last took a signal."""
        return self._failures == 0 and not self._failing

    def wake(self) -> None:
        """Say that there is something new in the journal."""
        self._wake.set()

    def give_way(self, sign: Sign) -> None:
        """Say what the listener beside says: that it needs the machine."""
        self._brake.told(sign, asyncio.get_running_loop().time())

    async def run(self) -> None:
        """Forward until ``stop``, then give what is in flight ``STOP_GRACE_S`` seconds to end."""
        beside = [asyncio.create_task(self._listen()), asyncio.create_task(self._beat())]
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    await self._claim()
                    self._start()
                    wait_s = await self._next_s()
                except StoreError as error:
                    self._failed(str(error))
                    wait_s = self._until_resume_s()
                await self._wait(wait_s)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        if self._tasks:
            _, hanging = await asyncio.wait(self._tasks.values(), timeout=STOP_GRACE_S)
            # What is cut off here is not marked, so it is sent again after the next start.
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)
        await self._let_go(list(self._claimed))

    def stop(self) -> None:
        """End ``run`` soon. What is not delivered then stays in the journal."""
        self._stopping = True
        self._wake.set()

    async def forward(self, envelope: EnvelopeName) -> int:
        """Bring all undelivered webhooks of one envelope on their way, in order; says how many.

        Raises ``SinkUnavailable`` and ``StoreError``: then the rest stays as it is.
        """
        count, after, most = 0, 0, self._most()
        first = self._first.pop(envelope, ())
        while rows := first or await self._journal.undelivered(envelope, after, most):
            first = ()
            count, after = count + len(rows), rows[-1].id
            routed = await self._router.routed(rows)
            for row, why in routed.unreadable:
                await self._quarantine([row.id], why)
            await self._park(routed.unknown)
            size_bytes = sum(len(row.webhook.body) for row in rows)
            # What came meanwhile is found when the envelope is claimed again.
            whole = len(rows) < most and size_bytes < WHOLE_BYTES_MAX
            groups = grouped(routed.items, self._pace.batch_bytes)
            for group in groups:
                await self._deliver(group, whole and group is groups[-1])
            if whole or self._over(envelope) or self._signals_per_s() < math.inf:
                break
        return count

    async def _listen(self) -> None:
        """Wake for what other processes append."""
        while True:
            try:
                if await self._journal.arrived(LISTEN_S):
                    self._wake.set()
            except StoreError:
                # The loop meets the same trouble, and tells it.
                await asyncio.sleep(LOOK_EVERY_S)

    async def _beat(self) -> None:
        """Say that it is up, every few seconds and whenever Temporal goes or comes back."""
        loop = asyncio.get_running_loop()
        said: tuple[bool, float] | None = None
        while True:
            reaching, now = self.reaching, loop.time()
            if said is None or said[0] != reaching or now - said[1] >= BEAT_EVERY_S:
                try:
                    await self._journal.beat(self.name, self._now(), reaching)
                except StoreError as error:
                    log.warning("no heartbeat: %s", error)
                said = (reaching, now)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _claim(self) -> None:
        """Let go of what is done, and take as many envelopes as there is room for."""
        self._wake_resting()
        most = 3 * self._pace.envelopes_at_once if self._failures == 0 else 1
        most = math.ceil(min(most, CLAIMED_AHEAD_S * self._signals_per_s()))
        room = most - len(self._ready) - len(self._tasks)
        now = asyncio.get_running_loop().time()
        if self._until_resume_s() > 0 or len(self._ready) > self._few() or room <= 0:
            return
        if self._claim_at > now:
            return
        if self._done:
            done, self._done = self._done, set()
            await self._let_go(done)
        ends = now + self._pace.hold_s
        names = await self._journal.claim(self.name, self._now(), self._pace.hold_s, room)
        self._look_s = LOOK_SOON_S if names else min(LOOK_EVERY_S, 2 * self._look_s)
        if len(names) < room:
            # Nobody else waits: in a surge those who come next are looked for together.
            self._claim_at = now + min(CLAIM_GAP_MAX_S, self._rest_s(now) / 10)
        self._claimed |= dict.fromkeys(names, ends)
        # A claim of our own may have ended, and been given to us again, under a signal that hangs.
        known = {*self._tasks, *self._ready, *self._resting}
        new = [name for name in names if name not in known]
        # Whoever meets trouble here meets it again when its turn comes, and alone.
        with suppress(Exception):
            await self._router.meet(new)
            await self._read_ahead(new, now)
        # Not before: what was read for one that has had its turn would be sent again.
        self._ready.extend(new)

    async def _read_ahead(self, names: Sequence[EnvelopeName], now: float) -> None:
        """Read what those have who go at once, in one visit."""
        if len(self._held) > HELD_MAX:
            held = self._held.items()
            self._held = {e: h for e, h in held if h.tries or h.until > now or e in self._resting}
        going = [n for n in names if n not in self._held or self._held[n].until <= now]
        if len(going) > 1:
            self._first |= await self._journal.undelivered_of(going, self._most())

    def _rest_s(self, now: float) -> float:
        """How long an envelope rests after a signal; never so long that its claim would end."""
        rest_s = self._pace.patience.rest_s(self._rate.per_s(now))
        return min(rest_s, self._pace.hold_s / 2)

    def _signals_per_s(self) -> float:
        """How many signals a second may begin, infinite where nobody needs the machine more."""
        return self._brake.per_s(asyncio.get_running_loop().time())

    def _most(self) -> int:
        """How many events of an envelope go in one signal. What is done at a stroke takes the
        machine from the listener for as long."""
        pace, free = self._pace, self._signals_per_s() == math.inf
        return pace.batch_events if free else min(pace.batch_events, pace.batch_events_in_surge)

    def _few(self) -> int:
        """With so few left that are ready, more are claimed: each time costs a transaction."""
        return self._pace.envelopes_at_once // 2 if self._failures == 0 else 0

    def _start(self) -> None:
        if self._stopping:
            return
        now = asyncio.get_running_loop().time()
        while self._ready and self._until_resume_s() <= 0 and self._in_flight() < self._allowed():
            if self._brake.wait_s(now) > 0:
                return
            envelope = self._ready.popleft()
            hold = self._held.get(envelope)
            if self._over(envelope):
                self._done.add(envelope)
            elif hold is not None and hold.until > now:
                self._resting.add(envelope)
            else:
                self._brake.began(now)
                self._tasks[envelope] = asyncio.create_task(self._forward(envelope))

    def _wake_resting(self) -> None:
        """Those that have waited long enough are to be tried again, while they are claimed."""
        now = asyncio.get_running_loop().time()
        for envelope in list(self._resting):
            if self._over(envelope):
                self._resting.remove(envelope)
                self._done.add(envelope)
            elif self._held[envelope].until <= now:
                self._resting.remove(envelope)
                self._ready.append(envelope)

    def _over(self, envelope: EnvelopeName) -> bool:
        """Whether the envelope may soon be another forwarder's. One never claimed is not."""
        ends = self._claimed.get(envelope)
        return ends is not None and asyncio.get_running_loop().time() > ends - self._pace.hold_s / 3

    async def _let_go(self, envelopes: Iterable[EnvelopeName]) -> None:
        names = list(envelopes)
        for envelope in names:
            self._claimed.pop(envelope, None)
            self._first.pop(envelope, None)
        try:
            await self._journal.release(self.name, names)
        except StoreError as error:
            log.warning("claims are left to end by themselves: %s", error)

    def _allowed(self) -> int:
        """While the server is away one envelope at a time finds out for all."""
        return min(self._pace.envelopes_at_once, self._brake.at_once) if self._failures == 0 else 1

    def _in_flight(self) -> int:
        return len(self._tasks) - self._marking

    async def _forward(self, envelope: EnvelopeName) -> None:
        after = self._done
        try:
            after = self._after(envelope, await self.forward(envelope))
        except SinkUnavailable as error:
            after = self._resting
            self._failed(str(error), envelope)
        except StoreError as error:
            self._failed(str(error))
        except Exception as error:
            log.exception("an envelope's webhooks cannot be forwarded")
            await self._set_aside(envelope, type(error).__name__)
        finally:
            del self._tasks[envelope]
            self._brake.ended(self._in_flight())
            after.add(envelope)
            self._go_on()

    def _go_on(self) -> None:
        """One more may be in flight."""
        self._start()
        if len(self._ready) <= self._few() or not self.reaching:
            self._wake.set()

    def _after(self, envelope: EnvelopeName, count: int) -> set[EnvelopeName]:
        """Where an envelope belongs of which so many were forwarded: it may have to rest.

        What needed no signal (parked, quarantined) says nothing of the server.
        """
        was_held = self._held.pop(envelope, None) is not None
        now = asyncio.get_running_loop().time()
        if count == 0 or (rest_s := self._rest_s(now)) <= 0:
            return self._done
        # Spread, so that those whose events came together do not come together for ever.
        self._held[envelope] = _Hold(0, now + rest_s * random.uniform(0.5, 1.0))
        # Where more is to be expected, to keep it costs less than to claim it again.
        return self._resting if was_held or count > 1 else self._done

    def _failed(self, why: str, envelope: EnvelopeName | None = None) -> None:
        """Hold the envelope back; hold all back where it is not this envelope alone that fails."""
        now, pace = asyncio.get_running_loop().time(), self._pace
        if self.reaching:
            log.warning("webhooks wait in the journal: %s", why)
        if envelope is not None:
            tries = self._held[envelope].tries + 1 if envelope in self._held else 1
            delay_s = _backoff_s(pace.retry_first_s, pace.retry_max_s, tries)
            self._held[envelope] = _Hold(tries, now + delay_s)
            self._failing.add(envelope)
            if len(self._failing) == 1:
                return
        if self._resume_at <= now:
            self._failures += 1
            delay_s = _backoff_s(pace.retry_first_s, pace.retry_max_s, self._failures)
            self._resume_at = now + delay_s

    def _answered(self) -> None:
        """The server said something about a signal, so it is there."""
        if not self.reaching:
            log.info("Temporal takes signals again")
        self._failing.clear()
        self._failures = 0

    def _until_resume_s(self) -> float:
        return self._resume_at - asyncio.get_running_loop().time()

    async def _next_s(self) -> float:
        """How long nothing needs to be looked at, unless something is said to be new."""
        if (until_s := self._until_resume_s()) > 0:
            return until_s
        now = asyncio.get_running_loop().time()
        waits = [self._look_s, *(self._held[e].until - now for e in self._resting)]
        waits += [self._claim_at - now] if self._claim_at > now else []
        waits += [self._brake.wait_s(now)] if self._ready else []
        if not self._tasks and not self._ready:
            due = await self._journal.next_due()
            if due is not None and (due_s := (due - self._now()).total_seconds()) > 0:
                waits.append(due_s)
        # What came due just now, or is due and held back, must not make this a busy loop.
        return max(LOOK_AGAIN_S, min(waits))

    async def _wait(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            return
        # A webhook that arrives during an outage is no reason to try sooner.
        if (until_s := self._until_resume_s()) > 0 and not self._stopping:
            await self._sleep_unless_stopped(until_s)

    async def _sleep_unless_stopped(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while not self._stopping:
            self._wake.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _deliver(self, group: Sequence[Item], last: bool) -> None:
        """Signal them. With the ``last`` ones of an envelope, another's turn comes before these are
        written down."""
        batch = EventBatch(events=tuple(item.event for item in group))
        workflow_id, ids = group[0].workflow_id, [item.row_id for item in group]
        self.counts["signals"] += 1
        try:
            await self._sink.signal(workflow_id, batch)
        except WorkflowGone:
            self._answered()
            await self._journal.mark(ids, "late", "its workflow is closed")
            self.counts["late"] += len(ids)
            log.info("%d late webhooks: %s is closed", len(ids), workflow_id)
        except Undeliverable as error:
            self._answered()
            await self._quarantine(ids, str(error))
        else:
            self._answered()
            rerouted = [item.row_id for item in group if item.rerouted]
            if rerouted:
                await self._journal.mark(rerouted, "delivered", REROUTED)
            if len(rerouted) < len(ids):
                await self._delivered([i for i in ids if i not in rerouted], last)
            self.counts["delivered"] += len(ids)
            self._rate.count(len(ids), asyncio.get_running_loop().time())

    async def _delivered(self, ids: Sequence[int], last: bool) -> None:
        if not last:
            await self._marks.delivered(ids)
            return
        self._marking += 1
        self._go_on()
        try:
            await self._marks.delivered(ids)
        finally:
            self._marking -= 1

    async def _quarantine(self, ids: Sequence[int], why: str) -> None:
        await self._journal.mark(ids, "quarantined", why)
        self.counts["quarantined"] += len(ids)
        log.warning("%d webhooks in quarantine, from number %d on: %s", len(ids), ids[0], why)

    async def _park(self, rows: Sequence[JournalRow], why: str = "nobody knows it yet") -> None:
        """Those that are due, together: so they keep their order and come back at once."""
        now = self._now()
        due = [
            row
            for row in rows
            if row.webhook.state != "parked" or (row.retry_at is not None and row.retry_at <= now)
        ]
        old = [r for r in due if (now - r.webhook.received_at).total_seconds() >= self._pace.park_s]
        young = [row for row in due if row not in old]
        if old:
            await self._journal.mark([row.id for row in old], "parked", f"given up: {why}")
        if young:
            tries = min(row.attempts for row in young) + 1
            delay_s = _backoff_s(self._pace.park_first_s, self._pace.park_max_s, tries)
            until = now + timedelta(seconds=delay_s)
            await self._journal.park([row.id for row in young], until, why)
        self.counts["parked"] += len(due)

    async def _set_aside(self, envelope: EnvelopeName, why: str) -> None:
        """Park what made the forwarder itself fail, so that it holds nobody else up."""
        try:
            rows = await self._journal.undelivered(envelope, 0, self._pace.batch_events)
            await self._park(rows, f"forwarding failed: {why}")
        except Exception as error:
            self._failed(type(error).__name__)


def _backoff_s(first_s: float, longest_s: float, tries: int) -> float:
    """Full jitter: anything up to a bound that doubles, so that many who wait spread out."""
    return random.uniform(0, min(longest_s, first_s * 2.0 ** min(tries, 60)))
