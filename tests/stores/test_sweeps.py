"""Laws of the memory of sweeps: what came stays so, what is counted is what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from sealwax.stores.registry import open_registry
from sealwax.stores.sweep_base import Change, Seen, Stranger
from sealwax.stores.sweeps import SqliteSweeps, open_sweeps

START = datetime(2026, 1, 1, tzinfo=UTC)
SENT, DONE = Change("sent"), Change("completed", "1", "g")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteSweeps]:
    opened = open_sweeps(tmp_path / "sweeps.db")
    yield opened
    await opened.close()


def seen(envelope: str, **came: bool) -> Seen:
    """An envelope whose changes ``sent`` and ``done`` were seen, and whether their webhook came."""
    changes = {SENT: came.get("sent"), DONE: came.get("done")}
    known = {change: bool(value) for change, value in changes.items() if value is not None}
    return Seen(envelope, "key", None, 0, known)


def later(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


async def test_what_is_missing_counts_when_it_is_late_and_not_when_it_came(store: SqliteSweeps):
    """Waiting, then drift, then neither; what came after it was missed is told apart."""
    await store.see("acme", [seen("e1", sent=True, done=False)], START)
    early, late = later(-1), later(1)
    view = await store.look("acme", early)
    assert (view.drift, view.waiting) == (0, 1)
    view = await store.look("acme", late)
    assert (view.drift, view.waiting) == (1, 0)
    assert [d.change for d in await store.drift("acme", late, 10)] == [DONE]
    await store.see("acme", [seen("e1", done=True)], later(2))
    view = await store.look("acme", later(3))
    assert (view.drift, view.waiting, view.came_late) == (0, 0, 1)


async def test_what_came_stays_so_and_what_was_missed_keeps_its_time(store: SqliteSweeps):
    """Seen again without its webhook, which was pruned, it does not become drift."""
    await store.see("acme", [seen("e1", sent=True, done=False)], START)
    await store.see("acme", [seen("e1", sent=False, done=False)], later(10))
    (drifted,) = await store.drift("acme", later(11), 10)
    assert (drifted.change, drifted.found_at) == (DONE, START)


async def test_accounts_share_nothing(store: SqliteSweeps):
    """The same ids in another account are other envelopes."""
    await store.see("acme", [seen("e1", sent=False)], START)
    await store.strangers("acme", [Stranger("x", "sent")], START)
    await store.advance("acme", START)
    view = await store.look("other", later(1))
    assert (view.drift, view.strangers, view.watermark) == (0, 0, None)
    assert await store.envelopes("other", ["e1"]) == {}


async def test_the_watermark_never_goes_back_and_outlives_the_process(tmp_path: Path):
    """Two workers that end their sweeps in the wrong order leave the later time."""
    store = open_sweeps(tmp_path / "sweeps.db")
    await store.advance("acme", later(5))
    await store.advance("acme", later(3))
    await store.close()
    again = open_sweeps(tmp_path / "sweeps.db")
    assert await again.watermark("acme") == later(5)
    await again.close()


async def test_a_sweep_that_did_not_end_says_why_until_one_does(store: SqliteSweeps):
    """Its figures are added all the same; when the last one ended is not overwritten."""
    await store.ended("acme", START, {"listed": 3}, "")
    await store.ended("acme", later(1), {"listed": 2, "signalled": 1}, "the plan is used up")
    view = await store.look("acme", START)
    assert (view.swept_at, view.problem) == (START, "the plan is used up")
    assert (view.sweeps, view.listed, view.signalled) == (2, 5, 1)
    await store.ended("acme", later(2), {}, "")
    assert (await store.look("acme", START)).problem == ""


async def test_what_was_touched_long_ago_is_forgotten(store: SqliteSweeps):
    """With all its changes; what was asked about since stays."""
    await store.see("acme", [seen("old", sent=False), seen("asked", sent=False)], START)
    await store.asking("acme", ["asked"], later(60))
    await store.prune(later(30))
    assert [d.provider_envelope_id for d in await store.drift("acme", later(99), 9)] == ["asked"]
    assert list(await store.envelopes("acme", ["old", "asked"])) == ["asked"]


async def test_open_envelopes_are_those_that_are_bound_and_have_not_ended(tmp_path: Path):
    """In the order of their workflows, from where the last part ended."""
    registry = open_registry(tmp_path / "registry.db")
    for name in ("a", "b", "c", "d"):
        await registry.register(
            account="acme", business_key_digest=name, workflow_id=name, provider="docusign"
        )
    for name in ("a", "b", "d"):
        await registry.bind(name, f"e-{name}")
    await registry.finish("b", "voided")
    found = await registry.open_envelopes("acme", "", 10)
    assert [row[:2] for row in found] == [("a", "e-a"), ("d", "e-d")]
    assert [row[0] for row in await registry.open_envelopes("acme", "a", 10)] == ["d"]
    assert await registry.open_envelopes("other", "", 10) == ()
    await registry.close()


CHANGES = st.builds(
    Change, st.sampled_from(["sent", "done"]), st.sampled_from(["", "1"]), st.sampled_from("ag")
)


@given(CHANGES, CHANGES)
def test_sameness_is_mutual_and_needs_no_guid(one: Change, other: Change):
    """Two changes are one where nothing tells them apart; a missing guid tells nothing."""
    bare = Change(other.status, other.recipient)
    assert one.same(other) == other.same(one) == (one == other)
    assert one.same(bare) == ((one.status, one.recipient) == (other.status, other.recipient))
