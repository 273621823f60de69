"""Laws of the spool: an answer never depends on the database, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from sealwax.stores import journal_spool
from sealwax.stores.base import (
    Appended,
    JournalCounts,
    JournalRow,
    StoreAway,
    StoreError,
    StoreFull,
    WebhookFilter,
)
from sealwax.stores.journal import open_journal
from sealwax.stores.journal_postgres import PostgresJournal, open_postgres_journal
from sealwax.stores.journal_spool import SpooledJournal
from tests.keys import KEYRING
from tests.stores.journals import (
    NOW,
    SECOND,
    A,
    ServerPlace,
    acknowledged_before_kill_9,
    keys_of,
    until,
    webhook,
)

NOBODY_LISTENS = "postgresql://nobody@127.0.0.1:1/none"


def spooled_journal(dsn: str, path: Path) -> SpooledJournal:
    database = open_postgres_journal(dsn, KEYRING, timeout_s=2)
    return SpooledJournal(database, open_journal(path, KEYRING))


async def moved(journal: SpooledJournal) -> None:
    """Wait until nothing waits in the spool and the database is written directly."""

    async def so() -> bool:
        return (await journal.counts()).spooled == 0 and journal._direct

    await until(so)


@pytest_asyncio.fixture
async def spooled(
    server_place: ServerPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SpooledJournal]:
    monkeypatch.setattr(journal_spool, "AGAIN_MAX_S", 0.05)
    journal = spooled_journal(server_place.server.dsn, tmp_path / "spool.db")
    await journal.start()
    await moved(journal)
    yield journal
    await journal.close()


async def kept_keys(journal: SpooledJournal) -> list[str]:
    return [entry.event_key for entry in await journal.find(WebhookFilter(), 0, 10_000)]


async def test_while_the_database_is_away_webhooks_wait_here_and_then_go_there_in_their_order(
    spooled: SpooledJournal, server_place: ServerPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appends are answered all the time, and what waits is told; a repetition is one row still."""
    monkeypatch.setattr(journal_spool, "MOVED_AT_ONCE", 7)
    first = await spooled.append(webhook("k0"))
    assert first == Appended(1, duplicate=False)
    server_place.server.stop()
    try:
        for i in range(1, 30):
            assert (await spooled.append(webhook(f"k{i}"))).spooled
        assert (await spooled.append(webhook("k7", received_at=NOW + SECOND))).duplicate
        assert not (await spooled.append(webhook("k0", received_at=NOW + SECOND))).duplicate
        await spooled.append(webhook("bad", state="quarantined", reason="unreadable"))
        assert await spooled.counts() == JournalCounts(spooled=31)
        health = await spooled.health()
        assert (health.away, health.spooled) == (True, 31)
        with pytest.raises(StoreAway, match="away"):
            await spooled.claim("f", NOW, 30, 10)
    finally:
        server_place.server.start()
    await moved(spooled)
    assert await kept_keys(spooled) == [*(f"k{i}" for i in range(30)), "bad"]
    assert await keys_of(spooled, A) == [f"k{i}" for i in range(30)]
    assert await spooled.counts() == JournalCounts(pending=30, quarantined=1, duplicates=2)
    assert not (await spooled.health()).away
    after = await spooled.append(webhook("after"))
    assert not after.spooled
    assert (await kept_keys(spooled))[-1] == "after"


