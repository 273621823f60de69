"""An account's quota is seen: its workflow shows what the ledger holds, cheaply and for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment

from sealwax import connection, messages
from sealwax.client import UnknownAccountQuota
from sealwax.quota_limits import Klass
from tests.workflows.accounts import LIMITS, Shown, shown


@pytest_asyncio.fixture
async def account(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Shown]:
    """An account in real time."""
    async with shown(dev_env.client, tmp_path) as running:
        yield running


async def rests(account: Shown) -> list[timedelta]:
    """How long each timer of the present run was set to."""
    history = await account.handle.fetch_history()
    return [
        event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
    ]


async def test_query_card_and_refresh_show_what_the_ledger_holds(account: Shown):
    """After calls, a refusal and a crowd that waits, all three say what the store says."""
    await account.start()
    first = await account.calls(*[Klass.INTERACTIVE] * 3)
    await account.refused(first)
    crowd = [Klass.BULK] * 40 + [Klass.BACKGROUND] * 5
    await account.calls(*crowd, known=3)
    held = await account.ledger.store.look(account.account, LIMITS)
    assert held.waiting[Klass.BULK] > 0

    refreshed = await account.client.quota(account.account, refresh=True)
    queried = await account.client.quota(account.account)

    assert queried == refreshed
    assert refreshed.burst is not None
    assert (refreshed.burst.limit, refreshed.burst.used) == (held.burst_limit, held.burst_used)
    assert (refreshed.burst.left, refreshed.margin) == (0, held.burst_margin)
    assert refreshed.waiting["bulk"] == held.waiting[Klass.BULK]
    assert refreshed.counters == held.counters
    assert refreshed.counters.refusals == 1
    card = await account.card()
    assert f"**{held.burst_used}** of {held.burst_limit} used" in card
    assert f"- bulk: {held.waiting[Klass.BULK]}\n" in card
    assert "- refused by the provider for their number: 1" in card


async def test_every_worker_may_start_it_and_it_is_one(account: Shown):
    """Workers that start at once make one run, which has the account's name to be found by."""
    await asyncio.gather(
        *(
            connection.start_accounts(account.temporal, [account.account], account.task_queue)
            for _ in range(4)
        )
    )
    await account.client.quota(account.account, refresh=True)
    query = f"{messages.ATTRIBUTE_ACCOUNT} = '{account.account}'"
    runs: list[str] = []
    async with asyncio.timeout(20):
        while not runs:  # the visibility store is a moment late
            runs = [e.id async for e in account.temporal.list_workflows(query)]

    assert runs == [f"account/{account.account}"]
    assert [row async for row in account.client.list(account.account)] == []


async def test_a_store_that_is_away_is_said_and_the_last_figures_stay(account: Shown):
    """Why and since when the figures are old; when the store is back, nothing of it is left."""
    await account.calls(Klass.INTERACTIVE)
    await account.start()
    before = await account.client.quota(account.account, refresh=True)
    account.ledger.away = True

    away = await account.client.quota(account.account, refresh=True)
    later = await account.client.quota(account.account, refresh=True)

    assert (away.burst, away.looked_at) == (before.burst, before.looked_at)
    assert "is away" in away.problem
    assert later.problem_since == away.problem_since
    assert "**Not read since" in await account.card()
    account.ledger.away = False
    back = await account.client.quota(account.account, refresh=True)
    assert (back.problem, back.problem_since) == ("", None)
    assert "Not read" not in await account.card()


async def test_nothing_of_the_quota_stands_in_the_history_in_clear(account: Shown):
    """Inputs, results and answers are encrypted like everything else."""
    await account.start()
    await account.client.quota(account.account, refresh=True)

    history = await account.handle.fetch_history()
    payloads = [
        payload
        for event in history.events
        for held in (
            event.workflow_execution_started_event_attributes.input,
            event.activity_task_scheduled_event_attributes.input,
            event.activity_task_completed_event_attributes.result,
            event.workflow_execution_update_completed_event_attributes.outcome.success,
        )
        for payload in held.payloads
    ]

    assert len(payloads) >= 4
    assert {payload.metadata["encoding"] for payload in payloads} == {b"binary/encrypted"}
    assert "burst" not in history.to_json()


async def test_a_new_run_knows_what_the_last_one_knew(
    account: Shown, monkeypatch: pytest.MonkeyPatch
):
    """By the server's suggestion; callers who ask meanwhile all get their answer."""
    await account.calls(Klass.INTERACTIVE)
    monkeypatch.setattr(
        workflow.Info,
        "is_continue_as_new_suggested",
        lambda info: info.get_current_history_length() > 25,
    )
    await account.start()
    first = (await account.handle.describe()).run_id

    for _ in range(5):
        asked = [account.client.quota(account.account, refresh=True) for _ in range(4)]
        answers = await asyncio.gather(*asked)
        assert all(a.burst is not None and a.burst.used == 1 for a in answers)

    described = await account.handle.describe()
    assert described.run_id != first
    account.ledger.away = True
    kept = await account.client.quota(account.account, refresh=True)
    assert kept.burst == answers[-1].burst


async def test_an_account_at_rest_is_looked_at_ten_times_more_rarely(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """A look is a timer and an activity: 2,880 actions a day for one a minute, 288 at rest."""
    async with shown(dev_env.client, tmp_path, every_s=0.2) as account:

        async def timers(number: int) -> list[float]:
            async with asyncio.timeout(30):
                # The history is seen by asking alone.
                while len(found := await rests(account)) < number:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            return [round(rest.total_seconds(), 1) for rest in found]

        await account.start()
        assert await timers(2) == [0.2, 2.0]
        await account.calls(Klass.BULK)
        assert (await timers(4))[2:4] == [0.2, 2.0]


async def test_an_account_that_left_the_settings_is_shown_for_a_day(account: Shown):
    """One worker with other settings ends nothing; a day without any that know it closes it."""
    now = datetime.now(UTC)
    account.ledger.configured = False
    await account.start(unknown_since=now - timedelta(hours=23))
    gone = await account.client.quota(account.account, refresh=True)
    assert "no account" in gone.problem
    account.ledger.configured = True
    assert not (await account.client.quota(account.account, refresh=True)).problem
    await account.handle.terminate()

    await account.start(unknown_since=now - timedelta(hours=25))
    assert not (await account.client.quota(account.account, refresh=True)).problem
    account.ledger.configured = False
    await account.client.quota(account.account, refresh=True)
    assert (await account.handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await account.handle.terminate()

    await account.start(unknown_since=now - timedelta(hours=25))
    assert "no account" in (await account.handle.result()).problem
    with pytest.raises(UnknownAccountQuota):
        await account.client.quota(account.account, refresh=True)
    await account.start()


@pytest.mark.parametrize("name", ["other", "Not a name"])
async def test_a_start_under_a_foreign_id_is_refused(account: Shown, name: str):
    """The id is the account's name, so that nobody's card shows another's figures."""
    await account.start()
    wrong = await account.temporal.start_workflow(
        messages.WORKFLOW_ACCOUNT,
        messages.AccountInput(account=name),
        id=f"account/{account.account}-2",
        task_queue=account.task_queue,
    )

    with pytest.raises(WorkflowFailureError) as failed:
        await wrong.result()

    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == messages.ERROR_REFUSAL
