"""Our programs, started as a test needs them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from demo.stack import Program, Stack

CHECKOUT = Path(__file__).resolve().parents[1]
READY_S = 60.0


async def start_simulator(stack: Stack, *options: str, name: str = "simulator") -> str:
    """The simulator on a free port, by default without harms; returns its URL."""
    argv = (sys.executable, "-m", "simulator", "--port", "0", *(options or ("--overlap", "off")))
    running = await stack.start(Program(name=name, argv=argv))
    assert running.url is not None
    return running.url


async def start_worker(stack: Stack, settings: Path) -> None:
    """The worker, as an operator starts it."""
    argv = (sys.executable, "worker.py", "--config", str(settings))
    await stack.start(Program(name="worker", argv=argv))


async def start_bridge(stack: Stack, settings: Path) -> str:
    """The bridge, as an operator starts it; returns its URL."""
    argv = (sys.executable, "-m", "bridge")
    env = {"SEALWAX_CONFIG": str(settings)}
    running = await stack.start(Program(name="bridge", argv=argv, env=env))
    assert running.url is not None
    return running.url


@asynccontextmanager
async def local_world(folder: Path, *options: str) -> AsyncIterator[list[str]]:
    """`sealwax dev` as a process of its own, with what it printed until it was up; then SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo.dev", "--folder", str(folder), *options),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(READY_S):
            async for raw in process.stdout:
                lines.append(raw.decode().rstrip())
                if "stays up" in lines[-1]:
                    break
        assert "stays up" in lines[-1], lines
        yield lines
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(READY_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def signing_links(said: Iterable[str]) -> dict[str, str]:
    """Recipient to link, from what a local world printed."""
    return {w[0]: w[1] for line in said if len(w := line.split()) == 2 and "/sign/" in line}