async def test_what_comes_while_the_spool_is_moved_waits_behind_it(
    spooled: SpooledJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is back, and a later event of an envelope does not overtake an earlier one."""
    monkeypatch.setattr(journal_spool, "MOVED_AT_ONCE", 3)
    real = PostgresJournal.take_over
    came = iter(range(10, 40))

    async def take_over(self: PostgresJournal, rows: Sequence[JournalRow]) -> None:
        await real(self, rows)
        if (number := next(came, None)) is not None:
            assert (await spooled.append(webhook(f"k{number}"))).spooled

    monkeypatch.setattr(PostgresJournal, "take_over", take_over)
    spooled._lost(StoreAway("a moment"))
    await asyncio.gather(*(spooled.append(webhook(f"k{i}")) for i in range(10)))
    await moved(spooled)
    assert await keys_of(spooled, A) == [f"k{i}" for i in range(40)]


async def test_an_append_whose_answer_is_lost_is_one_row_in_the_end(
    spooled: SpooledJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the database and in the spool, and counted once."""
    groups = spooled._database._groups
    real = groups._write

    async def done_and_lost(group: Sequence[tuple[Any, ...]]) -> list[Appended]:
        await real(group)
        raise StoreAway("the connection was lost")

    monkeypatch.setattr(groups, "_write", done_and_lost)
    assert (await spooled.append(webhook("k1"))).spooled
    await moved(spooled)
    assert await kept_keys(spooled) == ["k1"]
    assert await spooled.counts() == JournalCounts(pending=1)


async def test_what_was_moved_and_not_dropped_is_moved_again_without_harm(
    spooled: SpooledJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the database's answer and the spool's own commit."""
    real = spooled._spool.drop
    failures = iter((True, True))

    async def drop(ids: Any) -> None:
        if next(failures, False):
            raise StoreError("crashed here")
        await real(ids)

    monkeypatch.setattr(spooled._spool, "drop", drop)
    spooled._lost(StoreAway("a moment"))
    await spooled.append(webhook("k1"))
    await spooled.append(webhook("k1", received_at=NOW + SECOND))
    await moved(spooled)
    assert await kept_keys(spooled) == ["k1"]
    assert (await spooled.counts()).pending == 1


async def test_a_database_that_is_too_slow_is_helped_by_the_spool(
    spooled: SpooledJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: PostgresJournal, webhook: object) -> Appended:
        raise StoreFull("too slow")

    monkeypatch.setattr(PostgresJournal, "append", full)
    assert (await spooled.append(webhook("k1"))).spooled
    await moved(spooled)
    assert await kept_keys(spooled) == ["k1"]


async def test_what_the_database_refuses_for_good_stays_and_holds_up_no_other(
    spooled: SpooledJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PostgresJournal.take_over

    async def take_over(self: PostgresJournal, rows: Sequence[JournalRow]) -> None:
        if any(row.webhook.event_key == "k2" for row in rows):
            raise StoreError("refuses it")
        await real(self, rows)

    monkeypatch.setattr(PostgresJournal, "take_over", take_over)
    spooled._lost(StoreAway("a moment"))
    await asyncio.gather(*(spooled.append(webhook(f"k{i}")) for i in range(5)))

    async def direct() -> bool:
        return spooled._direct

    await until(direct)
    assert await kept_keys(spooled) == ["k0", "k1", "k3", "k4"]
    assert (await spooled.counts()).spooled == 1
    (left,) = await spooled._spool.find(WebhookFilter(), 0, 9)
    assert (left.event_key, left.state, left.reason) == ("k2", "quarantined", "refuses it")


async def test_a_file_that_was_the_journal_becomes_the_spool_with_all_that_it_holds(
    server_place: ServerPlace, tmp_path: Path
) -> None:
    """Who names a database later takes his webhooks along; parked ones are tried anew."""
    file = open_journal(tmp_path / "journal.db", KEYRING)
    ids = [(await file.append(webhook(f"k{i}"))).id for i in range(4)]
    await file.append(webhook("k0"))
    await file.mark(ids[:1], "delivered")
    await file.mark(ids[1:2], "late", "its workflow is closed")
    await file.mark(ids[2:3], "parked", "given up")
    await file.close()
    journal = spooled_journal(server_place.server.dsn, tmp_path / "journal.db")
    await journal.start()
    await moved(journal)
    assert await journal.counts() == JournalCounts(pending=2, delivered=1, late=1, duplicates=1)
    assert (await journal.append(webhook("k1"))).duplicate
    await journal.close()


async def test_a_bridge_starts_and_takes_in_while_the_database_is_away(tmp_path: Path) -> None:
    journal = spooled_journal(NOBODY_LISTENS, tmp_path / "journal.db")
    await journal.start()
    assert await journal.append(webhook("k1")) == Appended(1, duplicate=False, spooled=True)
    assert (await journal.health()).away
    await journal.close()


_SPOOL_FOREVER = """
import asyncio, sys
from pathlib import Path
from tests.stores.journals import webhook
from tests.stores.test_journal_spool import NOBODY_LISTENS, spooled_journal

async def main():
    journal = spooled_journal(NOBODY_LISTENS, Path(sys.argv[1]))
    async def one(i):
        assert (await journal.append(webhook(f"k{i}"))).spooled
        print(i, flush=True)
    for start in range(0, 100_000, 20):
        await asyncio.gather(*(one(i) for i in range(start, start + 20)))

asyncio.run(main())
"""


async def test_what_was_spooled_survives_kill_9_and_reaches_the_database_once(
    server_place: ServerPlace, tmp_path: Path
) -> None:
    acknowledged = acknowledged_before_kill_9(_SPOOL_FOREVER, tmp_path / "spool.db")
    journal = spooled_journal(server_place.server.dsn, tmp_path / "spool.db")
    await journal.start()
    await moved(journal)
    kept = await kept_keys(journal)
    await journal.close()
    assert len(kept) == len(set(kept))
    assert {f"k{i}" for i in acknowledged} <= set(kept)
