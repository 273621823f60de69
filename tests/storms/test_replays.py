"""A stored run that no worker can go on with is counted."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from benchmarks.storms.replays import replayed
from sealwax import messages
from tests import keys, rig, temporal_server
from tests.builders import an_order
from worker import SANDBOX
from workflows.envelope import EnvelopeWorkflow


@workflow.defn(name=messages.WORKFLOW)
class Other:
    """Another build's idea of an envelope: it waits before it does anything."""

    @workflow.run
    async def run(self, given: RawValue) -> None:
        """Begins with a timer, where the real one begins with a refusal."""
        await workflow.sleep(timedelta(milliseconds=1))


async def lives(client: Client, build: type, runner: WorkflowRunner, name: str) -> None:
    """One run by this build, to its end; a real envelope refuses its workflow's id."""
    given = messages.EnvelopeInput(order=an_order())
    worker = Worker(client, task_queue=name, workflows=[build], workflow_runner=runner)
    async with worker:
        try:
            await client.execute_workflow(messages.WORKFLOW, given, id=name, task_queue=name)
        except WorkflowFailureError:
            assert build is EnvelopeWorkflow


async def test_a_run_of_another_build_is_unreplayable_and_one_of_this_is_not(tmp_path: Path):
    """Two runs on one server, one of them harmed."""
    async with await temporal_server.start_real_time(tmp_path) as environment:
        client = keys.encrypting(environment.client)
        settings = rig.write_settings(
            tmp_path,
            rig.Desk("http://127.0.0.1:1", None),  # type: ignore[arg-type]  # nothing is asked of it
            address=client.service_client.config.target_host,
            task_queue="none",
            timing=rig.QUICK,
        )
        await lives(client, EnvelopeWorkflow, SANDBOX, "ours")
        await lives(client, Other, UnsandboxedWorkflowRunner(), "theirs")

        harm = await replayed(settings)

    assert harm.unreplayable == 1, harm.why
    assert harm.why[0].startswith("theirs ")
    assert "TMPRL1100" in harm.why[0]
