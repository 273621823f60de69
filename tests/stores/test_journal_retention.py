"""Laws of retention, in both engines: what waits is never dropped, what was known stays known."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from sealwax.storage_settings import StorageSettings
from sealwax.stores import journal_postgres, journal_pruning
from sealwax.stores.base import (
    EVENT_KEYS_KEPT_S,
    Journal,
    JournalCounts,
    Retention,
    WebhookFilter,
)
from sealwax.stores.journals import retention_of
from tests.stores.journals import DAY, NOW, A, JournalPlace, claimable, keys_of, webhook

EVER = 10**15
YEAR = 365 * DAY


def days(count: float, bytes_max: int = EVER) -> Retention:
    return Retention(count * 24 * 3600, bytes_max)


async def ids_of(journal: Journal) -> list[int]:
    return [entry.id for entry in await journal.find(WebhookFilter(), 0, 10_000)]


async def test_what_waits_for_something_is_kept_however_old(journal: Journal) -> None:
    """Pending, parked with and without another try, and quarantined."""
    ids = [(await journal.append(webhook(f"k{i}"))).id for i in range(6)]
    await journal.mark(ids[1:2], "delivered")
    await journal.mark(ids[2:3], "late", "its workflow is closed")
    await journal.mark(ids[3:4], "quarantined", "unreadable")
    await journal.mark(ids[4:5], "parked", "given up")
    await journal.park(ids[5:6], NOW + DAY, "unknown")
    assert await journal.prune(NOW + YEAR, days(0.001, bytes_max=1)) == 2
    assert await ids_of(journal) == [ids[0], *ids[3:]]
    assert await keys_of(journal, A) == ["k0", "k4", "k5"]
    assert await journal.counts() == JournalCounts(pending=1, parked=2, quarantined=1, pruned=2)
    await journal.mark(ids[3:4], "discarded", "looked at")
    assert await journal.prune(NOW + YEAR, days(0.001)) == 1


async def test_webhooks_go_by_age_to_the_microsecond(journal: Journal) -> None:
    for i, at in enumerate((NOW, NOW + timedelta(microseconds=1), NOW + DAY)):
        appended = await journal.append(webhook(f"k{i}", received_at=at))
        await journal.mark([appended.id], "delivered")
    assert await journal.prune(NOW + 40 * DAY, days(40)) == 0
    assert await journal.prune(NOW + 40 * DAY + timedelta(microseconds=1), days(40)) == 1
    assert await journal.prune(NOW + 41 * DAY, days(40)) == 1
    assert len(await ids_of(journal)) == 1


async def test_webhooks_go_by_size_oldest_first_until_the_rest_fits(journal: Journal) -> None:
    body = bytes(50_000)
    for i in range(40):
        appended = await journal.append(webhook(f"k{i}", body=body))
        if i % 2:
            await journal.mark([appended.id], "delivered")
    size_bytes = (await journal.health()).size_bytes
    most_bytes = size_bytes - 5 * len(body)
    dropped = await journal.prune(NOW, days(40, most_bytes))
    assert 5 <= dropped <= 7
    assert (await journal.health()).size_bytes <= most_bytes
    left = [e.event_key for e in await journal.find(WebhookFilter(states=("delivered",)), 0, 99)]
    assert left == [f"k{i}" for i in range(1, 40, 2)][dropped:]
    assert await journal.prune(NOW, days(40, most_bytes)) == 0


async def test_a_repetition_of_what_was_pruned_is_still_one_for_as_long_as_keys_are_kept(
    place: JournalPlace,
) -> None:
    """A captured delivery, posted again after its row is gone, changes nothing: also after a
    restart, and exactly as long as promised."""
    journal = await place.open()
    appended = await journal.append(webhook("k1"))
    await journal.mark([appended.id], "delivered")
    assert await journal.prune(NOW + 2 * DAY, days(1)) == 1
    for store in (journal, await place.open()):
        again = await store.append(webhook("k1", received_at=NOW + 2 * DAY))
        assert (again.id, again.duplicate) == (appended.id, True)
        assert await claimable(store, NOW + YEAR, 9) == ()
    assert await journal.counts() == JournalCounts(duplicates=2, pruned=1)
    assert await journal.row(appended.id) is None
    ends = NOW + timedelta(seconds=EVENT_KEYS_KEPT_S)
    await journal.prune(ends, days(1))
    assert (await journal.append(webhook("k1"))).duplicate
    await journal.prune(ends + timedelta(microseconds=1), days(1))
    fresh = await journal.append(webhook("k1"))
    assert not fresh.duplicate
    assert fresh.id != appended.id


async def test_ids_are_never_given_twice(place: JournalPlace) -> None:
    """A reference to a row that is gone must not come to mean another."""
    journal = await place.open()
    appended = await journal.append(webhook("k1"))
    await journal.mark([appended.id], "delivered")
    await journal.prune(NOW + YEAR, days(1))
    await journal.close()
    again = await place.open()
    assert (await again.append(webhook("k2"))).id > appended.id


async def test_pruning_goes_in_small_steps_and_others_append_meanwhile(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended while much is dropped is not held up until that ends."""
    monkeypatch.setattr(journal_pruning, "ROWS_PER_STEP", 10)
    monkeypatch.setattr(journal_postgres, "PRUNE_ROWS", 10)
    appended = await asyncio.gather(*(journal.append(webhook(f"k{i}")) for i in range(600)))
    await journal.mark([one.id for one in appended], "delivered")
    pruning = asyncio.create_task(journal.prune(NOW + YEAR, days(1)))
    written = 0
    while not pruning.done():
        await journal.append(webhook(f"new{written}"))
        written += 1
    assert await pruning == 600
    assert written >= 5
    assert (await journal.counts()).pending == written


async def test_several_may_prune_at_once(place: JournalPlace) -> None:
    journals = [await place.open() for _ in range(3)]
    appended = await asyncio.gather(*(journals[0].append(webhook(f"k{i}")) for i in range(300)))
    await journals[0].mark([one.id for one in appended], "delivered")
    dropped = await asyncio.gather(*(one.prune(NOW + 2 * DAY, days(1)) for one in journals))
    assert sum(dropped) == 300
    assert await journals[1].counts() == JournalCounts(pruned=300)


def test_the_settings_keep_bodies_longer_than_a_provider_delivers_again() -> None:
    retention = retention_of(StorageSettings())
    assert retention.keep_s >= EVENT_KEYS_KEPT_S >= 35 * 24 * 3600
    assert retention.keys_s >= 35 * 24 * 3600
    assert retention.bytes_max > 2**30
