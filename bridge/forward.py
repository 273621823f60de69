"""From the journal to the workflows: each event at least once, one envelope's in their order.

A webhook belongs to the workflow that the registry has bound its signed envelope to, else to the
one that its address names. Who does not know the envelope yet will: the create call's answer may
be slower than its first webhook. So what nobody knows is parked and tried again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from bridge.ingest import Source
from bridge.sink import SignalSink, SinkUnavailable, Undeliverable, WorkflowGone
from sealwax.facts import ProviderEvent
from sealwax.messages import MESSAGE_BYTES_MAX, EventBatch
from sealwax.stores.base import (
    REROUTED,
    EnvelopeName,
    Journal,
    JournalRow,
    Registry,
    StoreError,
)

log = logging.getLogger("sealwax.bridge")

LOOK_AGAIN_S = 0.02
STOP_GRACE_S = 3.0

_EVENT = TypeAdapter(ProviderEvent)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the forwarder goes about it.

    ``envelopes_at_once`` signals are in flight, one per envelope; a signal has at most
    ``batch_events`` events and about ``batch_bytes``. While Temporal is away, tries are
    ``retry_first_s`` to ``retry_max_s`` apart. A webhook that nobody knows is tried again after
    ``park_first_s`` to ``park_max_s``, until it is ``park_s`` old.
    """

    envelopes_at_once: int = 32
    batch_events: int = 100
    batch_bytes: int = 256 * 1024
    retry_first_s: float = 0.2
    retry_max_s: float = 20.0
    park_first_s: float = 0.5
    park_max_s: float = 60.0
    park_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Item:
    """A row on its way: where it goes, what is said there, whether its address named another."""

    row: JournalRow
    event: ProviderEvent
    workflow_id: str
    rerouted: bool
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Hold:
    """An envelope whose signals failed: how often in a row, and until when it waits."""

    tries: int
    until: float


