"""Connect: webhooks in the JSON SIM format ("send individual messages").

Message: SPEC eventNotification, docusign/OpenAPI-Specifications connect.schema-v2.json, and
captured messages: {event, apiVersion, uri, retryCount, configurationId, generatedDateTime,
data{accountId, userId, envelopeId, recipientId?, envelopeSummary?}}. There is no event id and no
sequence number. Without includeData the message is minimal (no envelopeSummary).

Signatures: base64(HMAC-SHA256(key as UTF-8 text, raw body)), one header X-DocuSign-Signature-<n>
per active key of the account (docusign.com docs, validate Connect messages).

Deviations: listeners on plain HTTP are allowed on loopback, where the provider insists on HTTPS;
a failed delivery is retried after milliseconds, not hours, a bounded number of times (the real
schedule is published contradictorily); retries change `retryCount` and keep `generatedDateTime`.
Aggregate messages, XML and acknowledgement-driven pauses are not simulated.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import random
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from simulator.errors import invalid_body
from simulator.faults import Harms, WebhookPlan
from simulator.model import Envelope, Recipient, now, stamp

_ENVELOPE_EVENTS = (
    "created sent resent delivered completed declined voided corrected purge deleted discard"
)
_RECIPIENT_EVENTS = (
    "sent resent delivered completed declined authenticationfailed autoresponded reassign "
    "delegate finish-later"
)
EVENTS = frozenset(
    [f"envelope-{e}" for e in _ENVELOPE_EVENTS.split(" ")]
    + [f"recipient-{e}" for e in _RECIPIENT_EVENTS.split(" ")]
)
LOG_LIMIT = 100
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEGACY_ENVELOPE = {"draft": "created"}

Summarise = Callable[[Envelope, frozenset[str]], dict[str, Any]]


@dataclass(frozen=True)
class Subscription:
    """Who wants to hear what: one account configuration, or one envelope's eventNotification."""

    config_id: int
    url: str
    events: frozenset[str]
    include: frozenset[str]
    signed: bool
    name: str = ""


@dataclass
class Delivery:
    """One message on its way to one listener."""

    subscription: Subscription
    envelope_id: str
    account_id: str
    message: dict[str, Any]
    delay_s: float
    duplicate: bool = False
    tries: int = 0
    outcome: str = "pending"
    statuses: list[int] = field(default_factory=list)


def signature(key: str, body: bytes) -> str:
    """The value of one X-DocuSign-Signature header."""
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


def signature_headers(keys: list[str], body: bytes) -> dict[str, str]:
    """One header per active key, numbered from 1 without gaps."""
    return {f"X-DocuSign-Signature-{n}": signature(k, body) for n, k in enumerate(keys, 1)}


def truthy(raw: Any) -> bool:
    """The API's booleans come as true or as "true"."""
    return str(raw).lower() == "true"


