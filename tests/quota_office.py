"""Workers with their keepers in virtual time, at a provider that counts strictly: endless batches,
and people who come at random times.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from random import Random

from sealwax.permits import Permits, QuotaWait
from sealwax.providers.docusign_limits import seen
from sealwax.quota_limits import Klass, Limits
from sealwax.stores.quota_base import QuotaStore
from tests.quota_world import US, MemoryStore, StrictProvider, virtual_now_us

SKEWS_S = (-10.0, 10.0, 3.0, 0.0)
NO_AWAY = replace(Limits(), away_calls=0, away_calls_per_hour=0)
BURST_AT_REAL_PACE = replace(NO_AWAY, hour_calls=1_000_000, urgent_per_hour=0)
"""500 in 30 s, and no hour that matters."""

BURST_ALONE = BURST_AT_REAL_PACE.scaled(10)
"""The same in 3 s, as benchmarks have it."""


@dataclass
class Office:
    """Workers with their keepers, on one store and one account."""

    limits: Limits
    provider: StrictProvider
    store: MemoryStore = field(default_factory=MemoryStore)
    waits_s: list[float] = field(default_factory=list)
    done: int = 0
    refused: int = 0

    def keeper(self, skew_s: float = 0.0, store: QuotaStore | None = None) -> Permits:
        return Permits(
            store or self.store,
            lambda _: self.limits,
            read_answer=seen,
            now_us=lambda: virtual_now_us() + 60 * US + round(skew_s * US),
        )

    async def bulk(self, keeper: Permits) -> None:
        """Endless batches."""
        while True:
            try:
                async with keeper.permit("acme", None, Klass.BULK, "Envelopes_GetEnvelope") as p:
                    headers, refused = await self.provider.call()
                    p.completed(headers, refused)
                    self.done += 1
                    self.refused += refused is not None
            except QuotaWait as wait:
                await asyncio.sleep(wait.after_s)

    async def people(self, keeper: Permits, per_s: float, seed: int) -> None:
        """People at random times."""
        random = Random(seed)
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(random.expovariate(per_s))
                group.create_task(self.person(keeper))

    async def person(self, keeper: Permits) -> None:
        since = virtual_now_us()
        while True:
            try:
                async with keeper.permit("acme", None, Klass.INTERACTIVE, "Views_Post") as permit:
                    self.waits_s.append((virtual_now_us() - since) / US)
                    headers, refused = await self.provider.call()
                    permit.completed(headers, refused)
                    self.done += 1
                    self.refused += refused is not None
                    return
            except QuotaWait as wait:
                await asyncio.sleep(wait.after_s)

    def wait_s(self, quantile: float) -> float:
        return sorted(self.waits_s)[int(len(self.waits_s) * quantile)]


async def saturated(
    office: Office, *, from_s: float, to_s: float, people_per_s: float, callers: int = 30
) -> float:
    """How many calls a second are accepted between these times, with endless bulk."""
    keepers = [office.keeper(skew) for skew in SKEWS_S]
    tasks = [asyncio.create_task(office.bulk(k)) for k in keepers for _ in range(callers)]
    if people_per_s:
        share = people_per_s / len(keepers)
        tasks += [asyncio.create_task(office.people(k, share, i)) for i, k in enumerate(keepers)]
    await asyncio.sleep(from_s)
    before = office.provider.accepted
    await asyncio.sleep(to_s - from_s)
    rate = (office.provider.accepted - before) / (to_s - from_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*(keeper.close() for keeper in keepers))
    return rate
