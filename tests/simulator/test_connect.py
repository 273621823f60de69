"""Webhooks: bodies, signatures, and their seeded travel."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools

from simulator.connect import plan_delays
from simulator.faults import WebhookPlan
from tests.openapi import OpenApi
from tests.simulator.desk import ACCOUNT, PDF, Desk, person

HOOK = "http://127.0.0.1:9/hook"
EVENTS = [
    "envelope-created",
    "envelope-sent",
    "envelope-delivered",
    "envelope-completed",
    "envelope-corrected",
    "recipient-sent",
    "recipient-delivered",
    "recipient-completed",
]


def hook(*include: str, **more: object) -> dict[str, object]:
    data = {"version": "restv2.1", "format": "json", "includeData": list(include)}
    return {"url": HOOK, "events": EVENTS, "eventData": data, "includeHMAC": "true", **more}


async def test_a_minimal_message_names_ids_and_nothing_else(desk: Desk) -> None:
    """Without includeData there is no envelopeSummary; recipient events carry recipientId."""
    envelope = await desk.create(eventNotification=hook())
    await desk.act(envelope, "1", "sign")
    await desk.flush()
    messages = desk.listener.messages
    assert [m["event"] for m in messages] == [
        "envelope-created",
        "envelope-sent",
        "recipient-sent",
        "recipient-delivered",
        "envelope-delivered",
        "recipient-completed",
        "envelope-completed",
    ]
    ids = {"accountId": ACCOUNT, "userId": "user-1", "envelopeId": envelope}
    for message in messages:
        named = {"recipientId": "1"} if message["event"].startswith("recipient") else {}
        assert message["data"] == {**ids, **named}
        assert message["uri"] == f"/restapi/v2.1/accounts/{ACCOUNT}/envelopes/{envelope}"
        assert (message["apiVersion"], message["retryCount"]) == ("v2.1", 0)


async def test_included_data_is_the_envelope_as_declared(desk: Desk) -> None:
    """envelopeSummary is an `envelope` as it was at the event, documents with their bytes."""
    include = ("recipients", "documents", "custom_fields", "tabs")
    fields = {"textCustomFields": [{"name": "ref", "value": "7"}]}
    envelope = await desk.create(eventNotifications=[hook(*include)], customFields=fields)
    await desk.act(envelope, "1", "sign")
    await desk.flush()
    summaries = [m["data"]["envelopeSummary"] for m in desk.listener.messages]
    for summary in summaries:
        assert OpenApi.load().check_schema("envelope", summary) == []
    by_event = dict(zip(desk.listener.events, summaries, strict=True))
    assert by_event["envelope-created"]["status"] == "created"
    assert by_event["envelope-sent"]["recipients"]["signers"][0]["status"] == "created"
    assert by_event["recipient-completed"]["recipients"]["signers"][0]["status"] == "completed"
    last = by_event["envelope-completed"]
    assert base64.b64decode(last["envelopeDocuments"][0]["PDFBytes"]) == PDF
    assert last["customFields"]["textCustomFields"][0]["value"] == "7"


async def test_every_key_signs_the_raw_body(desk: Desk) -> None:
    """One header per active key, numbered without gaps, key taken as text."""
    path = f"/simulator/accounts/{ACCOUNT}/hmac-keys"
    keys = ["first-key==", "schlüssel", "third"]
    ids = [(await desk.http.post(path, json={"key": k})).json()["id"] for k in keys]
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    await desk.flush()
    await desk.http.delete(f"{path}/{ids[0]}")
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    plain = {**hook(), "events": ["envelope-created"], "includeHMAC": "false"}
    await desk.create(eventNotification=plain)
    await desk.flush()
    for body, headers, active in zip(
        desk.listener.bodies, desk.listener.headers, (keys, keys[1:], []), strict=True
    ):
        digests = [hmac.new(k.encode(), body, hashlib.sha256).digest() for k in active]
        expected = {
            f"x-docusign-signature-{n}": base64.b64encode(d).decode()
            for n, d in enumerate(digests, 1)
        }
        sent = {k: v for k, v in headers.items() if k.startswith("x-docusign-signature")}
        assert sent == expected


async def test_account_configurations_hear_all_envelopes_until_deleted(desk: Desk) -> None:
    raw = {"name": "all", "urlToPublishTo": HOOK, "events": ["envelope-sent"]}
    made = await desk.ok("POST", "/connect", raw)
    first, second = await desk.create(), await desk.create()
    await desk.flush()
    heard = {m["data"]["envelopeId"] for m in desk.listener.messages}
    assert heard == {first, second}
    assert {str(m["configurationId"]) for m in desk.listener.messages} == {made["connectId"]}
    changed = {"connectId": made["connectId"], "events": ["envelope-voided"]}
    await desk.ok("PUT", "/connect", changed)
    assert (await desk.ok("GET", "/connect"))["configurations"][0]["events"] == ["envelope-voided"]
    await desk.create()
    await desk.ok("PUT", f"/envelopes/{first}", {"status": "voided", "voidedReason": "r"})
    await desk.ok("DELETE", f"/connect/{made['connectId']}")
    assert (await desk.ok("GET", "/connect"))["totalRecords"] == "0"
    await desk.flush()
    assert desk.listener.events[2:] == ["envelope-voided"]
    logs = await desk.ok("GET", "/connect/logs")
    assert logs["totalRecords"] == "3"


async def test_a_refused_delivery_is_tried_again_with_a_higher_count(desk: Desk) -> None:
    desk.listener.refusals = 3
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    await desk.flush()
    assert [m["retryCount"] for m in desk.listener.messages] == [3]
    deliveries = (await desk.ledger())["deliveries"]
    assert (deliveries["attempts"], deliveries["failed"], deliveries["delivered"]) == (4, 3, 1)


async def test_tries_are_bounded(desk: Desk) -> None:
    await desk.harms(webhooks={"max_tries": 2, "retry_ms": 1})
    desk.listener.refusals = 99
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    await desk.flush()
    assert desk.listener.messages == []
    assert (await desk.ledger())["deliveries"]["given_up"] == 1


async def test_a_redelivery_repeats_all_with_a_higher_count(desk: Desk) -> None:
    envelope = await desk.create(eventNotification=hook())
    await desk.flush()
    before = desk.listener.messages
    answer = await desk.http.post(f"/simulator/webhooks/{envelope}/redeliver")
    await desk.flush()
    again = desk.listener.messages[len(before) :]
    assert answer.json() == {"redelivered": len(before)}
    assert sorted(m["event"] for m in again) == sorted(m["event"] for m in before)
    assert {m["retryCount"] for m in again} == {1}
    times = {m["event"]: m["generatedDateTime"] for m in before}
    assert all(times[m["event"]] == m["generatedDateTime"] for m in again)
    queue = await desk.ok("PUT", f"/connect/envelopes/{envelope}/retry_queue")
    assert queue["retryQueue"][0]["envelopeId"] == envelope


async def test_paused_messages_come_later(desk: Desk) -> None:
    await desk.harms(webhooks={"paused": True})
    await desk.create(eventNotification=hook())
    waiting = await desk.http.post("/simulator/webhooks/flush", json={"timeout_s": 0.05})
    assert (waiting.json()["pending"], desk.listener.bodies) == (3, [])
    await desk.harms(webhooks={"paused": False})
    await desk.flush()
    assert len(desk.listener.bodies) == 3


async def test_the_plan_makes_messages_late_twice_and_out_of_order() -> None:
    """Over HTTP shapes: some come twice, and the order of arrival is not that of the events."""
    async with Desk() as desk:
        await desk.harms(webhooks={"delay_ms": [0, 60], "duplicate_rate": 0.5}, seed=5)
        envelope = await desk.create(
            *(person(str(n)) for n in range(1, 6)), eventNotification=hook()
        )
        for n in range(1, 6):
            await desk.act(envelope, str(n), "sign")
        await desk.flush()
        times = [m["generatedDateTime"] for m in desk.listener.messages]
        assert len(set(map(bytes, desk.listener.bodies))) < len(times)
        assert times != sorted(times)
        assert (await desk.ledger())["deliveries"]["duplicates"] > 0


def test_the_plan_depends_on_seed_and_place_alone() -> None:
    plan = WebhookPlan(delay_ms=(10, 500), duplicate_rate=0.3)
    places = list(itertools.product((1, 2), (1, 2, 3), (0, 1)))
    first = [plan_delays(plan, 7, *place) for place in places]
    assert first == [plan_delays(plan, 7, *place) for place in places]
    assert first != [plan_delays(plan, 8, *place) for place in places]
    assert all(0.01 <= delay <= 0.5 for delays in first for delay in delays)
    many = [plan_delays(plan, 7, 1, n, 0) for n in range(2000)]
    assert 0.25 < sum(len(d) > 1 for d in many) / 2000 < 0.35
