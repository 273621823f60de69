"""The provider's faults during a storm: spells of them, drawn from the seed.

Only the two sides' calls meet them; the simulator's control API, by which signers act and the
ledger is read, does not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any

from demo.control import Control

SPELL_S = (1.5, 4.0)
PROCESSING_MS = (20, 150)
LATE_S = (0.2, 5.5)
"""A call may take effect so long after its client got nothing, which is within what envelopes are
told to wait for: the call's deadline and the settle time."""

LOOKUP_LAG_S = (0.0, 1.0)
"""Searches show an envelope at most so long after it was made."""

LOOK_EVERY_S = 0.2
OUTAGE_RATE = 0.12
OUTAGE_S = (0.5, 2.5)
CALM: Mapping[str, Any] = {"lost_answers": [], "outage": None, "lookup_lag_s": [0, 0]}
WEBHOOKS: Mapping[str, Any] = {
    "delay_ms": [0, 1500],
    "duplicate_rate": 0.3,
    # The provider repeats for days; a storm is shorter than its first hour.
    "retry_ms": 300,
    "max_tries": 1000,
}

Plan = dict[str, Any]
_MOST: Mapping[str, tuple[str, float]] = {
    "commit_then_drop": ("*", 0.12),
    "drop_before_commit": ("*", 0.08),
    "commit_then_hang": ("writes", 0.05),
    "hang_before_commit": ("writes", 0.02),
    "commit_late": ("writes", 0.1),
    "slow": ("*", 0.08),
    "error_before_commit": ("*", 0.08),
    "error_after_commit": ("*", 0.08),
    "unauthorized": ("*", 0.02),
    "revoke_token": ("*", 0.01),
    "locked": ("writes", 0.02),
}
"""By mode: which operations it strikes, and at most what part of them."""


def spells(seed: int) -> Iterator[tuple[float, Mapping[str, Any]]]:
    """How long each spell lasts, in seconds, and the provider's harms in it; endless."""
    draw = random.Random(f"storm-weather:{seed}")
    while True:
        plans = [_plan(draw, mode) for mode in _MOST]
        draw.shuffle(plans)
        outage = None
        if draw.random() < OUTAGE_RATE:
            outage = {"mode": draw.choice(("error", "drop")), "for_s": draw.uniform(*OUTAGE_S)}
        lasts_s = draw.uniform(*SPELL_S)
        yield lasts_s, {"lost_answers": plans, "outage": outage, "lookup_lag_s": LOOKUP_LAG_S}


def _plan(draw: random.Random, mode: str) -> Plan:
    operation, most = _MOST[mode]
    plan: Plan = {"operation": operation, "mode": mode, "rate": round(draw.uniform(0, most), 3)}
    match mode:
        case "slow":
            plan["delay_ms"] = draw.randrange(200, 3_000)
        case "commit_late":
            plan |= {"late_s": LATE_S, "then": draw.choice(("drop", "hang"))}
        case "error_before_commit" | "error_after_commit":
            plan["status"] = draw.choice((500, 502, 503, 504))
        case "unauthorized":
            plan["code"] = draw.choice(
                ("AUTHORIZATION_INVALID_TOKEN", "USER_AUTHENTICATION_FAILED")
            )
        case "locked":
            plan["code"] = "EDIT_LOCK_ENVELOPE_LOCKED"
        case _:
            pass
    return plan


class Weather:
    """The provider's faults while a storm blows, and those that are meant for one envelope."""

    def __init__(self, control: Control, seed: int) -> None:
        self._control = control
        self._seed = seed
        self._harms: Mapping[str, Any] = CALM
        self._meant: dict[str, Plan] = {}
        self._changing = asyncio.Lock()

    async def blow(self, seconds: float) -> None:
        """Change the faults from spell to spell for so long, then end them all."""
        until = time.monotonic() + seconds
        try:
            for lasts_s, harms in spells(self._seed):
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return
                await self._change(harms)
                await asyncio.sleep(min(lasts_s, left_s))
        finally:
            await self._change(CALM)

    async def lose(self, envelope_id: str, operation: str) -> None:
        """Have the envelope's next request of this operation lost.

        A change of the faults forgets what a plan has struck, so it may strike once more then.
        """
        plan = {"operation": operation, "mode": "drop_before_commit", "times": 1}
        self._meant[envelope_id] = {**plan, "envelope": envelope_id}
        await self._change(self._harms)

    async def lost(self, envelope_id: str) -> float:
        """Wait until it is lost; a time of the monotonic clock before which it was not."""
        try:
            looked_at = time.monotonic()
            while not await self._struck(envelope_id):
                looked_at = time.monotonic()
                await asyncio.sleep(LOOK_EVERY_S)
            return looked_at
        finally:
            del self._meant[envelope_id]

    async def _struck(self, envelope_id: str) -> bool:
        plans = (await self._control.harms())["lost_answers"]
        return any(p.get("envelope") == envelope_id and p["struck"] for p in plans)

    async def _change(self, harms: Mapping[str, Any]) -> None:
        async with self._changing:
            self._harms = harms
            # What is meant for one envelope comes first: only one plan strikes a call.
            plans = [*self._meant.values(), *harms["lost_answers"]]
            await self._control.set_harms({**harms, "lost_answers": plans})


def struck(ledger: Mapping[str, Any]) -> int:
    """How many calls of an account met a fault."""
    return len(ledger["faults"])
