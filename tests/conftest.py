"""What every test may ask for, and how long generated tests search."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import hypothesis
import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests import temporal_server

# Deadlines measure the machine, not the code. The blob reproduces a failure found elsewhere.
hypothesis.settings.register_profile("quick", deadline=None, print_blob=True, max_examples=60)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, max_examples=100)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=2_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# A shell that runs the tests in its background has them, and all programs that they start, ignore
# the interrupt that some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SERVER_FIXTURES = {"temporal_env", "dev_env"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for a Temporal server is marked so: nobody has to remember it."""
    for item in items:
        if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def temporal_env(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[WorkflowEnvironment]:
    """A real Temporal server that skips time, shared by the tests of one process.

    Each test makes its own task queue and workflow ids. Start workflows through `.client`; skip
    with `await env.fast_forward(handle, timedelta(...))`.
    """
    folder = tmp_path_factory.mktemp("temporal-time-skipping")
    async with await temporal_server.start_time_skipping(folder) as environment:
        yield environment


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def dev_env(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WorkflowEnvironment]:
    """A real Temporal server in real time, shared by the tests of one process."""
    folder = tmp_path_factory.mktemp("temporal-real-time")
    async with await temporal_server.start_real_time(folder) as environment:
        yield environment
