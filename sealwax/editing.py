"""Changing an envelope by what it is: read it, decide, ask; and again where others were faster.

Requests of one attempt name the revision that it read. What others changed elsewhere is merged; a
field that both touched is a conflict, after which the envelope is read anew. The manners are those
of APIs with a version in the body (eSigKit's guide on conflicts): a jittered pause of 50 to 200 ms,
three more attempts, then a person. An attempt after a conflict lets those go first who are in the
queue already, since what they leave decides about it. Each attempt is a request of its own with an
id of its own; ids made of a given one let a caller that died in the middle get the answer of the
attempt that it made.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypedDict
from uuid import uuid4

from sealwax import keys
from sealwax.answers import Conflict
from sealwax.messages import MutationResult, Snapshot
from sealwax.mutations import Mutation

ATTEMPTS_MAX = 4
PAUSE_S = (0.05, 0.2)
QUIET_WITHIN_S = 10.0

Change = Callable[[Snapshot], Mutation | Awaitable[Mutation | None] | None]
"""Decides what to ask for by how the envelope stands; None to leave it as it is."""


class Expects(TypedDict, total=False):
    """What a caller read before it asked: ``expected_revision``, and whether to ``merge``."""

    expected_revision: int | None
    merge: bool


class SavedElsewhere(Conflict):
    """Others kept changing the same fields; ``result``, ``changed`` and so on are of the last
    conflict, ``attempts`` tells how often it was tried. Nothing was changed by it."""

    def __init__(self, last: Conflict, attempts: int) -> None:
        super().__init__(last.result)
        self.attempts = attempts
        self.args = ("saved elsewhere; refresh to see the latest",)


@dataclass(frozen=True, slots=True)
class Asked:
    """One attempt's request."""

    mutation: Mutation
    operation_id: str
    revision: int


async def edited(
    change: Change,
    operation_id: str | None,
    *,
    read: Callable[[], Awaitable[Snapshot]],
    ask: Callable[[Asked], Awaitable[MutationResult]],
    answered: Callable[[str], Awaitable[MutationResult | None]],
) -> MutationResult | None:
    """Read, decide and ask until it is applied; None where ``change`` left it as it is.

    ``read`` gives a snapshot, ``ask`` makes one request and raises ``Conflict``; ``answered`` gives
    the answer to an operation of an earlier life of the caller, once there is one, or None for an
    id that was never used. Raises ``SavedElsewhere`` after ``ATTEMPTS_MAX`` conflicts, and what
    they raise.
    """
    operation = str(uuid4()) if operation_id is None else operation_id
    keys.check_opaque(_name(operation, ATTEMPTS_MAX), "operation id")
    first, last = 1, None
    if operation_id is not None:
        first, last, known = await _earlier(operation, answered)
        if known is not None:
            return known
    for attempt in range(first, ATTEMPTS_MAX + 1):
        snapshot = await (read() if last is None else _quiet(read))
        decided = change(snapshot)
        mutation = await decided if inspect.isawaitable(decided) else decided
        if mutation is None:
            return None
        try:
            return await ask(Asked(mutation, _name(operation, attempt), snapshot.revision))
        except Conflict as conflict:
            last = conflict
    assert last is not None
    raise SavedElsewhere(last, ATTEMPTS_MAX) from last


async def _quiet(read: Callable[[], Awaitable[Snapshot]]) -> Snapshot:
    """A snapshot after a pause, with nobody in the queue if that can be had soon.

    Whoever is in the queue after a conflict is likely to change the same field, and each attempt
    made of what stood before is then for nothing: so whoever looks first goes first.
    """
    until = time.monotonic() + QUIET_WITHIN_S
    while True:
        await asyncio.sleep(random.uniform(*PAUSE_S))
        snapshot = await read()
        if not snapshot.queue_length or time.monotonic() >= until:
            return snapshot


async def _earlier(
    operation: str, answered: Callable[[str], Awaitable[MutationResult | None]]
) -> tuple[int, Conflict | None, MutationResult | None]:
    """Where to go on: the next attempt, the last conflict, the answer if there is one already.

    From the last attempt backwards, since one that was turned away at the door left no trace.
    """
    for attempt in range(ATTEMPTS_MAX, 0, -1):
        try:
            known = await answered(_name(operation, attempt))
        except Conflict as conflict:
            return attempt + 1, conflict, None
        if known is not None:
            return attempt, None, known
    return 1, None, None


def _name(operation: str, attempt: int) -> str:
    return f"{operation}~{attempt}"
