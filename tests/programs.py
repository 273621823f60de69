"""Our programs, started as a test needs them."""

from __future__ import annotations

import sys
from pathlib import Path

from demo.stack import Program, Stack


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
