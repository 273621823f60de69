"""The team's own database: one row per envelope, and the webhooks that were seen."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

FINAL = frozenset({"completed", "declined", "voided", "deleted"})
_RANK = {"created": 0, "sent": 1, "delivered": 2, "signed": 3}

_SCHEMA = """
create table envelopes (
    key text primary key, envelope_id text unique not null, status text not null
);
create table webhooks (event_key text primary key);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """An envelope as the team's own database knows it."""

    key: str
    envelope_id: str
    status: str


class Rows:
    """An SQLite database in memory: it lives as long as the demonstration."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add(self, key: str, envelope_id: str, status: str) -> Row:
        """Add an envelope's row; the first one of a key stays. Returns the row that stands."""
        self._database.execute(
            "insert into envelopes values (?, ?, ?) on conflict do nothing",
            (key, envelope_id, status),
        )
        row = self.by_key(key)
        if row is None:
            raise LookupError(f"envelope {envelope_id} stands under another key than {key}")
        return row

    def by_key(self, key: str) -> Row | None:
        """The row of a business key."""
        return self._one("key", key)

    def by_envelope(self, envelope_id: str) -> Row | None:
        """The row of a provider's envelope id."""
        return self._one("envelope_id", envelope_id)

    def move(self, envelope_id: str, status: str) -> bool:
        """Set a status unless that would go back: final ones stay, the others only climb."""
        row = self.by_envelope(envelope_id)
        if row is None or row.status in FINAL:
            return False
        if status not in FINAL and _RANK.get(status, -1) <= _RANK.get(row.status, -1):
            return False
        self._database.execute(
            "update envelopes set status = ? where envelope_id = ?", (status, envelope_id)
        )
        return True

    def seen(self, event_key: str) -> bool:
        """Whether a webhook was dealt with before."""
        found = self._database.execute(
            "select 1 from webhooks where event_key = ?", (event_key,)
        ).fetchone()
        return found is not None

    def remember(self, event_key: str) -> None:
        """A webhook has been dealt with."""
        self._database.execute(
            "insert into webhooks values (?) on conflict do nothing", (event_key,)
        )

    def _one(self, column: str, value: str) -> Row | None:
        found = self._database.execute(
            f"select key, envelope_id, status from envelopes where {column} = ?", (value,)
        ).fetchone()
        return None if found is None else Row(*found)
