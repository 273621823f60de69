"""A Temporal server that dies and comes back costs callers time, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from demo.stack import Stack
from demo.temporal_dev import NAME, start_temporal
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient
from sealwax.connection import connect
from sealwax.messages import SEARCH_ATTRIBUTES
from sealwax.mutations import ChangeMessage
from sealwax.settings import TemporalSettings
from tests.client.conftest import SIGNER
from tests.client.stand_in import Plan, StandIn
from tests.keys import KEYRING


@pytest.mark.timeout(300)
async def test_callers_get_their_results_through_a_server_that_was_killed(
    tmp_path: Path, pdf: Path
) -> None:
    """Thirty callers wait while the server is killed: each has its one effect and its result."""
    async with Stack(tmp_path / "programs") as stack:
        server = await start_temporal(
            stack, search_attributes=SEARCH_ATTRIBUTES, preferred_ports=False
        )
        temporal = await connect(TemporalSettings(address=server.address), KEYRING)
        queue = f"outage-{uuid4()}"
        blobs = BlobStore(tmp_path / "blobs", KEYRING)
        client = EnvelopeClient(temporal, blobs=blobs, task_queue=queue)
        worker = Worker(
            temporal,
            task_queue=queue,
            workflows=[StandIn],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            envelope = await client.create(
                account="acme",
                key="order-17",
                subject="Contract",
                message=Plan(paused=True).model_dump_json(),
                documents=[pdf],
                recipients=[SIGNER],
            )
            asking = [
                asyncio.create_task(
                    envelope.mutate(ChangeMessage(subject=f"S{n}"), f"op-{n}", timeout_s=240)
                )
                for n in range(30)
            ]
            async for snapshot in envelope.watch():
                if snapshot.queue_length >= 10:
                    break
            await stack.kill(NAME)
            await stack.restart(NAME)
            await temporal.get_workflow_handle(envelope.workflow_id).signal("resume")
            results = await asyncio.gather(*asking)
            assert [r.operation_id for r in results] == [f"op-{n}" for n in range(30)]
            assert sorted(r.revision for r in results) == list(range(1, 31))
            assert (await envelope.status()).revision == 30
