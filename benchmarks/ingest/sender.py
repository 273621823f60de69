"""Starts the load program and hands back what it wrote."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ingest.load import Job, Sent, write_job
from demo.stack import ProgramFailed, leashed
from demo.stage import CHECKOUT

READY_S = 120.0


@dataclass
class Sending:
    """A load program that has signed everything and waits for its start."""

    process: asyncio.subprocess.Process
    result: Path

    async def send(self) -> Sent:
        """Start it and wait for its end. Raises ``ProgramFailed``."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        await self.process.stdin.drain()
        await _said(self.process, "done")
        return Sent(**json.loads(self.result.read_text(encoding="utf-8")))


@asynccontextmanager
async def prepared(job: Job, folder: Path) -> AsyncIterator[Sending]:
    """The load program with this job, ready to send. Raises ``ProgramFailed``."""
    folder.mkdir(parents=True, exist_ok=True)
    file, result = folder / "job.json", folder / "sent.json"
    file.write_text(write_job(job), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.ingest.load", str(file), str(result)]
    process = await asyncio.create_subprocess_exec(
        *leashed(command),
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(READY_S):
            await _said(process, "ready")
        yield Sending(process, result)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def send(job: Job, folder: Path) -> Sent:
    """Prepare and send at once."""
    async with prepared(job, folder) as sending:
        return await sending.send()


async def _said(process: asyncio.subprocess.Process, word: str) -> None:
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode().strip()
    if line != word:
        raise ProgramFailed(f"the load program ended before it was {word}")
