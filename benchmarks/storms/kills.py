"""Kill programs by SIGKILL at moments drawn from the seed, and start them again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from demo.stack import ProgramFailed, Stack

DOWN_S = (0.0, 0.8)
TRY_AGAIN_S = 0.3
LOOK_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Victim:
    """A program of the stack, what it is called in the figures, and how long it lives."""

    program: str
    name: str
    lives_s: tuple[float, float]


class Reaper:
    """Kills its victims one by one, each by a draw of its own, and raises whatever is down.

    ``heard(name, up)`` is told of each kill and each new start. ``kills`` counts by name;
    ``ends`` counts programs that ended by themselves, which a supervisor starts again.
    """

    def __init__(
        self,
        stack: Stack,
        victims: tuple[Victim, ...],
        seed: int,
        heard: Callable[[str, bool], None],
    ) -> None:
        self.kills: Counter[str] = Counter({victim.name: 0 for victim in victims})
        self.ends: Counter[str] = Counter()
        self._stack = stack
        self._victims = victims
        self._seed = seed
        self._heard = heard
        self._busy: set[str] = set()

    async def reap(self, seconds: float) -> None:
        """Kill for so long; at the end every victim is up again. Raises ProgramFailed."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for victim in self._victims:
                group.create_task(self._follow(victim, until))
            group.create_task(self.supervise(until))

    async def supervise(self, until: float) -> None:
        """Start again what ended by itself, as an operator's supervisor does."""
        names: Mapping[str, str] = {victim.program: victim.name for victim in self._victims}
        while time.monotonic() < until:
            for program in self._stack.ended().keys() & names.keys() - self._busy:
                self.ends[names[program]] += 1
                await self._raise(program)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _follow(self, victim: Victim, until: float) -> None:
        draw = random.Random(f"storm-kills:{self._seed}:{victim.name}")
        while True:
            lives_s, down_s = draw.uniform(*victim.lives_s), draw.uniform(*DOWN_S)
            if time.monotonic() + lives_s >= until:
                return
            await asyncio.sleep(lives_s)
            if victim.program in self._busy:
                continue
            self._busy.add(victim.program)
            await self._stack.kill(victim.program)
            self.kills[victim.name] += 1
            self._heard(victim.name, False)
            await asyncio.sleep(down_s)
            await self._raise(victim.program)
            self._heard(victim.name, True)

    async def _raise(self, program: str) -> None:
        """Start until it stays up: a worker that finds no server ends, and is started again."""
        self._busy.add(program)
        tries = 0
        while True:
            try:
                await self._stack.restart(program)
                break
            except ProgramFailed:
                tries += 1
                if tries > 100:
                    raise
                await asyncio.sleep(TRY_AGAIN_S)
        self._busy.discard(program)
