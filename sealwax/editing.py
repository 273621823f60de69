"""Changing an envelope by what it is: read it, decide, ask; and again where others were faster.

Requests of one attempt name the revision that it read. What others changed elsewhere is merged; a
field that both touched is a conflict, after which the envelope is read anew. The manners are those
of APIs with a version in the body (eSigKit's guide on conflicts): a jittered pause of 50 to 200 ms,
three more attempts, then a person. Each attempt is a request of its own with an id of its own; ids
made of a given one let a caller that died in the middle get the answer of the attempt that it made.
"""

from __future__ import annotations

import asyncio
import inspect
import random
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
    keys.check_opaque(f"{operation}~{ATTEMPTS_MAX}", "operation id")
    last: Conflict | None = None
    for attempt in range(1, ATTEMPTS_MAX + 1):
        asked_as = f"{operation}~{attempt}"
        try:
            known = None if operation_id is None else await answered(asked_as)
            if known is not None:
                return known
            if last is not None:
                await asyncio.sleep(random.uniform(*PAUSE_S))
            snapshot = await read()
            decided = change(snapshot)
            mutation = await decided if inspect.isawaitable(decided) else decided
            if mutation is None:
                return None
            return await ask(Asked(mutation, asked_as, snapshot.revision))
        except Conflict as conflict:
            last = conflict
    assert last is not None
    raise SavedElsewhere(last, ATTEMPTS_MAX) from last
