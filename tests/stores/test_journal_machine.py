"""The journal against a model of it: any order of appends, claims, marks, crashes and pruning."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sealwax.stores.base import (
    UNDELIVERED,
    EnvelopeName,
    JournalCounts,
    Retention,
    WebhookFilter,
    WebhookState,
)
from sealwax.stores.journal import SqliteJournal, open_journal
from tests.keys import KEYRING
from tests.stores.journals import NOW, webhook

T = TypeVar("T")

KEYS_S = 5 * 3600.0
HOLD_S = 600.0
ENVELOPES = st.sampled_from(["env-a", "env-b", "env-c"])
FORWARDERS = st.sampled_from(["f1", "f2"])
# Few keys, so that many appends are repetitions.
EVENTS = st.tuples(st.integers(0, 8).map("k{}".format), ENVELOPES)
STATES = st.sampled_from(["delivered", "late", "pending", "parked", "quarantined", "discarded"])


@dataclass(frozen=True)
class Kept:
    """What the model knows of a row."""

    id: int
    key: str
    envelope: str
    received_at: datetime
    state: WebhookState = "pending"
    attempts: int = 0
    duplicates: int = 0
    retry_at: datetime | None = None


class JournalMachine(RuleBasedStateMachine):
    """``rows`` by key, ``past`` keys of pruned ones, ``claims`` by envelope."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="sealwax-journal-"))
        self.path = self.folder / "0.db"
        self.lives = 0
        self.abandoned: list[SqliteJournal] = []
        self.journal = self.opened()
        self.now = NOW
        self.rows: dict[str, Kept] = {}
        self.past: dict[str, Kept] = {}
        self.claims: dict[str, tuple[str, datetime]] = {}
        self.duplicates = self.pruned = 0

    def opened(self) -> SqliteJournal:
        async def opening() -> SqliteJournal:
            return open_journal(self.path, KEYRING)

        return self.run(opening())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def teardown(self) -> None:
        for journal in (self.journal, *self.abandoned):
            self.run(journal.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @initialize()
    def there_is_a_past(self) -> None:
        """Seldom found by chance: most sequences would never come to it."""
        self.append_at_once([("k0", "env-a"), ("k1", "env-b")])
        self.deliver_and_prune(0)
        self.append_at_once([("k2", "env-a"), ("k3", "env-b")])

    @rule(events=st.lists(EVENTS, min_size=1, max_size=40))
    def append_at_once(self, events: list[tuple[str, str]]) -> None:
        async def appending() -> list[Any]:
            return await asyncio.gather(
                *(
                    self.journal.append(webhook(key, envelope, received_at=self.now))
                    for key, envelope in events
                )
            )

        for (key, envelope), appended in zip(events, self.run(appending()), strict=True):
            if (known := self.rows.get(key) or self.past.get(key)) is not None:
                assert (appended.id, appended.duplicate) == (known.id, True)
                self.duplicates += 1
                if key in self.rows:
                    self.rows[key] = replace(known, duplicates=known.duplicates + 1)
            else:
                assert not appended.duplicate
                newest = max((r.id for r in (*self.rows.values(), *self.past.values())), default=0)
                assert appended.id > newest
                self.rows[key] = Kept(appended.id, key, envelope, self.now)

    @rule(state=st.sampled_from(["delivered", "late"]))
    def mark_all(self, state: WebhookState) -> None:
        self.run(self.journal.mark([row.id for row in self.rows.values()], state))
        for row in self.in_order():
            self.rows[row.key] = replace(row, state=state, retry_at=None)

    @rule(forwarder=FORWARDERS, limit=st.integers(1, 5))
    def claim(self, forwarder: str, limit: int) -> None:
        due = [r for r in self.in_order() if r.state == "pending" or self.is_due(r)]
        free = [e for e in dict.fromkeys(r.envelope for r in due) if self.holder(e) is None]
        got = self.run(self.journal.claim(forwarder, self.now, HOLD_S, limit))
        names = [name.provider_envelope_id for name in got]
        if len(due) <= limit * 20:
            assert names == free[:limit]
        else:
            # More than is looked at in order: then others may come first, and none is forgotten.
            assert set(names) <= set(free)
            assert bool(names) == bool(free)
        for name in names:
            self.claims[name] = (forwarder, self.now + timedelta(seconds=HOLD_S))

    @rule(forwarder=FORWARDERS, envelopes=st.sets(ENVELOPES))
    def release(self, forwarder: str, envelopes: set[str]) -> None:
        self.run(self.journal.release(forwarder, [EnvelopeName("acme", e) for e in envelopes]))
        for envelope in envelopes:
            if self.claims.get(envelope, ("", NOW))[0] == forwarder:
                del self.claims[envelope]

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), state=STATES)
    def mark(self, data: st.DataObject, state: WebhookState) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True))
        self.run(self.journal.mark([self.rows[k].id for k in chosen], state, "why"))
        for key in chosen:
            self.rows[key] = replace(self.rows[key], state=state, retry_at=None)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), after_s=st.integers(-100, 20_000))
    def park(self, data: st.DataObject, after_s: int) -> None:
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.rows)), unique=True))
        at = self.now + timedelta(seconds=after_s)
        self.run(self.journal.park([self.rows[k].id for k in chosen], at, "unknown"))
        for key in chosen:
            row = self.rows[key]
            self.rows[key] = replace(row, state="parked", retry_at=at, attempts=row.attempts + 1)

    @rule(keep_s=st.sampled_from([0, 3600, 4 * 3600, 10 * 3600]))
    def prune(self, keep_s: int) -> None:
        self.now += timedelta(seconds=1)
        retention = Retention(keep_s, bytes_max=10**15, keys_s=KEYS_S)
        old = self.now - timedelta(seconds=keep_s)
        keys = self.now - timedelta(seconds=KEYS_S)
        going = [
            row
            for row in self.rows.values()
            if row.state not in UNDELIVERED and row.received_at < old
        ]
        assert self.run(self.journal.prune(self.now, retention)) == len(going)
        for row in going:
            del self.rows[row.key]
            self.past[row.key] = row
        self.pruned += len(going)
        self.past = {k: row for k, row in self.past.items() if row.received_at >= keys}

    @precondition(lambda self: self.past)
    @rule(envelope=ENVELOPES)
    def deliver_pruned_ones_again(self, envelope: str) -> None:
        self.append_at_once([(key, envelope) for key in sorted(self.past)])

    @rule(keep_s=st.sampled_from([0, 3600]))
    def deliver_and_prune(self, keep_s: int) -> None:
        self.mark_all("delivered")
        self.prune(keep_s)

    @rule(seconds=st.sampled_from([1, 700, 3600, 7200]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def close_and_open(self) -> None:
        self.run(self.journal.close())
        self.journal = self.opened()

    @rule()
    def crash(self) -> None:
        """What a killed process leaves: the file and its log, as they are between two answers."""
        self.lives += 1
        path = self.folder / f"{self.lives}.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.path}{suffix}", f"{path}{suffix}")
        self.abandoned.append(self.journal)
        self.path = path
        self.journal = self.opened()

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        found = self.run(self.journal.find(WebhookFilter(), 0, 10_000))
        assert [
            Kept(
                entry.id,
                entry.event_key,
                entry.provider_envelope_id,
                entry.received_at,
                entry.state,
                entry.attempts,
                entry.duplicates,
                entry.retry_at,
            )
            for entry in found
        ] == self.in_order()

    @invariant()
    def each_envelope_waits_in_order(self) -> None:
        for envelope in ("env-a", "env-b", "env-c"):
            waiting = self.run(self.journal.undelivered(EnvelopeName("acme", envelope), 0, 1000))
            assert [row.webhook.event_key for row in waiting] == [
                row.key
                for row in self.in_order()
                if row.envelope == envelope and row.state in ("pending", "parked")
            ]

    @invariant()
    def counts_are_right(self) -> None:
        states: dict[str, int] = {}
        for row in self.rows.values():
            states[row.state] = states.get(row.state, 0) + 1
        assert self.run(self.journal.counts()) == JournalCounts(
            **states, duplicates=self.duplicates, pruned=self.pruned
        )
        due = [row.retry_at for row in self.rows.values() if row.retry_at is not None]
        assert self.run(self.journal.next_due()) == min(due, default=None)

    def in_order(self) -> list[Kept]:
        return sorted(self.rows.values(), key=lambda row: row.id)

    def is_due(self, row: Kept) -> bool:
        return row.state == "parked" and row.retry_at is not None and row.retry_at <= self.now

    def holder(self, envelope: str) -> str | None:
        forwarder, until = self.claims.get(envelope, ("", NOW))
        return forwarder if until > self.now else None


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=settings().max_examples // 3, stateful_step_count=20
)
