"""How many refused deliveries are kept: of a flood only some, and each cut to a stated size."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from sealwax.stores.base import REFUSED_BODY_BYTES_MAX, REFUSED_KEPT, RefusedWebhook

BURST = 20.0
PER_S = 2.0
ACCOUNTS_MAX = 1000
HEADERS_KEPT = 40
HEADER_LENGTH_KEPT = 512
REASON_LENGTH_KEPT = 200


class RefusalValve:
    """Lets ``BURST`` at once and ``PER_S`` per second of each account through."""

    kept = REFUSED_KEPT

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._level: dict[str, tuple[float, float]] = {}

    def lets_in(self, account: str) -> bool:
        """Whether one more of this account is kept now."""
        now = self._clock()
        if account not in self._level and len(self._level) >= ACCOUNTS_MAX:
            return False
        left, at = self._level.get(account, (BURST, now))
        left = min(BURST, left + (now - at) * PER_S)
        if left < 1:
            self._level[account] = (left, now)
            return False
        self._level[account] = (left - 1, now)
        return True

    def cut(self, refused: RefusedWebhook) -> RefusedWebhook:
        """What is kept of it."""
        headers = tuple(
            (name[:HEADER_LENGTH_KEPT], value[:HEADER_LENGTH_KEPT])
            for name, value in refused.headers[:HEADERS_KEPT]
        )
        return replace(
            refused,
            headers=headers,
            body=refused.body[:REFUSED_BODY_BYTES_MAX],
            reason=refused.reason[:REASON_LENGTH_KEPT],
        )