class Forwarder:
    """Takes pending webhooks out of ``journal`` and signals them to their workflows.

    Nothing is marked before the server has it; what happens twice (a crash in between) is the same
    event with the same key, which the workflow counts once.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        registry: Registry,
        sink: SignalSink,
        sources: Mapping[str, Source],
        now: Callable[[], datetime],
        pace: Pace | None = None,
    ) -> None:
        self._journal = journal
        self._registry = registry
        self._sink = sink
        self._sources = sources
        self._now = now
        self._pace = pace or Pace()
        self._wake = asyncio.Event()
        self._tasks: dict[EnvelopeName, asyncio.Task[None]] = {}
        self._held: dict[EnvelopeName, _Hold] = {}
        self._failing: set[EnvelopeName] = set()
        self._failures = 0
        self._looked_at = 0.0
        self._resume_at = 0.0
        self._stopping = False

    @property
    def reaching(self) -> bool:
        """Whether nothing failed since the server last took a signal."""
        return self._failures == 0 and not self._failing

    def wake(self) -> None:
        """Say that there is something new in the journal."""
        self._wake.set()

    async def run(self) -> None:
        """Forward until ``stop``, then give what is in flight ``STOP_GRACE_S`` seconds to end."""
        while not self._stopping:
            self._wake.clear()
            try:
                await self._start_due()
                wait_s = await self._next_s()
            except StoreError as error:
                self._failed(str(error))
                wait_s = self._until_resume_s()
            await self._wait(wait_s)
        if self._tasks:
            _, hanging = await asyncio.wait(self._tasks.values(), timeout=STOP_GRACE_S)
            # What is cut off here is not marked, so it is sent again after the next start.
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    def stop(self) -> None:
        """End ``run`` soon. What is not delivered then stays in the journal."""
        self._stopping = True
        self._wake.set()

    async def forward(self, envelope: EnvelopeName) -> None:
        """Bring all undelivered webhooks of one envelope on their way, in order.

        Raises ``SinkUnavailable`` and ``StoreError``: then the rest stays as it is.
        """
        after = 0
        while rows := await self._journal.undelivered(envelope, after, self._pace.batch_events):
            after = rows[-1].id
            items: list[_Item] = []
            unknown: list[JournalRow] = []
            for row in rows:
                try:
                    item = await self._item(row)
                except Undeliverable as error:
                    await self._journal.mark([row.id], "quarantined", str(error))
                    continue
                if item is None:
                    unknown.append(row)
                else:
                    items.append(item)
            await self._park(unknown)
            for group in self._groups(items):
                await self._deliver(group)

    async def _start_due(self) -> None:
        self._looked_at = asyncio.get_running_loop().time()
        if self._resume_at > self._looked_at or len(self._tasks) >= self._allowed():
            return
        due = await self._journal.due(self._now(), 2 * self._pace.envelopes_at_once)
        for envelope in due:
            # Looked at anew: a signal may have failed while the journal was read.
            if self._until_resume_s() > 0 or len(self._tasks) >= self._allowed():
                return
            hold = self._held.get(envelope)
            if envelope in self._tasks or (hold and hold.until > self._looked_at):
                continue
            self._tasks[envelope] = asyncio.create_task(self._forward(envelope))

    def _allowed(self) -> int:
        """While the server is away one envelope at a time finds out for all."""
        return self._pace.envelopes_at_once if self._failures == 0 else 1

    async def _forward(self, envelope: EnvelopeName) -> None:
        try:
            await self.forward(envelope)
        except SinkUnavailable as error:
            self._failed(str(error), envelope)
        except StoreError as error:
            self._failed(str(error))
        except Exception as error:
            log.exception("an envelope's webhooks cannot be forwarded")
            await self._set_aside(envelope, type(error).__name__)
        else:
            # Nothing more: what needed no signal (parked, quarantined) says nothing of the server.
            self._held.pop(envelope, None)
        finally:
            del self._tasks[envelope]
            self._wake.set()

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
        self._failing.clear()
        self._failures = 0

    def _until_resume_s(self) -> float:
        return self._resume_at - asyncio.get_running_loop().time()

    async def _next_s(self) -> float | None:
        """How long nothing needs to be looked at, unless something is said to be new."""
        if (until_s := self._until_resume_s()) > 0:
            return until_s
        now = asyncio.get_running_loop().time()
        waits = [h.until - now for h in self._held.values() if h.until > self._looked_at]
        if not self._tasks and (due := await self._journal.next_due()) is not None:
            waits.append((due - self._now()).total_seconds())
        # What came due just now, or is due and held back, must not make this a busy loop.
        return max(LOOK_AGAIN_S, min(waits)) if waits else None

    async def _wait(self, wait_s: float | None) -> None:
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

    async def _item(self, row: JournalRow) -> _Item | None:
        """Where the row goes; None where nobody knows. Raises ``Undeliverable``."""
        webhook = row.webhook
        source = self._sources.get(webhook.account)
        if source is None:
            return None
        addressed = await self._registry.by_token(webhook.token) if webhook.token else None
        if addressed is not None and addressed.account != webhook.account:
            addressed = None
        bound = await self._registry.by_envelope(webhook.account, webhook.provider_envelope_id)
        target = bound or addressed
        if target is None:
            return None
        try:
            event = replace(
                source.reader.read_webhook(webhook.body),
                received_at=webhook.received_at,
                journal_ref=str(row.id),
            )
            size_bytes = len(_EVENT.dump_json(event))
        except Exception as error:
            raise Undeliverable(f"unreadable: {type(error).__name__}") from error
        if size_bytes > MESSAGE_BYTES_MAX:
            raise Undeliverable(f"its facts have {size_bytes} bytes, too many for a signal")
        rerouted = addressed is not None and addressed.workflow_id != target.workflow_id
        return _Item(row, event, target.workflow_id, rerouted, size_bytes)

    def _groups(self, items: Iterable[_Item]) -> list[list[_Item]]:
        """Neighbours of one workflow, as many as fit into one signal."""
        groups: list[list[_Item]] = []
        size_bytes = 0
        for item in items:
            size_bytes += item.size_bytes
            if (
                not groups
                or groups[-1][0].workflow_id != item.workflow_id
                or size_bytes > self._pace.batch_bytes
            ):
                groups.append([])
                size_bytes = item.size_bytes
            groups[-1].append(item)
        return groups

    async def _deliver(self, group: Sequence[_Item]) -> None:
        batch = EventBatch(events=tuple(item.event for item in group))
        ids = [item.row.id for item in group]
        try:
            await self._sink.signal(group[0].workflow_id, batch)
        except WorkflowGone:
            self._answered()
            await self._journal.mark(ids, "late", "its workflow is closed")
        except Undeliverable as error:
            self._answered()
            await self._journal.mark(ids, "quarantined", str(error))
        else:
            self._answered()
            rerouted = [item.row.id for item in group if item.rerouted]
            if rerouted:
                await self._journal.mark(rerouted, "delivered", REROUTED)
            await self._journal.mark([i for i in ids if i not in rerouted], "delivered")

    async def _park(self, rows: Sequence[JournalRow], why: str = "nobody knows it yet") -> None:
        now = self._now()
        for row in rows:
            if row.webhook.state == "parked" and (row.retry_at is None or row.retry_at > now):
                continue
            if (now - row.webhook.received_at).total_seconds() >= self._pace.park_s:
                await self._journal.mark([row.id], "parked", f"given up: {why}")
                continue
            tries = row.attempts + 1
            delay_s = _backoff_s(self._pace.park_first_s, self._pace.park_max_s, tries)
            await self._journal.park([row.id], now + timedelta(seconds=delay_s), why)

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
