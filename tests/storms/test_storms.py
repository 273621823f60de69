"""Storms of half a minute: one that is always the same, one that never is."""

from __future__ import annotations

import random

import pytest

from benchmarks.storms.storm import Options, Result, run

pytestmark = [pytest.mark.server, pytest.mark.timeout(400)]

SECONDS = 30.0
FIXED_SEED = 1
CALM_SECONDS = 6.0


@pytest.mark.parametrize("seed", [FIXED_SEED, 0], ids=["fixed", "random"])
async def test_a_storm_harms_nothing(seed):
    """Worker, bridge, server and connections die at random while answers get lost: the ledger holds
    each effect once, and every caller got its answer. A person is asked where the faults leave
    nothing to tell, and nowhere else. The seed of a failure is in its message.
    """
    seed = seed or random.SystemRandom().randrange(10, 10_000)
    print(
        f"a storm of seed {seed}: python -m benchmarks.storms --seconds {SECONDS:g} --seed {seed}"
    )
    result = await run(Options(SECONDS, seed, naive=False))

    told = f"seed {seed}: {result.ours.why}"
    assert result.ours.total == 0, told
    assert result.ours.needs_attention == result.ours.undecidable, told
    assert all(count > 0 for count in result.kills.values()), told
    assert result.faults > 0, told


async def test_without_harm_both_sides_score_none():
    """The naive client is competent: it is the storm that harms it, not its own mistakes. Both run
    inside the provider's limits, which refuse Sealwax nothing.
    """
    result: Result = await run(Options(CALM_SECONDS, FIXED_SEED, harm=False))

    assert result.naive is not None
    assert (result.ours.total, result.naive.total) == (0, 0), [*result.ours.why, *result.naive.why]
    assert " 0 refused by limits, at most " in result.limits
