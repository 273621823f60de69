"""The simulator as one program for all tests of a process; a rig for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from tests import programs, rig


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def simulator_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A simulator without harms, shared; each test has an account of its own."""
    async with Stack(tmp_path_factory.mktemp("simulator")) as stack:
        yield await programs.start_simulator(stack)


@pytest_asyncio.fixture
async def house(
    dev_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> AsyncIterator[rig.Rig]:
    """A rig on the real server in real time."""
    async with rig.running(dev_env.client, simulator_url, tmp_path) as running:
        yield running
