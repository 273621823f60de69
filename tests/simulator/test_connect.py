"""Webhooks: bodies, signatures, and their seeded travel."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools

import httpx
import pytest

from simulator.plans import BadPlan
from simulator.webhook_plans import WebhookPlan, fate_of, from_option, plan_delays
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


def test_one_event_s_share_says_nothing_of_the_others() -> None:
    """The most exact name counts, shares of one action draw apart from another's, and the same
    place and seed have the same fate."""
    plan = WebhookPlan().patched(
        {"withhold": {"*": 0.3, "recipient-*": 0, "recipient-completed": 1}, "late": 0.5}
    )
    fates = {
        event: [fate_of(plan, 3, envelope, n, event) for envelope in range(40) for n in range(40)]
        for event in ("envelope-sent", "recipient-sent", "recipient-completed")
    }
    assert all(f.withheld for f in fates["recipient-completed"])
    assert not any(f.withheld for f in fates["recipient-sent"])
    drawn = fates["envelope-sent"]
    assert 0.25 < sum(f.withheld for f in drawn) / len(drawn) < 0.35
    assert 0.1 < sum(f.withheld and f.late_s > 0 for f in drawn) / len(drawn) < 0.2
    assert drawn == [fate_of(plan, 3, e, n, "envelope-sent") for e in range(40) for n in range(40)]


async def test_what_is_withheld_never_comes_and_stands_in_the_ledger_of_truth(desk: Desk) -> None:
    """Not on a redelivery either; delivered and withheld together are all that happened."""
    await desk.harms(webhooks={"withhold": 0.4}, seed=11)
    envelopes = [await desk.create(eventNotification=hook()) for _ in range(6)]
    for envelope in envelopes:
        await desk.act(envelope, "1", "sign")
        await desk.http.post(f"/simulator/webhooks/{envelope}/redeliver")
    await desk.flush()
    came = {(m["data"]["envelopeId"], m["event"]) for m in desk.listener.messages}
    answer = await desk.http.get("/simulator/webhooks/withheld", params={"account": ACCOUNT})
    withheld = {(e["envelopeId"], e["event"]) for e in answer.json()["withheld"]}
    assert withheld
    assert came
    assert not came & withheld
    lived = (event for event in EVENTS if event != "envelope-corrected")
    assert came | withheld == set(itertools.product(envelopes, lived))
    ledger = await desk.ledger()
    assert ledger["withheld"] == answer.json()["withheld"]
    assert ledger["deliveries"]["withheld"] == answer.json()["count"] == len(withheld)
    other = await desk.http.get("/simulator/webhooks/withheld", params={"account": "other"})
    assert other.json() == {"withheld": [], "count": 0}


async def test_a_message_that_is_held_back_comes_after_the_next(desk: Desk) -> None:
    """And after its bound where no other follows."""
    await desk.harms(webhooks={"reorder": {"envelope-created": 1}, "reorder_ms": 60_000})
    await desk.create(eventNotification={**hook(), "events": ["envelope-created", "envelope-sent"]})
    await desk.flush()
    assert desk.listener.events == ["envelope-sent", "envelope-created"]
    await desk.harms(webhooks={"reorder_ms": 1})
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    await desk.flush()
    assert desk.listener.events[2:] == ["envelope-created"]


async def test_chosen_events_come_late(desk: Desk) -> None:
    late = {"late": {"envelope-created": 1}, "late_ms": [80, 80]}
    await desk.harms(webhooks=late)
    await desk.create(eventNotification={**hook(), "events": ["envelope-created", "envelope-sent"]})
    await desk.flush()
    assert desk.listener.events == ["envelope-sent", "envelope-created"]


async def test_a_repeated_message_has_another_retry_count_and_signature(desk: Desk) -> None:
    """As when the listener's 2xx was lost: the same event, signed anew over other bytes."""
    path = f"/simulator/accounts/{ACCOUNT}/hmac-keys"
    await desk.http.post(path, json={"key": "k"})
    await desk.harms(webhooks={"repeat": 1})
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    await desk.flush()
    first, again = desk.listener.messages
    assert {**first, "retryCount": 1} == again
    headers = [h["x-docusign-signature-1"] for h in desk.listener.headers]
    assert headers == [_signed("k", body) for body in desk.listener.bodies]
    assert headers[0] != headers[1]


@pytest.mark.parametrize("share", ["wrong_signature", "retired_signature"])
async def test_a_badly_signed_message_is_good_at_the_next_try(desk: Desk, share: str) -> None:
    """The first try bears a signature of no active key, of the removed one where that is asked."""
    path = f"/simulator/accounts/{ACCOUNT}/hmac-keys"
    old = (await desk.http.post(path, json={"key": "old"})).json()["id"]
    await desk.http.post(path, json={"key": "new"})
    await desk.http.delete(f"{path}/{old}")
    await desk.harms(webhooks={share: 1})
    seen: list[tuple[bytes, str]] = []

    def check(request: httpx.Request) -> httpx.Response:
        given = request.headers["x-docusign-signature-1"]
        seen.append((request.content, given))
        return httpx.Response(200 if given == _signed("new", request.content) else 401)

    desk.listener.answer = check
    await desk.create(eventNotification={**hook(), "events": ["envelope-created"]})
    await desk.flush()
    (bad_body, bad), (good_body, good) = seen
    assert good == _signed("new", good_body)
    assert bad != _signed("new", bad_body)
    assert (bad == _signed("old", bad_body)) is (share == "retired_signature")
    deliveries = (await desk.ledger())["deliveries"]
    assert (deliveries["delivered"], deliveries["failed"], deliveries[f"{share}s"]) == (1, 1, 1)


async def test_gathered_messages_leave_together(desk: Desk) -> None:
    """Nothing leaves before the next stroke, then all of it does."""
    await desk.harms(webhooks={"gather_ms": 1_000_000})
    await desk.create(eventNotification=hook())
    waiting = await desk.http.post("/simulator/webhooks/flush", json={"timeout_s": 0.05})
    assert (waiting.json()["pending"], desk.listener.bodies) == (3, [])
    await desk.harms(webhooks={"gather_ms": 20})
    await desk.create(eventNotification={**hook(), "events": ["envelope-sent"]})
    await asyncio.wait_for(desk.listener.arrived.wait(), 10)
    assert desk.listener.events == ["envelope-sent"]


@pytest.mark.parametrize(
    "plan",
    [
        {"withhold": 1.5},
        {"withhold": {"envelope-melted": 1}},
        {"withhold": {"*": "often"}},
        {"late": True},
        {"late_ms": [5, 1]},
        {"reorder_ms": -1},
        {"gather_ms": 0.5},
        {"gather_ms": "nan"},
        {"duplicate_rate": None},
        {"lose": 1},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(plan: dict[str, object]) -> None:
    with pytest.raises(BadPlan):
        WebhookPlan().patched(plan)


def test_the_option_says_what_the_control_api_says() -> None:
    text = "delay=5:9,duplicate=0.5,withhold=0.3,withhold@envelope-completed=1,late-ms=7,gather=40"
    assert WebhookPlan().patched(from_option(text)) == WebhookPlan(
        delay_ms=(5, 9),
        duplicate_rate=0.5,
        withhold={"*": 0.3, "envelope-completed": 1.0},
        late_ms=(7, 7),
        gather_ms=40,
    )
    for bad in ("withhold", "lose=1", "delay=x", "withhold@=1,delay"):
        with pytest.raises(BadPlan):
            from_option(bad)


def _signed(key: str, body: bytes) -> str:
    return base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()
