"""The schedule of an account's sweeps stands as the settings say, however many workers ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import ScheduleDescription, ScheduleOverlapPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from sealwax import keys, schedules
from sealwax.sweep_settings import SweepSettings
from tests.keys import encrypting

pytestmark = pytest.mark.server


@pytest_asyncio.fixture
async def account(dev_env: WorkflowEnvironment) -> AsyncIterator[str]:
    """An account that no other test has."""
    name = f"a{uuid4().hex[:12]}"
    yield name
    await schedules.unschedule(dev_env.client, name)


async def stand(env: WorkflowEnvironment, account: str, queue: str = "q", **sweep: float) -> None:
    """As a worker does when it starts."""
    settings = SweepSettings.model_validate(sweep)
    await schedules.schedule_sweeps(encrypting(env.client), [account], queue, settings)


async def described(env: WorkflowEnvironment, account: str) -> ScheduleDescription:
    """The schedule as the server holds it."""
    handle = encrypting(env.client).get_schedule_handle(keys.sweep_id(account))
    return await handle.describe()


async def test_workers_that_start_at_once_make_one_schedule(
    dev_env: WorkflowEnvironment, account: str
):
    """Which leaves out what is due while a sweep runs, and makes up for nothing."""
    await asyncio.gather(*(stand(dev_env, account, every_s=900) for _ in range(4)))
    held = (await described(dev_env, account)).schedule
    (interval,) = held.spec.intervals
    assert interval.every == timedelta(minutes=15)
    assert held.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert held.policy.catchup_window == timedelta(minutes=1)


async def test_a_later_worker_s_settings_hold_and_a_pause_stays(
    dev_env: WorkflowEnvironment, account: str
):
    """What it does and when is the settings'; that somebody stopped it is not."""
    await stand(dev_env, account, every_s=900)
    handle = dev_env.client.get_schedule_handle(keys.sweep_id(account))
    await handle.pause(note="the provider moves house")
    await stand(dev_env, account, "another", every_s=60)
    held = (await described(dev_env, account)).schedule
    assert held.spec.intervals[0].every == timedelta(minutes=1)
    assert getattr(held.action, "task_queue", "") == "another"
    assert (held.state.paused, held.state.note) == (True, "the provider moves house")


async def test_nought_takes_the_schedule_away(dev_env: WorkflowEnvironment, account: str):
    """Also where there is none."""
    await stand(dev_env, account, every_s=0)
    await stand(dev_env, account)
    await stand(dev_env, account, every_s=0)
    with pytest.raises(RPCError) as gone:
        await described(dev_env, account)
    assert gone.value.status is RPCStatusCode.NOT_FOUND
