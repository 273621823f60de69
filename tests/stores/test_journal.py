"""Laws of the journal: what was acknowledged is on disk, once, in order, until it is delivered."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio

from sealwax.crypto import Keyring
from sealwax.stores import journal as module
from sealwax.stores.base import (
    REROUTED,
    EnvelopeName,
    Journal,
    JournalCounts,
    StoreError,
    StoreFull,
    StoreUnusable,
    Webhook,
)
from sealwax.stores.group_writer import GroupWriter
from sealwax.stores.journal import SqliteJournal, open_journal
from tests.keys import KEYRING

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A, B = EnvelopeName("acme", "env-a"), EnvelopeName("acme", "env-b")


def webhook(key: str, envelope: str = "env-a", **changes: object) -> Webhook:
    row = Webhook(
        account="acme",
        provider="docusign",
        token="token",
        event_key=key,
        event_name="envelope-sent",
        provider_envelope_id=envelope,
        headers=(("content-type", "application/json"), ("x-docusign-signature-1", "c2ln")),
        body=b'{"raw": "\xc3\xa9\r\n"}',
        received_at=NOW,
    )
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    store = open_journal(tmp_path / "journal.db", KEYRING)
    yield store
    await store.close()


async def keys_of(journal: Journal, envelope: EnvelopeName) -> list[str]:
    return [row.webhook.event_key for row in await journal.undelivered(envelope, 0, 1000)]


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
    assert await journal.due(NOW, 10) == ()


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
    assert await journal.due(NOW, 10) == (B, A)
    assert await journal.due(NOW, 1) == (B,)


async def test_a_parked_webhook_is_due_when_its_time_has_come_and_not_before(
    journal: Journal,
) -> None:
    appended = await journal.append(webhook("k1"))
    at = datetime(2026, 3, 1, 13, 0, 10, tzinfo=UTC)
    await journal.park([appended.id], at, "nobody knows it")
    assert await journal.due(at - timedelta(microseconds=1), 10) == ()
    assert await journal.next_due() == at
    assert await journal.due(at, 10) == (A,)
    (row,) = await journal.undelivered(A, 0, 10)
    assert (row.attempts, row.retry_at, row.webhook.state) == (1, at, "parked")
    assert await journal.undelivered(A, row.id, 10) == ()
    await journal.mark([appended.id], "parked", "given up")
    assert await journal.due(at + timedelta(days=1), 10) == ()
    assert await journal.next_due() is None
    assert await keys_of(journal, A) == ["k1"]
    await journal.mark([appended.id], "pending")
    assert await journal.due(NOW, 10) == (A,)


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


async def test_what_was_kept_is_there_after_closing_and_opening(tmp_path: Path) -> None:
    first = open_journal(tmp_path / "journal.db", KEYRING)
    await first.append(webhook("k1"))
    await first.append(webhook("k1"))
    await first.close()
    with pytest.raises(StoreError, match="closed"):
        await first.append(webhook("k2"))
    second = open_journal(tmp_path / "journal.db", KEYRING)
    assert (await second.append(webhook("k1"))).duplicate
    assert await second.counts() == JournalCounts(pending=1, duplicates=2)
    await second.close()


async def test_appends_at_once_share_a_commit(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 callers that wait at once cost few transactions, and each gets its own answer."""
    commits = 0
    real = GroupWriter.transaction

    def counted(self: GroupWriter, group: list[Any]) -> list[object]:
        nonlocal commits
        commits += 1
        return real(self, group)

    monkeypatch.setattr(GroupWriter, "transaction", counted)
    answers = await asyncio.gather(
        *(journal.append(webhook(f"k{i % 300}", f"env-{i % 7}")) for i in range(400))
    )
    assert commits < 100
    assert sum(a.duplicate for a in answers) == 100
    assert len({a.id for a in answers}) == 300
    rows = await journal.pending(1000)
    assert [row.webhook.event_key for row in rows] == [f"k{i}" for i in range(300)]


async def test_a_commit_that_fails_fails_only_those_who_cannot_be_written(
    journal: SqliteJournal,
) -> None:
    """One webhook that the table refuses does not take its neighbours down, nor the journal."""
    bad = webhook("bad", event_name=b"no text")
    outcomes = await asyncio.gather(
        journal.append(webhook("k1")),
        journal.append(bad),
        journal.append(webhook("k2")),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], StoreError)
    assert [row.webhook.event_key for row in await journal.pending(10)] == ["k1", "k2"]


async def test_every_commit_is_synced(journal: SqliteJournal) -> None:
    """WAL with synchronous=FULL on the connection that writes."""
    assert journal._connection.pragma("journal_mode") == "wal"
    assert journal._connection.pragma("synchronous") == 2


