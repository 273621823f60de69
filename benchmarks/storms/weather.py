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
LATE_MAX_S = 1.0
"""A call takes effect at most so long after its client gave up; the settle time is longer."""

CALM: Mapping[str, Any] = {"lost_answers": []}
WEBHOOKS: Mapping[str, Any] = {
    "delay_ms": [0, 1500],
    "duplicate_rate": 0.3,
    # The provider repeats for days; a storm is shorter than its first hour.
    "retry_ms": 300,
    "max_tries": 1000,
}


def spells(seed: int) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """How long each spell lasts, in seconds, and the plans of lost answers in it; endless."""
    draw = random.Random(f"storm-weather:{seed}")
    while True:
        plans: list[dict[str, Any]] = []
        for mode, most in (("commit_then_drop", 0.15), ("drop_before_commit", 0.1), ("slow", 0.1)):
            plan = {"operation": "*", "mode": mode, "rate": round(draw.uniform(0, most), 3)}
            if mode == "slow":
                plan["delay_ms"] = draw.randrange(200, 3_000)
            plans.append(plan)
        draw.shuffle(plans)
        yield draw.uniform(*SPELL_S), plans


async def blow(control: Control, seed: int, seconds: float) -> None:
    """Change the faults from spell to spell for so long, then end them all."""
    until = time.monotonic() + seconds
    try:
        for lasts_s, plans in spells(seed):
            left_s = until - time.monotonic()
            if left_s <= 0:
                return
            await control.set_harms({"lost_answers": plans})
            await asyncio.sleep(min(lasts_s, left_s))
    finally:
        await control.set_harms(CALM)


def struck(ledger: Mapping[str, Any]) -> int:
    """How many calls of an account were answered by a fault."""
    return sum(not call["answered"] for call in ledger["calls"])
