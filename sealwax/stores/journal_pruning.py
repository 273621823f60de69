"""Retention in an SQLite journal: small steps, each of which holds the file for milliseconds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

import apsw

from sealwax.stores import journal_schema as sql
from sealwax.stores.base import Retention
from sealwax.stores.journal_sealing import microseconds
from sealwax.stores.sqlite import rows

ROWS_PER_STEP = 32
BYTES_PER_STEP = 512 * 1024
KEYS_PER_STEP = 500
PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PruneStep:
    """Where one pruning stands: rows up to ``after`` were looked at, ``dropped`` are gone."""

    old_us: int
    keys_us: int
    bytes_max: int
    after: int = 0
    dropped: int = 0
    ended: bool = False

    @classmethod
    def first(cls, now: datetime, retention: Retention) -> PruneStep:
        """The beginning."""
        now_us = microseconds(now)
        keep_us, keys_us = round(retention.keep_s * 1e6), round(retention.keys_s * 1e6)
        return cls(now_us - keep_us, now_us - keys_us, retention.bytes_max)


def prune_steps(connection: apsw.Connection, steps: list[PruneStep]) -> list[PruneStep]:
    """One step of each, within a transaction: where it stands then."""
    return [_prune(connection, step) for step in steps]


def forget_steps(connection: apsw.Connection, steps: list[PruneStep]) -> list[bool]:
    """Forget keys of pruned events that are old enough; whether there may be more."""
    outcomes = []
    for step in steps:
        connection.execute(sql.FORGET, (step.keys_us, KEYS_PER_STEP))
        outcomes.append(connection.changes() == KEYS_PER_STEP)
    return outcomes


def _prune(connection: apsw.Connection, step: PruneStep) -> PruneStep:
    ((used_bytes,),) = rows(connection, sql.USED_BYTES)
    excess_bytes = used_bytes - step.bytes_max
    looked_at = rows(connection, sql.FINISHED, (step.after, ROWS_PER_STEP))
    dropped: list[int] = []
    step_bytes, after = 0, step.after
    for row_id, received_us, sealed_bytes in looked_at:
        if step_bytes > BYTES_PER_STEP:
            break
        after = row_id
        if received_us < step.old_us or excess_bytes > 0:
            dropped.append(row_id)
            # At least so many pages become free; what more does, the next step sees.
            excess_bytes -= sealed_bytes // PAGE_BYTES * PAGE_BYTES
            step_bytes += sealed_bytes
    if not dropped:
        return replace(step, ended=True)
    ids = json.dumps(dropped)
    connection.execute(sql.REMEMBER, (step.keys_us, ids))
    connection.execute(sql.DROP_PAYLOADS, (ids,))
    connection.execute(sql.DROP_WEBHOOKS, (ids,))
    return replace(step, after=after, dropped=step.dropped + len(dropped))
