"""A group of webhooks appended in one statement, or in few.

SQLite is called without Python's lock, and to get that back while the event loop is busy takes up
to 5 ms each time; so a group is one call, which is a transaction of its own, where nothing of it is
there already.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import apsw

from sealwax.stores import journal_schema as sql
from sealwax.stores.base import Appended
from sealwax.stores.group_writer import GROUP_MAX
from sealwax.stores.sqlite import rows

LENGTHS = tuple(sorted({1 << n for n in range(10)} | {3 << n for n in range(8)}))
"""Of how many rows a statement is: few different lengths, so that all stay prepared."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it is written: its digest, its columns from ``account`` on, its bytes."""

    digest: bytes
    columns: tuple[Any, ...]
    sealed: bytes


class Appending:
    """Appends groups through one connection: ``group_writer.Work``, and ``Alone`` where that does.

    It remembers which id is the next. Where another process has taken that, or something is there
    already, the one statement fails as a whole, and the long way tells.
    """

    def __init__(self) -> None:
        self._next_id = 0

    def alone(self, connection: apsw.Connection, asked: list[Delivery]) -> list[Appended] | None:
        """Append them in one statement, outside of any transaction; None where that cannot be."""
        digests = {delivery.digest for delivery in asked}
        if not self._next_id or len(digests) < len(asked) or len(asked) > GROUP_MAX:
            return None
        ids = range(self._next_id, self._next_id + len(asked))
        try:
            _insert(connection, [_row(i, d) for i, d in zip(ids, asked, strict=True)])
        except apsw.ConstraintError:
            return None
        self._next_id = ids.stop
        return [Appended(row_id, duplicate=False) for row_id in ids]

    def within(self, connection: apsw.Connection, asked: list[Delivery]) -> list[Appended]:
        """Append them, within a transaction; those that are there already are only counted."""
        known = _known(connection, {delivery.digest for delivery in asked})
        last = rows(connection, sql.LAST_ID)
        self._next_id = (last[0][0] if last else 0) + 1
        new: list[tuple[Any, ...]] = []
        again: list[tuple[int]] = []
        outcomes = []
        for delivery in asked:
            if found := known.get(delivery.digest):
                row_id, kept = found
                again += [(row_id,)] if kept else []
                outcomes.append(Appended(row_id, duplicate=True))
                continue
            new.append(_row(self._next_id, delivery))
            known[delivery.digest] = (self._next_id, True)
            outcomes.append(Appended(self._next_id, duplicate=False))
            self._next_id += 1
        _insert(connection, new)
        connection.executemany(sql.DUPLICATE, again)
        if repeated := len(asked) - len(new):
            connection.execute(sql.TALLY, ("duplicates", repeated))
        return outcomes


def _row(row_id: int, delivery: Delivery) -> tuple[Any, ...]:
    return (row_id, delivery.digest, *delivery.columns, delivery.sealed)


def _known(connection: apsw.Connection, digests: Iterable[bytes]) -> dict[bytes, tuple[int, bool]]:
    """Their ids, and whether their rows are still kept."""
    known = {}
    for part in _parts([(digest,) for digest in digests]):
        values = tuple(chain.from_iterable(part))
        for digest, row_id, kept in rows(connection, _known_text(len(part)), values):
            known[digest] = (row_id, bool(kept))
    return known


def _insert(connection: apsw.Connection, new: list[tuple[Any, ...]]) -> None:
    for part in _parts(new):
        values = tuple(chain.from_iterable(part))
        connection.execute(_insert_text(len(part), len(part[0])), values)


def _parts(whole: list[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Each filled up with rows of nothing, which a statement passes over."""
    for start in range(0, len(whole), GROUP_MAX):
        part = whole[start : start + GROUP_MAX]
        length = LENGTHS[bisect_left(LENGTHS, len(part))]
        yield part + [(None,) * len(part[0])] * (length - len(part))


@cache
def _known_text(length: int) -> str:
    return sql.KNOWN.format(",".join(f"?{i + 1}" for i in range(length)))


@cache
def _insert_text(length: int, columns: int) -> str:
    # apsw keeps no statement prepared whose text is longer than 16 KiB.
    row = "(" + ",".join("?" * columns) + ")"
    return sql.APPEND.format(",".join([row] * length))
