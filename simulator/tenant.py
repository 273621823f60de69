"""The calls of another program on the same account, at seeded random times.

They are made when somebody looks: each time the account is called or asked about, all of the
tenant's calls that have fallen due meanwhile are made first, in their order. So they depend on
the seed and the clock alone, and cost nothing while nobody looks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from simulator.limit_rules import LimitRules


class Tenant:
    """When the tenant of an account calls: a new rate every period, random gaps within it."""

    def __init__(self, rules: LimitRules, account_id: str, start_s: float) -> None:
        if rules.tenant is None:
            raise ValueError("these rules have no tenant")
        self._rules, self._tenant = rules, rules.tenant
        self._account_id = account_id
        self._period_s = rules.tenant.every_s * rules.scale
        self._start_s = start_s
        self._enter(0)

    def _enter(self, period: int) -> None:
        self._period = period
        self._end_s = self._start_s + (period + 1) * self._period_s
        self._random = random.Random(f"{self._tenant.seed}:{self._account_id}:{period}")
        self.share = self._random.uniform(*self._tenant.share)
        self._rate = self.share * self._rules.rate
        self._next_s = self._after(self._start_s + period * self._period_s)

    def _after(self, moment_s: float) -> float:
        # Gaps have no memory, so one that crosses the period's end may be drawn anew there.
        return moment_s + self._random.expovariate(self._rate) if self._rate else self._end_s

    def due(self, now_s: float) -> Iterator[float]:
        """The times of all calls up to now, each given once.

        Where nobody has looked for more than an hour (scaled), what no window remembers any more
        is left out.
        """
        forgotten_s = now_s - self._rules.hour_s - self._period_s
        if self._end_s < forgotten_s:
            self._enter(int((forgotten_s - self._start_s) / self._period_s))
        while True:
            if self._next_s >= self._end_s:
                if self._end_s > now_s:
                    return
                self._enter(self._period + 1)
            elif self._next_s > now_s:
                return
            else:
                yield self._next_s
                self._next_s = self._after(self._next_s)
