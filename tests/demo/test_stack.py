"""Programs of a stack: ready before the next one starts, and never left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from demo.stack import LEASH, Program, ProgramFailed, Stack

WAIT_S = 20.0

# Announces itself, and starts a child of its own that ignores SIGTERM: the hard case for tidiness.
ANNOUNCER = """
import json, os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"])
path = sys.argv[sys.argv.index("--announce") + 1]
with open(path + ".new", "w") as file:
    json.dump({"url": os.environ.get("URL"), "pid": os.getpid(), "child": child.pid}, file)
os.replace(path + ".new", path)
time.sleep(600)
"""

# Owns a stack of two such programs, says so, and goes on until somebody ends it.
OWNER = """
import asyncio, os, sys
from pathlib import Path
from demo.stack import Program, Stack

async def main():
    folder = Path(sys.argv[1])
    async with Stack(folder) as stack:
        argv = (sys.executable, str(folder / "announcer.py"))
        await stack.start(Program(name="one", argv=argv))
        await stack.start(Program(name="two", argv=argv))
        (folder / "up").touch()
        await asyncio.Event().wait()

asyncio.run(main())
"""


def an_announcer(folder: Path, name: str = "one", **changes: object) -> Program:
    script = folder / "announcer.py"
    script.write_text(ANNOUNCER)
    return Program(name=name, argv=(sys.executable, str(script)), **changes)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.strip().startswith("Z")


def wait_until_gone(pids: set[int]) -> set[int]:
    """Those of `pids` that still run when patience ends."""
    deadline = time.monotonic() + WAIT_S
    while (left := {pid for pid in pids if alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def pids_of(folder: Path) -> set[int]:
    """Each announced program, and the child that it started."""
    announced = [json.loads(file.read_text()) for file in folder.glob("*.announce.json")]
    pids = {entry[key] for entry in announced for key in ("pid", "child")}
    assert all(alive(pid) for pid in pids)
    return pids


async def test_a_program_is_ready_when_start_returns(tmp_path: Path) -> None:
    """The announced address and process id are those of the program that runs."""
    async with Stack(tmp_path) as stack:
        running = await stack.start(an_announcer(tmp_path, env={"URL": "http://127.0.0.1:1"}))
        announced = pids_of(tmp_path)

        assert running.url == "http://127.0.0.1:1"
        assert running.pid in announced
        assert list(stack) == ["one"]
    assert wait_until_gone(announced) == set()


async def test_an_exception_leaves_no_process(tmp_path: Path) -> None:
    """An error inside the block stops programs and their children, also those deaf to SIGTERM."""
    pids: set[int] = set()

    async def break_off() -> None:
        async with Stack(tmp_path) as stack:
            await stack.start(an_announcer(tmp_path))
            pids.update(pids_of(tmp_path))
            raise RuntimeError("as a demonstration might")

    with pytest.raises(RuntimeError, match="as a demonstration might"):
        await break_off()

    assert len(pids) == 2
    assert wait_until_gone(pids) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_owner_ends_its_programs(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and even SIGKILL of the owner leave no program and no child of one."""
    (tmp_path / "announcer.py").write_text(ANNOUNCER)
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(LEASH.parent.parent)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WAIT_S
        while not (tmp_path / "up").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        pids = pids_of(tmp_path)
        owner.send_signal(number)
        owner.wait(WAIT_S)
    finally:
        owner.kill()
        owner.wait()

    assert len(pids) == 4
    assert wait_until_gone(pids) == set()
    assert owner.returncode != 0


async def test_a_killed_program_can_be_started_again(tmp_path: Path) -> None:
    """After SIGKILL the stack knows that the program ended, and restart brings a new process."""
    async with Stack(tmp_path) as stack:
        first = await stack.start(an_announcer(tmp_path))
        await stack.kill("one")
        ended = stack.ended()
        second = await stack.restart("one")

        assert ended == {"one": -signal.SIGKILL}
        assert not alive(first.pid)
        assert alive(second.pid)
        assert stack.ended() == {}


async def test_a_program_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """A crash before readiness names the program, its exit code and the end of its log."""
    crash = (sys.executable, "-c", "import sys; print('no such account'); sys.exit(3)")
    async with Stack(tmp_path) as stack:
        with pytest.raises(ProgramFailed, match=r"worker ended with code 3(.|\n)*no such account"):
            await stack.start(Program(name="worker", argv=crash))

        assert list(stack) == []


async def test_a_program_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    """When the time for readiness is over, the program does not stay behind."""
    mute = (
        sys.executable,
        "-c",
        "import os, time; print(os.getpid(), flush=True); time.sleep(600)",
    )
    async with Stack(tmp_path) as stack:
        with pytest.raises(ProgramFailed, match=r"was not ready within 0\.5 s"):
            await stack.start(Program(name="mute", argv=mute, ready_within_s=0.5))
        pid = int((tmp_path / "mute.log").read_text().split()[0])

        assert not alive(pid)


async def test_a_stopped_program_may_finish_its_work(tmp_path: Path) -> None:
    """SIGTERM comes before SIGKILL: a program that handles it ends by itself."""
    graceful = """
import signal, sys
def finish(*_):
    print("finished", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, finish)
print("ready", flush=True)
signal.pause()
"""
    log = tmp_path / "graceful.log"

    async def says_ready() -> bool:
        return await asyncio.to_thread(lambda: "ready" in log.read_text())

    argv = (sys.executable, "-c", graceful)
    async with Stack(tmp_path) as stack:
        await stack.start(Program(name="graceful", argv=argv, announces=False, probe=says_ready))

    assert log.read_text().split() == ["ready", "finished"]


def test_a_program_is_not_started_for_another_owner() -> None:
    """The leash refuses when its parent is not the owner: that owner has ended meanwhile."""
    argv = [sys.executable, "-I", "-S", str(LEASH), "1", "true"]
    refused = subprocess.run(argv, capture_output=True, text=True)

    assert refused.returncode == 69
    assert "not the owner" in refused.stderr


async def test_names_in_a_stack_are_unique(tmp_path: Path) -> None:
    """Starting a second program of one name is refused: it would hide the first from the stop."""
    async with Stack(tmp_path) as stack:
        await stack.start(an_announcer(tmp_path))
        with pytest.raises(ValueError, match="already in the stack"):
            await stack.start(an_announcer(tmp_path))
