"""Whether webhooks are forwarded, as the journal shows it, wherever the forwarders run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from sealwax.stores.base import BEAT_GAP_S, Journal, JournalHealth, StoreError

LOOK_EVERY_S = 1.0
PENDING_S = 30.0
"""A webhook that has waited for longer is no longer on its way, whatever forwarders say."""


class Watch:
    """Looks at the journal every second. ``forwarding`` is what the last look showed."""

    def __init__(self, journal: Journal, now: Callable[[], datetime]) -> None:
        self.forwarding = False
        self._journal = journal
        self._now = now

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                self.forwarding = forwarding(await self._journal.health(), self._now())
            except StoreError:
                self.forwarding = False
            await asyncio.sleep(LOOK_EVERY_S)


def forwarding(health: JournalHealth, now: datetime) -> bool:
    """Whether some forwarder is up and reaches Temporal, and no webhook has waited for long."""
    gap = timedelta(seconds=BEAT_GAP_S)
    up = any(beat.reaching and abs(now - beat.at) <= gap for beat in health.forwarders)
    oldest = health.oldest_pending
    return up and (oldest is None or now - oldest <= timedelta(seconds=PENDING_S))
