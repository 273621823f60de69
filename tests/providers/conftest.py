"""A simulator for each test of the dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.providers.simulated import Stage, in_process


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A simulator in this process, without harms and without envelopes."""
    async with in_process() as made:
        yield made
