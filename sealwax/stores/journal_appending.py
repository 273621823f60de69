"""A group of webhooks appended in few statements.

SQLite is called without Python's lock, and to get that back while the event loop is busy takes
long; so a group costs a handful of calls, not several for each of its webhooks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import apsw

from sealwax.stores import journal_schema as sql
from sealwax.stores.base import Appended
from sealwax.stores.sqlite import rows

GROUP_ROWS = 128
_STATE = -2


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it is written: its digest, its columns from ``account`` on, its bytes."""

    digest: bytes
    columns: tuple[Any, ...]
    sealed: bytes


def append_group(connection: apsw.Connection, asked: list[Delivery]) -> list[Appended]:
    """Append them, within a transaction; those that are there already are only counted."""
    known = _known(connection, {delivery.digest for delivery in asked})
    last = rows(connection, sql.LAST_ID)
    next_id: int = (last[0][0] if last else 0) + 1
    webhooks: list[tuple[Any, ...]] = []
    payloads: list[tuple[Any, ...]] = []
    repeated: list[tuple[int]] = []
    tally: Counter[str] = Counter()
    outcomes = []
    for delivery in asked:
        if found := known.get(delivery.digest):
            row_id, kept = found
            tally["duplicates"] += 1
            if kept:
                repeated.append((row_id,))
            outcomes.append(Appended(row_id, duplicate=True))
            continue
        webhooks.append((next_id, delivery.digest, *delivery.columns))
        payloads.append((next_id, delivery.sealed))
        tally[delivery.columns[_STATE]] += 1
        known[delivery.digest] = (next_id, True)
        outcomes.append(Appended(next_id, duplicate=False))
        next_id += 1
    _insert(connection, sql.APPEND_WEBHOOKS, webhooks)
    _insert(connection, sql.APPEND_PAYLOADS, payloads)
    if repeated:
        connection.executemany(sql.DUPLICATE, repeated)
    connection.executemany(sql.TALLY, tally.items())
    return outcomes


def _known(connection: apsw.Connection, digests: set[bytes]) -> dict[bytes, tuple[int, bool]]:
    """Their ids, and whether their rows are still kept."""
    known = {}
    for part in _parts([(digest,) for digest in digests]):
        values = tuple(chain.from_iterable(part))
        for digest, row_id, kept in rows(connection, _known_text(len(part)), values):
            known[digest] = (row_id, bool(kept))
    return known


def _insert(connection: apsw.Connection, text: str, new: list[tuple[Any, ...]]) -> None:
    for part in _parts(new):
        values = tuple(chain.from_iterable(part))
        connection.execute(_insert_text(text, len(part), len(part[0])), values)


def _parts(whole: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Of few different lengths, so that few statements serve and stay prepared: each is filled up
    with rows of nothing, which a statement passes over."""
    for start in range(0, len(whole), GROUP_ROWS):
        part = whole[start : start + GROUP_ROWS]
        length = 1 << (len(part) - 1).bit_length()
        yield part + [(None,) * len(part[0])] * (length - len(part))


@cache
def _known_text(length: int) -> str:
    return sql.KNOWN.format(", ".join(f"?{i + 1}" for i in range(length)))


@cache
def _insert_text(text: str, length: int, columns: int) -> str:
    row = "(" + ", ".join("?" * columns) + ")"
    return text.format(", ".join([row] * length))
