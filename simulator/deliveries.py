"""Messages on their way: delays, tries, signatures, and the log of what came of each.

Signatures: base64(HMAC-SHA256(key as UTF-8 text, raw body)), one header X-DocuSign-Signature-<n>
per active key of the account (docusign.com docs, validate Connect messages). They are made anew at
every try, with the keys that are active then.

Deviations: a failed delivery is retried after milliseconds, not hours, a bounded number of times
(the real schedule is published contradictorily); retries change `retryCount` and keep
`generatedDateTime`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter, deque
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from simulator.faults import Harms
from simulator.model import now, stamp
from simulator.subscriptions import Subscription
from simulator.webhook_plans import Fate, WebhookPlan

LOG_LIMIT = 100
NOBODYS_KEY = "a key that no account has"


@dataclass
class Delivery:
    """One message on its way to one listener."""

    subscription: Subscription
    envelope_id: str
    account_id: str
    message: dict[str, Any]
    delay_s: float
    duplicate: bool = False
    fate: Fate = field(default_factory=Fate)
    tries: int = 0
    outcome: str = "pending"
    statuses: list[int] = field(default_factory=list)

    def again(self, delay_s: float) -> Delivery:
        """The same message once more, counted as a retry."""
        message = {**self.message, "retryCount": self.message["retryCount"] + 1}
        return Delivery(
            *(self.subscription, self.envelope_id, self.account_id, message, delay_s),
            duplicate=True,
        )


@dataclass
class Keys:
    """An account's HMAC keys by id, and those that were removed."""

    active: dict[str, str] = field(default_factory=dict)
    retired: list[str] = field(default_factory=list)


def signature(key: str, body: bytes) -> str:
    """The value of one X-DocuSign-Signature header."""
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


def signature_headers(keys: list[str], body: bytes) -> dict[str, str]:
    """One header per active key, numbered from 1 without gaps."""
    return {f"X-DocuSign-Signature-{n}": signature(k, body) for n, k in enumerate(keys, 1)}


class Courier:
    """Takes deliveries to their listeners, as the plan of webhooks says."""

    def __init__(self, harms: Harms, client: httpx.AsyncClient) -> None:
        self._harms = harms
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._overtaken: dict[tuple[str, int], list[asyncio.Event]] = {}
        self.keys: dict[str, Keys] = {}
        self.past: dict[str, list[Delivery]] = {}
        self.counts: Counter[str] = Counter()
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)

    def send(self, delivery: Delivery) -> None:
        """Start a delivery."""
        self.past.setdefault(delivery.envelope_id, []).append(delivery)
        self.counts["duplicates"] += delivery.duplicate
        self._spawn(self._deliver(delivery, self._to_be_overtaken(delivery)))

    def pause(self, paused: bool) -> None:
        """Hold back or let go of deliveries."""
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    @property
    def pending(self) -> int:
        """Deliveries under way."""
        return len(self._tasks)

    async def flush(self, timeout_s: float) -> None:
        """Wait until nothing is under way, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Drop what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    def _to_be_overtaken(self, delivery: Delivery) -> list[asyncio.Event]:
        """What this delivery sets when it arrives: who was held back until then.

        One that is held back itself overtakes nobody, and is overtaken by the next that is not.
        """
        place = (delivery.envelope_id, delivery.subscription.config_id)
        if delivery.fate.held_back:
            self._overtaken.setdefault(place, []).append(asyncio.Event())
            return self._overtaken[place][-1:]
        return self._overtaken.pop(place, [])

    async def _leave(self, delivery: Delivery, overtaken: list[asyncio.Event]) -> None:
        """Wait until the plan lets the message go."""
        await asyncio.sleep(delivery.delay_s + delivery.fate.late_s)
        plan = self._harms.webhooks
        if delivery.fate.held_back:
            try:
                async with asyncio.timeout(plan.reorder_ms / 1000):
                    await overtaken[0].wait()
            except TimeoutError:
                pass
        if plan.gather_ms:
            gather_s = plan.gather_ms / 1000
            await asyncio.sleep(gather_s - asyncio.get_running_loop().time() % gather_s)

    async def _deliver(self, delivery: Delivery, overtaken: list[asyncio.Event]) -> None:
        try:
            await self._leave(delivery, overtaken)
            await self._try(delivery)
        finally:
            if not delivery.fate.held_back:
                for event in overtaken:
                    event.set()

    async def _try(self, delivery: Delivery) -> None:
        plan = self._harms.webhooks
        while delivery.tries < plan.max_tries:
            await self._resumed.wait()
            delivery.tries += 1
            if await self._post(delivery, plan):
                delivery.outcome = "delivered"
                self.counts["delivered"] += 1
                self._record(delivery, "")
                if delivery.fate.repeated:
                    self.send(delivery.again(plan.retry_ms / 1000))
                return
            self.counts["failed"] += 1
            count = delivery.message["retryCount"] + 1
            delivery.message = {**delivery.message, "retryCount": count}
            await asyncio.sleep(plan.retry_ms / 1000 * 2 ** min(delivery.tries - 1, 6))
        delivery.outcome = "given up"
        self.counts["given_up"] += 1
        self._record(delivery, "the listener did not answer with 2xx")

    async def _post(self, delivery: Delivery, plan: WebhookPlan) -> bool:
        body = json.dumps(delivery.message, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if delivery.subscription.signed:
            headers |= signature_headers(self._signing(delivery), body)
        self.counts["attempts"] += 1
        try:
            answer = await self._client.post(
                delivery.subscription.url, content=body, headers=headers, timeout=plan.timeout_s
            )
        except httpx.HTTPError:
            delivery.statuses.append(0)
            return False
        delivery.statuses.append(answer.status_code)
        return answer.is_success

    def _signing(self, delivery: Delivery) -> list[str]:
        keys = self.keys.get(delivery.account_id, Keys())
        if delivery.tries == 1 and delivery.fate.signature == "wrong":
            self.counts["wrong_signatures"] += 1
            return [NOBODYS_KEY]
        if delivery.tries == 1 and delivery.fate.signature == "retired" and keys.retired:
            self.counts["retired_signatures"] += 1
            return keys.retired
        return list(keys.active.values())

    def _record(self, delivery: Delivery, error: str) -> None:
        self.log.appendleft(
            {
                "accountId": delivery.account_id,
                "envelopeId": delivery.envelope_id,
                "connectId": str(delivery.subscription.config_id),
                "configUrl": delivery.subscription.url,
                "created": delivery.message["generatedDateTime"],
                "lastTry": stamp(now()),
                "retryCount": str(delivery.message["retryCount"]),
                "status": delivery.outcome,
                "error": error,
            }
        )


def copies(delivery: Delivery, delays: list[float]) -> list[Delivery]:
    """A message and its duplicates; only the first has a fate besides its delay."""
    return [
        replace(
            delivery,
            delay_s=delay_s,
            duplicate=number > 0,
            fate=delivery.fate if number == 0 else Fate(),
            statuses=[],
        )
        for number, delay_s in enumerate(delays)
    ]
