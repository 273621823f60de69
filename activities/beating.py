"""Heartbeats of an activity while it works, so that a dead worker is noticed within seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

HEARTBEAT_EVERY_S = 1.0


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """Heartbeat for as long as the block lasts."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_EVERY_S)

    heart = asyncio.create_task(beat())
    try:
        yield
    finally:
        heart.cancel()
