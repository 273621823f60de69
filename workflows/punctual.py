"""A guard around workflow runs: replaying, a run does what it did, in the same tasks.

A worker that does not hold a run replays its history task by task. The SDK (1.35) can mistake where
a task began or ended. What the run does then belongs to another time, or to another order, than any
later replay gives it; the server keeps it, and the run stands still for ever (TMPRL1100). That
happens in two ways, and each has its remedy here.

*Two tasks taken for one.* A task without commands, after another one without, is taken for a
heartbeat where the next is due at once, as it is for an update. A worker that takes that update
without holding the run applies the events of both tasks at the time of the second, and the update
before what it came after. With the update in the history, later replays tell them apart again.
(https://github.com/temporalio/sdk-rust/issues/1146,
https://github.com/temporalio/sdk-python/issues/1591.) So no task that was told of an event ends
without a command here: one that has none sets an empty field of the memo.

*A task that nobody gave.* A query that waited for a worker may reach one that does not hold the run
when events, too, wait for their task. The SDK applies them for the query, at the time of the task
before, or of one that was lost. It keeps the run like that for the task, which then makes those
commands known. So a query that finds a run ahead of the tasks that were answered is refused here:
the worker forgets the run, and replays it when its task comes.

Which tasks were answered is told by the SDK's flags: numbers that go into the history with a
task's answer, and that later activations show, from that answer on and not before.
"""

from collections.abc import Sequence

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info

from sealwax.messages import ERROR_REPLAYED_TOO_FAR

FLAG_MARKED = 1_000_000
"""The flag of a run that leaves marks; far from the SDK's own, which count from 1. Which tasks get
one is in the histories: a change of that needs another flag, beside this one.

With the length of the history at a task added, it is the flag of that task's answer."""

MARK = "SealwaxMark"
"""The memo's field."""

DIRECT_QUERY = "legacy_query"
"""The SDK's id for every query that comes by itself and not with a task."""

_STANDING_STILL = frozenset({"query_workflow", "remove_from_cache"})
_NO_EVENT = _STANDING_STILL | {"do_update", "notify_has_patch"}
_RECORDED = frozenset(
    {
        "cancel_workflow_execution",
        "complete_workflow_execution",
        "continue_as_new_workflow_execution",
        "fail_workflow_execution",
        "modify_workflow_properties",
        "upsert_workflow_search_attributes",
    }
)


class PunctualRunner(WorkflowRunner):
    """Runs workflows by another runner, and keeps their tasks apart.

    Histories that it made replay under it alone.
    """

    def __init__(self, runner: WorkflowRunner) -> None:
        self._runner = runner

    def prepare_workflow(self, defn) -> None:  # type: ignore[no-untyped-def]
        """See ``WorkflowRunner``; the SDK keeps the argument's type to itself."""
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """See ``WorkflowRunner``."""
        return _PunctualInstance(self._runner.create_instance(det))

    def set_worker_level_failure_exception_types(
        self, types: Sequence[type[BaseException]]
    ) -> None:
        """See ``WorkflowRunner``."""
        self._runner.set_worker_level_failure_exception_types(types)


class _PunctualInstance(WorkflowInstance):
    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self._marked = False
        self._answer: int | None = None

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        kinds = {job.WhichOneof("variant") for job in act.jobs}
        if kinds <= _STANDING_STILL:
            return _refused(act.run_id) if self._ahead(act) else self._instance.activate(act)
        if "initialize_workflow" in kinds:
            # Runs from before there were marks go on without.
            self._marked = not act.is_replaying or FLAG_MARKED in act.available_internal_flags
        completion = self._instance.activate(act)
        if completion.HasField("successful"):
            done = completion.successful
            if self._marked and kinds - _NO_EVENT and not _recorded(done.commands):
                memo = done.commands.add().modify_workflow_properties.upserted_memo
                memo.fields[MARK].metadata["encoding"] = b"binary/null"
            self._answer = None if act.is_replaying else FLAG_MARKED + act.history_length
            if self._answer is not None:
                done.used_internal_flags.extend([FLAG_MARKED] * self._marked + [self._answer])
        return completion

    def _ahead(self, act: WorkflowActivation) -> bool:
        """Whether a query finds that what the run did last is in no answer to the server."""
        if not any(job.query_workflow.query_id == DIRECT_QUERY for job in act.jobs):
            return False
        return self._answer is not None and self._answer not in act.available_internal_flags

    # Nothing in our data converter asks whose a payload is (``sealwax.payloads``). To be told all
    # the same, out of the sandbox and several times for each, took a sixth of a worker's time.

    def get_serialization_context(self, command_info: object) -> SerializationContext | None:
        return None

    def get_external_store_context(self, command_info: object) -> StorageDriverStoreContext:
        return StorageDriverStoreContext(target=None)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()


def _recorded(commands: Sequence[WorkflowCommand]) -> bool:
    """Whether an event will come of these for certain.

    None comes of a refused update, and none of what is begun and cancelled in one task.
    """
    timers = {c.start_timer.seq for c in commands if c.HasField("start_timer")}
    stopped = {c.cancel_timer.seq for c in commands if c.HasField("cancel_timer")}
    calls = {c.schedule_activity.seq for c in commands if c.HasField("schedule_activity")}
    dropped = {
        c.request_cancel_activity.seq for c in commands if c.HasField("request_cancel_activity")
    }
    return bool(timers ^ stopped or calls - dropped) or any(
        command.WhichOneof("variant") in _RECORDED
        or command.update_response.WhichOneof("response") in ("accepted", "completed")
        for command in commands
    )


def _refused(run_id: str) -> WorkflowActivationCompletion:
    completion = WorkflowActivationCompletion(run_id=run_id)
    failure = completion.failed.failure
    failure.message = f"{ERROR_REPLAYED_TOO_FAR}: the run is ahead of its tasks; ask again"
    failure.application_failure_info.type = ERROR_REPLAYED_TOO_FAR
    return completion
