"""Acknowledged means durable: what got its 2xx reaches its workflow, whatever dies afterwards."""

from __future__ import annotations

import asyncio
import signal
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio import workflow
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sealwax.messages import SIGNAL_EVENTS, EventBatch
from sealwax.stores.registry import open_registry
from tests.bridge.deliveries import event_key, message, registered
from tests.bridge.test_program import Program, write_settings

pytestmark = pytest.mark.server

BURST = 15


@workflow.defn(name="gatherer")
class Gatherer:
    """Keeps which events it was told of, however often, until it has enough."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.keys) >= enough)
        return sorted(self.keys)

    @workflow.signal(name=SIGNAL_EVENTS)
    def events(self, batch: dict[str, Any]) -> None:
        self.keys |= {event.event_key for event in EventBatch.model_validate(batch).events}


def settings_of(folder: Path, environment: WorkflowEnvironment) -> Path:
    """Settings of a bridge that reaches the tests' own server."""
    file = write_settings(folder)
    lines = file.read_text().splitlines()
    address = environment.client.service_client.config.target_host
    changed = [f'address = "{address}"' if x.startswith("address =") else x for x in lines]
    assert changed != lines
    file.write_text("\n".join(changed) + "\n")
    return file


async def test_a_webhook_reaches_its_workflow_though_the_bridge_was_killed_right_after_its_2xx(
    tmp_path: Path, dev_env: WorkflowEnvironment
) -> None:
    """Killed before anything was forwarded, killed while forwarding, and killed once more: after
    the last start every acknowledged event has come."""
    program = Program(tmp_path, settings_of(tmp_path, dev_env))
    folder = tmp_path / "sealwax-data"
    folder.mkdir()
    registry = open_registry(folder / "registry.db")
    key = f"order-{uuid.uuid4().hex}"
    row = await registered(registry, key)
    await registry.bind(row.workflow_id, "env-a")
    await registry.close()
    bursts = [[message(n=n) for n in range(i * BURST, (i + 1) * BURST)] for i in range(3)]
    expected = {event_key(body) for burst in bursts for body in burst}
    async with Worker(
        dev_env.client,
        task_queue=key,
        workflows=[Gatherer],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle = await dev_env.client.start_workflow(
            Gatherer.run, len(expected), id=row.workflow_id, task_queue=key
        )
        try:
            for number, burst in enumerate(bursts):
                await program.start(*(["--no-forwarder"] if number == 0 else []))
                async with httpx.AsyncClient(timeout=30) as http:
                    statuses = await asyncio.gather(*(program.post(http, body) for body in burst))
                    assert await program.end(signal.SIGKILL) == -signal.SIGKILL
                assert statuses == [200] * BURST
            await program.start()
            came = await asyncio.wait_for(handle.result(), 60)
        finally:
            if program.process is not None and program.process.returncode is None:
                await program.end(signal.SIGTERM)
    assert came == sorted(expected)