async def test_a_disk_that_cannot_keep_up_is_said_at_once_and_nothing_is_promised(
    journal: SqliteJournal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the file is held by another writer, what waits is bounded; the rest is refused."""
    monkeypatch.setattr(journal._writer, "_waiting_max", 5)
    other = apsw.Connection(str(tmp_path / "journal.db"))
    other.execute("BEGIN IMMEDIATE")
    waiting = [asyncio.create_task(journal.append(webhook(f"k{i}"))) for i in range(5)]
    await asyncio.sleep(0)  # each task has handed its webhook over
    assert journal._writer.waiting == 5
    with pytest.raises(StoreFull, match="later"):
        await journal.append(webhook("k5"))
    other.execute("ROLLBACK")
    other.close()
    await asyncio.gather(*waiting)
    assert len(await journal.pending(10)) == 5
    await journal.append(webhook("k5"))


async def test_large_bodies_are_read_in_portions(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_BYTES_MAX", 1000)
    for i in range(5):
        await journal.append(webhook(f"k{i}", body=b"x" * 600))
    assert await keys_of(journal, A) == ["k0", "k1"]


async def test_headers_and_body_are_sealed_each_for_its_own_row(
    journal: SqliteJournal, tmp_path: Path
) -> None:
    """Nothing of them is in the file; moved to another row they do not open, and hold none up."""
    await journal.append(webhook("k1", body=b'{"email": "ana@example.com"}'))
    await journal.append(webhook("k2", body=b'{"email": "ben@example.com"}'))
    files = b"".join(p.read_bytes() for p in tmp_path.glob("journal.db*"))
    assert b"example.com" not in files
    assert b"k1" in files

    with closing(apsw.Connection(str(tmp_path / "journal.db"))) as meddler:
        meddler.execute(
            "UPDATE payload SET sealed = (SELECT sealed FROM payload WHERE id = 2) WHERE id = 1"
        )
    bodies = [row.webhook.body for row in await journal.pending(10)]
    assert bodies == [b"", b'{"email": "ben@example.com"}']


async def test_a_key_that_is_missing_is_named_and_the_rows_wait_for_it(tmp_path: Path) -> None:
    """Nothing is put aside that opens once the key is back."""
    old, new = {"old": b"o" * 32}, {"new": b"n" * 32}
    path = tmp_path / "journal.db"
    for ring in (Keyring("old", old), Keyring("new", {**old, **new})):
        journal = open_journal(path, ring)
        await journal.append(webhook(ring.current))
        await journal.close()
    without = open_journal(path, Keyring("new", new))
    with pytest.raises(StoreError, match="key old"):
        await without.pending(10)
    await without.close()
    whole = open_journal(path, Keyring("new", {**old, **new}))
    assert [row.webhook.event_key for row in await whole.pending(10)] == ["old", "new"]
    await whole.close()


async def test_readers_of_other_processes_see_what_is_committed(
    journal: Journal, tmp_path: Path
) -> None:
    await journal.append(webhook("k1"))
    with sqlite3.connect(f"file:{tmp_path / 'journal.db'}?mode=ro", uri=True) as connection:
        assert connection.execute("SELECT event_key FROM webhook").fetchall() == [("k1",)]
    connection.close()


def test_a_registry_is_no_journal(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / "journal.db"))
    connection.pragma("application_id", 7)
    connection.close()
    with pytest.raises(StoreUnusable, match="not a store of this kind"):
        open_journal(tmp_path / "journal.db", KEYRING)


_APPEND_FOREVER = """
import asyncio, sys
from pathlib import Path
from sealwax.stores.journal import open_journal
from tests.keys import KEYRING
from tests.stores.test_journal import webhook

async def main():
    journal = open_journal(Path(sys.argv[1]), KEYRING)
    async def one(i):
        await journal.append(webhook(f"k{i}"))
        print(i, flush=True)
    for start in range(0, 100_000, 20):
        await asyncio.gather(*(one(i) for i in range(start, start + 20)))

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """A process is killed while it appends: every webhook whose append returned is there."""
    path = tmp_path / "journal.db"
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", _APPEND_FOREVER, str(path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert process.stdout is not None
    acknowledged = {process.stdout.readline().strip() for _ in range(200)}
    process.kill()
    acknowledged |= set(process.stdout.read().split("\n")[:-1])
    process.wait()
    process.stdout.close()
    assert "" not in acknowledged
    journal = open_journal(path, KEYRING)
    kept = {row.webhook.event_key for row in await journal.pending(100_000)}
    await journal.close()
    assert {f"k{i}" for i in acknowledged} <= kept
