"""A guard around workflow runs: nothing happens in a run at a time that is not its own.

A query may reach a worker that does not hold the run while a workflow task waits behind it. The
worker then replays the history up to that moment, and the SDK (1.35, seen) applies the events after
the last finished task, too, at that older task's time, to the run that it keeps. The task itself,
coming next, finds them done. Its commands are those of the wrong time, and no later replay can make
them again: the run stands still for ever (TMPRL1100). A run that is told of events with a longer
history but no later time is therefore given up: the query fails, the worker forgets the run, and
replays it when its task comes.
"""

from collections.abc import Sequence

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.workflow import Info

from sealwax.messages import ERROR_REPLAYED_TOO_FAR

_STANDING_STILL = frozenset({"query_workflow", "remove_from_cache"})


class PunctualRunner(WorkflowRunner):
    """Runs workflows by another runner, and gives up a run that is ahead of its time."""

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
        self._length = 0
        self._at_ns = 0

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        moving = any(job.WhichOneof("variant") not in _STANDING_STILL for job in act.jobs)
        if moving:
            at_ns = act.timestamp.ToNanoseconds()
            if self._ahead(act, at_ns):
                return _given_up(act.run_id)
            self._length, self._at_ns = act.history_length, at_ns
        return self._instance.activate(act)

    def _ahead(self, act: WorkflowActivation, at_ns: int) -> bool:
        """Every task of a run has a time of its own, and the first comes after the run's start."""
        for job in act.jobs:
            if job.HasField("initialize_workflow"):
                return at_ns < job.initialize_workflow.start_time.ToNanoseconds()
        return act.history_length > self._length and at_ns <= self._at_ns

    def get_serialization_context(self, command_info) -> SerializationContext | None:  # type: ignore[no-untyped-def]
        return self._instance.get_serialization_context(command_info)

    def get_external_store_context(self, command_info) -> StorageDriverStoreContext:  # type: ignore[no-untyped-def]
        return self._instance.get_external_store_context(command_info)

    def get_info(self) -> Info:
        return self._instance.get_info()

    def get_thread_id(self) -> int | None:
        return self._instance.get_thread_id()


def _given_up(run_id: str) -> WorkflowActivationCompletion:
    completion = WorkflowActivationCompletion(run_id=run_id)
    failure = completion.failed.failure
    failure.message = f"{ERROR_REPLAYED_TOO_FAR}: the run is behind its history; ask again"
    failure.application_failure_info.type = ERROR_REPLAYED_TOO_FAR
    return completion
