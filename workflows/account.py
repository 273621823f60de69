"""One account, one workflow: its quota as the ledger holds it and its sweeps, where people look.

It decides nothing and nothing waits for it. Its details are the account's quota card; a look costs
two actions of Temporal (a timer and an activity), which is 2,900 a day and account at one look a
minute, and a tenth of it where nobody makes calls.
"""

import contextlib
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

# Passed through, as in ``workflows.envelope``.
with workflow.unsafe.imports_passed_through():
    from activities.accounts import Looked, LookQuota
    from sealwax import keys, messages, sweep_views, views
    from sealwax.definition import Refusal, RefusalCode
    from sealwax.sweep_messages import QUERY_SWEEP, SweepSnapshot
    from workflows.policies import LOOK_QUOTA

FORGOTTEN_AFTER = timedelta(days=1)
"""An account that no settings have named for so long is shown no more."""


@workflow.defn(name=messages.WORKFLOW_ACCOUNT)
class AccountWorkflow:
    """Shows one account's quota for as long as the settings name the account."""

    @workflow.init
    def __init__(self, given: messages.AccountInput) -> None:
        self._quota = given.carried or messages.QuotaSnapshot(account=given.account)
        self._sweep = SweepSnapshot(account=given.account)
        self._unknown_since: datetime | None = given.unknown_since
        self._again = workflow.now()
        self._asked = 0
        self._served = 0
        self._leaving = False
        self._show()

    @workflow.run
    async def run(self, given: messages.AccountInput) -> messages.QuotaSnapshot:
        """Look now and then. Ends a day after the account was taken out of the settings."""
        _check_id(given.account)
        while True:
            await self._look()
            if self._forgotten():
                break
            if workflow.info().is_continue_as_new_suggested():
                await self._leave()
                workflow.continue_as_new(
                    messages.AccountInput(
                        account=given.account,
                        carried=self._quota,
                        unknown_since=self._unknown_since,
                    )
                )
            await self._rest()
        await self._leave()
        return self._quota

    @workflow.update(name=messages.UPDATE_REFRESH)
    async def refresh(self) -> messages.QuotaSnapshot:
        """A look that begins now, and what it showed; who asks meanwhile shares the next one."""
        self._asked += 1
        mine = self._asked
        await workflow.wait_condition(lambda: self._served >= mine or self._leaving)
        return self._quota

    @workflow.query(name=messages.QUERY_QUOTA)
    def quota(self) -> messages.QuotaSnapshot:
        """What the last look showed."""
        return self._quota

    @workflow.query(name=QUERY_SWEEP)
    def sweep(self) -> SweepSnapshot:
        """How its sweeps stood at the last look."""
        return self._sweep

    async def _look(self) -> None:
        serving = self._asked
        known = self._quota.counters if self._quota.looked_at is not None else None
        looked = await workflow.execute_activity(
            "look_quota",
            LookQuota(account=self._quota.account, known=known),
            summary="Look at the quota ledger",
            start_to_close_timeout=timedelta(seconds=LOOK_QUOTA.deadline_s or 0),
            retry_policy=LOOK_QUOTA.retries,
            result_type=Looked,
        )
        self._take(looked, workflow.now())
        self._served = serving

    def _take(self, looked: Looked, now: datetime) -> None:
        self._again = now + timedelta(seconds=looked.again_in_s)
        self._unknown_since = None if looked.configured else self._unknown_since or now
        self._sweep = looked.sweep or self._sweep
        if looked.view is not None:
            self._quota = views.quota_snapshot(self._quota.account, looked.view, now)
        else:
            since = self._quota.problem_since or now
            told = {"problem": looked.problem, "problem_since": since}
            self._quota = self._quota.model_copy(update=told)
        self._show()

    def _forgotten(self) -> bool:
        since = self._unknown_since
        return since is not None and workflow.now() - since >= FORGOTTEN_AFTER

    async def _rest(self) -> None:
        """Until the next look is due, or somebody asks for one."""
        left = self._again - workflow.now()
        if left <= timedelta(0) or self._asked > self._served:
            return
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._asked > self._served, timeout=left)

    async def _leave(self) -> None:
        self._leaving = True
        await workflow.wait_condition(workflow.all_handlers_finished)

    def _show(self) -> None:
        workflow.set_current_details(
            "\n".join([views.quota_card(self._quota), sweep_views.sweep_card(self._sweep)])
        )


def _check_id(account: str) -> None:
    try:
        due = keys.account_workflow_id(account)
        if workflow.info().workflow_id != due:
            raise Refusal(RefusalCode.BAD_KEY, f"start this workflow under the id {due}")
    except Refusal as refusal:
        raise ApplicationError(
            refusal.message,
            refusal.code.value,
            type=messages.ERROR_REFUSAL,
            non_retryable=True,
        ) from None
