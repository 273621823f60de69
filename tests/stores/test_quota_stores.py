"""Laws of the quota's stores, the same for SQLite and a real PostgreSQL: one budget for all."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import apsw
import pytest
import pytest_asyncio

from demo.postgres_server import PostgresServer
from sealwax.permits import Permits, QuotaWait
from sealwax.quota_limits import Klass
from sealwax.quota_reports import Ask, Close, Denied, Grant, Seen, Want
from sealwax.stores import quota_postgres
from sealwax.stores.base import StoreError, StoreUnusable
from sealwax.stores.quota_base import QuotaStore, machine_clock
from sealwax.stores.quota_sqlite import BUSY_MAX_S
from sealwax.stores.sqlite import open_writer
from tests.quota_worker import LIMITS, open_store

NOW = Want(Klass.INTERACTIVE)
ROOT = Path(__file__).parents[2]


class Away:
    """Nobody reaches the store between ``begin`` and ``end``."""

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def held(self) -> bool:
        """Whether somebody keeps the store from everybody, for longer than a transaction takes."""
        return False


@dataclass
class LockedFile(Away):
    """Somebody holds the file's lock, as a process that was stopped in the middle would."""

    path: str
    holder: list[apsw.Connection] = field(default_factory=list)

    def begin(self, wait_ms: int = 5_000) -> None:
        connection = apsw.Connection(self.path)
        connection.set_busy_timeout(wait_ms)
        connection.execute("BEGIN IMMEDIATE")
        self.holder.append(connection)

    def end(self) -> None:
        connection = self.holder.pop()
        connection.execute("ROLLBACK")
        connection.close()

    def held(self) -> bool:
        try:
            self.begin(wait_ms=500)
        except apsw.BusyError:
            return True
        self.end()
        return False


@dataclass
class StoppedServer(Away):
    """The server is stopped, everybody is cut off."""

    server: PostgresServer

    def begin(self) -> None:
        self.server.stop()

    def end(self) -> None:
        self.server.start()


@dataclass
class Place:
    """Where a store is, under which name it is opened, and how it goes away."""

    where: str
    away: Away
    account: str = field(default_factory=lambda: f"account-{uuid4().hex[:8]}")
    opened: list[QuotaStore] = field(default_factory=list)

    async def open(self) -> QuotaStore:
        store = await open_store(self.where)
        self.opened.append(store)
        return store


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "sqlite":
        path = str(tmp_path / "quota.db")
        here = Place(path, LockedFile(path))
    else:
        server = request.getfixturevalue("postgres")
        here = Place(server.dsn, StoppedServer(server))
    yield here
    for store in here.opened:
        await store.close()


def granted(told: Any) -> list[int]:
    return [d.number for d in told.decisions if isinstance(d, Grant)]


async def test_all_who_open_a_store_share_one_budget(place: Place) -> None:
    """Eight handles ask at once, again and again: together they are granted the limit."""
    stores = [await place.open() for _ in range(8)]
    limits = replace(LIMITS, burst_window_s=60.0, life_s=30.0)

    async def take(store: QuotaStore, holder: str) -> int:
        known = count = 0
        for turn in range(1, 11):
            ask = Ask(holder, turn, known, wants=(NOW, NOW, NOW))
            numbers = granted(await store.exchange(place.account, limits, ask))
            known = max([known, *numbers])
            count += len(numbers)
        return count

    counts = await asyncio.gather(*(take(s, f"h{i}") for i, s in enumerate(stores)))
    assert sum(counts) == limits.burst_calls - limits.aside
    view = await stores[0].look(place.account, limits)
    assert (view.burst_used, view.holders) == (sum(counts), 8)


async def test_a_ledger_outlives_those_who_opened_it(place: Place) -> None:
    """A new process finds what an earlier one used, and counts a repeated report once."""
    limits = replace(LIMITS, burst_window_s=60.0)
    first = await place.open()
    told = await first.exchange(place.account, limits, Ask("a", 1, wants=(NOW,) * 3))
    close = Close(1, "answered", told.now, told.now, seen=Seen(burst_limit=40))
    await first.exchange(place.account, limits, Ask("a", 2, 3, closes=(close,)))
    second = await place.open()
    await second.exchange(place.account, limits, Ask("a", 2, 3, closes=(close,)))
    view = await second.look(place.account, limits)
    assert (view.burst_limit, view.burst_used) == (40, 3)
    assert view.counters.granted == 3
    assert view.counters.breaches == 0


