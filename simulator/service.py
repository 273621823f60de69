"""The provider as one object: ledger, harms, routing, Connect and OAuth, wired together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from simulator.ceremony import Ceremony
from simulator.connect import Connect
from simulator.dialect.shapes import envelope_shape
from simulator.faults import Harms
from simulator.ledger import Ledger
from simulator.limit_rules import LimitRules
from simulator.limits import Limits, epoch_clock
from simulator.model import Envelope, Recipient
from simulator.oauth import OAuth
from simulator.pings import Pinger
from simulator.routing import Routing
from simulator.sessions import Sessions


@dataclass
class Options:
    """What is given at start; harms may be changed later through the control API."""

    harms: Harms = field(default_factory=Harms)
    limits: LimitRules = field(default_factory=LimitRules)
    token_life_s: int = 3600
    audiences: tuple[str, ...] = ()
    plain_http_listeners: bool = False


class Service:
    """One simulated provider; all state is in memory and ends with the process."""

    def __init__(
        self,
        options: Options,
        client: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        client = client or httpx.AsyncClient(trust_env=False)
        self.harms = options.harms
        self.ledger = Ledger()
        self.limits = Limits(options.limits, epoch_clock(clock))
        self.oauth = OAuth(options.token_life_s, options.audiences)
        self.connect = Connect(self.harms, self._summary, client)
        self.connect.plain_http = options.plain_http_listeners
        self.connect.pause(self.harms.webhooks.paused)
        self.routing = Routing(self.ledger, self._emit)
        self.sessions = Sessions(lambda: self.harms.sessions, clock)
        self._pinger = Pinger(self.sessions, client)
        self.ceremony = Ceremony(self.ledger, self.routing, self.sessions, self._pinger)
        self._late: set[asyncio.Task[None]] = set()
        # How the program stops listening for a number of seconds; None where there is no socket.
        self.refuse: Callable[[float], None] | None = None

    async def close(self) -> None:
        """Stop late commits, pings and deliveries."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self._pinger.close()
        await self.connect.close()

    def sender(self, envelope: Envelope) -> dict[str, str]:
        """The `sender` object of an envelope."""
        shape = {"accountId": envelope.account_id, "userId": envelope.sender_id}
        for principal in self.oauth.principals.values():
            if principal.user_id == envelope.sender_id:
                return {**shape, "userName": principal.name, "email": principal.email}
        return shape

    async def processing(self) -> None:
        """The time between the read and the store of a write; none with overlap off."""
        delay_s = self.harms.processing_s()
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    def later(self, delay_s: float, run: Callable[[], Awaitable[object]]) -> None:
        """Carry a call out after its client got no answer."""

        async def wait_and_run() -> None:
            await asyncio.sleep(delay_s)
            await run()

        task = asyncio.create_task(wait_and_run())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    @property
    def late_pending(self) -> int:
        """How many calls are still to be carried out after their clients got no answer."""
        return len(self._late)

    async def settle(self, timeout_s: float) -> int:
        """Wait until no late commit is outstanding; returns how many still are."""
        if self._late:
            await asyncio.wait(set(self._late), timeout=timeout_s)
        return self.late_pending

    def patch_harms(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Apply the control API's switches; raises BadPlan."""
        self.harms.patch(raw)
        self.connect.pause(self.harms.webhooks.paused)
        if raw.get("revoke_tokens") is True:
            self.oauth.revoke_all()
        outage = self.harms.away()
        if raw.get("outage") and outage and outage.mode == "refuse" and self.refuse is not None:
            self.refuse(outage.left_s)
        return self.harms.view()

    def _emit(self, envelope: Envelope, event: str, recipient: Recipient | None) -> None:
        self.connect.emit(envelope, event, recipient)
        self.sessions.heard(envelope, event)

    def _summary(self, envelope: Envelope, include: frozenset[str]) -> dict[str, Any]:
        return envelope_shape(envelope, include, self.sender(envelope), content=True)
