"""A Redis for the benchmark, as long as it runs; left out where it is not installed."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket

from demo.stack import Program

LIBRARIES = ("redis", "throttled", "pyrate_limiter")
"""What the sides need beside the server: pyproject's dependency group ``bench``."""


def missing() -> str:
    """What is not installed of what the Redis sides need; empty where all is."""
    if shutil.which("redis-server") is None:
        return "redis-server is not on PATH"
    absent = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    return f"Python's {', '.join(absent)} not installed" if absent else ""


def server() -> tuple[Program, str]:
    """A server of our own that keeps nothing on disk, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])

    async def answers() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        writer.close()
        return answer.startswith(b"+PONG")

    argv = ("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "")
    program = Program(
        name="redis", argv=(*argv, "--appendonly", "no"), announces=False, probe=answers
    )
    return program, f"redis://127.0.0.1:{port}/0"
