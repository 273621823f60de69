"""Orphan drafts: what an ambiguous create may have left behind beside the envelope.

A create whose answer was lost is made again only when a look, after the deadline and the settle
time, finds nothing. A provider that commits later still, or shows a new envelope later still,
leaves a second draft. It was sent to nobody; it is looked for again, and binned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

LOOKS_AFTER_S = (0.0, 600.0, 3_600.0, 24 * 3_600.0)
"""When to look, in seconds after nothing should be able to appear any more. The first look is owed
before the envelope closes; the others are made while it lives."""


@dataclass(frozen=True, slots=True)
class Orphans:
    """The search for orphan drafts of one envelope.

    ``attempts``: how many creates were made, each under a transaction id of its own. ``from_at``:
    when the first look is due; None where no create was ambiguous. ``spare``: envelopes that were
    found and are to be binned. ``left``: those that a person said are to stay.
    """

    attempts: int = 0
    from_at: datetime | None = None
    looks: int = 0
    spare: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    binned: int = 0

    @property
    def look_at(self) -> datetime | None:
        """When to look next; None where all looks were made, or none is owed."""
        if self.from_at is None or self.looks >= len(LOOKS_AFTER_S):
            return None
        return self.from_at + timedelta(seconds=LOOKS_AFTER_S[self.looks])

    @property
    def owed(self) -> bool:
        """Whether the envelope may not close yet."""
        return bool(self.spare) or (self.from_at is not None and self.looks == 0)


def ambiguous(orphans: Orphans, attempts: int, from_at: datetime) -> Orphans:
    """More than one create was made, or none is known to have failed: there is a search."""
    return replace(orphans, attempts=max(attempts, orphans.attempts), from_at=from_at, looks=0)


def seen(orphans: Orphans, ids: tuple[str, ...], own: str) -> Orphans:
    """A look showed these envelopes with our marks; the envelope's own is none of them."""
    known = {own, *orphans.left}
    spare = tuple(dict.fromkeys((*orphans.spare, *(i for i in ids if i not in known))))
    return replace(orphans, spare=spare, looks=orphans.looks + 1)


def spotted(orphans: Orphans, now: datetime) -> Orphans:
    """Something was heard of another envelope with our address: the next look is due at once."""
    if orphans.from_at is None or (orphans.look_at is not None and orphans.look_at <= now):
        return orphans
    return replace(orphans, from_at=now, looks=0)


def binned(orphans: Orphans, provider_envelope_id: str) -> Orphans:
    """One orphan draft is in the bin."""
    spare = tuple(i for i in orphans.spare if i != provider_envelope_id)
    return replace(orphans, spare=spare, binned=orphans.binned + 1)


def spared(orphans: Orphans) -> Orphans:
    """A person says that what was found is to stay."""
    return replace(orphans, spare=(), left=(*orphans.left, *orphans.spare))
