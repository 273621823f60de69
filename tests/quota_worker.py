"""One worker process with endless bulk work: asks the keeper, and notes when each call arrives.

Arrivals go to a file, one line each, in microseconds of the clock that the machine's processes
share. What the worker itself saw is printed at its end, which comes with the end of its input.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from random import Random

from sealwax.permit_desk import local_us
from sealwax.permits import Permits, QuotaWait
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import Seen
from sealwax.stores import quota_postgres, quota_sqlite
from sealwax.stores.quota_base import QuotaStore

LIMITS = Limits(
    burst_calls=100,
    burst_window_s=1.0,
    hour_calls=1_000_000,
    hour_s=3_600.0,
    transit_s=0.1,
    life_s=0.5,
    ahead_s=0.02,
    interactive_reserve=0.0,
    urgent_per_hour=0,
    away_calls=1,
    away_calls_per_hour=100,
    workers_max=4,
)
CALLERS = 12


async def open_store(where: str) -> QuotaStore:
    """A PostgreSQL address or an SQLite file."""
    if where.startswith("postgresql://"):
        return await quota_postgres.open_quota(where)
    return quota_sqlite.open_quota(Path(where))


async def main(where: str, account: str, arrivals: str, skew_s: float, answer_s: float) -> None:
    store = await open_store(where)
    keeper = Permits(
        store,
        lambda _: LIMITS,
        read_answer=lambda *_: Seen(),
        now_us=lambda: local_us() + round(skew_s * 1_000_000),
    )
    random = Random(os.getpid())
    file = os.open(arrivals, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def caller() -> None:
        while True:
            try:
                async with keeper.permit(account, None, Klass.BULK, "Envelopes_Get") as permit:
                    await asyncio.sleep(random.uniform(0, 0.01))
                    os.write(file, f"{time.monotonic_ns() // 1000}\n".encode())
                    await asyncio.sleep(answer_s)
                    permit.completed({})
            except QuotaWait as wait:
                await asyncio.sleep(wait.after_s)

    callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
    await asyncio.to_thread(sys.stdin.read)
    figures = dataclasses.asdict(keeper.figures(account))
    for task in callers:
        task.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await keeper.close()
    print(json.dumps({**figures, "round_trips": store.round_trips}), flush=True)
    await store.close()


if __name__ == "__main__":
    where, account, arrivals, skew_s, answer_s = sys.argv[1:6]
    asyncio.run(main(where, account, arrivals, float(skew_s), float(answer_s)))
