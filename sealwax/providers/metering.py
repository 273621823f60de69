"""What is known of a call while its requests are made, and the permits of its account's quota."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from sealwax.permits import PATIENCE_S, Permit, Permits, QuotaWait
from sealwax.providers.base import (
    Answer,
    NotSentError,
    OutcomeUnknown,
    ProviderError,
    QuotaHeld,
    Request,
    Unavailable,
)
from sealwax.providers.circuit import Breaker, Passage
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_windows import Purpose

PATIENCE_SHARE = 0.5
"""So much of what is left until a call's deadline it may wait for a permit."""


@dataclass(slots=True)
class Progress:
    """What is known of a conversation: whether a step took effect, whether one is in the air.

    ``waiting``: for an answer, of whatever request. ``interactive``: a person waits for it.
    ``envelope_id``: whose limits its requests count in, "" for none's; ``polling``: its reads are
    polls. ``ends_at``: the call's deadline, by the event loop's clock.
    """

    ends_at: float
    envelope_id: str = ""
    polling: bool = False

    committed: bool = False
    in_flight: bool = False
    waiting: bool = False
    interactive: bool = False
    last: Answer | None = None

    def purpose(self, request: Request) -> Purpose:
        """As what a request counts: GETs apart from all others (docusign.com blog, "Service
        protection", names GET and PUT)."""
        if not self.envelope_id:
            return "other"
        if request.method != "GET":
            return "write"
        return "poll" if self.polling else "read"

    def lost(self, reason: str, *, outage: bool) -> ProviderError:
        if self.committed or self.in_flight:
            return OutcomeUnknown(reason, outage=outage)
        return Unavailable(reason) if outage else NotSentError(reason)


@dataclass(frozen=True, slots=True)
class Quota:
    """One account's permits, under its name in the ledger, for calls of one class."""

    permits: Permits
    account: str
    klass: Klass

    def limits(self) -> Limits:
        """What the account may do."""
        return self.permits.limits(self.account)

    @asynccontextmanager
    async def permit(self, request: Request, progress: Progress) -> AsyncIterator[Permit]:
        """The right to send this request now. Raises ``QuotaHeld``.

        What has begun goes before what has not, and waits longer: given up, it would begin anew.
        """
        left_s = progress.ends_at - asyncio.get_running_loop().time()
        patience_s, klass = left_s * PATIENCE_SHARE, self.klass
        if progress.committed or progress.last is not None:
            klass = min(klass, Klass.MUTATION)
        else:
            patience_s = min(patience_s, PATIENCE_S[klass])
        envelope_id = progress.envelope_id.casefold() or None
        try:
            async with self.permits.permit(
                self.account,
                envelope_id,
                klass,
                request.operation,
                purpose=progress.purpose(request),
                patience_s=max(0.0, patience_s),
            ) as permit:
                yield permit
        except QuotaWait as wait:
            raise QuotaHeld(f"{request.operation}: {wait.cause}", wait.after_s) from None


@contextmanager
def passed(breaker: Breaker, progress: Progress, permit: Permit | None) -> Iterator[Passage]:
    """The passage of a request that has its permit; the circuit may have opened meanwhile."""
    with ExitStack() as held:
        try:
            passage = held.enter_context(breaker.passage(interactive=progress.interactive))
        except Unavailable:
            if permit is not None:
                permit.unused()
            raise
        yield passage