async def test_accounts_and_envelopes_are_kept_apart(place: Place) -> None:
    """One account's full window is nothing to another; so are two accounts' equal envelope ids."""
    limits = replace(LIMITS, burst_window_s=60.0)
    store = await place.open()
    await store.exchange(place.account, limits, Ask("a", 1, wants=(NOW,) * 100))
    poll = replace(NOW, envelope="e1", purpose="poll", operation="Envelopes_GetEnvelope")
    other = place.account + "-other"
    first = await store.exchange(other, limits, Ask("a", 1, wants=(poll, NOW)))
    assert len(granted(first)) == 2
    again = await store.exchange(other, limits, Ask("b", 1, wants=(poll,)))
    (denied,) = again.decisions
    assert isinstance(denied, Denied)
    assert denied.cause == "envelope"
    third = await store.exchange(place.account + "-third", limits, Ask("a", 1, wants=(poll,)))
    assert len(granted(third)) == 1


async def test_a_store_that_is_away_says_so_and_is_found_again(place: Place) -> None:
    """The same handle serves again; nothing that was granted before is forgotten."""
    store = await place.open()
    limits = replace(LIMITS, burst_window_s=60.0, life_s=60.0)
    await store.exchange(place.account, limits, Ask("a", 1, wants=(NOW,) * 5))
    place.away.begin()
    with pytest.raises(StoreError):
        await store.exchange(place.account, limits, Ask("a", 2, 5))
    place.away.end()
    told = await store.exchange(place.account, limits, Ask("a", 2, 5, wants=(NOW,)))
    assert granted(told) == [6]
    assert (await store.look(place.account, limits)).burst_used == 6


async def test_without_its_store_a_keeper_has_the_share_set_aside_and_no_more(
    place: Place,
) -> None:
    """Urgent calls have one per window, bulk none; back again, all is counted and served."""
    keeper = Permits(await place.open(), lambda _: LIMITS, read_answer=lambda *_: Seen())

    async def call(klass: Klass, patience_s: float) -> bool:
        try:
            async with keeper.permit(
                place.account, None, klass, "Envelopes_Get", patience_s=patience_s
            ) as permit:
                permit.completed({})
                return True
        except QuotaWait:
            return False

    assert await call(Klass.BULK, 5.0)
    place.away.begin()
    try:
        urgent = [asyncio.create_task(call(Klass.INTERACTIVE, BUSY_MAX_S + 0.7)) for _ in range(5)]
        bulk = asyncio.create_task(call(Klass.BULK, BUSY_MAX_S + 0.7))
        # As many windows as there may be in that time; how soon the store is missed differs.
        made = sum(await asyncio.gather(*urgent))
        assert 1 <= made <= 3
        assert not await bulk
        assert keeper.figures(place.account).away_s > 0
    finally:
        place.away.end()
    back = time.monotonic()
    assert await call(Klass.BULK, 10.0)
    assert time.monotonic() - back < 5.0
    figures = keeper.figures(place.account)
    assert (figures.away_s, figures.away_calls) == (0.0, made)
    await keeper.close()
    view = await place.opened[0].look(place.account, LIMITS)
    assert view.hour_used == 2 + made


async def nothing() -> None:
    """No need to ask anybody."""


async def until(
    condition: Callable[[], bool], refresh: Callable[[], Awaitable[None]] = nothing
) -> None:
    """Wait for a condition of other processes, which can only be looked at."""
    async with asyncio.timeout(30):
        while True:
            await refresh()
            if condition():
                return
            await asyncio.sleep(0.02)


