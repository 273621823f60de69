"""Builds of Sealwax that are broken on purpose. A storm or a sweep that lets one pass is no test.

Each function is called in a worker's process before it works; it changes one thing that a law
hangs on, from outside. The product has no switches for this.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

import activities.envelopes
import sealwax.absorb
import sealwax.carrying
from activities.envelopes import EnvelopeActivities, MutateInput
from sealwax.calls import Applied, Create, Mutate, Unknown
from sealwax.envelope import Envelope
from sealwax.memory import Memory


def probe_skipped() -> None:
    """An unknown outcome is taken for none: the call is made again without a look."""

    def lost(state: Envelope, call: Create | Mutate, outcome: Unknown, now: datetime) -> Envelope:
        head, *rest = state.queue
        return replace(state, queue=(replace(head, attempts=head.attempts + 1), *rest))

    sealwax.absorb._lost = lost


def operation_ids_forgotten() -> None:
    """A new run knows no operation of the runs before it."""
    carried = sealwax.carrying.carried
    sealwax.carrying.carried = lambda state: replace(carried(state), memory=Memory())


def calls_at_once() -> None:
    """A mutation is not waited for: the next one is in flight together with it."""
    mutate = EnvelopeActivities._mutate
    flying: set[asyncio.Task[Applied]] = set()

    async def mutate_later(self: EnvelopeActivities, given: MutateInput) -> Applied:
        task = asyncio.create_task(mutate(self, given))
        flying.add(task)
        task.add_done_callback(flying.discard)
        return Applied()

    activities.envelopes.EnvelopeActivities._mutate = mutate_later  # type: ignore[method-assign]
