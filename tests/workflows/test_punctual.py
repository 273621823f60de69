"""What a run did in one task, it does in that task again: no query and no update comes between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType, TaskQueueKind, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
)
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import (
    Replayer,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)

from sealwax.messages import ERROR_REPLAYED_TOO_FAR
from sealwax.payloads import client_options
from tests.keys import KEYRING
from tests.workflows.timely import Grace, Stamp
from workflows.punctual import DIRECT_QUERY, FLAG_MARKED, MARK, PunctualRunner

Handle = WorkflowHandle[Any, Any]
LOST_AFTER = timedelta(seconds=1)
COMPLETED = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
TIMED_OUT = EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT


def a_worker(client: Client, task_queue: str) -> Worker:
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[Grace, Stamp],
        workflow_runner=PunctualRunner(UnsandboxedWorkflowRunner()),
    )


async def replays(handle: Handle) -> None:
    """Raises NondeterminismError where the history is not what the workflow would do again."""
    replayer = Replayer(
        workflows=[Grace, Stamp],
        workflow_runner=PunctualRunner(UnsandboxedWorkflowRunner()),
        **client_options(KEYRING),
    )
    await replayer.replay_workflow(await handle.fetch_history())


async def until(handle: Handle, kind: EventType.ValueType, times: int) -> None:
    """Until the history has so many events of a kind."""
    async with asyncio.timeout(30):
        while True:
            events = (await handle.fetch_history()).events
            if sum(event.event_type == kind for event in events) >= times:
                return
            await asyncio.sleep(0.02)


async def test_a_task_without_commands_is_not_taken_for_a_part_of_the_next(
    dev_env: WorkflowEnvironment,
):
    """A worker that begins with an update sees what came before it at the time of before."""
    queue = f"grace-{uuid4()}"
    async with a_worker(dev_env.client, queue):
        grace = await dev_env.client.start_workflow(Grace.run, id=queue, task_queue=queue)
        await until(grace, COMPLETED, 1)
        await grace.signal(Grace.give)
        await until(grace, COMPLETED, 2)

    asking = asyncio.create_task(grace.execute_update(Grace.ask))
    async with a_worker(dev_env.client, queue):
        late = await asking

    await replays(grace)
    assert late


class Swallower:
    """A worker that takes tasks and dies: only the first one of a run is answered.

    It asks the server to bring it all that comes for that run later, so that a query waits for it
    in vain while the next task is given away and lost.
    """

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._queue = TaskQueue(name=task_queue)
        self._own = TaskQueue(
            name=f"own-{task_queue}",
            kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY,
            normal_name=task_queue,
        )
        self._mouths: set[asyncio.Task[PollWorkflowTaskQueueResponse]] = set()

    async def answers_the_first(self) -> None:
        """The run is at rest then, and bound to this worker for a second."""
        taken = await self._poll(self._queue, "first")
        answer = RespondWorkflowTaskCompletedRequest(
            namespace=self._client.namespace, task_token=taken.task_token
        )
        answer.sticky_attributes.worker_task_queue.CopyFrom(self._own)
        answer.sticky_attributes.schedule_to_start_timeout.FromSeconds(1)
        await self._client.workflow_service.respond_workflow_task_completed(answer)

    async def opens(self, mouths: int) -> None:
        """Wait, as the server sees it, for so many tasks or queries."""
        names = {f"mouth-{n}" for n in range(mouths)}
        self._mouths = {asyncio.create_task(self._poll(self._own, name)) for name in names}
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=self._own,
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        seen: set[str] = set()
        while not names <= seen:
            told = await self._client.workflow_service.describe_task_queue(request)
            seen = {poller.identity for poller in told.pollers}

    async def takes(self) -> bool:
        """The next one, and whether it is a query."""
        done, self._mouths = await asyncio.wait(
            self._mouths, return_when=asyncio.FIRST_COMPLETED, timeout=30
        )
        return done.pop().result().HasField("query")

    async def _poll(self, queue: TaskQueue, name: str) -> PollWorkflowTaskQueueResponse:
        request = PollWorkflowTaskQueueRequest(
            namespace=self._client.namespace, task_queue=queue, identity=name
        )
        return await self._client.workflow_service.poll_workflow_task_queue(request)


@pytest.mark.parametrize("lost", ["no task", "a task", "a task that timed out"])
async def test_a_query_leaves_nothing_behind(dev_env: WorkflowEnvironment, lost: str):
    """Whatever was due when a query came first: the task's commands are those of its own time.

    The query is refused, unless the task came before it after all.
    """
    queue = f"stamp-{uuid4()}"
    swallower = Swallower(dev_env.client, queue)
    stamp = await dev_env.client.start_workflow(
        Stamp.run, id=queue, task_queue=queue, task_timeout=LOST_AFTER
    )
    await swallower.answers_the_first()
    await swallower.opens(1 if lost == "no task" else 2)
    query = asyncio.create_task(stamp.query(Stamp.heard))
    assert await swallower.takes()
    await stamp.signal(Stamp.hear)
    if lost != "no task":
        assert not await swallower.takes()
    # The server gives up on the swallower after a second; the query waits for any worker then.
    await asyncio.sleep(1.2)
    if lost == "a task that timed out":
        await until(stamp, TIMED_OUT, 1)

    async with a_worker(dev_env.client, queue):
        told = (await asyncio.gather(query, return_exceptions=True))[0]
        await until(stamp, COMPLETED, 2)
        assert await stamp.query(Stamp.heard) == 1

    await replays(stamp)
    if isinstance(told, BaseException):
        assert isinstance(told, WorkflowQueryFailedError), told
        assert ERROR_REPLAYED_TOO_FAR in told.message


class Seen:
    """Stands in for the SDK's runner and its runs: keeps what reached it, and makes commands."""

    def __init__(self, commands: Sequence[WorkflowCommand] = ()) -> None:
        self.activations: list[WorkflowActivation] = []
        self._commands = commands

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return cast(WorkflowInstance, self)

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        self.activations.append(act)
        completion = WorkflowActivationCompletion(run_id=act.run_id)
        completion.successful.commands.extend(self._commands)
        completion.successful.SetInParent()
        return completion


