"""Laws of forwarding: nothing authentic is lost, one envelope's events keep their order, and an
event reaches the workflow that owns its envelope."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Collection, Iterable
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from bridge import forward
from bridge.pace import Pace
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.messages import EventBatch
from sealwax.stores.base import EnvelopeName, JournalCounts, Located, WebhookState
from tests.bridge.deliveries import (
    NOW,
    event_key,
    message,
    registered,
)
from tests.bridge.forwarding import QUICK, Rig


async def test_an_event_reaches_the_workflow_of_its_envelope(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    body = message("env-a", "envelope-completed")
    key = await rig.take(body)
    await rig.forward()
    ((workflow_id, batch),) = rig.sink.batches
    assert workflow_id == row.workflow_id
    (event,) = batch.events
    assert (event.event_key, event.provider_envelope_id) == (key, "env-a")
    assert event.facts == (Fact(EnvelopeStatus.COMPLETED),)
    assert (event.received_at, event.journal_ref) == (NOW, "1")
    assert await rig.journal.counts() == JournalCounts(delivered=1)


async def test_an_event_before_the_binding_goes_where_its_address_says(rig: Rig) -> None:
    """The first webhook may be faster than the create call's answer."""
    row = await registered(rig.registry, "order-1")
    key = await rig.take(message(), row.routing_token)
    await rig.forward()
    assert rig.sink.events(row.workflow_id) == [key]


