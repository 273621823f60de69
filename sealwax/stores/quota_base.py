"""Where quota ledgers are held: the interface, and the clock of one machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from sealwax.quota_limits import Limits
from sealwax.quota_reports import Ask, Clock, QuotaView, Told

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

PURGE_EVERY = 256
"""Exchanges between two removals of rows that matter no more."""


class QuotaStore(Protocol):
    """The ledgers of any number of accounts, shared by the processes that open the same store.

    Methods raise ``StoreError`` where the store is away.
    """

    round_trips: int
    """How often the store was asked by this process."""

    async def exchange(self, account: str, limits: Limits, ask: Ask) -> Told:
        """Take in a holder's report and grant what may be granted: atomic, in the store's time."""
        ...

    async def look(self, account: str, limits: Limits) -> QuotaView:
        """An account's quota as it stands; changes nothing."""
        ...

    async def close(self) -> None:
        """Let go of the store."""
        ...


def machine_clock() -> Clock:
    """A clock that all processes of this machine share, however their wall clocks are set.

    On Linux the time since boot, sleep included. Where the system has no such clock the machine's
    wall clock serves; then it must not be put forward while permits are out.
    """
    wall_ns = time.time_ns()
    if _BOOT is None:
        return Clock("wall", wall_ns // 1000, wall_ns // 1000)
    return Clock(_BOOT, time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, wall_ns // 1000)


def _boot() -> str | None:
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return None
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return None


_BOOT = _boot()
