"""The schedules of an account's sweeps, which every worker brings to what the settings say."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from temporalio.service import RPCError, RPCStatusCode

from sealwax.connection import ConnectionFailed
from sealwax.keys import sweep_id
from sealwax.messages import ATTRIBUTE_ACCOUNT
from sealwax.sweep_messages import SWEEP_LASTS_AT_MOST, WORKFLOW_SWEEP, SweepInput
from sealwax.sweep_settings import SweepSettings


async def schedule_sweeps(
    client: Client, accounts: Iterable[str], task_queue: str, sweep: SweepSettings
) -> None:
    """Have each account's schedule stand as the settings say. Raises ``ConnectionFailed``.

    A sweep that is due while another one runs is left out, and so are those that were due while
    Temporal was away: the next one begins where the last one ended, however long ago. With
    ``every_s`` 0 the schedule is taken away.
    """
    for account in accounts:
        try:
            if sweep.every_s:
                await _stand(client, account, _schedule(account, task_queue, sweep))
            else:
                await unschedule(client, account)
        except RPCError as error:
            text = " ".join(error.message.split())
            raise ConnectionFailed(
                f"Temporal does not keep the schedule of account {account} ({text}); start the"
                " worker again once it does"
            ) from error


async def unschedule(client: Client, account: str) -> None:
    """Take an account's schedule away; one that is not there is fine."""
    try:
        await client.get_schedule_handle(sweep_id(account)).delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def _stand(client: Client, account: str, schedule: Schedule) -> None:
    try:
        await client.create_schedule(sweep_id(account), schedule)
    except ScheduleAlreadyRunningError:
        # Paused and limited by people's hands it stays; what it does and when is the settings'.
        def updated(given: ScheduleUpdateInput) -> ScheduleUpdate:
            schedule.state = given.description.schedule.state
            return ScheduleUpdate(schedule)

        await client.get_schedule_handle(sweep_id(account)).update(updated)


def _schedule(account: str, task_queue: str, sweep: SweepSettings) -> Schedule:
    every = timedelta(seconds=sweep.every_s)
    action = ScheduleActionStartWorkflow(
        WORKFLOW_SWEEP,
        SweepInput(account=account, silent_requests_max=sweep.silent_requests_max),
        id=sweep_id(account),
        task_queue=task_queue,
        execution_timeout=SWEEP_LASTS_AT_MOST,
        static_summary=f"Sweep of {account}",
        typed_search_attributes=_attributes(account),
    )
    return Schedule(
        action=action,
        # Accounts start apart from each other.
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)], jitter=every / 10),
        policy=SchedulePolicy(
            overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(seconds=60)
        ),
    )


def _attributes(account: str) -> TypedSearchAttributes:
    attribute = SearchAttributeKey.for_keyword(ATTRIBUTE_ACCOUNT)
    return TypedSearchAttributes([SearchAttributePair(attribute, account)])