async def test_events_of_one_envelope_travel_together_and_in_order(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    keys = [await rig.take(message(n=n)) for n in (3, 1, 2, 5, 4)]
    await rig.forward()
    assert len(rig.sink.batches) == 1
    assert rig.sink.events(row.workflow_id) == keys


async def test_a_signal_is_bounded_in_events_and_bytes(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    keys = [await rig.take(message(n=n)) for n in range(25)]
    await rig.made(dataclasses.replace(QUICK, batch_events=10)).forward(
        EnvelopeName("acme", "env-a")
    )
    assert [len(batch.events) for _, batch in rig.sink.batches] == [10, 10, 5]
    assert rig.sink.events(row.workflow_id) == keys
    rig.sink.batches.clear()
    await rig.journal.mark(range(1, 26), "pending")
    await rig.made(dataclasses.replace(QUICK, batch_bytes=1000)).forward(
        EnvelopeName("acme", "env-a")
    )
    assert len(rig.sink.batches) > 5
    assert rig.sink.events(row.workflow_id) == keys


async def test_a_s_event_at_b_s_address_goes_to_a_and_is_counted(rig: Rig) -> None:
    a, b = await rig.bound("order-a", "env-a"), await rig.bound("order-b", "env-b")
    key = await rig.take(message("env-a"), b.routing_token)
    await rig.forward("env-a")
    assert rig.sink.events(a.workflow_id) == [key]
    assert rig.sink.events(b.workflow_id) == []
    assert await rig.journal.counts() == JournalCounts(delivered=1, rerouted=1)


async def test_a_s_event_at_b_s_address_does_not_swallow_a_s_own_delivery(rig: Rig) -> None:
    """Before A is bound a copy at B's address can only go to B, who counts it as foreign; A's own
    delivery is not taken for a repetition of it."""
    a, b = await registered(rig.registry, "order-a"), await rig.bound("order-b", "env-b")
    body = message("env-a")
    key = await rig.take(body, b.routing_token)
    await rig.take(body, a.routing_token)
    await rig.forward("env-a")
    assert rig.sink.events(a.workflow_id) == [key]
    assert rig.sink.events(b.workflow_id) == [key]


async def test_a_token_of_another_account_opens_nothing(rig: Rig) -> None:
    theirs = await registered(rig.registry, "order-1", "globex")
    await rig.take(message(), theirs.routing_token)
    await rig.forward()
    assert rig.sink.batches == []
    assert (await rig.journal.counts()).parked == 1


async def test_the_same_envelope_id_in_two_accounts_is_two_envelopes(rig: Rig) -> None:
    ours, theirs = await rig.bound("o", "env-a"), await rig.bound("o", "env-a", "globex")
    key = await rig.take(message(), account="globex")
    await rig.forward(account="globex")
    assert rig.sink.events(theirs.workflow_id) == [key]
    assert rig.sink.events(ours.workflow_id) == []


async def test_what_nobody_knows_is_parked_and_delivered_in_order_once_it_is_known(
    rig: Rig,
) -> None:
    keys = [await rig.take(message(n=1)), await rig.take(message(n=2))]
    await rig.forward()
    counts = await rig.journal.counts()
    assert (counts.parked, counts.pending) == (2, 0)
    assert rig.sink.tries == 0
    row = await rig.bound("order-1", "env-a")
    keys.append(await rig.take(message(n=3)))
    await rig.forward()
    assert rig.sink.events(row.workflow_id) == keys
    assert await rig.journal.counts() == JournalCounts(delivered=3)


async def test_the_unknown_is_given_up_only_when_it_is_old_and_never_thrown_away(
    rig: Rig,
) -> None:
    """After ``park_s`` nothing tries it again by itself; a later binding still adopts it."""
    pace = dataclasses.replace(QUICK, park_s=3600.0)
    forwarder, envelope = rig.made(pace), EnvelopeName("acme", "env-a")
    key = await rig.take(message())
    await forwarder.forward(envelope)
    rig.clock.advance(3599)
    await forwarder.forward(envelope)
    assert await rig.journal.next_due() is not None
    rig.clock.advance(2)
    await forwarder.forward(envelope)
    assert await rig.journal.next_due() is None
    assert (await rig.journal.counts()).parked == 1
    (given_up,) = await rig.journal.undelivered(envelope, 0, 10)
    assert "given up" in given_up.webhook.reason
    row = await rig.bound("order-1", "env-a")
    second = await rig.take(message(n=2))
    await forwarder.forward(envelope)
    assert rig.sink.events(row.workflow_id) == [key, second]


async def test_waiting_for_a_binding_grows_up_to_a_bound(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    forwarder = rig.made(Pace(park_first_s=1.0, park_max_s=10.0))
    await rig.take(message())
    waits = []
    for _ in range(6):
        await forwarder.forward(EnvelopeName("acme", "env-a"))
        due = await rig.journal.next_due()
        assert due is not None
        waits.append((due - rig.clock()).total_seconds())
        rig.clock.at = due
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


async def test_many_given_up_webhooks_do_not_hide_a_new_one(rig: Rig) -> None:
    """More old rows than one portion holds: what is new behind them is still found."""
    forwarder = rig.made(dataclasses.replace(QUICK, batch_events=5, park_s=1.0))
    for n in range(12):
        await rig.take(message(n=n))
    rig.clock.advance(10)
    await forwarder.forward(EnvelopeName("acme", "env-a"))
    row = await registered(rig.registry, "order-1")
    key = await rig.take(message(n=99), row.routing_token)
    await forwarder.forward(EnvelopeName("acme", "env-a"))
    assert rig.sink.events(row.workflow_id) == [key]


async def test_an_event_for_a_closed_workflow_is_kept_as_late(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    rig.sink.gone.add(row.workflow_id)
    await rig.take(message())
    await rig.forward()
    assert await rig.journal.counts() == JournalCounts(late=1)


async def test_what_the_server_refuses_for_good_is_kept_for_a_person(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    rig.sink.refuses.add(row.workflow_id)
    await rig.take(message())
    await rig.forward()
    (kept,) = [r async for r in quarantined(rig)]
    assert "INVALID_ARGUMENT" in kept


async def quarantined(rig: Rig) -> AsyncIterator[str]:
    for row in rig.journal._reader.execute("SELECT reason FROM webhook WHERE state='quarantined'"):
        yield str(row[0])


async def test_an_event_too_large_for_a_signal_does_not_stop_the_others(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    signers = [
        {"recipientId": f"{i}", "recipientIdGuid": "g" * 300, "status": "sent"} for i in range(4000)
    ]
    before = await rig.take(message(n=1))
    await rig.take(message(n=2, envelopeSummary={"recipients": {"signers": signers}}))
    after = await rig.take(message(n=3))
    await rig.forward()
    assert rig.sink.events(row.workflow_id) == [before, after]
    (reason,) = [r async for r in quarantined(rig)]
    assert "too many for a signal" in reason


async def test_an_account_that_left_the_settings_keeps_its_webhooks(rig: Rig) -> None:
    await rig.bound("order-1", "env-a")
    key = await rig.take(message())
    acme = rig.readers.pop("acme")
    await rig.forward()
    assert (await rig.journal.counts()).parked == 1
    rig.readers["acme"] = acme
    rig.clock.advance(60)
    await rig.forward()
    assert rig.sink.events("envelope/acme/order-1") == [key]


# The loop around it.


@pytest_asyncio.fixture
async def running(rig: Rig) -> AsyncIterator[Rig]:
    task = asyncio.create_task(rig.forwarder.run())
    yield rig
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)


async def test_what_waited_in_the_journal_is_forwarded_at_start(rig: Rig) -> None:
    row = await rig.bound("order-1", "env-a")
    key = await rig.take(message())
    task = asyncio.create_task(rig.forwarder.run())
    await rig.sink.until(lambda: rig.sink.events(row.workflow_id) == [key])
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)
    assert await rig.journal.counts() == JournalCounts(delivered=1)


async def test_new_webhooks_are_forwarded_when_they_come(running: Rig) -> None:
    row = await running.bound("order-1", "env-a")
    keys = []
    for n in range(5):
        keys.append(await running.take(message(n=n)))
        running.forwarder.wake()
        await running.sink.until(lambda: running.sink.events(row.workflow_id) == keys)


async def test_temporal_away_and_back_loses_and_reorders_nothing(running: Rig) -> None:
    """200 events of 10 envelopes come while Temporal is away; all arrive, each envelope's in
    order, when it is back; meanwhile one envelope at a time finds out."""
    rows = [await running.bound(f"order-{i}", f"env-{i}") for i in range(10)]
    running.sink.away = True
    keys: dict[str, list[str]] = {row.workflow_id: [] for row in rows}
    for n in range(200):
        row = rows[n % 10]
        body = message(row.provider_envelope_id, n=n)
        keys[row.workflow_id].append(await running.take(body))
        running.forwarder.wake()
    await running.sink.until(
        lambda: running.forwarder._failures >= 2 and not any(running.sink.in_flight.values())
    )
    running.sink.together_max = 0
    tries = running.sink.tries
    await running.sink.until(lambda: running.sink.tries >= tries + 5)
    assert running.sink.together_max == 1
    assert not running.forwarder.reaching
    assert running.sink.batches == []
    assert (await running.journal.counts()).pending == 200
    running.sink.away = False
    await running.sink.until(
        lambda: all(running.sink.events(w) == expected for w, expected in keys.items())
    )
    assert running.forwarder.reaching


async def test_an_outage_costs_few_tries_however_much_arrives(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrives during an outage is no reason to try sooner: no envelope is tried twice."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    rig.forwarder = rig.made(dataclasses.replace(QUICK, retry_first_s=30.0, retry_max_s=30.0))
    rows = [await rig.bound(f"order-{i}", f"env-{i}") for i in range(10)]
    rig.sink.away = True
    await rig.take(message("env-0"))
    task = asyncio.create_task(rig.forwarder.run())
    await rig.sink.until(lambda: rig.sink.tries >= 1)
    for n in range(1, 50):
        await rig.take(message(rows[n % 10].provider_envelope_id, n=n))
        rig.forwarder.wake()
    await rig.sink.until(lambda: rig.forwarder._failures == 1)
    assert rig.sink.tries <= 10  # each of the ten envelopes once at most
    rig.forwarder.stop()
    await asyncio.wait_for(task, 5)
    assert (await rig.journal.counts()).pending == 50


async def test_what_needs_no_signal_is_no_sign_that_temporal_is_back(rig: Rig) -> None:
    """A webhook that nobody knows is parked again and again meanwhile; tries stay as far apart."""
    rows = [await rig.bound(f"order-{i}", f"env-{i}") for i in range(3)]
    rig.sink.away = True
    await rig.take(message("nobody-knows-it"))
    keys = [await rig.take(message(f"env-{i}")) for i in range(3)]
    rig.forwarder._now = lambda: datetime.now(UTC)
    task = asyncio.create_task(rig.forwarder.run())
    await rig.sink.until(lambda: rig.forwarder._failures >= 6)
    assert (await rig.journal.counts()).parked == 1
    assert not rig.forwarder.reaching
    rig.sink.away = False
    await rig.sink.until(
        lambda: all(rig.sink.events(r.workflow_id) == [k] for r, k in zip(rows, keys, strict=True))
    )
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)


async def test_one_envelope_that_always_fails_does_not_hold_the_others_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workflow answers with an error that may pass: it waits its time, the others do not."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    rig.forwarder = rig.made(dataclasses.replace(QUICK, retry_first_s=60.0, retry_max_s=60.0))
    evil = await rig.bound("order-evil", "env-evil")
    rows = [await rig.bound(f"order-{i}", f"env-{i}") for i in range(5)]
    rig.sink.away_for.add(evil.workflow_id)
    await rig.take(message("env-evil"))
    task = asyncio.create_task(rig.forwarder.run())
    await rig.sink.until(lambda: rig.sink.tries == 1)
    keys: dict[str, list[str]] = {row.workflow_id: [] for row in rows}
    for n in range(100):
        row = rows[n % 5]
        keys[row.workflow_id].append(await rig.take(message(row.provider_envelope_id, n=n)))
        rig.forwarder.wake()
    await rig.sink.until(lambda: all(rig.sink.events(w) == k for w, k in keys.items()))
    assert rig.sink.tries == 1 + len(rig.sink.batches)
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)
    assert (await rig.journal.counts()).pending == 1


async def test_an_envelope_that_failed_is_tried_again_when_the_error_has_passed(
    running: Rig,
) -> None:
    row = await running.bound("order-1", "env-a")
    running.sink.away_for.add(row.workflow_id)
    key = await running.take(message())
    running.forwarder.wake()
    await running.sink.until(lambda: running.sink.tries >= 4)
    running.sink.away_for.clear()
    await running.sink.until(lambda: running.sink.events(row.workflow_id) == [key])


async def test_a_parked_webhook_is_delivered_by_itself_when_the_binding_comes(
    running: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.forwarder, "_now", lambda: datetime.now(UTC))
    running.clock.at = datetime.now(UTC)
    key = await running.take(message())
    running.forwarder.wake()
    async with asyncio.timeout(10):
        while not (await running.journal.counts()).parked:  # noqa: ASYNC110 - another thread's file
            await asyncio.sleep(0.005)
    row = await running.bound("order-1", "env-a")
    await running.sink.until(lambda: running.sink.events(row.workflow_id) == [key])


async def test_one_signal_in_flight_per_envelope_and_a_bounded_number_in_all(rig: Rig) -> None:
    rig.forwarder = rig.made(dataclasses.replace(QUICK, envelopes_at_once=4, batch_events=3))
    rows = [await rig.bound(f"order-{i}", f"env-{i}") for i in range(12)]
    task = asyncio.create_task(rig.forwarder.run())
    keys: dict[str, list[str]] = {row.workflow_id: [] for row in rows}
    for n in range(240):
        row = rows[n % 12]
        keys[row.workflow_id].append(await rig.take(message(row.provider_envelope_id, n=n)))
        rig.forwarder.wake()
    await rig.sink.until(lambda: all(rig.sink.events(w) == k for w, k in keys.items()))
    assert set(rig.sink.in_flight_max.values()) == {1}
    assert 1 < rig.sink.together_max <= 4
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)


async def test_nobody_waits_until_what_became_of_others_is_written_down(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one place in flight, and a journal that does not come to the marks, all are signalled;
    and none is signalled again."""
    rig.forwarder = rig.made(dataclasses.replace(QUICK, envelopes_at_once=1))
    rows = [await rig.bound(f"order-{i}", f"env-{i}") for i in range(3)]
    keys = {r.workflow_id: await rig.take(message(r.provider_envelope_id)) for r in rows}
    mark, free = rig.journal.mark, asyncio.Event()

    async def marked_late(ids: Iterable[int], state: WebhookState, reason: str = "") -> None:
        await free.wait()
        await mark(ids, state, reason)

    monkeypatch.setattr(rig.journal, "mark", marked_late)
    task = asyncio.create_task(rig.forwarder.run())
    await rig.sink.until(lambda: all(rig.sink.events(w) == [k] for w, k in keys.items()))
    assert (await rig.journal.counts()).pending == 3
    free.set()
    rig.forwarder.stop()
    await asyncio.wait_for(task, 20)
    assert (await rig.journal.counts()).delivered == 3
    assert len(rig.sink.batches) == 3


async def test_a_signal_that_hangs_does_not_keep_the_bridge_from_stopping(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut off and stays pending, so that it is sent again after the next start."""
    monkeypatch.setattr(forward, "STOP_GRACE_S", 0.05)
    hanging = asyncio.Event()

    async def hang(workflow_id: str, batch: EventBatch) -> None:
        hanging.set()
        await asyncio.Event().wait()

    row = await rig.bound("order-1", "env-a")
    key = await rig.take(message())
    monkeypatch.setattr(rig.sink, "signal", hang)
    task = asyncio.create_task(rig.forwarder.run())
    await hanging.wait()
    rig.forwarder.stop()
    await asyncio.wait_for(task, 10)
    monkeypatch.undo()
    await rig.forward()
    assert rig.sink.events(row.workflow_id) == [key]


async def test_a_webhook_that_breaks_the_forwarder_holds_nobody_else_up(
    running: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = running.registry.located

    async def located(tokens: Collection[str], envelopes: Collection[EnvelopeName]) -> Located:
        if EnvelopeName("acme", "env-evil") in envelopes:
            raise ZeroDivisionError
        return await real(tokens, envelopes)

    monkeypatch.setattr(running.registry, "located", located)
    row = await running.bound("order-1", "env-a")
    await running.take(message("env-evil"))
    key = await running.take(message("env-a"))
    running.forwarder.wake()
    await running.sink.until(lambda: running.sink.events(row.workflow_id) == [key])
    assert "cannot be forwarded" in caplog.text


async def test_a_crash_between_signal_and_mark_sends_the_same_event_again(rig: Rig) -> None:
    """At least once: the workflow tells by the key that it is the same event."""
    row = await rig.bound("order-1", "env-a")
    body = message()
    await rig.take(body)
    await rig.forward()
    await rig.journal.mark([1], "pending")
    await rig.forward()
    assert rig.sink.events(row.workflow_id) == [event_key(body)] * 2
