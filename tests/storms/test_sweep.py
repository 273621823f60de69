"""One envelope's life, once for every point at which its worker can die, and does it no harm."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from benchmarks.storms import sweep

SEED = 5
MISSED_MAX = 0.2
CROSSED, BEGUN = 6, 6
REPLAYED = 100
"""So many of the crossed points, of the tasks that were begun and not decided, and of the runs,
drawn anew each time; `make storms` lives and replays all of them. A worker that dies when it has
decided a task has told as little of it as one that dies before; that point is lived for each."""


@pytest.mark.server
@pytest.mark.timeout(900)
async def test_a_death_at_any_point_of_a_life_costs_time_alone(tmp_path: Path):
    """Killed by SIGKILL when each task is decided, before and after each call and in between, with
    a new run at every length of history, and with both at once: each effect stands once, and
    nobody has to be asked. A life is never lived twice alike: a few points of the first do not come
    again.
    """
    drawn = random.SystemRandom().randrange(10_000)
    print(f"crossed points drawn by {drawn}")
    async with sweep.world(tmp_path, SEED) as sweeping:
        found = await asyncio.gather(sweeping.points(), sweeping.crossed(CROSSED, drawn))
        every = [point for points in found for point in points]
        begun = [point for point in every if point.name.startswith("task:begun")]
        random.Random(drawn).shuffle(begun)
        left_out = begun[: max(0, len(begun) - BEGUN)]
        points = [point for point in every if point not in left_out]
        swept = await sweeping.run(points, REPLAYED, drawn)

    kinds = {name.partition("#")[0] for name in swept.reached}
    crossed = {name.partition("#")[0] for name in swept.reached if ", a new run" in name}
    told = f"crossed points drawn by {drawn}: {swept.harm.why}"
    assert (swept.harm.total, swept.harm.needs_attention) == (0, 0), told
    assert len(swept.missed) <= MISSED_MAX * len(points), swept.missed
    assert kinds >= {
        "task:begun",
        "task:decided",
        *(f"{call}:{at}" for call in ("create", "mutate") for at in ("called", "returned")),
        "create:answered",
        "mutate:answered",
        "open_view:answered",
        "archive:answered",
        "close:returned",
    }
    assert len(crossed) > 1, "the crossed points were not reached"
