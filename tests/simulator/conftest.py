"""Fixtures of the simulator's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.simulator.desk import Desk


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[Desk]:
    """A simulator with the overlap harm off; all its answers must be declared."""
    async with Desk() as opened:
        yield opened
        assert opened.problems == []
