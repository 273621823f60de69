"""Laws of the bridge's heartbeat: "up since" never claims a moment in which a ping may be lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwax.stores.base import BEAT_EVERY_S, BEAT_GAP_S
from sealwax.stores.registry import SqliteRegistry, open_registry

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVERY, GAP = BEAT_EVERY_S, BEAT_GAP_S


@pytest_asyncio.fixture
async def registry(tmp_path: Path) -> AsyncIterator[SqliteRegistry]:
    store = open_registry(tmp_path / "registry.db")
    yield store
    await store.close()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def beats(registry: SqliteRegistry, process: str, begin: float, end: float) -> None:
    """A process that is up from one time to another, in seconds from the start."""
    moment = begin
    while moment <= end:
        await registry.beat(process, at(moment))
        moment += EVERY


async def test_a_bridge_that_never_was_is_not_up(registry: SqliteRegistry) -> None:
    assert await registry.up_since(START) is None


async def test_a_process_is_up_since_its_first_beat_until_it_is_missed(
    registry: SqliteRegistry,
) -> None:
    await beats(registry, "a", 0, 600)
    assert await registry.up_since(at(600)) == START
    assert await registry.up_since(at(600 + GAP)) == START
    assert await registry.up_since(at(600 + GAP + 0.1)) is None


async def test_a_process_that_stood_still_for_long_begins_anew(registry: SqliteRegistry) -> None:
    """As a machine that slept: nobody knows what was missed."""
    await beats(registry, "a", 0, 60)
    await registry.beat("a", at(60 + GAP + 1))
    assert await registry.up_since(at(60 + GAP + 1)) == at(60 + GAP + 1)


async def test_a_restart_breaks_the_run_however_quick_it_is(registry: SqliteRegistry) -> None:
    """A ping may have come between the two processes, and no later one makes up for it in time."""
    await beats(registry, "a", 0, 60)
    await registry.beat("b", at(60.5))
    assert await registry.up_since(at(61)) == at(60.5)
    assert await registry.up_since(at(75.5)) == at(60.5)


async def test_processes_that_overlap_are_one_run(registry: SqliteRegistry) -> None:
    """As when bridges are replaced one after the other, also over several generations."""
    await beats(registry, "a", 0, 60)
    await beats(registry, "b", 55, 120)
    await beats(registry, "c", 120, 300)
    assert await registry.up_since(at(301)) == START


async def test_of_several_bridges_one_that_stays_up_is_enough(registry: SqliteRegistry) -> None:
    await beats(registry, "a", 0, 300)
    await beats(registry, "b", 20, 40)
    await beats(registry, "c", 100, 300)
    assert await registry.up_since(at(300)) == START


async def test_a_clock_that_was_put_back_makes_nobody_up_or_older(
    registry: SqliteRegistry,
) -> None:
    await beats(registry, "a", 3600, 3700)
    assert await registry.up_since(at(0)) is None
    await registry.beat("a", at(0))
    assert await registry.up_since(at(1)) == at(0)


async def test_workers_see_what_bridges_of_other_processes_wrote(
    registry: SqliteRegistry, tmp_path: Path
) -> None:
    other = open_registry(tmp_path / "registry.db")
    await other.beat("a", START)
    assert await registry.up_since(at(1)) == START
    await other.close()


async def test_what_ended_long_ago_is_not_kept(registry: SqliteRegistry) -> None:
    for day in range(5):
        await registry.beat(f"process-{day}", START + timedelta(days=day))
    kept = registry._connection.execute("SELECT process FROM bridge ORDER BY 1").fetchall()
    assert kept == [("process-3",), ("process-4",)]


lives = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=1, max_size=6)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(lives=lives, asked=st.integers(0, 100))
async def test_up_since_is_the_start_of_the_union_of_all_lives(
    registry: SqliteRegistry, lives: list[tuple[int, int]], asked: int
) -> None:
    """Against a model that fills in every unit of time; one unit is one interval of beats."""
    registry._connection.execute("DELETE FROM bridge")
    seen = [(b, min(b + n, asked)) for b, n in lives if b <= asked]
    moments = sorted((m, i) for i, (b, e) in enumerate(seen) for m in range(b, e + 1))
    for moment, i in moments:
        await registry.beat(f"p{i}", at(moment * EVERY))
    found = await registry.up_since(at(asked * EVERY))
    latest = max((e for _, e in seen), default=-100)
    if asked - latest > GAP / EVERY:
        assert found is None
        return
    begin = min(b for b, e in seen if e == latest)
    while any(b < begin <= e for b, e in seen):
        begin = min(b for b, e in seen if b < begin <= e)
    assert found == at(begin * EVERY)
