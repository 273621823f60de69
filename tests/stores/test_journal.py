"""Laws of the journal, the same in SQLite and in a real PostgreSQL: what was acknowledged is kept,
once, in order, until it is delivered."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sealwax.stores.base import (
    REFUSED_BODY_BYTES_MAX,
    REROUTED,
    EnvelopeName,
    ForwarderBeat,
    Journal,
    JournalCounts,
    StoreError,
    WebhookFilter,
)
from sealwax.stores.journal_refusals import BURST, RefusalValve
from tests.stores.journals import (
    DAY,
    NOW,
    SECOND,
    A,
    B,
    C,
    JournalPlace,
    all_refused,
    claimable,
    keys_of,
    refused,
    webhook,
)


async def test_a_webhook_comes_back_byte_for_byte(journal: Journal) -> None:
    kept = webhook("k1", body=bytes(range(256)))
    appended = await journal.append(kept)
    assert not appended.duplicate
    (row,) = await journal.pending(10)
    assert row.webhook == kept
    assert (row.id, row.attempts, row.duplicates) == (appended.id, 0, 0)


async def test_an_event_at_one_address_is_one_row_and_its_repetitions_are_counted(
    journal: Journal,
) -> None:
    first = await journal.append(webhook("k1"))
    for _ in range(3):
        again = await journal.append(webhook("k1", body=b"retried", received_at=NOW))
        assert again == dataclasses.replace(first, duplicate=True)
    (row,) = await journal.pending(10)
    assert row.webhook.body == webhook("k1").body
    assert row.duplicates == 3
    assert await journal.counts() == JournalCounts(pending=1, duplicates=3)


async def test_nobody_takes_anothers_event_by_sending_it_first(journal: Journal) -> None:
    """The same event under another account or address is its own row: a copy that was posted
    elsewhere must not make the genuine delivery a duplicate."""
    for changes in ({}, {"account": "globex"}, {"token": "of another envelope"}, {"token": ""}):
        assert not (await journal.append(webhook("k1", **changes))).duplicate
    assert (await journal.counts()).pending == 4


async def test_a_repetition_of_a_delivered_event_does_not_bring_it_back(journal: Journal) -> None:
    appended = await journal.append(webhook("k1"))
    await journal.mark([appended.id], "delivered")
    assert (await journal.append(webhook("k1"))).duplicate
    assert await journal.pending(10) == ()
    assert await claimable(journal, NOW, 10) == ()


async def test_webhooks_wait_in_the_order_in_which_they_came_parked_ones_included(
    journal: Journal,
) -> None:
    first = await journal.append(webhook("k1"))
    await journal.append(webhook("other", "env-b"))
    await journal.append(webhook("k2"))
    await journal.park([first.id], NOW + timedelta(seconds=10), "nobody knows it")
    await journal.append(webhook("k3"))
    assert await keys_of(journal, A) == ["k1", "k2", "k3"]
    assert await keys_of(journal, B) == ["other"]
    assert await claimable(journal, NOW, 10) == (B, A)
    assert await claimable(journal, NOW, 1) == (B,)


async def test_many_envelopes_are_read_in_one_visit_each_in_its_order(journal: Journal) -> None:
    """What waits of each, the oldest first, as reading them one by one would give."""
    ids = [(await journal.append(webhook(f"k{i}", f"env-{'abc'[i % 3]}"))).id for i in range(12)]
    await journal.mark(ids[:1], "delivered")
    await journal.park(ids[3:4], NOW, "nobody knows it")
    await journal.mark([row for i, row in enumerate(ids) if i % 3 == 2], "delivered")
    found = await journal.undelivered_of([B, A, C], 3)
    assert found == {
        A: await journal.undelivered(A, 0, 3),
        B: await journal.undelivered(B, 0, 3),
    }
    assert [row.webhook.event_key for row in found[A]] == ["k3", "k6", "k9"]
    assert found[A][0].webhook.state == "parked"
    assert await journal.undelivered_of([], 3) == {}


async def test_a_parked_webhook_is_due_when_its_time_has_come_and_not_before(
    journal: Journal,
) -> None:
    appended = await journal.append(webhook("k1"))
    at = datetime(2026, 3, 1, 13, 0, 10, tzinfo=UTC)
    await journal.park([appended.id], at, "nobody knows it")
    assert await claimable(journal, at - timedelta(microseconds=1), 10) == ()
    assert await journal.next_due() == at
    assert await claimable(journal, at, 10) == (A,)
    (row,) = await journal.undelivered(A, 0, 10)
    assert (row.attempts, row.retry_at, row.webhook.state) == (1, at, "parked")
    assert await journal.undelivered(A, row.id, 10) == ()
    await journal.mark([appended.id], "parked", "given up")
    assert await claimable(journal, at + timedelta(days=1), 10) == ()
    assert await journal.next_due() is None
    assert await keys_of(journal, A) == ["k1"]
    await journal.mark([appended.id], "pending")
    assert await claimable(journal, NOW, 10) == (A,)


async def test_counts_follow_every_change_of_state(journal: Journal) -> None:
    ids = [(await journal.append(webhook(f"k{i}"))).id for i in range(6)]
    await journal.append(webhook("bad", state="quarantined", reason="unreadable"))
    await journal.mark(ids[:2], "delivered")
    await journal.mark(ids[2:3], "delivered", REROUTED)
    await journal.mark(ids[2:3], "delivered", REROUTED)
    await journal.mark(ids[3:4], "late", "closed")
    await journal.park(ids[4:5], NOW, "unknown")
    counts = await journal.counts()
    assert counts == JournalCounts(
        pending=1, delivered=3, late=1, parked=1, quarantined=1, rerouted=1
    )
    assert counts.kept == 7


async def test_what_was_kept_is_there_after_closing_and_opening(place: JournalPlace) -> None:
    first = await place.open()
    await first.append(webhook("k1"))
    await first.append(webhook("k1"))
    await first.close()
    with pytest.raises(StoreError, match="closed"):
        await first.append(webhook("k2"))
    second = await place.open()
    assert (await second.append(webhook("k1"))).duplicate
    assert await second.counts() == JournalCounts(pending=1, duplicates=2)


async def test_what_is_claimed_is_given_to_nobody_else_until_it_is_released(
    place: JournalPlace,
) -> None:
    """Not even to the same forwarder again: it is at work on it."""
    one, other = await place.open(), await place.open()
    for key, envelope in (("k1", "env-a"), ("k2", "env-b"), ("k3", "env-a"), ("k4", "env-c")):
        await one.append(webhook(key, envelope))
    assert await one.claim("f1", NOW, 30, 2) == (A, B)
    assert await one.claim("f1", NOW, 30, 2) == (C,)
    assert await other.claim("f2", NOW, 30, 9) == ()
    await other.release("f2", [A])
    assert await other.claim("f2", NOW, 30, 9) == ()
    await one.release("f1", [A, B])
    assert await other.claim("f2", NOW, 30, 9) == (A, B)


async def test_the_claims_of_who_died_pass_on_when_their_time_is_over(
    place: JournalPlace,
) -> None:
    one, other = await place.open(), await place.open()
    appended = await one.append(webhook("k1"))
    assert await one.claim("f1", NOW, 30, 9) == (A,)
    assert await other.claim("f2", NOW + 29.9 * SECOND, 30, 9) == ()
    assert await other.claim("f2", NOW + 30 * SECOND, 30, 9) == (A,)
    await one.release("f1", [A])
    assert await one.claim("f1", NOW + 31 * SECOND, 30, 9) == ()
    await other.mark([appended.id], "delivered")
    await other.release("f2", [A])
    assert await one.claim("f1", NOW + DAY, 30, 9) == ()


async def test_forwarders_that_claim_at_once_share_the_envelopes(place: JournalPlace) -> None:
    """Each envelope goes to one of them, and all envelopes go to somebody."""
    journals = [await place.open() for _ in range(4)]
    names = {f"env-{i}" for i in range(60)}
    await asyncio.gather(*(journals[0].append(webhook(name, name)) for name in names))
    got: list[str] = []

    async def work(number: int) -> None:
        while claimed := await journals[number].claim(f"f{number}", NOW, 30, 5):
            got.extend(name.provider_envelope_id for name in claimed)

    while len(got) < len(names):
        await asyncio.gather(*(work(number) for number in range(4)))
    assert sorted(got) == sorted(names)


async def test_bridges_that_keep_in_one_place_take_nothing_from_each_other(
    place: JournalPlace,
) -> None:
    """Each event is kept once, whoever is told of it first and how many come at a time."""
    journals = [await place.open() for _ in range(3)]
    kept: dict[str, set[int]] = {}
    for turn in range(12):
        # Each has new ones, one that it had before, and one that another has had.
        keys = [[f"{turn}-{n}-{i}" for i in range(turn)] for n in range(3)]
        for n, own in enumerate(keys):
            own += [f"{turn - 1}-{n}-0", f"{turn - 1}-{(n + 1) % 3}-0"] if turn > 1 else []
        asked = [(j, key) for j, own in zip(journals, keys, strict=True) for key in own]
        told = await asyncio.gather(*(j.append(webhook(key)) for j, key in asked))
        for (_, key), appended in zip(asked, told, strict=True):
            assert appended.duplicate == (key in kept)
            kept.setdefault(key, set()).add(appended.id)
    ids = [row_id for found in kept.values() for row_id in found]
    assert len(ids) == len(set(ids)) == len(kept)
    counts = await journals[0].counts()
    assert (counts.pending, counts.duplicates) == (len(kept), 10 * 6)
    assert len(await journals[1].pending(1_000)) == len(kept)


async def test_a_large_backlog_of_envelopes_that_are_held_hides_no_other(
    journal: Journal,
) -> None:
    """Beyond what one look at the oldest rows sees."""
    behind = [webhook(f"a{i}", "env-a") for i in range(90)]
    behind += [webhook(f"{name}1", f"env-{name}") for name in "bcdef"]
    await asyncio.gather(*(journal.append(one) for one in behind))
    assert await journal.claim("f1", NOW, 30, 2) == (A, B)
    got: set[EnvelopeName] = set()
    for _ in range(4):
        got |= set(await journal.claim("f1", NOW, 30, 2))
    assert got == {EnvelopeName("acme", f"env-{name}") for name in "cdef"}
    assert await journal.claim("f1", NOW, 30, 2) == ()


async def test_who_waits_for_webhooks_is_told_of_new_ones_and_of_those_to_be_sent_again(
    place: JournalPlace,
) -> None:
    """Also by another process; and marks are no news."""
    bridge, forwarder = await place.open(), await place.open()
    while await forwarder.arrived(0):
        pass
    assert not await forwarder.arrived(0.03)
    waiting = asyncio.create_task(forwarder.arrived(20))
    appended = await bridge.append(webhook("k1"))
    assert await waiting
    await forwarder.mark([appended.id], "delivered")
    await bridge.append(webhook("k1"))
    assert not await forwarder.arrived(0.03)
    waiting = asyncio.create_task(forwarder.arrived(20))
    await bridge.mark([appended.id], "pending")
    assert await waiting


async def test_webhooks_are_found_by_account_envelope_time_state_and_id(journal: Journal) -> None:
    ids = [
        (await journal.append(one)).id
        for one in (
            webhook("k1"),
            webhook("k2", "env-b", received_at=NOW + SECOND),
            webhook("k3", account="globex"),
            webhook("k4", trust="hint", state="quarantined", reason="unreadable"),
        )
    ]
    await journal.park([ids[1]], NOW + DAY, "unknown")

    async def found(after: int = 0, limit: int = 9, **wanted: Any) -> list[int]:
        entries = await journal.find(WebhookFilter(**wanted), after, limit)
        if limit == 9 and not after:
            assert await journal.count(WebhookFilter(**wanted)) == len(entries)
        return [entry.id for entry in entries]

    assert await found() == ids
    assert await found(after=ids[0], limit=2) == ids[1:3]
    assert await found(account="acme") == [ids[0], ids[1], ids[3]]
    assert await found(account="acme", provider_envelope_id="env-b") == [ids[1]]
    assert await found(since=NOW + SECOND) == [ids[1]]
    assert await found(states=("pending", "quarantined")) == [ids[0], ids[2], ids[3]]
    assert await found(ids=(ids[2], ids[0], 77)) == [ids[0], ids[2]]
    assert await found(account="acme", states=("pending",), ids=(ids[2],)) == []
    (entry,) = await journal.find(WebhookFilter(ids=(ids[3],)), 0, 9)
    row = await journal.row(ids[3])
    assert row is not None
    assert entry.opened(row.webhook.headers, row.webhook.body) == row
    assert row.webhook == webhook("k4", trust="hint", state="quarantined", reason="unreadable")
    assert await journal.row(77) is None
    (parked,) = await journal.find(WebhookFilter(states=("parked",)), 0, 9)
    assert (parked.attempts, parked.retry_at, parked.reason) == (1, NOW + DAY, "unknown")


async def test_names_that_a_text_cannot_hold_are_kept_all_the_same(journal: Journal) -> None:
    """A signed name may have any character; what it had stands in the body."""
    odd = "a\0b"
    appended = await journal.append(webhook("k" + odd, "e" + odd, event_name=odd))
    assert (await journal.append(webhook("k" + odd, "e" + odd))).duplicate
    row = await journal.row(appended.id)
    assert row is not None
    assert row.webhook.body == webhook("").body
    (name,) = await claimable(journal, NOW, 9)
    assert len(await journal.undelivered(name, 0, 9)) == 1


async def test_large_bodies_are_read_in_portions(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[type(journal).__module__], "READ_BYTES_MAX", 1000)
    for i in range(5):
        await journal.append(webhook(f"k{i}", body=b"x" * 600))
    assert await keys_of(journal, A) == ["k0", "k1"]


async def test_a_large_body_comes_back(journal: Journal) -> None:
    body = bytes(range(256)) * 4096
    appended = await journal.append(webhook("k1", body=body))
    row = await journal.row(appended.id)
    assert row is not None
    assert row.webhook.body == body


async def test_refused_deliveries_are_kept_newest_first_and_cut(journal: Journal) -> None:
    """Of each account, and of requests that named none."""
    journal.refuse(refused("acme", 1, body=b"x" * 10_000))
    journal.refuse(refused("globex", 2))
    journal.refuse(refused("", 3))
    await all_refused(journal, 3)
    (kept,) = await journal.refused("acme", 9)
    assert (kept.size_bytes, kept.body) == (10_000, b"x" * REFUSED_BODY_BYTES_MAX)
    assert dataclasses.replace(kept, id=0, body=b"x" * 10_000) == refused(
        "acme", 1, body=b"x" * 10_000
    )
    assert [one.status for one in await journal.refused(None, 2)] == [3, 2]
    assert [one.status for one in await journal.refused("", 9)] == [3]


async def test_a_flood_of_refused_deliveries_is_kept_in_part_and_leaves_room_for_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither many at once nor many in time take more than a bounded place."""
    for i in range(5_000):
        journal.refuse(refused("acme", i))
    journal.refuse(refused("globex", 1))
    await all_refused(journal, BURST + 1)
    assert len(await journal.refused("acme", 9_999)) <= BURST + 2
    monkeypatch.setattr(RefusalValve, "kept", 30)
    monkeypatch.setattr(RefusalValve, "lets_in", lambda valve, account: True)
    for start in range(0, 100, 50):
        for i in range(start, start + 50):
            journal.refuse(refused("acme", 10_000 + i))
        last = 10_000 + start + 49
        while (await journal.refused("acme", 1))[0].status < last:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)
    assert len(await journal.refused("acme", 9_999)) == 30
    assert len(await journal.refused("globex", 9)) == 1


async def test_health_tells_how_long_the_oldest_waits_and_who_forwards(
    journal: Journal,
) -> None:
    health = await journal.health()
    assert (health.oldest_pending, health.forwarders) == (None, ())
    now = datetime.now(UTC)
    first = await journal.append(webhook("k1", received_at=now - DAY, body=bytes(100_000)))
    await journal.append(webhook("k2", received_at=now))
    await journal.beat("f1", now - SECOND, reaching=True)
    await journal.beat("f1", now, reaching=False)
    await journal.beat("f2", now - 2 * 3600 * SECOND, reaching=True)
    grown = await journal.health()
    assert grown.oldest_pending == now - DAY
    assert grown.forwarders == (ForwarderBeat("f1", now, reaching=False),)
    assert grown.size_bytes > health.size_bytes
    await journal.mark([first.id], "delivered")
    assert (await journal.health()).oldest_pending == now
