"""What sweeps remember: how far they came, which status changes had their webhook, who was asked.

A *change* is "subject S of envelope E came to status X". Each has a webhook of its own, and the
*drift* of an account is the number of changes that a sweep saw at the provider and whose webhook
has not come, neither by then nor since. Which webhooks came is the journal's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A subject's coming to a status. ``recipient`` and ``incarnation`` as in ``facts.Fact``."""

    status: str
    recipient: str = ""
    incarnation: str = ""

    def same(self, other: Change) -> bool:
        """Whether both are one change; minimal webhooks do not name the incarnation."""
        alike = (self.status, self.recipient) == (other.status, other.recipient)
        guids = {self.incarnation, other.incarnation} - {""}
        return alike and len(guids) < 2


@dataclass(frozen=True, slots=True)
class Envelope:
    """What sweeps know of an envelope.

    ``listed_key``: identifies what was last seen of it, all of which its workflow has been told or
    knew. ``asked_at``: when it was last asked about because of its silence; ``heard_at``: when
    something was last heard of it. ``webhooks``: how many the journal held when it was last looked
    at. ``unjudged``: changes seen whose webhooks had not come.
    """

    provider_envelope_id: str
    listed_key: str = ""
    asked_at: datetime | None = None
    heard_at: datetime | None = None
    webhooks: int = 0
    changes: Mapping[Change, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a sweep saw of an envelope, to be remembered: its changes, and whose webhook came."""

    provider_envelope_id: str
    listed_key: str
    heard_at: datetime | None
    webhooks: int
    changes: Mapping[Change, bool]


@dataclass(frozen=True, slots=True)
class Stranger:
    """An envelope of the account that no workflow of ours owns: made elsewhere."""

    provider_envelope_id: str
    status: str


@dataclass(frozen=True, slots=True)
class SweepView:
    """An account's sweeps, as they stand.

    ``watermark``: up to where, in the provider's time, all changes are with their workflows.
    ``drift``: see the module; ``waiting``: the same, but not late yet. ``came_late``: webhooks
    that were missed by a sweep and came afterwards. ``strangers``: how many envelopes were made
    elsewhere, and the latest of them. ``listed`` to ``asked`` are of the account's whole life:
    envelopes listed, workflows signalled, envelopes asked about because of their silence.
    """

    watermark: datetime | None = None
    swept_at: datetime | None = None
    drift: int = 0
    waiting: int = 0
    came_late: int = 0
    strangers: int = 0
    stranger_ids: tuple[str, ...] = ()
    sweeps: int = 0
    listed: int = 0
    signalled: int = 0
    asked: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Drifted:
    """A change whose webhook has not come, and since when a sweep knows of it."""

    provider_envelope_id: str
    change: Change
    found_at: datetime


class SweepStore(Protocol):
    """Durable when a call returns; safe from several processes. Raises ``StoreError``."""

    async def watermark(self, account: str) -> datetime | None:
        """How far the last sweep came, in the provider's time; None before the first."""
        ...

    async def advance(self, account: str, watermark: datetime) -> None:
        """Write down how far a sweep came. It never goes back."""
        ...

    async def envelopes(self, account: str, ids: Sequence[str]) -> Mapping[str, Envelope]:
        """What is known of these; those of which nothing is are left out."""
        ...

    async def see(self, account: str, seen: Sequence[Seen], now: datetime) -> None:
        """Remember what was seen. A change whose webhook once came stays so."""
        ...

    async def strangers(self, account: str, found: Sequence[Stranger], now: datetime) -> None:
        """Remember envelopes that were made elsewhere."""
        ...

    async def ours(self, account: str, ids: Sequence[str]) -> None:
        """These are owned by workflows (now), and are no strangers."""
        ...

    async def asking(self, account: str, ids: Sequence[str], now: datetime) -> None:
        """These are about to be asked about because of their silence."""
        ...

    async def heard(self, account: str, at: Mapping[str, datetime]) -> None:
        """Something was heard of these, at these times."""
        ...

    async def missed(self, account: str, after: str, limit: int) -> tuple[str, ...]:
        """Envelopes with changes whose webhooks have not come, in the order of their ids."""
        ...

    async def drift(self, account: str, late_before: datetime, limit: int) -> tuple[Drifted, ...]:
        """The changes that make up the drift, oldest first."""
        ...

    async def cursor(self, account: str) -> str:
        """Where the round of silent envelopes goes on; "" at its beginning."""
        ...

    async def move_cursor(self, account: str, cursor: str) -> None:
        """Write that down."""
        ...

    async def ended(
        self, account: str, now: datetime, counts: Mapping[str, int], problem: str
    ) -> None:
        """A sweep ended. ``counts`` (``listed``, ``signalled``, ``asked``) are added to the totals.

        With a ``problem`` it did not come to its end; without one the last problem is over.
        """
        ...

    async def look(self, account: str, late_before: datetime) -> SweepView:
        """How the account's sweeps stand; missing webhooks found after that time wait only."""
        ...

    async def prune(self, before: datetime) -> None:
        """Forget envelopes of which nothing was seen, heard or asked since then."""
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


class OpenEnvelopes(Protocol):
    """The registry's envelopes that stand at the provider and have not come to their end."""

    async def open_envelopes(
        self, account: str, after: str, limit: int
    ) -> tuple[tuple[str, str, datetime], ...]:
        """Workflow id, provider's id, since when it stands in the registry; by workflow id."""
        ...
