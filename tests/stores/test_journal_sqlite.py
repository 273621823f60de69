"""Laws of the journal's file: synced, sealed, bounded, and whole whatever ends its program."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
import pytest_asyncio

from sealwax.crypto import Keyring
from sealwax.stores import journal as journal_module
from sealwax.stores import sqlite
from sealwax.stores.base import StoreError, StoreFull, StoreUnusable
from sealwax.stores.group_writer import GroupWriter
from sealwax.stores.journal import SqliteJournal, open_journal
from tests.keys import KEYRING
from tests.stores.journals import acknowledged_before_kill_9, webhook

FOLD_PAGES = 100
PAGE_BYTES = 4096 + 24
"""With what the log adds to each."""


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    store = open_journal(tmp_path / "journal.db", KEYRING)
    yield store
    await store.close()


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
    journal: SqliteJournal, tmp_path: Path
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
from tests.stores.journals import webhook

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
    acknowledged = acknowledged_before_kill_9(_APPEND_FOREVER, path)
    journal = open_journal(path, KEYRING)
    kept = {row.webhook.event_key for row in await journal.pending(100_000)}
    await journal.close()
    assert {f"k{i}" for i in acknowledged} <= kept


async def test_the_log_begins_anew_while_two_programs_write_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays as small as is stated, though it is never let alone; and it is read meanwhile."""
    monkeypatch.setattr(sqlite, "AUTOCHECKPOINT_PAGES", FOLD_PAGES)
    monkeypatch.setattr(journal_module, "RESTART_PAGES", 2 * FOLD_PAGES)
    path = tmp_path / "journal.db"
    bridge = open_journal(path, KEYRING)
    forwarder = open_journal(path, KEYRING, synced="normal", check_s=0)
    largest, written = 0, 0

    async def mark() -> None:
        while True:
            rows = await forwarder.pending(50)
            await forwarder.mark([row.id for row in rows], "delivered")
            await asyncio.sleep(0)

    marking = asyncio.create_task(mark())
    log = Path(f"{path}-wal")
    for number in range(150):
        await asyncio.gather(*(bridge.append(webhook(f"k{number}-{n}")) for n in range(10)))
        largest, written = max(largest, log.stat().st_size), written + 10
    marking.cancel()
    await asyncio.gather(marking, return_exceptions=True)
    assert (await forwarder.counts()).kept == written
    await forwarder.close()
    await bridge.close()
    assert largest < 10 * FOLD_PAGES * PAGE_BYTES
