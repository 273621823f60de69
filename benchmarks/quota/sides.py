"""One side of the benchmark: worker processes at one account, and what came of it."""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.quota.provider import BURST_CALLS, Account, Counted, Moment
from benchmarks.quota.worker import Task
from demo.stack import Program, Stack

WARM_UP_WINDOWS = 1.5
EXACT_S = 0.001
"""So much less than a whole number of windows is measured."""

CALLERS = 20
"""Bulk calls that one worker has waiting or under way at once; the first worker has thrice."""

PEOPLE = 45
"""How many people come in a window to all workers together, on average."""

RESERVE = 0.02


@dataclass(frozen=True)
class Side:
    """A way to decide when to call, see ``worker.Task``; ``reserve`` is the ledger's.

    ``skews_s``: how wrong the workers' clocks are, one after the other and from the first again.
    """

    name: str
    way: str
    reserve: float = 0.0
    postgres: bool = False
    redis: bool = False
    away_calls: int = 0
    skews_s: tuple[float, ...] = (0.0,)


OURS = (
    Side("reserve", "ledger", RESERVE),
    Side("no_reserve", "ledger"),
    Side("postgres", "ledger", RESERVE, postgres=True),
)
BASELINES = (
    Side("paced_split", "paced_split"),
    Side("redis_gcra", "redis_gcra", redis=True),
    Side("redis_sliding_log", "redis_sliding_log", redis=True),
    Side("backoff", "backoff"),
)
BESIDE = (Side("paced_split_people_first", "people_first"),)


@dataclass
class Measured:
    """What one side came to. ``people_ms``: from wanting to the answer, in the steady interval."""

    counted: Counted
    counted_ever: Counted
    people_ms: list[float]
    unanswered: int
    calls: int
    round_trips: int
    breaches: int
    failures: int
    cpu_s: float

    def as_json(self) -> dict[str, Any]:
        """The issue's figures, and some more to judge them by."""
        people = sorted(self.people_ms)
        per_call = self.round_trips / self.calls if self.calls else 0.0
        return {
            "refusals": self.counted.refused,
            "utilisation": round(self.counted.utilisation, 4),
            "interactive_ms": {"p50": rank(people, 0.5), "p99": rank(people, 0.99)},
            "round_trips_per_call": round(per_call, 3),
            "accepted": self.counted.accepted,
            "refusals_ever": self.counted_ever.refused,
            "interactive_calls": len(people),
            "interactive_unanswered": self.unanswered,
            "breaches": self.breaches,
            "failures": self.failures,
            "worker_cpu_s": round(self.cpu_s, 2),
        }


def rank(ordered: Sequence[float], part: float) -> float:
    """The nearest-rank percentile, 0 of nothing."""
    if not ordered:
        return 0.0
    return round(ordered[max(0, math.ceil(part * len(ordered)) - 1)], 2)


Happening = Callable[["Field"], Awaitable[None]]


@dataclass
class Field:
    """A side in motion: its account, its processes, and the interval that is measured."""

    stack: Stack
    account: Account
    side: Side
    folder: Path
    tasks: dict[str, Task] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    start: Moment | None = None
    end: Moment | None = None

    async def begin(self, workers: int, seed: int, store: str) -> None:
        """Start the workers, each ready before the next; they work at once."""
        for number in range(workers):
            name = f"{self.side.name}-{number}"
            self.tasks[name] = Task(
                account=self.account.account_id,
                base=self.account.base,
                token=self.account.token,
                envelopes=self.account.envelopes,
                way=self.side.way,
                store=store,
                reserve=self.side.reserve,
                burst_calls=BURST_CALLS,
                burst_s=self.account.burst_s,
                workers=workers,
                callers=CALLERS * (3 if number == 0 else 1),
                people_per_s=PEOPLE / self.account.burst_s / workers,
                away_calls=self.side.away_calls,
                skew_s=self.side.skews_s[number % len(self.side.skews_s)],
                seed=f"{seed} {number}",
                result=str(self.folder / f"{name}.json"),
            )
        programs = [_program(name, task) for name, task in self.tasks.items()]
        for running in await asyncio.gather(*map(self.stack.start, programs)):
            self.pids[running.name] = running.pid

    async def measure(self, steady_s: float, happening: Happening | None) -> Measured:
        """Warm up, let the interval pass with what shall happen in it, stop the workers."""
        await asyncio.sleep(WARM_UP_WINDOWS * self.account.burst_s)
        start = self.start = await self.account.moment()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(steady_s))
            if happening is not None:
                group.create_task(_awaited(happening(self)))
        # Exact: a window that is a little longer than a multiple has room for one more round.
        length_s = steady_s - EXACT_S
        end = Moment(start.provider_s + length_s, start.machine_s + length_s)
        self.end = end
        await asyncio.gather(*(self.stack.stop(name) for name in self.tasks if name in self.stack))
        counted = await self.account.counted(start.provider_s, end.provider_s)
        ever = await self.account.counted(None, None)
        return measured(counted, ever, self._results(), (start.machine_s, end.machine_s))

    def _results(self) -> list[dict[str, Any]]:
        files = [Path(task.result) for task in self.tasks.values()]
        return [json.loads(file.read_text()) for file in files if file.exists()]


async def _awaited(what: Awaitable[None]) -> None:
    await what


def measured(
    counted: Counted,
    ever: Counted,
    results: Sequence[Mapping[str, Any]],
    interval: tuple[float, float],
) -> Measured:
    """What the workers saw, beside what the provider counted.

    People who wanted something within the interval count, also those who have no answer yet, with
    the time until the end.
    """
    start_s, end_s = interval
    people = [p for r in results for p in r["people"] if start_s <= p[0] < end_s]
    return Measured(
        counted=counted,
        counted_ever=ever,
        people_ms=[1_000 * waited_s for _, waited_s, _ in people],
        unanswered=sum(not answered for *_, answered in people),
        calls=sum(r["calls"] for r in results),
        round_trips=sum(r["round_trips"] for r in results),
        breaches=sum(r["ledger"].get("breaches", 0) for r in results),
        failures=sum(sum(r["failures"].values()) for r in results),
        cpu_s=sum(r["cpu_s"] for r in results),
    )


def _program(name: str, task: Task) -> Program:
    command = (sys.executable, "-m", "benchmarks.quota.worker", json.dumps(asdict(task)))
    return Program(name=name, argv=command)
