"""What the demonstration needs of a client, whichever it is."""

from __future__ import annotations

from typing import Protocol

from demo.ledger import Belief
from demo.workload import Change, Life


class ChangeFailed(Exception):
    """A client could not make a change; the message says why."""


class Side(Protocol):
    """One client, as the services of the workload see it."""

    name: str

    async def take_job(self, life: Life) -> str:
        """Make the draft of a life, once however often it is asked; the provider's envelope id.

        Raises ChangeFailed.
        """
        ...

    async def change(self, life: Life, change: Change) -> None:
        """Make a change; returns when the client says that it is done. Raises ChangeFailed."""
        ...

    async def settle(self, life: Life) -> Belief:
        """Wait until the client takes the envelope for ended, for a bounded time."""
        ...
