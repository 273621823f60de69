"""Permits for provider calls: one keeper per process, which asks the quota ledger in blocks.

    async with permits.permit("acme", envelope_id, Klass.MUTATION, "Envelopes_PutEnvelope",
                              purpose="write") as permit:
        answer = ...                                  # exactly one request, no redirect, no retry
        permit.completed(answer.headers, error_code)  # else it counts as never answered

A caller that would wait for longer than its class may is told so at once (``QuotaWait``), so that
it does not hold an activity's slot. While the store is away, urgent calls have the small share that
``Limits`` sets aside, and all others wait.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from sealwax.permit_desk import ENDING, Desk, Figures, Permit, QuotaWait, Waiter, local_us
from sealwax.quota_limits import Klass, Limits, micros
from sealwax.quota_reports import Seen, Want
from sealwax.quota_windows import Purpose
from sealwax.stores.quota_base import QuotaStore

__all__ = ["PATIENCE_S", "Figures", "Permit", "Permits", "QuotaWait"]

PATIENCE_S: Mapping[Klass, float] = {
    Klass.INTERACTIVE: 10.0,
    Klass.MUTATION: 10.0,
    Klass.BULK: 5.0,
    Klass.BACKGROUND: 2.0,
}
"""How long a call of each class may wait before it is told to come back later."""


TIMER_ERROR_US = 100
"""A timer of the event loop may fire this much early."""


class Permits:
    """The keeper of one process: hands out permits of any number of accounts.

    ``limits`` says what an account may do; ``read_answer`` turns an answer's headers (names in
    lower case) and error code into figures. ``holder`` is a name that no other process has, also
    not an earlier one of the same worker. ``waiting_max``: so many calls that were denied may wait
    here at a time, interactive ones not counted; who comes then is told at once when to come back.
    ``now_us`` is a clock of this process that is never put back; it need not agree with any other.
    The store stays the caller's to close.
    """

    def __init__(
        self,
        store: QuotaStore,
        limits: Callable[[str], Limits],
        *,
        read_answer: Callable[[Mapping[str, str], str | None], Seen],
        holder: str = "",
        patience_s: Mapping[Klass, float] = PATIENCE_S,
        waiting_max: int | None = None,
        now_us: Callable[[], int] = local_us,
    ) -> None:
        self._store = store
        self.limits = limits
        self._read_answer = read_answer
        self._holder = holder or secrets.token_hex(8)
        self._patience_s = patience_s
        self._waiting_max = waiting_max
        self._now_us = now_us
        self._desks: dict[str, Desk] = {}
        self._closed = False

    @asynccontextmanager
    async def permit(
        self,
        account: str,
        envelope_id: str | None,
        klass: Klass,
        operation: str,
        *,
        purpose: Purpose = "other",
        patience_s: float | None = None,
    ) -> AsyncIterator[Permit]:
        """The right to make one request now, held until the block ends.

        The request has to be sent at once. Raises ``QuotaWait`` where no permit can be had within
        ``patience_s`` (default: its class's).
        """
        desk = self._desk(account)
        patience = micros(self._patience_s[klass] if patience_s is None else patience_s)
        want = Want(klass, envelope_id, purpose if envelope_id else "other", operation, patience)
        permit = await self._granted(desk, want, self._now_us() + patience)
        try:
            yield permit
        finally:
            desk.ended(permit)

    def figures(self, account: str) -> Figures:
        """What this process knows of an account: who waits, what is under way, what went wrong."""
        return self._desk(account).figures()

    async def close(self) -> None:
        """Give back what is unused and report what ended. Who still waits gets ``QuotaWait``."""
        self._closed = True
        await asyncio.gather(*(desk.close() for desk in self._desks.values()))

    async def _granted(self, desk: Desk, want: Want, until: int) -> Permit:
        while True:
            waiter = Waiter(want, until, asyncio.get_running_loop().create_future())
            permit = await desk.wait(waiter)
            try:
                early = permit.starts - self._now_us()
                if early > 0:
                    await asyncio.sleep((early + TIMER_ERROR_US) / 1_000_000)
            except BaseException:
                desk.returned(permit)
                raise
            # A permit that was not used in its life is nobody's: its slot may be granted anew.
            if desk.begun(permit):
                return permit
            desk.returned(permit)

    def _desk(self, account: str) -> Desk:
        if self._closed:
            raise QuotaWait(1.0, ENDING)
        desk = self._desks.get(account)
        if desk is None:
            desk = self._desks[account] = Desk(
                account,
                self.limits(account),
                self._store,
                self._holder,
                self._read_answer,
                self._now_us,
                self._waiting_max,
            )
        return desk
