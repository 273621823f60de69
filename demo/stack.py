"""Start the programs of a checkout as subprocesses, and never leave one behind.

A `Stack` is an async context manager. Whatever ends it (the end of the block, an exception, Ctrl-C,
SIGTERM), it stops the programs in reverse order; if its own process is killed outright, the leash
of each program (`demo/leash.py`) does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_S = 0.02
LOG_LINES_IN_ERROR = 12
LEASH = Path(__file__).with_name("leash.py")

Probe = Callable[[], Awaitable[bool]]


class ProgramFailed(Exception):
    """A program ended before it was ready, or was not ready in time; the message names its log."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start: a unique name, its command, and how it tells that it is ready.

    `env` is laid over the environment of this process. With `announces` the command gets
    `--announce FILE` appended and is ready when it has written `{"url": ..., "pid": ...}` there;
    otherwise it is ready when `probe` answers true (or at once, without a probe).
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    announces: bool = True
    probe: Probe | None = None
    ready_within_s: float = 30.0
    stop_within_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started program: its process id, its log file, and the address that it announced."""

    name: str
    pid: int
    log: Path
    url: str | None


class _Started:
    """One program with its process; knows nothing of the others."""

    def __init__(self, program: Program, folder: Path) -> None:
        self.program = program
        self.log = folder / f"{program.name}.log"
        self.announcement = folder / f"{program.name}.announce.json"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> Running:
        """Start the process and wait until it is ready; raises ProgramFailed."""
        self.announcement.unlink(missing_ok=True)
        argv = list(self.program.argv)
        if self.program.announces:
            argv += ["--announce", str(self.announcement)]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *leashed(argv),
                env={**os.environ, **self.program.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(self.program.ready_within_s):
                return await self._ready(self.process)
        except TimeoutError:
            raise self._failed(f"was not ready within {self.program.ready_within_s:g} s") from None

    async def _ready(self, process: asyncio.subprocess.Process) -> Running:
        while process.returncode is None:
            if self.program.announces:
                if (announced := self._announced(process.pid)) is not None:
                    return self._running(process, announced["url"])
            elif self.program.probe is None or await self.program.probe():
                return self._running(process, None)
            await asyncio.sleep(POLL_S)
        raise self._failed(f"ended with code {process.returncode} before it was ready")

    def _running(self, process: asyncio.subprocess.Process, url: str | None) -> Running:
        return Running(name=self.program.name, pid=process.pid, log=self.log, url=url)

    def _announced(self, pid: int) -> dict[str, str | None] | None:
        # A file that is half written, or that another process wrote, is not an announcement yet.
        try:
            document = json.loads(self.announcement.read_text("utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        if not isinstance(document, dict) or document.get("pid") != pid:
            return None
        return {"url": document.get("url")}

    def _failed(self, what: str) -> ProgramFailed:
        lines = self.log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES_IN_ERROR:]
        return ProgramFailed("\n".join([f"{self.program.name} {what}; see {self.log}", *lines]))

    async def stop(self, within_s: float) -> None:
        """SIGTERM to the process group, SIGKILL to whatever of it is left after `within_s`."""
        if self.process is None:
            return
        try:
            if self.process.returncode is None and within_s > 0:
                _signal_group(self.process.pid, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(within_s):
                        await self.process.wait()
        finally:
            _signal_group(self.process.pid, signal.SIGKILL)
        await self.process.wait()


class Stack:
    """Programs started one after the other, each ready before the next; stopped in reverse.

    Logs and announcements lie in `folder`. SIGTERM and SIGHUP to this process cancel the task
    that entered the stack, as Ctrl-C does under `asyncio.run`, so that the block unwinds.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: dict[str, _Started] = {}
        self._handled: list[signal.Signals] = []

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            # A loop outside the main thread, or a program with its own handler, keeps its ways.
            if task is not None and signal.getsignal(number) is signal.SIG_DFL:
                with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                    loop.add_signal_handler(number, task.cancel)
                    self._handled.append(number)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for name in reversed(list(self._started)):
                await self.stop(name)
        finally:
            for started in self._started.values():
                if started.process is not None:
                    _signal_group(started.process.pid, signal.SIGKILL)
            for number in self._handled:
                asyncio.get_running_loop().remove_signal_handler(number)
            self._handled.clear()

    async def start(self, program: Program) -> Running:
        """Start a program and wait until it is ready; raises ProgramFailed, and stops it then."""
        if program.name in self._started:
            raise ValueError(f"{program.name} is already in the stack: restart it instead")
        started = self._started[program.name] = _Started(program, self.folder)
        try:
            return await started.start()
        except BaseException:
            await self.stop(program.name, within_s=0)
            raise

    async def stop(self, name: str, *, within_s: float | None = None) -> None:
        """Stop one program and take it out of the stack; KeyError if there is none of that name."""
        started = self._started[name]
        await started.stop(started.program.stop_within_s if within_s is None else within_s)
        self._started.pop(name, None)

    async def kill(self, name: str) -> None:
        """SIGKILL one program and wait for its end; it stays in the stack, to be restarted."""
        await self._started[name].stop(0)

    async def restart(self, name: str) -> Running:
        """Start a program again with the same command, stopping it first if it still runs."""
        started = self._started[name]
        await started.stop(started.program.stop_within_s)
        return await started.start()

    def ended(self) -> dict[str, int]:
        """The exit codes of the programs in the stack that do not run (any more)."""
        return {
            name: started.process.returncode
            for name, started in self._started.items()
            if started.process is not None and started.process.returncode is not None
        }

    def __iter__(self) -> Iterator[str]:
        return iter(self._started)


def leashed(argv: list[str]) -> list[str]:
    """The command that runs `argv` so that it dies with this process."""
    return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *argv]


def _signal_group(pid: int, number: signal.Signals) -> None:
    # The leader may be gone while its group still has members; a group without any is no error.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
