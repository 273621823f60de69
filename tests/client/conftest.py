"""A client, a worker with the stand-in workflow, and PDFs to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from demo.stack import Stack
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient, EnvelopeHandle
from sealwax.definition import Recipient
from tests import programs, rig
from tests.client.stand_in import Plan, StandIn
from tests.keys import KEYRING
from tests.rig import Rig

Create = Callable[[Plan], Awaitable[EnvelopeHandle]]
SIGNER = Recipient("buyer", "Bea Buyer", "bea@example.com")


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    """The smallest thing that the client takes for a PDF."""
    file = tmp_path / "contract.pdf"
    file.write_bytes(b"%PDF-1.7\n%%EOF\n")
    return file


@pytest_asyncio.fixture(loop_scope="session")
async def client(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[EnvelopeClient]:
    """A client whose task queue a worker serves with the stand-in workflow."""
    queue = f"client-{uuid4()}"
    async with Worker(
        dev_env.client,
        task_queue=queue,
        workflows=[StandIn],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        blobs = BlobStore(tmp_path / "blobs", KEYRING)
        yield EnvelopeClient(dev_env.client, blobs=blobs, task_queue=queue)


@pytest_asyncio.fixture(loop_scope="session")
async def house(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Rig]:
    """The real workflow and worker, and a simulator of its own."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path) as running:
            yield running


@pytest.fixture
def create(client: EnvelopeClient, pdf: Path) -> Create:
    """Makes an envelope whose stand-in follows a plan."""

    async def made(plan: Plan) -> EnvelopeHandle:
        return await client.create(
            account="acme",
            key=f"order-{uuid4()}",
            subject="Contract",
            message=plan.model_dump_json(),
            documents=[pdf],
            recipients=[SIGNER],
        )

    return made
