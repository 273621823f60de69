"""Laws of the forwarder as a program: it lives and dies with its bridge, or stands alone; a bridge
takes in without it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from sealwax.stores.base import Journal
from sealwax.stores.journal import open_journal
from tests import keys
from tests.bridge.deliveries import OLD_KEY, message
from tests.bridge.test_program import ROOT, Program, write_settings

pytestmark = pytest.mark.server

WITHIN_S = 40.0


@pytest_asyncio.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    made = Program(tmp_path, write_settings(tmp_path))
    yield made
    if made.process is not None and made.process.returncode is None:
        await made.end(signal.SIGKILL)


async def forwarders(program: Program) -> set[int]:
    """The process ids of the forwarders that said so far that they are up."""
    path = program.folder / "sealwax-data" / "journal.db"
    journal: Journal = open_journal(path, keys.KEYRING, synced="normal", check_s=0)
    try:
        beats = (await journal.health()).forwarders
    finally:
        await journal.close()
    return {int(beat.name.split(":")[1]) for beat in beats}


async def until(looks: Callable[[], AsyncIterator[bool]]) -> None:
    """Look again until it is so; another process's file or life can only be asked again."""
    async with asyncio.timeout(WITHIN_S):
        async for so in looks():
            if so:
                return
            await asyncio.sleep(0.05)


async def one_more(program: Program, than: set[int]) -> int:
    """The process id of a forwarder that is not among these."""
    found: set[int] = set()

    async def looks() -> AsyncIterator[bool]:
        while True:
            found.update(await forwarders(program) - than)
            yield bool(found)

    await until(looks)
    return found.pop()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (ProcessLookupError, FileNotFoundError):
        return False


async def gone(pid: int) -> None:
    async def looks() -> AsyncIterator[bool]:
        while True:
            yield not alive(pid)

    await until(looks)


async def test_a_killed_bridge_takes_its_forwarder_with_it(program: Program) -> None:
    await program.start()
    pid = await one_more(program, set())
    assert alive(pid)
    assert await program.end(signal.SIGKILL) == -signal.SIGKILL
    await gone(pid)


async def test_a_forwarder_that_dies_is_started_again_and_the_bridge_takes_in_meanwhile(
    program: Program,
) -> None:
    await program.start()
    first = await one_more(program, set())
    os.kill(first, signal.SIGKILL)
    async with httpx.AsyncClient(timeout=20) as http:
        for n in range(20):
            assert await program.post(http, message(n=n)) == 200
    second = await one_more(program, {first})
    assert alive(second)
    assert await program.end(signal.SIGTERM) == 0
    assert not alive(second)


async def test_where_forwarders_run_apart_a_bridge_starts_none_and_says_that_none_forwards(
    program: Program,
) -> None:
    """One that is started by itself ends by SIGTERM with status 0, whatever becomes of bridges."""
    await program.start("--no-forwarder")
    announcement = program.folder / "forwarder.json"
    alone = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge.forwarder", "--config", str(program.settings)),
        *("--announce", str(announcement)),
        cwd=ROOT,
        env={**os.environ, "TEST_CONNECT_KEY": OLD_KEY.decode()},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def announced() -> AsyncIterator[bool]:
        while True:
            yield announcement.exists()

    await until(announced)
    assert json.loads(announcement.read_text())["pid"] == alone.pid
    async with httpx.AsyncClient(timeout=20) as http:
        assert await program.post(http, message("env-nobody-knows")) == 200
        health = (await http.get(f"{program.url}/health")).json()
    assert health["status"] == "ok"
    assert await forwarders(program) <= {alone.pid}
    assert await program.end(signal.SIGKILL) == -signal.SIGKILL
    assert alive(alone.pid)
    alone.terminate()
    assert await asyncio.wait_for(alone.wait(), WITHIN_S) == 0


async def test_what_a_person_must_correct_is_one_line_and_status_2(tmp_path: Path) -> None:
    for options in (("--config", str(tmp_path / "none.toml")), ("--no-such-option",)):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge.forwarder", *options),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(process.communicate(), WITHIN_S)
        assert process.returncode == 2
        assert said.decode().startswith("forwarder: ")
        assert said.count(b"\n") == 1