def reachable(url: str, plain_http: bool) -> bool:
    """Whether the provider would call this URL: https, or plain HTTP on loopback here."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = parts.scheme == "http" and (plain_http or parts.hostname in _LOOPBACK)
    return (plain or parts.scheme == "https") and bool(parts.hostname)


def subscription(raw: Any, config_id: int, url_key: str, plain_http: bool) -> Subscription:
    """Read an eventNotification or connectCustomConfiguration; raises INVALID_REQUEST_BODY."""
    if not isinstance(raw, dict) or not isinstance(raw.get(url_key), str):
        raise invalid_body(f"A webhook needs {url_key}.")
    url = raw[url_key]
    if not reachable(url, plain_http) or len(url.encode()) > 4096:
        raise invalid_body(f"{url_key} must be an https URL of at most 4096 bytes.")
    events = {str(e).lower() for e in _listed(raw, "events")}
    for prefix, list_key, code_key in (
        ("envelope", "envelopeEvents", "envelopeEventStatusCode"),
        ("recipient", "recipientEvents", "recipientEventStatusCode"),
    ):
        for entry in _listed(raw, list_key):
            code = str(entry.get(code_key, "") if isinstance(entry, dict) else entry).lower()
            events.add(f"{prefix}-{_LEGACY_ENVELOPE.get(code, code)}")
    if unknown := events - EVENTS:
        raise invalid_body(f"{sorted(unknown)[0]!r} is not a Connect event.")
    data = raw.get("eventData") or {}
    include = frozenset(str(i).lower() for i in _listed(data, "includeData"))
    if truthy(raw.get("includeDocuments")):
        include |= {"documents"}
    return Subscription(
        config_id,
        url,
        frozenset(events),
        include,
        truthy(raw.get("includeHMAC")),
        str(raw.get("name", "")),
    )


def _listed(raw: Any, key: str) -> list[Any]:
    value = raw.get(key) if isinstance(raw, dict) else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_body(f"{key} is a list.")
    return value


class Connect:
    """Configurations, keys and the delivery of messages."""

    def __init__(self, harms: Harms, summarise: Summarise, client: httpx.AsyncClient) -> None:
        self._harms = harms
        self._summarise = summarise
        self._client = client
        self._ids = itertools.count(10_000_001)
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._event_numbers: Counter[str] = Counter()
        self.configurations: dict[str, dict[int, dict[str, Any]]] = {}
        self._account: dict[str, dict[int, Subscription]] = {}
        self._envelope: dict[str, list[Subscription]] = {}
        self._hmac_keys: dict[str, dict[str, str]] = {}
        self._past: dict[str, list[Delivery]] = {}
        self.counts: Counter[str] = Counter()
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_LIMIT)
        self.plain_http = False

    def add_key(self, account_id: str, key: str) -> str:
        """Add an HMAC key (at the provider only its admin page can); returns its id."""
        key_id = str(next(self._ids))
        self._hmac_keys.setdefault(account_id, {})[key_id] = key
        return key_id

    def remove_key(self, account_id: str, key_id: str) -> bool:
        """Remove an HMAC key; the numbering of the others closes up."""
        return self._hmac_keys.get(account_id, {}).pop(key_id, None) is not None

    def configure(self, account_id: str, raw: dict[str, Any], config_id: int | None = None) -> int:
        """Create or replace an account configuration (SPEC Connect_PostConnectConfiguration)."""
        number = config_id if config_id is not None else next(self._ids)
        parsed = subscription(raw, number, "urlToPublishTo", self.plain_http)
        self._account.setdefault(account_id, {})[number] = parsed
        self.configurations.setdefault(account_id, {})[number] = raw
        return number

    def drop_configuration(self, account_id: str, config_id: int) -> bool:
        """Delete an account configuration."""
        self._account.get(account_id, {}).pop(config_id, None)
        return self.configurations.get(account_id, {}).pop(config_id, None) is not None

    def read_notifications(self, raws: list[Any]) -> list[Subscription]:
        """Read a create's eventNotification(s); raises INVALID_REQUEST_BODY."""
        return [subscription(r, next(self._ids), "url", self.plain_http) for r in raws]

    def subscribe(self, envelope_id: str, subscriptions: list[Subscription]) -> None:
        """Bind notifications to a new envelope."""
        self._envelope[envelope_id] = subscriptions

    def subscribed(self, envelope_id: str) -> list[Subscription]:
        """Where an envelope's own messages go."""
        return list(self._envelope.get(envelope_id, []))

    def emit(self, envelope: Envelope, event: str, recipient: Recipient | None) -> None:
        """Make the messages of an event, as of now, and start delivering them."""
        wanted = [
            *self._envelope.get(envelope.envelope_id, []),
            *self._account.get(envelope.account_id, {}).values(),
        ]
        self._event_numbers[envelope.envelope_id] += 1
        number = self._event_numbers[envelope.envelope_id]
        for index, target in enumerate(wanted):
            if event not in target.events:
                continue
            message = self.message(envelope, event, recipient, target)
            plan = self._harms.webhooks
            seed = self._harms.seed if plan.seed is None else plan.seed
            delays = plan_delays(plan, seed, envelope.number, number, index)
            self.counts["messages"] += 1
            for copy, delay_s in enumerate(delays):
                self._start(
                    Delivery(
                        target,
                        envelope.envelope_id,
                        envelope.account_id,
                        message,
                        delay_s,
                        duplicate=copy > 0,
                    )
                )

    def message(
        self, envelope: Envelope, event: str, recipient: Recipient | None, target: Subscription
    ) -> dict[str, Any]:
        """The body of one message."""
        data: dict[str, Any] = {
            "accountId": envelope.account_id,
            "userId": envelope.sender_id,
            "envelopeId": envelope.envelope_id,
        }
        if recipient is not None:
            data["recipientId"] = recipient.recipient_id
        if target.include:
            data["envelopeSummary"] = self._summarise(envelope, target.include)
        path = f"/restapi/v2.1/accounts/{envelope.account_id}/envelopes/{envelope.envelope_id}"
        return {
            "event": event,
            "apiVersion": "v2.1",
            "uri": path,
            "retryCount": 0,
            "configurationId": target.config_id,
            "generatedDateTime": stamp(now()),
            "data": data,
        }

    def redeliver(self, envelope_id: str) -> int:
        """Send all past messages of an envelope again with retryCount + 1; returns how many."""
        past = [d for d in self._past.get(envelope_id, []) if not d.duplicate]
        for delivery in past:
            message = delivery.message
            again = {**message, "retryCount": message["retryCount"] + 1}
            delivery.message = again
            self._start(
                Delivery(delivery.subscription, envelope_id, delivery.account_id, again, 0.0, True)
            )
        return len(past)

    def past(self, envelope_id: str) -> list[Delivery]:
        """All deliveries of an envelope, those under way included."""
        return self._past.get(envelope_id, [])

    def pause(self, paused: bool) -> None:
        """Hold back or let go of deliveries (docusign.com docs, pause a configuration)."""
        if paused:
            self._resumed.clear()
        else:
            self._resumed.set()

    @property
    def pending(self) -> int:
        """Deliveries under way."""
        return len(self._tasks)

    async def flush(self, timeout_s: float) -> dict[str, int]:
        """Wait until nothing is under way, at most `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._tasks:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            pass
        return {"pending": self.pending, "delivered": self.counts["delivered"]}

    async def close(self) -> None:
        """Drop what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def view(self) -> dict[str, int]:
        """Counts for the ledger of truth."""
        names = ("messages", "delivered", "duplicates", "attempts", "failed", "given_up")
        return {**{n: self.counts[n] for n in names}, "pending": self.pending}

    def _start(self, delivery: Delivery) -> None:
        self._past.setdefault(delivery.envelope_id, []).append(delivery)
        self.counts["duplicates"] += delivery.duplicate
        self._spawn(self._deliver(delivery))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    async def _deliver(self, delivery: Delivery) -> None:
        await asyncio.sleep(delivery.delay_s)
        plan = self._harms.webhooks
        while delivery.tries < plan.max_tries:
            await self._resumed.wait()
            delivery.tries += 1
            if await self._post(delivery, plan):
                delivery.outcome = "delivered"
                self.counts["delivered"] += 1
                self._record(delivery, "")
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
            keys = list(self._hmac_keys.get(delivery.account_id, {}).values())
            headers |= signature_headers(keys, body)
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


def plan_delays(
    plan: WebhookPlan, seed: int, envelope_number: int, event_number: int, index: int
) -> list[float]:
    """Delays in seconds of the copies of one message; depends on its arguments alone."""
    dice = random.Random(f"{seed}:webhook:{envelope_number}:{event_number}:{index}")
    low, high = plan.delay_ms
    delays = [dice.uniform(low, high) / 1000]
    if dice.random() < plan.duplicate_rate:
        delays.append(dice.uniform(low, high) / 1000)
    return delays
