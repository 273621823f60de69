"""One worker process: endless bulk work, and people who come at random times.

``python -m benchmarks.quota.worker TASK --announce FILE``: TASK is the JSON of a ``Task``. It works
until SIGTERM and then writes what it saw to the task's file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import httpx

from benchmarks.quota.ways import (
    Answer,
    Backoff,
    ByLedger,
    Call,
    Paced,
    PeopleFirst,
    Way,
    share_gap_s,
)
from sealwax.permit_desk import local_us
from sealwax.permits import Permits
from sealwax.providers.docusign_limits import seen
from sealwax.quota_limits import Klass, Limits
from sealwax.stores import quota_postgres, quota_sqlite
from sealwax.stores.quota_base import QuotaStore

ANSWER_MAX_S = 10.0
SPLIT_JITTER = 0.02
"""The static share allows for answers that differ by this part of a window: 60 ms of 3 s."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What one worker does.

    ``account`` is its id, ``base`` its address in the API. ``way``: ``ledger``, ``paced_split``,
    ``people_first``, ``backoff``, ``redis_gcra`` or ``redis_sliding_log``. ``store``: a PostgreSQL
    address or an SQLite file for the ledger, or Redis' address. ``burst_calls`` in ``burst_s``
    seconds are the account's, shared by ``workers``. ``people_per_s`` come to this worker.
    ``away_calls``: see ``Limits``. ``skew_s``: how wrong this worker's clock is.
    """

    account: str
    base: str
    token: str
    envelopes: Sequence[str]
    way: str
    store: str
    reserve: float
    burst_calls: int
    burst_s: float
    workers: int
    callers: int
    people_per_s: float
    away_calls: int
    skew_s: float
    seed: str
    result: str


def limits(task: Task) -> Limits:
    """The product's defaults, scaled with the provider's windows; no hour that matters."""
    real = Limits()
    budget = replace(
        real,
        burst_calls=task.burst_calls,
        hour_calls=1_000_000,
        urgent_per_hour=0,
        interactive_reserve=task.reserve,
        workers_max=task.workers,
        away_calls=task.away_calls,
    )
    return budget.scaled(real.burst_window_s / task.burst_s)


async def open_store(where: str) -> QuotaStore:
    """A PostgreSQL address or an SQLite file."""
    if where.startswith("postgresql://"):
        return await quota_postgres.open_quota(where)
    return quota_sqlite.open_quota(Path(where))


async def way(task: Task, store: QuotaStore | None) -> Way:
    """How this worker decides when to call."""
    if store is not None:
        budget, skew = limits(task), round(task.skew_s * 1_000_000)
        keeper = Permits(
            store, lambda _: budget, read_answer=seen, now_us=lambda: local_us() + skew
        )
        return ByLedger(keeper, task.account)
    backoff = Backoff(task.burst_s, Random(task.seed + " backoff"))
    if task.way == "backoff":
        return backoff
    if task.way.startswith("redis"):
        # Only here: the libraries are installed for these sides alone.
        from benchmarks.quota.redis_ways import Gcra, sliding_log

        budget_of = (task.store, task.account, task.burst_calls, task.burst_s)
        if task.way == "redis_gcra":
            return Gcra(*budget_of, SPLIT_JITTER, backoff)
        return await sliding_log(*budget_of, SPLIT_JITTER, backoff)
    gap_s = share_gap_s(task.burst_calls, task.burst_s, task.workers, SPLIT_JITTER)
    return (PeopleFirst if task.way == "people_first" else Paced)(gap_s, backoff)


class Work:
    """Bulk callers and people of one process, and what came of them."""

    def __init__(self, task: Task, client: httpx.AsyncClient, made: Way) -> None:
        self._task, self._client, self._way = task, client, made
        self._random = Random(task.seed)
        self._next = count(self._random.randrange(len(task.envelopes)))
        self._waiting: dict[int, float] = {}
        self.calls = 0
        self.refused = 0
        self.failures: dict[str, int] = {}
        self.people: list[tuple[float, float, bool]] = []

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._task.callers):
                group.create_task(self._bulk())
            group.create_task(self._come(group))

    async def _bulk(self) -> None:
        while True:
            await self._make(Klass.BULK)

    async def _come(self, group: asyncio.TaskGroup) -> None:
        """People come whether or not others still wait."""
        due_s = time.monotonic()
        for number in count():
            due_s += self._random.expovariate(self._task.people_per_s)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            group.create_task(self._person(number, due_s))

    async def _person(self, number: int, wanted_s: float) -> None:
        self._waiting[number] = wanted_s
        await self._make(Klass.INTERACTIVE)
        self.people.append((wanted_s, time.monotonic() - wanted_s, True))
        del self._waiting[number]

    def waiting(self) -> list[tuple[float, float, bool]]:
        """Who has no answer yet, with the time waited so far."""
        now_s = time.monotonic()
        return [(wanted_s, now_s - wanted_s, False) for wanted_s in self._waiting.values()]

    async def _make(self, klass: Klass) -> None:
        envelope_id = self._task.envelopes[next(self._next) % len(self._task.envelopes)]
        while True:
            try:
                await self._way.make(Call(klass, envelope_id, lambda: self._send(envelope_id)))
                return
            except httpx.HTTPError as error:
                # The provider was too busy to answer; the same for all ways.
                name = type(error).__name__
                self.failures[name] = self.failures.get(name, 0) + 1

    async def _send(self, envelope_id: str) -> Answer:
        answer = await self._client.get(f"{self._task.base}/envelopes/{envelope_id}")
        self.calls += 1
        if answer.is_success:
            return Answer(answer.headers, None)
        code = str(answer.json().get("errorCode", ""))
        if "LIMIT_EXCEEDED" not in code.upper():
            raise RuntimeError(f"the provider answered {answer.status_code} {code}")
        self.refused += 1
        return Answer(answer.headers, code)


async def main(task: Task, announce: Path) -> None:
    """Work until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = await open_store(task.store) if task.way == "ledger" else None
    made = await way(task, store)
    many = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    headers = {"Authorization": f"Bearer {task.token}"}
    async with httpx.AsyncClient(
        headers=headers, timeout=ANSWER_MAX_S, limits=many, trust_env=False
    ) as client:
        work = Work(task, client, made)
        announce.write_text(json.dumps({"url": None, "pid": os.getpid()}))
        working = asyncio.create_task(work.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        people = work.people + work.waiting()
        result = _result(work, people, made, store)
        working.cancel()
        stopping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await made.close()
    if store is not None:
        await store.close()
    Path(task.result).write_text(json.dumps(result))


def _result(
    work: Work,
    people: Sequence[tuple[float, float, bool]],
    made: Way,
    store: QuotaStore | None,
) -> Mapping[str, Any]:
    ledger = asdict(made.figures()) if isinstance(made, ByLedger) else {}
    return {
        "calls": work.calls,
        "refused": work.refused,
        "failures": work.failures,
        "people": people,
        "round_trips": store.round_trips if store else getattr(made, "round_trips", 0),
        "ledger": ledger,
        "cpu_s": time.process_time(),
    }


if __name__ == "__main__":
    text, option, announced = sys.argv[1:]
    if option != "--announce":
        sys.exit("usage: python -m benchmarks.quota.worker TASK --announce FILE")
    asyncio.run(main(Task(**json.loads(text)), Path(announced)))
