"""The three parts of a run: the surge, the surge with Temporal away, the surge with SIGKILLs."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

import httpx

from benchmarks.ingest.load import Sent
from benchmarks.ingest.samples import latencies_ms
from benchmarks.ingest.sampling import Memory, cpu_by_program
from benchmarks.ingest.sender import prepared
from benchmarks.ingest.world import World, undelivered
from demo import stage, temporal_dev

SURGE = "surge"
BASE_PER_S, SURGE_PER_S = 40.0, 2_000.0
DRAIN_WITHIN_S = 300.0
PATIENCE_S, PATIENCE_REPEATING_S = 10.0, 60.0
KILLS = 3
LOOK_S = 0.25
CALM_S = 5.0
"""For longer than an envelope rests after a surge."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds of each part's stretches."""

    base_s: float = 5.0
    surge_s: float = 20.0
    away_surge_s: float = 8.0
    kill_surge_s: float = 6.0


@dataclass(frozen=True, slots=True)
class Happened:
    """What was done to the programs; ``back_at`` on the monotonic clock, 0 where nothing was."""

    kills: int = 0
    away_s: float = 0.0
    back_at: float = 0.0


@dataclass(frozen=True)
class Part:
    """One part: its sender's list, and what was seen of the bridge meanwhile.

    ``surge_from_s``: when the surge began, from ``sent.began`` on. ``drain_s``: from the end of
    the sending (with Temporal away: from when it answered again) until nothing was undelivered.
    ``backlog``: the most that was seen undelivered at once. ``memory``: the stretch at the usual
    rate, then the surge. ``cpu_s``: processor time by program, until all was drained; of one that
    was started anew meanwhile, since then.
    """

    name: str
    sent: Sent
    surge_from_s: float
    drain_s: float
    backlog: int
    load_average: float
    memory: Memory
    happened: Happened
    cpu_s: dict[str, float]

    @property
    def surge_ms(self) -> list[float]:
        """Latencies of the surge."""
        return latencies_ms(self.sent, self.surge_from_s)

    @property
    def acked(self) -> int:
        """How many events were acknowledged."""
        return sum(at is not None for at in self.sent.acked)

    @property
    def rate_peak(self) -> float:
        """The most acknowledgements in one second."""
        seconds = Counter(int(at) for at in self.sent.acked if at is not None)
        return float(max(seconds.values(), default=0))


class Parts:
    """Runs parts in one world, each with numbers of its own."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self.next = 0

    async def surge(self, lengths: Lengths) -> Part:
        """The usual rate, then fifty times as much."""
        phases = ((BASE_PER_S, lengths.base_s), (SURGE_PER_S, lengths.surge_s))
        return await self._part(SURGE, phases, _nothing)

    async def away(self, lengths: Lengths) -> Part:
        """Temporal is killed half-way through the surge and started again at three quarters."""
        phases = ((BASE_PER_S, 1.0), (SURGE_PER_S, lengths.away_surge_s))
        stack = self._world.stack

        async def happen() -> Happened:
            await asyncio.sleep(1.0 + lengths.away_surge_s / 2)
            await stack.kill(temporal_dev.NAME)
            gone = time.monotonic()
            await asyncio.sleep(lengths.away_surge_s / 4)
            await stack.restart(temporal_dev.NAME)
            back = time.monotonic()
            return Happened(away_s=back - gone, back_at=back)

        return await self._part("temporal away", phases, happen)

    async def killed(self, lengths: Lengths) -> Part:
        """The bridge is killed at random moments; what it did not acknowledge comes again."""
        phases = ((BASE_PER_S, 1.0), (SURGE_PER_S, lengths.kill_surge_s))
        dice = Random(f"{self._seed} kills")
        share = lengths.kill_surge_s / KILLS
        moments = [1.0 + share * (n + dice.uniform(0.1, 0.6)) for n in range(KILLS)]

        async def happen() -> Happened:
            began = time.monotonic()
            for moment in moments:
                await asyncio.sleep(max(0.0, began + moment - time.monotonic()))
                await self._world.stack.kill(stage.BRIDGE)
                await self._world.stack.restart(stage.BRIDGE)
            return Happened(kills=len(moments))

        return await self._part("bridge killed", phases, happen, repeat=True)

    async def _part(
        self,
        name: str,
        phases: tuple[tuple[float, float], ...],
        happen: Callable[[], Coroutine[None, None, Happened]],
        repeat: bool = False,
    ) -> Part:
        world = self._world
        job = world.job(
            seed=self._seed,
            first=self.next,
            phases=phases,
            repeat=repeat,
            patience_s=PATIENCE_REPEATING_S if repeat else PATIENCE_S,
        )
        async with prepared(job, world.folder / "load") as sending:
            before = cpu_by_program(os.getpid())
            backlog = Backlog(world)
            async with Memory(world.bridge_pid) as memory, _together() as group:
                watching = group.create_task(backlog.watch())
                happening = group.create_task(happen())
                task = group.create_task(sending.send())
                await asyncio.sleep(phases[0][1])
                memory.mark()
                sent, ended_at = await task, time.monotonic()
                load, happened = os.getloadavg()[0], await happening
                watching.cancel()
            await world.drained(DRAIN_WITHIN_S)
            drain_s = time.monotonic() - (happened.back_at or ended_at)
            used = cpu_by_program(os.getpid())
        await asyncio.sleep(min(CALM_S, phases[-1][1] / 4))
        self.next += len(sent.due)
        return Part(
            name=name,
            sent=sent,
            surge_from_s=phases[0][1],
            drain_s=drain_s,
            backlog=backlog.most,
            load_average=load,
            memory=memory,
            happened=happened,
            cpu_s={name: spent - before.get(name, 0.0) for name, spent in used.items()},
        )


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first failure is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures


class Backlog:
    """The most that was seen undelivered at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.most = 0

    async def watch(self) -> None:
        """Look until cancelled; a bridge that does not answer is asked again."""
        while True:
            with suppress(httpx.HTTPError):
                self.most = max(self.most, undelivered(await self._world.counts()))
            await asyncio.sleep(LOOK_S)


async def _nothing() -> Happened:
    return Happened()
