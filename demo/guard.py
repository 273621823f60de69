"""What may happen to programs while the workload runs: one is killed on purpose, or one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from demo.stack import ProgramFailed, Stack

_LOOK_EVERY_S = 0.25

T = TypeVar("T")


class Killer:
    """SIGKILLs a program once so many mutations are answered, and starts it again.

    `striking` is true between the kill and the new start.
    """

    def __init__(self, stack: Stack, name: str, after_answers: int) -> None:
        self.name = name
        self.striking = False
        self._stack = stack
        self._after = after_answers
        self._reached = asyncio.Event()

    def answered(self, number: int) -> None:
        """So many mutations are answered by now."""
        if number >= self._after:
            self._reached.set()

    async def strike(self) -> int:
        """Wait for the moment, kill, start again; the new process id. Raises ProgramFailed."""
        await self._reached.wait()
        self.striking = True
        await self._stack.kill(self.name)
        running = await self._stack.restart(self.name)
        self.striking = False
        return running.pid


async def guarded(stack: Stack, work: Coroutine[Any, Any, T], killer: Killer | None) -> T:
    """The result of `work`, which is given up when a program of the stack ends by itself.

    Raises ProgramFailed then, and what `work` raises.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_first_end(stack, killer))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise watching.result()
    except BaseExceptionGroup as group:
        failure = group.subgroup(ProgramFailed)
        if failure is None:
            raise
        raise _first(failure) from group
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _first_end(stack: Stack, killer: Killer | None) -> ProgramFailed:
    while True:
        for name, code in stack.ended().items():
            if killer is None or not killer.striking or name != killer.name:
                log = stack.folder / f"{name}.log"
                return ProgramFailed(f"{name} ended with code {code} in the middle; see {log}")
        await asyncio.sleep(_LOOK_EVERY_S)


def _first(group: BaseExceptionGroup[ProgramFailed]) -> ProgramFailed:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
