"""A program that belongs to another: started with it, started again when it dies, ended with it.

Its standard input is a pipe. When the owner is gone, however it went, the pipe is at its end, and
so is the program. Each byte that the owner writes is a sign.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("sealwax.bridge")

OWNED = "--owned"
STOP_S = 8.0
FIRST_S, LONGEST_S = 0.2, 10.0
STEADY_S = 30.0
"""One that lived so long is started again at once."""

CHECKOUT = Path(__file__).resolve().parents[1]


class Offspring:
    """``python -m MODULE``, kept running until ``stop``."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        self._argv = (sys.executable, "-m", module, OWNED, *arguments)
        self._name = module
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Start it, and start it again whenever it ends, until ``stop``."""
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stopping.is_set():
            began = loop.time()
            status = await self._life()
            if self._stopping.is_set():
                return
            deaths = 1 if loop.time() - began >= STEADY_S else deaths + 1
            delay_s = min(LONGEST_S, FIRST_S * 2.0 ** (deaths - 1)) * random.uniform(0.5, 1.0)
            log.warning("%s ended with %s; started again in %.1f s", self._name, status, delay_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._stopping.wait()

    def tell(self, sign: bytes) -> None:
        """Give it a sign."""
        pipe = self._process.stdin if self._process is not None else None
        # One that does not read is not told again: what it would find is old.
        if (
            pipe is not None
            and not pipe.is_closing()
            and not pipe.transport.get_write_buffer_size()
        ):
            pipe.write(sign)

    def stop(self) -> None:
        """Have it end (SIGTERM), soon or by force; then ``run`` returns."""
        self._stopping.set()

    async def _life(self) -> str:
        """One life, from start to end; says how it ended."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=asyncio.subprocess.PIPE, env=_environment()
            )
        except OSError as error:
            return str(error)
        self._process = process
        ending = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                process.terminate()
                await asyncio.wait({ending}, timeout=STOP_S)
        finally:
            self._process = None
            stopping.cancel()
            if not ending.done():
                with suppress(ProcessLookupError):
                    process.kill()
        return f"status {await ending}"


async def owner_gone(told: Callable[[bytes], None]) -> None:
    """Return when the program that started this one is gone; until then pass its signs on."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()

    def readable() -> None:
        if signs := os.read(sys.stdin.fileno(), 4096):
            told(signs)
        else:
            loop.remove_reader(sys.stdin.fileno())
            gone.set()

    loop.add_reader(sys.stdin.fileno(), readable)
    await gone.wait()


def _environment() -> dict[str, str]:
    # It finds the packages wherever this program was started.
    paths = filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH", "")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