def activation(
    length: int, *kinds: str, answered: Sequence[int] = (), replaying: bool = False
) -> WorkflowActivation:
    """A task's activation: the history's length, what happened, and which tasks were answered."""
    flags = [FLAG_MARKED, *(FLAG_MARKED + length for length in answered)] if answered else []
    act = WorkflowActivation(
        run_id="run",
        history_length=length,
        is_replaying=replaying,
        available_internal_flags=flags,
    )
    for kind in kinds:
        job = act.jobs.add()
        getattr(job, kind).SetInParent()
        if kind == "query_workflow":
            job.query_workflow.query_id = DIRECT_QUERY
    return act


def lived(
    *activations: WorkflowActivation, commands: Sequence[WorkflowCommand] = ()
) -> tuple[Seen, list[WorkflowActivationCompletion]]:
    """What reached the run, and the completions."""
    seen = Seen(commands)
    runner = PunctualRunner(cast(WorkflowRunner, seen))
    run = runner.create_instance(cast(Any, None))
    return seen, [run.activate(act) for act in activations]


def marks(completion: WorkflowActivationCompletion) -> int:
    return sum(
        MARK in command.modify_workflow_properties.upserted_memo.fields
        for command in completion.successful.commands
    )


FIRST = activation(3, "initialize_workflow")
QUERY = "query_workflow"


def test_what_is_in_no_answer_refuses_the_query():
    """The run does not see it; the SDK then forgets the run."""
    seen, completions = lived(
        FIRST, activation(7, "signal_workflow", answered=[3]), activation(7, QUERY, answered=[3])
    )

    assert len(seen.activations) == 2
    failure = completions[2].failed.failure
    assert failure.application_failure_info.type == ERROR_REPLAYED_TOO_FAR
    assert ERROR_REPLAYED_TOO_FAR in failure.message


def test_a_run_that_never_had_a_task_is_not_asked():
    """A query before the first task: there is no time yet at which the run could begin."""
    seen, completions = lived(activation(2, "initialize_workflow"), activation(2, QUERY))

    assert (len(seen.activations), completions[1].HasField("failed")) == (1, True)


def test_answered_tasks_and_replays_are_asked():
    """Queries of a run that is no further than its tasks, and its end in the cache, reach it."""
    acts = [
        activation(3, "initialize_workflow", answered=[3, 9], replaying=True),
        activation(3, QUERY, answered=[3, 9]),
        activation(9, "resolve_activity", "do_update", answered=[3, 9], replaying=True),
        activation(9, QUERY, answered=[3, 9]),
        activation(12, "fire_timer", answered=[3, 9]),
        activation(12, QUERY, answered=[3, 9, 12]),
        activation(12, "remove_from_cache"),
    ]

    seen, completions = lived(*acts)

    assert seen.activations == acts
    assert all(completion.HasField("successful") for completion in completions)


COMMANDS = {
    "a call": "schedule_activity",
    "a timer": "start_timer",
    "the end of an earlier timer": "cancel_timer",
    "attributes": "upsert_workflow_search_attributes",
    "the end": "complete_workflow_execution",
}


def command(variant: str, seq: int | None = None) -> WorkflowCommand:
    made = WorkflowCommand()
    getattr(made, variant).SetInParent()
    if seq is not None:
        getattr(made, variant).seq = seq
    return made


def answered(response: str) -> WorkflowCommand:
    made = WorkflowCommand()
    getattr(made.update_response, response).SetInParent()
    return made


@pytest.mark.parametrize("variant", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_task_with_an_event_of_its_own_leaves_no_mark(variant: str):
    """Marks cost an event: none is made where the task is told from others anyway."""
    _, completions = lived(FIRST, commands=[command(variant)])

    assert marks(completions[0]) == 0


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [command("start_timer", 1), command("cancel_timer", 1)],
        [command("schedule_activity", 1), command("request_cancel_activity", 1)],
        [answered("rejected")],
    ],
    ids=["nothing", "a timer that stops", "a call that is dropped", "a refused update"],
)
def test_a_task_without_an_event_of_its_own_leaves_a_mark(commands: Sequence[WorkflowCommand]):
    """Live and replayed alike."""
    live = lived(FIRST, activation(9, "signal_workflow"), commands=commands)[1]
    again = lived(
        activation(3, "initialize_workflow", answered=[3, 9], replaying=True),
        activation(9, "signal_workflow", answered=[3, 9], replaying=True),
        commands=commands,
    )[1]

    assert [marks(completion) for completion in live + again] == [1, 1, 1, 1]


def test_a_refused_update_leaves_no_mark():
    """It is not in the history, so that no replay would make the mark again."""
    _, completions = lived(FIRST, activation(6, "do_update"), commands=[answered("rejected")])

    assert marks(completions[1]) == 0


def test_a_run_from_before_there_were_marks_goes_on_without():
    """Its history has none, and a replay that made one would not be the same."""
    acts = [
        activation(3, "initialize_workflow", replaying=True),
        activation(9, "signal_workflow"),
    ]

    _, completions = lived(*acts)

    assert [marks(completion) for completion in completions] == [0, 0]
    assert FLAG_MARKED not in completions[1].successful.used_internal_flags
