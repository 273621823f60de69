"""One sweep of one account: what never came by webhook is found, and told to its workflows.

A schedule per account starts it (``sealwax.schedules``). How far sweeps came, in the provider's
time, stands in a store and not in the schedule: a schedule that is made anew, or a namespace, would
begin where it likes, and the memory of drift would be too large for Temporal. The watermark moves
only when every signal of the stretch is with the server, so a crash repeats a stretch and never
leaves one out.
"""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

# Passed through, as in ``workflows.envelope``.
with workflow.unsafe.imports_passed_through():
    from activities.sweeps import (
        Advanced,
        PageAsked,
        PageSwept,
        SilentAsked,
        SweepEnded,
        SweepTarget,
    )
    from sealwax import sweep_messages as messages
    from workflows.policies import GRACE, HEARTBEAT_TIMEOUT, SWEEP

PAGES_OF_A_RUN = 200
"""A longer list goes on in a new run, so that no history becomes long."""


@workflow.defn(name=messages.WORKFLOW_SWEEP)
class SweepWorkflow:
    """Reads the list of changes to its end, then asks about silent envelopes."""

    @workflow.init
    def __init__(self, given: messages.SweepInput) -> None:
        self._account = given.account
        self._listed = given.listed
        self._signalled = given.signalled
        self._asked = 0

    @workflow.run
    async def run(self, given: messages.SweepInput) -> messages.SweepResult:
        """Sweep once. A problem that passes by itself is waited out; another one ends it, is
        shown on the account's card, and the next sweep starts from where this one did."""
        try:
            await self._changes(given)
            await self._silent(given.silent_requests_max)
        except ActivityError as error:
            await self._end(_why(error))
            raise
        await self._end("")
        return messages.SweepResult(
            listed=self._listed, signalled=self._signalled, asked=self._asked
        )

    async def _changes(self, given: messages.SweepInput) -> None:
        as_of = given.as_of
        due: PageAsked | None = PageAsked(
            account=self._account,
            since=given.since,
            position=given.position,
            last_ids=given.last_ids,
        )
        pages = 0
        while due is not None:
            if pages == PAGES_OF_A_RUN:
                workflow.continue_as_new(self._onward(given, due, as_of))
            swept: PageSwept = await _run("sweep_page", due, PageSwept, "List status changes")
            pages += 1
            # The first part's: what changes while the others are read is the next sweep's.
            as_of = as_of or swept.as_of
            self._listed += swept.listed
            self._signalled += swept.signalled
            due = swept.next
        if as_of is not None:
            done = Advanced(account=self._account, watermark=as_of)
            await _run("advance_watermark", done, None, "Move the watermark")

    def _onward(
        self, given: messages.SweepInput, due: PageAsked, as_of: Any
    ) -> messages.SweepInput:
        where = {"since": due.since, "position": due.position, "last_ids": due.last_ids}
        so_far = {"as_of": as_of, "listed": self._listed, "signalled": self._signalled}
        return given.model_copy(update={**where, **so_far})

    async def _silent(self, requests_max: int) -> None:
        target = SweepTarget(account=self._account)
        for _ in range(requests_max):
            asked: SilentAsked = await _run(
                "ask_silent", target, SilentAsked, "Ask about silent envelopes"
            )
            self._asked += asked.asked
            self._signalled += asked.signalled
            if asked.done:
                return

    async def _end(self, problem: str) -> None:
        ended = SweepEnded(
            account=self._account,
            listed=self._listed,
            signalled=self._signalled,
            asked=self._asked,
            problem=problem,
        )
        await _run("end_sweep", ended, None, "Count the drift")


def _run(name: str, given: Any, result_type: Any, summary: str) -> Awaitable[Any]:
    return workflow.execute_activity(
        name,
        given,
        summary=summary,
        start_to_close_timeout=timedelta(seconds=SWEEP.deadline_s or 0) + GRACE,
        schedule_to_close_timeout=timedelta(hours=1),
        heartbeat_timeout=HEARTBEAT_TIMEOUT,
        retry_policy=SWEEP.retries,
        result_type=result_type,
    )


def _why(error: ActivityError) -> str:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return cause.message
    return "it was not done within an hour"
