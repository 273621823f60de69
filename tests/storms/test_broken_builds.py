"""Tests of the tests: each broken build makes the sweep fail, by the harm that is to be expected.

The same lives with the same deaths do no harm to the build that is not broken
(`test_sweep.py`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.storms import sweep
from benchmarks.storms.sweep import Point

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]

SEED = 11
BROKEN_WITHIN_S = 30.0
QUICK_MS = (20, 60)
SLOW_MS = (400, 600)
"""Longer than the way from one call to the next, so that calls at once overlap for certain."""

BROKEN = "tests.storms.broken:"
ANSWERED = [Point("create:answered#2"), *(Point(f"mutate:answered#{n}") for n in range(1, 8))]
NEW_RUNS = [Point("", length) for length in (5, 8, 11, 14, 17, 20)]


@pytest.mark.parametrize(
    ("build", "points", "expected"),
    [
        ("probe_skipped", ANSWERED, ("orphan_drafts", "double_effects", "divergent_states")),
        ("operation_ids_forgotten", NEW_RUNS, ("lost", "double_effects", "divergent_states")),
        ("calls_at_once", [Point()] * 4, ("lost", "divergent_states")),
    ],
    ids=["probe_skipped", "operation_ids_forgotten", "calls_at_once"],
)
async def test_a_broken_build_does_harm(build, points, expected, tmp_path: Path):
    """Without the look, the memory, or the one writer, the ledger shows the harm of it."""
    world = sweep.world(
        tmp_path,
        SEED,
        broken=f"{BROKEN}{build}",
        within_s=BROKEN_WITHIN_S,
        processing_ms=SLOW_MS if build == "calls_at_once" else QUICK_MS,
    )
    async with world as sweeping:
        harm = (await sweeping.run(points)).harm

    assert sum(harm.figures()[name] for name in expected) > 0, harm.why


async def test_the_build_that_is_not_broken_does_none(tmp_path: Path):
    """The points of all broken builds together, with nothing broken."""
    async with sweep.world(tmp_path, SEED) as sweeping:
        harm = (await sweeping.run([*ANSWERED, *NEW_RUNS, Point()])).harm

    assert (harm.total, harm.needs_attention) == (0, 0), harm.why
