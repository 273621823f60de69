"""Whether the workflows of today do again what every stored run did: the worker's own replay.

A run whose history does not replay stands still at its next task, for ever, with whatever it held.
The ledger does not show that while nothing more is due, so it is looked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer

from benchmarks.storms.judge import Harm
from sealwax.connection import connect
from sealwax.payloads import client_options
from sealwax.settings import load_settings
from worker import SANDBOX, WORKFLOWS

WHY_MAX = 300


async def replayed(settings: Path, most: int | None = None, seed: int = 0) -> Harm:
    """Replay every run that the server holds; ``unreplayable`` counts those that differ.

    ``most``: of more runs than that, so many are drawn by ``seed``. ``settings``: those of the
    worker, whose server must be up. Raises ConnectionFailed.
    """
    given = load_settings(settings)
    keyring = given.keyring()
    client = await connect(given.temporal, keyring)
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=SANDBOX,
        # Without it, a workflow that a busy machine holds up for two seconds counts as failed.
        debug_mode=True,
        **client_options(keyring),
    )
    harm = Harm()
    async with replayer.workflow_replay_iterator(_histories(client, most, seed)) as results:
        async for result in results:
            if result.replay_failure is not None:
                harm.unreplayable += 1
                why = " ".join(str(result.replay_failure).split())[:WHY_MAX]
                run = f"{result.history.workflow_id} {result.history.run_id}"
                harm.why.append(f"{run}: unreplayable: {why}")
    return harm


async def _histories(client: Client, most: int | None, seed: int) -> AsyncIterator[WorkflowHistory]:
    runs = [(run.id, run.run_id) async for run in client.list_workflows("")]
    if most is not None and len(runs) > most:
        runs = Random(seed).sample(runs, most)
    for workflow_id, run_id in runs:
        yield await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
