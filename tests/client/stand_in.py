"""A workflow that keeps the message contract and does nothing at any provider.

It lets a test decide what the real one does rarely: long queues, tickets, continuing as a new
run in the middle of waiting callers, refusals and rejections at the head. The order's message
holds its ``Plan`` as JSON.
"""

import asyncio
from collections import deque

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from sealwax import messages, views
from sealwax.definition import RefusalCode
from sealwax.envelope import Envelope, mutation_digest
from sealwax.facts import EnvelopeStatus
from sealwax.messages import AskResult, EnvelopeInput, MutationResult, Snapshot, Submit


class Plan(BaseModel):
    """``held_max``: how many callers may be held; ``run_max``: mutations per run (0 = no end)."""

    held_max: int = 3
    run_max: int = 0
    pace_s: float = 0.0
    paused: bool = False


class Carried(BaseModel):
    """What goes over to the next run."""

    queue: list[Submit] = []
    answers: dict[str, MutationResult] = {}
    digests: dict[str, str] = {}
    sequences: dict[str, int] = {}
    sequence: int = 0
    revision: int = 0
    closed: bool = False


class StandInInput(EnvelopeInput):
    """What the client sends, and what goes over to the next run."""

    handed_on: Carried | None = None


def _refuse(code: RefusalCode, message: str) -> ApplicationError:
    return ApplicationError(message, code, type=messages.ERROR_REFUSAL, non_retryable=True)


@workflow.defn(name=messages.WORKFLOW)
class StandIn:
    """The contract's handlers over a FIFO of mutations."""

    @workflow.init
    def __init__(self, start: StandInInput) -> None:
        self.start = start
        self.plan = Plan.model_validate_json(start.order.definition.message or "{}")
        self.state = start.handed_on or Carried()
        self.queue = deque(self.state.queue)
        self.done_in_run = 0
        self.draining = False
        self.held = 0
        self.go = not self.plan.paused or start.handed_on is not None

    @workflow.run
    async def run(self, start: StandInInput) -> None:
        while not self.state.closed:
            await workflow.wait_condition(lambda: self.go and bool(self.queue))
            if self.plan.run_max and self.done_in_run >= self.plan.run_max:
                self.draining = True
                await workflow.wait_condition(workflow.all_handlers_finished)
                carry = self.state.model_copy(update={"queue": list(self.queue)})
                workflow.continue_as_new(start.model_copy(update={"handed_on": carry}))
            if self.plan.pace_s:
                await asyncio.sleep(self.plan.pace_s)
            self._take(self.queue.popleft())
        await workflow.wait_condition(workflow.all_handlers_finished)

    def _take(self, submit: Submit) -> None:
        self.done_in_run += 1
        ids = [r.recipient_id for r in getattr(submit.mutation, "recipients", ())]
        outcome = {"refused": "refused", "rejected": "rejected"}.get(
            ids[0] if ids else "", "applied"
        )
        self.state.revision += outcome == "applied"
        self.state.answers[submit.operation_id] = MutationResult(
            operation_id=submit.operation_id,
            state=outcome,
            sequence=self.state.sequences[submit.operation_id],
            revision=self.state.revision,
            code={"refused": "illegal_in_status", "rejected": "SOME_ERROR"}.get(outcome, ""),
            message="as planned" if outcome != "applied" else "",
        )
        self.state.closed = submit.mutation.kind == "void"

    def _answer(self, operation_id: str) -> MutationResult:
        if operation_id in self.state.answers:
            return self.state.answers[operation_id]
        position = [s.operation_id for s in self.queue].index(operation_id)
        return MutationResult(
            operation_id=operation_id,
            state="waiting",
            sequence=self.state.sequences[operation_id],
            revision=self.state.revision,
            position=position,
        )

    async def _hold(self, operation_id: str, wait_s: float) -> MutationResult:
        if self.held < self.plan.held_max and wait_s:
            self.held += 1
            try:
                await workflow.wait_condition(
                    lambda: operation_id in self.state.answers or self.draining, timeout=wait_s
                )
            except TimeoutError:
                pass
            finally:
                self.held -= 1
        return self._answer(operation_id)

    @workflow.update(name=messages.UPDATE_SUBMIT)
    async def submit(self, request: Submit) -> MutationResult:
        if request.operation_id not in self.state.digests:
            self.state.digests[request.operation_id] = mutation_digest(request.mutation)
            self.state.sequence += 1
            self.state.sequences[request.operation_id] = self.state.sequence
            self.queue.append(request)
        return await self._hold(request.operation_id, request.wait_s)

    @submit.validator
    def check(self, request: Submit) -> None:
        known = self.state.digests.get(request.operation_id)
        if known not in (None, mutation_digest(request.mutation)):
            raise _refuse(RefusalCode.OPERATION_ID_REUSED, "used for another request")

    @workflow.update(name=messages.UPDATE_RESULT)
    async def result(self, ask: AskResult) -> MutationResult:
        return await self._hold(ask.operation_id, ask.wait_s)

    @result.validator
    def check_known(self, ask: AskResult) -> None:
        if ask.operation_id not in self.state.digests:
            raise _refuse(RefusalCode.UNKNOWN_OPERATION, "no such operation")

    @workflow.query(name=messages.QUERY_ANSWER)
    def answer(self, operation_id: str) -> MutationResult | None:
        return self._answer(operation_id) if operation_id in self.state.digests else None

    @workflow.query(name=messages.QUERY_TIMELINE)
    def timeline(self) -> tuple[messages.TimelineEntry, ...]:
        return (messages.TimelineEntry(at=workflow.info().start_time, text="opened"),)

    @workflow.signal
    def resume(self) -> None:
        self.go = True

    @workflow.query(name=messages.QUERY_SNAPSHOT)
    def snapshot(self) -> Snapshot:
        base = views.snapshot(Envelope(self.start.order, workflow.info().start_time))
        return base.model_copy(
            update={
                "status": EnvelopeStatus.VOIDED if self.state.closed else EnvelopeStatus.SENT,
                "revision": self.state.revision,
                "queue_length": len(self.queue),
                "closed": self.state.closed,
            }
        )
