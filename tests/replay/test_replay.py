"""Law 8: the workflow of today goes on with every history that was ever stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from sealwax.payloads import client_options
from tests.keys import KEYRING
from worker import SANDBOX
from workflows.account import AccountWorkflow
from workflows.envelope import EnvelopeWorkflow

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def history(path: Path, text: str = "") -> WorkflowHistory:
    """A stored history, under the workflow id that it was made with."""
    text = text or path.read_text("utf-8")
    started = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(started["workflowId"], text)


def replayer() -> Replayer:
    """With the sandbox of the worker."""
    return Replayer(
        workflows=[EnvelopeWorkflow, AccountWorkflow],
        workflow_runner=SANDBOX,
        **client_options(KEYRING),
    )


@pytest.mark.parametrize("path", HISTORIES, ids=lambda p: p.stem)
async def test_every_stored_history_replays(path: Path):
    """The same commands in the same order, from the same inputs."""
    await replayer().replay_workflow(history(path))


async def test_a_history_of_another_workflow_does_not_replay():
    """The check can fail: a history whose first activity has another name is refused."""
    text = HISTORIES[0].read_text("utf-8").replace('"name": "register"', '"name": "enrol"', 1)
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(history(HISTORIES[0], text))


def test_there_are_histories_of_every_kind_of_life():
    """Completed, voided, lost answers, one that still waits, one carried over to a new run; and an
    account's."""
    kinds = {path.stem.partition("-")[2] for path in HISTORIES}
    assert {"completed", "voided", "lost-answers", "waiting", "renewed", "quota"} <= kinds