class Crew:
    """Worker processes on one account, and the provider's count of what arrived."""

    def __init__(self, place: Place, folder: Path, skews_s: list[float], answer_s: float) -> None:
        self.files = [folder / f"arrivals-{i}" for i in range(len(skews_s))]
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.quota_worker", place.where, place.account,
                 str(file), str(skew_s), str(answer_s)],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for file, skew_s in zip(self.files, skews_s, strict=True)
        ]  # fmt: skip

    def arrivals(self) -> list[int]:
        texts = [file.read_text() for file in self.files if file.exists()]
        return sorted(int(line) for text in texts for line in text.split())

    def since(self, moment_us: int) -> int:
        return sum(at >= moment_us for at in self.arrivals())

    async def until(self, condition: Any) -> None:
        await until(condition)

    def send(self, index: int, what: signal.Signals) -> int:
        os.kill(self.processes[index].pid, what)
        return time.monotonic_ns() // 1000

    def end(self) -> list[dict[str, Any]]:
        """End all in order: what each saw (nothing, where it was killed)."""
        seen = []
        for process in self.processes:
            out, _ = process.communicate("", timeout=20)
            seen.append(json.loads(out) if out else {})
        return seen

    def abandon(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def most_in_a_window(self) -> int:
        times, most, first = self.arrivals(), 0, 0
        for index, at in enumerate(times):
            while times[first] < at - LIMITS.burst_window_s * 1_000_000:
                first += 1
            most = max(most, index - first + 1)
        return most


async def test_a_killed_worker_leaks_nothing_and_no_window_is_exceeded(
    place: Place, tmp_path: Path
) -> None:
    """Three processes with clocks 20 s apart; one is killed, two soon have the whole budget."""
    crew = Crew(place, tmp_path, [10.0, -10.0, 0.0], 0.005)
    try:
        await crew.until(lambda: len(crew.arrivals()) > 150)
        killed = crew.send(0, signal.SIGKILL)
        whole_us = round((LIMITS.burst_window_s + LIMITS.life_s + LIMITS.transit_s) * 1_000_000)
        await crew.until(lambda: crew.since(killed + whole_us) > 150)
        after = [at for at in crew.arrivals() if at >= killed + whole_us]
        rate = (len(after) - 1) / ((after[-1] - after[0]) / 1_000_000)
        seen = crew.end()
    finally:
        crew.abandon()
    assert crew.most_in_a_window() <= LIMITS.burst_calls - LIMITS.aside
    assert rate > 0.8 * (LIMITS.burst_calls - LIMITS.aside) / LIMITS.burst_window_s
    assert sum(s.get("breaches", 0) for s in seen) == 0


async def test_a_store_that_restarts_under_workers_lets_no_window_be_exceeded(
    place: Place, tmp_path: Path
) -> None:
    """Three processes at full work meanwhile: what each has set aside is all that they may do, and
    within seconds of its return they work on.
    """
    crew = Crew(place, tmp_path, [10.0, -10.0, 0.0], 0.005)
    try:
        await crew.until(lambda: len(crew.arrivals()) > 150)
        place.away.begin()
        await asyncio.sleep(2 * LIMITS.burst_window_s)
        back = time.monotonic_ns() // 1000
        place.away.end()
        await crew.until(lambda: crew.since(back) > 100)
        recovered_us = [at for at in crew.arrivals() if at >= back][100] - back
        seen = crew.end()
    finally:
        crew.abandon()
    assert crew.most_in_a_window() <= LIMITS.burst_calls
    assert recovered_us < 8_000_000
    assert all(s["away_s"] == 0 for s in seen)


async def test_a_worker_stopped_past_its_permits_life_is_reported(
    place: Place, tmp_path: Path
) -> None:
    """Its calls were given up for dead; when it goes on, the ledger counts the breach."""
    crew = Crew(place, tmp_path, [0.0, 0.0], 0.3)
    try:
        await crew.until(lambda: all(f.exists() and f.read_text() for f in crew.files))
        stopped = crew.send(0, signal.SIGSTOP)
        while place.away.held():
            # Who stands still with the file's lock keeps everybody from it, which is no breach.
            crew.send(0, signal.SIGCONT)
            stopped = crew.send(0, signal.SIGSTOP)
        life_us = round((LIMITS.life_s + LIMITS.transit_s) * 1_000_000)
        await crew.until(lambda: crew.since(stopped + 2 * life_us) > 20)
        crew.send(0, signal.SIGCONT)
        store = await place.open()

        looks: list[int] = []

        async def look() -> None:
            looks.append((await store.look(place.account, LIMITS)).counters.breaches)

        await until(lambda: sum(looks) > 0, look)
        seen = crew.end()
    finally:
        crew.abandon()
    assert seen[0]["breaches"] > 0
    assert seen[1]["breaches"] == 0


def test_a_file_may_be_made_by_many_at_once(tmp_path: Path) -> None:
    """Workers that start together all open the one new file, whoever makes it."""
    for number in range(40):
        path, ready = tmp_path / f"quota-{number}.db", threading.Barrier(6)

        def made(path: Path = path, ready: threading.Barrier = ready) -> None:
            ready.wait()
            open_writer(path, "CREATE TABLE IF NOT EXISTS t (a INTEGER) STRICT;", 7).close()

        with ThreadPoolExecutor(6) as threads:
            for opened in [threads.submit(made) for _ in range(6)]:
                opened.result()


async def test_an_address_without_a_server_is_told_without_the_address() -> None:
    """It may hold a password."""
    with pytest.raises(StoreUnusable, match="check its address") as caught:
        await quota_postgres.open_quota("postgresql://me:hush@127.0.0.1:1/none", timeout_s=1.0)
    assert "hush" not in str(caught.value)


def test_the_machines_clock_goes_on_and_keeps_its_zero() -> None:
    """All processes of one boot read the same one."""
    first = machine_clock()
    readings: list[Any] = []
    thread = threading.Thread(target=lambda: readings.append(machine_clock()))
    thread.start()
    thread.join()
    assert readings[0].epoch == first.epoch
    assert readings[0].now >= first.now
