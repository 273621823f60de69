"""Our programs, started as a test needs them."""

from __future__ import annotations

import sys

from demo.stack import Program, Stack


async def start_simulator(stack: Stack, *options: str, name: str = "simulator") -> str:
    """The simulator on a free port, by default without harms; returns its URL."""
    argv = (sys.executable, "-m", "simulator", "--port", "0", *(options or ("--overlap", "off")))
    running = await stack.start(Program(name=name, argv=argv))
    assert running.url is not None
    return running.url
