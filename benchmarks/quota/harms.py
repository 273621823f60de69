"""The long run's parts: another program on the account, a worker killed, the store restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.quota.postgres import Database
from benchmarks.quota.provider import BURST_CALLS, Account, Moment
from benchmarks.quota.sides import RESERVE, Field, Side

TENANT: Mapping[str, Any] = {"share": [0.0, 0.6]}
SLICE_S = 0.5
AWAY_S = 2.0


@dataclass(frozen=True)
class Part:
    """One part: a side under one harm."""

    side: Side
    harm: str


PARTS = (
    Part(Side("tenant", "ledger", RESERVE), "tenant"),
    Part(Side("kill", "ledger", RESERVE), "kill"),
    Part(Side("restart", "ledger", RESERVE, postgres=True, away_calls=1), "restart"),
)


class Harm:
    """What happens a third into the interval, and what the provider counted from then on."""

    def __init__(self, harm: str, steady_s: float, database: Database | None) -> None:
        self._harm, self._steady_s, self._database = harm, steady_s, database
        self._began: Moment | None = None
        self._over: Moment | None = None

    async def happen(self, field: Field) -> None:
        """Kill the busiest worker, or take the database away for a while."""
        if self._harm == "tenant":
            return
        await asyncio.sleep(self._steady_s / 3)
        self._began = await field.account.moment()
        if self._harm == "kill":
            await field.stack.stop(next(iter(field.tasks)), within_s=0)
        elif self._database is not None:
            server = self._database.server
            await asyncio.to_thread(server.stop, "immediate")
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(server.start)
        self._over = await field.account.moment()

    async def told(self, field: Field) -> dict[str, Any]:
        """What came of it, by the provider's count."""
        counted = await field.account.counted(None, None)
        if self._harm == "tenant":
            calls = counted.accepted + counted.refused
            return {
                "tenant_calls": counted.tenant,
                "refused_part": round(counted.refused / calls, 5),
            }
        if self._began is None or self._over is None or field.end is None:
            raise RuntimeError("the harm has not happened")
        end_s = field.end.provider_s
        if self._harm == "kill":
            after = await field.account.counted(
                self._over.provider_s + field.account.burst_s, end_s
            )
            return {"utilisation_one_window_later": round(after.utilisation, 4)}
        return {
            "away_s": round(self._over.provider_s - self._began.provider_s, 2),
            "recovery_s": await recovery_s(field.account, self._over.provider_s, end_s),
        }


async def recovery_s(account: Account, since_s: float, end_s: float) -> float | None:
    """Until half of the account's even rate is reached again, in a slice; None: never."""
    enough = BURST_CALLS / account.burst_s * SLICE_S / 2
    at_s = since_s
    while at_s + SLICE_S <= end_s:
        if (await account.counted(at_s, at_s + SLICE_S)).accepted >= enough:
            return round(at_s - since_s, 2)
        at_s += SLICE_S
    return None
