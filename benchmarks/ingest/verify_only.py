"""The bridge with a journal that keeps nothing: it verifies and answers, and is measured against.

``python -m benchmarks.ingest.verify_only`` takes the bridge's own options; everything but the
journal is the bridge's own program.
"""

from __future__ import annotations

import itertools
import runpy
from collections.abc import Callable
from typing import Any

from sealwax.stores import journal
from sealwax.stores.base import Appended, JournalCounts, Webhook


class NoJournal:
    """Says that it has what it was given, and has nothing."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    async def append(self, webhook: Webhook) -> Appended:
        """Nothing is kept, so nothing is ever a duplicate."""
        return Appended(next(self._ids), False)

    async def counts(self) -> JournalCounts:
        """Nothing."""
        return JournalCounts()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Whatever else is asked of a journal: there is nothing."""

        async def nothing(*_: object, **__: object) -> Any:
            return () if name in ("due", "claim", "undelivered", "pending", "find") else None

        return nothing


if __name__ == "__main__":
    journal.open_journal = lambda *_, **__: NoJournal()  # type: ignore[assignment]
    runpy.run_module("bridge", run_name="__main__", alter_sys=True)
