"""The bridge with a journal that keeps nothing: it verifies and answers, and is measured against.

``python -m benchmarks.ingest.verify_only`` takes the bridge's own options; everything but the
keeping itself is the bridge's own program.
"""

from __future__ import annotations

import itertools
import runpy

from sealwax.stores.base import Appended, Webhook
from sealwax.stores.journal import SqliteJournal

_ids = itertools.count(1)


async def append(self: SqliteJournal, webhook: Webhook) -> Appended:
    """Nothing is kept, so nothing is ever a duplicate."""
    return Appended(next(_ids), False)


if __name__ == "__main__":
    SqliteJournal.append = append  # type: ignore[method-assign]
    runpy.run_module("bridge", run_name="__main__", alter_sys=True)
