"""A run that is told of events at an older task's time is given up, and no other."""

from __future__ import annotations

from typing import Any, cast

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from sealwax.messages import ERROR_REPLAYED_TOO_FAR
from workflows.punctual import PunctualRunner


class Seen:
    """Stands in for the SDK's runner and its runs: keeps what reached it."""

    def __init__(self) -> None:
        self.activations: list[WorkflowActivation] = []

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return cast(WorkflowInstance, self)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self.activations.append(act)
        completion = WorkflowActivationCompletion(run_id=act.run_id)
        completion.successful.SetInParent()
        return completion


def activation(length: int, at_s: int, *kinds: str, started_s: int = 0) -> WorkflowActivation:
    """A task's activation: the history's length, the task's time, and what happened."""
    act = WorkflowActivation(run_id="run", history_length=length)
    if at_s:
        act.timestamp.FromSeconds(at_s)
    for kind in kinds:
        job = act.jobs.add()
        getattr(job, kind).SetInParent()
        if kind == "initialize_workflow":
            job.initialize_workflow.start_time.FromSeconds(started_s)
    return act


def lived(*activations: WorkflowActivation) -> tuple[Seen, list[WorkflowActivationCompletion]]:
    """What reached the run, and the completions."""
    seen = Seen()
    runner = PunctualRunner(cast(WorkflowRunner, seen))
    run = runner.create_instance(cast(Any, None))
    return seen, [run.activate(act) for act in activations]


FIRST = activation(3, 10, "initialize_workflow", started_s=9)


def test_events_at_an_older_tasks_time_give_the_run_up():
    """A longer history without a later time: the run does not see it, and the answer is no."""
    seen, completions = lived(FIRST, activation(27, 10, "fire_timer"))

    assert len(seen.activations) == 1
    failure = completions[1].failed.failure
    assert failure.application_failure_info.type == ERROR_REPLAYED_TOO_FAR
    assert ERROR_REPLAYED_TOO_FAR in failure.message


def test_a_run_that_never_had_a_task_is_given_up():
    """A query before the first task: there is no time yet at which the run could begin."""
    seen, completions = lived(activation(2, 0, "initialize_workflow", started_s=9))

    assert (seen.activations, completions[0].HasField("failed")) == ([], True)


def test_tasks_one_after_the_other_reach_the_run():
    """Later times with longer histories, several activations of one task, queries at any time."""
    acts = [
        FIRST,
        activation(3, 10, "query_workflow"),
        activation(9, 12, "resolve_activity", "signal_workflow"),
        activation(9, 12, "do_update"),
        activation(12, 12, "query_workflow"),
        activation(12, 13, "fire_timer"),
        activation(12, 0, "remove_from_cache"),
    ]

    seen, completions = lived(*acts)

    assert seen.activations == acts
    assert all(completion.HasField("successful") for completion in completions)
