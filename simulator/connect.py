"""Connect: webhooks in the JSON SIM format ("send individual messages").

Message: SPEC eventNotification, docusign/OpenAPI-Specifications connect.schema-v2.json, and
captured messages: {event, apiVersion, uri, retryCount, configurationId, generatedDateTime,
data{accountId, userId, envelopeId, recipientId?, envelopeSummary?}}. There is no event id and no
sequence number. Without includeData the message is minimal (no envelopeSummary).

Aggregate messages, XML and acknowledgement-driven pauses are not simulated. How messages travel
is told in `deliveries`, what may go wrong with them in `webhook_plans`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

from simulator.deliveries import Courier, Delivery, Keys, copies
from simulator.faults import Harms
from simulator.model import Envelope, Recipient, now, stamp
from simulator.subscriptions import Subscription, subscription
from simulator.webhook_plans import fate_of, plan_delays

Summarise = Callable[[Envelope, frozenset[str]], dict[str, Any]]


class Connect:
    """Configurations, keys and the messages that go out."""

    def __init__(self, harms: Harms, summarise: Summarise, client: httpx.AsyncClient) -> None:
        self._harms = harms
        self._summarise = summarise
        self._courier = Courier(harms, client)
        self._ids = itertools.count(10_000_001)
        self._event_numbers: Counter[str] = Counter()
        self.configurations: dict[str, dict[int, dict[str, Any]]] = {}
        self._account: dict[str, dict[int, Subscription]] = {}
        self._envelope: dict[str, list[Subscription]] = {}
        self._withheld: list[dict[str, Any]] = []
        self.counts = self._courier.counts
        self.log = self._courier.log
        self.plain_http = False

    def add_key(self, account_id: str, key: str) -> str:
        """Add an HMAC key (at the provider only its admin page can); returns its id."""
        key_id = str(next(self._ids))
        self._courier.keys.setdefault(account_id, Keys()).active[key_id] = key
        return key_id

    def remove_key(self, account_id: str, key_id: str) -> bool:
        """Remove an HMAC key; the numbering of the others closes up."""
        keys = self._courier.keys.get(account_id, Keys())
        key = keys.active.pop(key_id, None)
        if key is not None:
            keys.retired.append(key)
        return key is not None

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
        """Make the messages of an event, as of now, and start delivering them.

        An event that the plan withholds is told to nobody, now or later.
        """
        listeners = [
            *self._envelope.get(envelope.envelope_id, []),
            *self._account.get(envelope.account_id, {}).values(),
        ]
        self._event_numbers[envelope.envelope_id] += 1
        number = self._event_numbers[envelope.envelope_id]
        plan = self._harms.webhooks
        seed = self._harms.seed if plan.seed is None else plan.seed
        fate = fate_of(plan, seed, envelope.number, number, event)
        wanted = [(i, target) for i, target in enumerate(listeners) if event in target.events]
        if wanted and fate.withheld:
            self._withhold(self.message(envelope, event, recipient, wanted[0][1]), len(wanted))
            return
        for index, target in wanted:
            message = self.message(envelope, event, recipient, target)
            delivery = Delivery(
                *(target, envelope.envelope_id, envelope.account_id, message, 0.0), fate=fate
            )
            self.counts["messages"] += 1
            delays = plan_delays(plan, seed, envelope.number, number, index)
            for copy in copies(delivery, delays):
                self._courier.send(copy)

    def _withhold(self, message: dict[str, Any], listeners: int) -> None:
        data = message["data"]
        self._withheld.append(
            {
                "accountId": data["accountId"],
                "envelopeId": data["envelopeId"],
                "event": message["event"],
                "recipientId": data.get("recipientId"),
                "generatedDateTime": message["generatedDateTime"],
                "listeners": listeners,
            }
        )
        self.counts["withheld"] += listeners

    def withheld(self, account_id: str | None = None) -> list[dict[str, Any]]:
        """The events that nobody was told of, as they happened, of one account or all.

        One entry an event: {accountId, envelopeId, event, recipientId, generatedDateTime,
        listeners}, the last being how many would have been told.
        """
        return [dict(e) for e in self._withheld if account_id in (None, e["accountId"])]

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
        past = [d for d in self.past(envelope_id) if not d.duplicate]
        for delivery in past:
            again = delivery.again(0.0)
            delivery.message = again.message
            self._courier.send(again)
        return len(past)

    def past(self, envelope_id: str) -> list[Delivery]:
        """All deliveries of an envelope, those under way included."""
        return self._courier.past.get(envelope_id, [])

    def pause(self, paused: bool) -> None:
        """Hold back or let go of deliveries (docusign.com docs, pause a configuration)."""
        self._courier.pause(paused)

    async def flush(self, timeout_s: float) -> dict[str, int]:
        """Wait until nothing is under way, at most `timeout_s`."""
        await self._courier.flush(timeout_s)
        return {"pending": self._courier.pending, "delivered": self.counts["delivered"]}

    async def close(self) -> None:
        """Drop what is under way."""
        await self._courier.close()

    def view(self) -> dict[str, int]:
        """Counts for the ledger of truth."""
        names = ("messages", "delivered", "duplicates", "attempts", "failed", "given_up")
        more = ("withheld", "wrong_signatures", "retired_signatures")
        shown = {name: self.counts[name] for name in (*names, *more)}
        return {**shown, "pending": self._courier.pending}
