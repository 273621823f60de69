"""What a process has of the machine while it is measured, read from /proc."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

EVERY_S = 0.1
MB = 1024 * 1024
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def resident_bytes(process: int) -> int:
    """What a process holds in memory; 0 where it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def cpu_s(process: int) -> float:
    """Processor time that a process has used so far, all of its threads; 0 where it is gone."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return 0.0


def children(process: int) -> Iterator[int]:
    """The processes that a process has started, and theirs; none where it is gone."""
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                yield child
                yield from children(child)


def cpu_by_program(process: int) -> dict[str, float]:
    """Processor time so far of all that a process has started, by program."""
    used: dict[str, float] = {}
    for child in children(process):
        with suppress(OSError):
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            name = _program(words)
            used[name] = used.get(name, 0.0) + cpu_s(child)
    return used


def _program(words: Sequence[str]) -> str:
    """A module, a script, or the program itself."""
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    script = next((word for word in words if word.endswith(".py")), words[0])
    return Path(script).stem


class Memory:
    """Samples of the listener, and of all that it has started taken together, in MB.

    Runs while its block does. ``mark`` ends one stretch and begins the next.
    """

    def __init__(self, process: Callable[[], int]) -> None:
        self._process = process
        self.listener: list[list[float]] = [[]]
        self.others: list[list[float]] = [[]]

    async def __aenter__(self) -> Memory:
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def mark(self) -> None:
        """What follows is another stretch."""
        self.listener.append([])
        self.others.append([])

    async def _sample(self) -> None:
        while True:
            process = self._process()
            if held := resident_bytes(process):
                self.listener[-1].append(held / MB)
                self.others[-1].append(sum(map(resident_bytes, children(process))) / MB)
            await asyncio.sleep(EVERY_S)
