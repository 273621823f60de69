"""The long run's parts: what may happen to workers and their store, and what the provider counted.

Another program on the account, clocks that differ by 20 s, a worker that is stopped for longer than
its permits live, a store that is restarted, a worker that is killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.quota.postgres import Database
from benchmarks.quota.provider import BURST_CALLS, Account, Moment
from benchmarks.quota.sides import RESERVE, Field, Side
from benchmarks.quota.worker import Task, limits, open_store
from sealwax.quota_reports import QuotaView

TENANT: Mapping[str, Any] = {"share": [0.0, 0.6]}
SKEWS_S = (10.0, -10.0, 3.0, 0.0)
SLICE_S = 0.5
AWAY_S = 2.0

STOPS_MAX = 5
"""A worker is stopped until a call of its was under way, which nobody can see from outside."""

LIVES_STOPPED = 3
REPORTED = "the quota may have been exceeded"
"""What a worker's log says of a breach."""


@dataclass(frozen=True)
class Part:
    """One part: a side under one harm."""

    side: Side
    harm: str


PARTS = (
    Part(Side("tenant", "ledger", RESERVE), "tenant"),
    Part(Side("skew", "ledger", RESERVE, skews_s=SKEWS_S), "skew"),
    Part(Side("stop", "ledger", RESERVE), "stop"),
    Part(Side("restart", "ledger", RESERVE, postgres=True, away_calls=1), "restart"),
    Part(Side("kill", "ledger", RESERVE), "kill"),
)
HARMS = tuple(part.harm for part in PARTS)


class Harm:
    """What happens a third into the interval, and what came of it."""

    def __init__(self, harm: str, steady_s: float, database: Database | None) -> None:
        self._steady_s, self._database = steady_s, database
        self._began: Moment | None = None
        self._over: Moment | None = None
        self._stops = 0
        self._happen = _HAPPENS.get(harm)
        self._tell = _TOLD[harm]

    async def happen(self, field: Field) -> None:
        """Let it happen; a tenant and wrong clocks are there from the beginning."""
        if self._happen is None:
            return
        await asyncio.sleep(self._steady_s / 3)
        self._began = await field.account.moment()
        await self._happen(self, field)
        self._over = await field.account.moment()

    async def told(self, field: Field) -> dict[str, Any]:
        """What came of it, by the provider's count and the ledger's."""
        return await self._tell(self, field)

    async def kill(self, field: Field) -> None:
        """End the busiest worker at once."""
        await field.stack.stop(_busiest(field), within_s=0)

    async def stop(self, field: Field) -> None:
        """Stop the busiest worker for some of its permits' lives, until the ledger tells of it."""
        task = field.tasks[_busiest(field)]
        pid, life_s = field.pids[_busiest(field)], limits(task).life_s
        while self._stops < STOPS_MAX and not (await looked(task)).counters.breaches:
            self._stops += 1
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(LIVES_STOPPED * life_s)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(life_s)

    async def restart(self, _: Field) -> None:
        """Take the database away for a while, as a crash does."""
        if self._database is None:
            raise RuntimeError("this part needs a database")
        server = self._database.server
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(server.start)

    async def told_of_tenant(self, field: Field) -> dict[str, Any]:
        """How many calls were refused for the other program's sake."""
        counted = await field.account.counted(None, None)
        calls = counted.accepted + counted.refused
        return {"tenant_calls": counted.tenant, "refused_part": round(counted.refused / calls, 5)}

    async def told_of_skew(self, field: Field) -> dict[str, Any]:
        """How far the clocks were apart."""
        skews_s = [task.skew_s for task in field.tasks.values()]
        return {"skews_s": skews_s}

    async def told_of_stop(self, field: Field) -> dict[str, Any]:
        """Whether the breach was found, and said where an operator looks."""
        name = _busiest(field)
        view = await looked(field.tasks[name])
        log = (field.stack.folder / f"{name}.log").read_text("utf-8", errors="replace")
        return {
            "stops": self._stops,
            "breaches_in_ledger": view.counters.breaches,
            "breach_in_log": REPORTED in log,
        }

    async def told_of_restart(self, field: Field) -> dict[str, Any]:
        """For how long it was away, and until when calls flowed again."""
        began, over, end_s = self._times(field)
        recovery = await recovery_s(field.account, over.provider_s, end_s)
        return {"away_s": round(over.provider_s - began.provider_s, 2), "recovery_s": recovery}

    async def told_of_kill(self, field: Field) -> dict[str, Any]:
        """What the dead held, and how much of the budget was used from one window later on."""
        began, _, end_s = self._times(field)
        later_s = began.provider_s + field.account.burst_s
        after = await field.account.counted(later_s, end_s)
        view = await looked(next(iter(field.tasks.values())))
        return {
            "utilisation_one_window_later": round(after.utilisation, 4),
            "permits_of_the_dead": view.counters.expired,
            "most_in_a_window": after.peak,
        }

    def _times(self, field: Field) -> tuple[Moment, Moment, float]:
        if self._began is None or self._over is None or field.end is None:
            raise RuntimeError("the harm has not happened")
        return self._began, self._over, field.end.provider_s


_HAPPENS: Mapping[str, Callable[[Harm, Field], Awaitable[None]]] = {
    "stop": Harm.stop,
    "restart": Harm.restart,
    "kill": Harm.kill,
}
_TOLD: Mapping[str, Callable[[Harm, Field], Awaitable[dict[str, Any]]]] = {
    "tenant": Harm.told_of_tenant,
    "skew": Harm.told_of_skew,
    "stop": Harm.told_of_stop,
    "restart": Harm.told_of_restart,
    "kill": Harm.told_of_kill,
}


def _busiest(field: Field) -> str:
    """The worker with the most callers."""
    return max(field.tasks, key=lambda name: field.tasks[name].callers)


async def looked(task: Task) -> QuotaView:
    """The ledger of this task's account, as it stands."""
    store = await open_store(task.store)
    try:
        return await store.look(task.account, limits(task))
    finally:
        await store.close()


async def recovery_s(account: Account, since_s: float, end_s: float) -> float | None:
    """Until half of the account's even rate is reached again, in a slice; None: never."""
    enough = BURST_CALLS / account.burst_s * SLICE_S / 2
    at_s = since_s
    while at_s + SLICE_S <= end_s:
        if (await account.counted(at_s, at_s + SLICE_S)).accepted >= enough:
            return round(at_s - since_s, 2)
        at_s += SLICE_S
    return None
