"""The demonstration as a newcomer starts it: what it promises, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from pathlib import Path

import pypdf
import pytest

from demo.control import Control
from demo.folder import BadFolder, own_folder
from demo.run import Options

CHECKOUT = Path(__file__).resolve().parents[2]
KEYS = {
    "envelopes",
    "completed",
    "mutations_requested",
    "mutations_effective",
    "lost_updates",
    "duplicate_envelopes",
    "wrong_final_states",
    "api_calls",
    "limit_refusals",
    "burst_peak",
    "burst_limit",
}
WAIT_S = 60.0

pytestmark = pytest.mark.server
needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")


@contextlib.asynccontextmanager
async def demo(folder: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The demonstration as a process of its own, with its lines on stdout."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "demo",
        "--folder",
        str(folder),
        *options,
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """The first line that holds a text."""
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        async for raw in process.stdout:
            line = raw.decode()
            if text in line:
                return line
    raise AssertionError(f"the demonstration ended without saying {text!r}")


def processes_about(folder: Path) -> list[str]:
    """Command lines of living processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in command and int(path.parent.name) != os.getpid():
                found.append(command)
    return found


async def nothing_left(folder: Path) -> bool:
    """Whether all processes of a demonstration are gone, given a moment to end."""
    for _ in range(100):
        if not processes_about(folder):
            return True
        await asyncio.sleep(0.05)
    return False


@needs_proc
async def test_worker_killed_in_the_middle_and_still_no_harm(tmp_path: Path):
    """The worker killed by SIGKILL: all changes take effect once, every envelope ends right.

    The naive client on the same provider loses updates; completed contracts are on disk, signed
    by everybody; the picture of the table is well-formed; no process is left.
    """
    folder = tmp_path / "demo"
    async with demo(folder, "--envelopes", "4", "--kill-worker") as process:
        await line_with(process, "killed (SIGKILL) and started again")
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert figures.keys() == KEYS | {"naive", "seed", "seconds"}
    assert figures["naive"].keys() == KEYS
    harms = ("lost_updates", "duplicate_envelopes", "wrong_final_states")
    assert [figures[harm] for harm in harms] == [0, 0, 0]
    assert figures["limit_refusals"] == 0
    assert 0 < figures["burst_peak"] <= figures["burst_limit"] == 500
    assert figures["mutations_effective"] == figures["mutations_requested"] == 39
    assert (figures["envelopes"], figures["completed"]) == (4, 3)
    assert figures["naive"]["lost_updates"] > 0
    contracts = sorted((folder / "completed").glob("order-???.pdf"))
    assert [path.stem for path in contracts] == ["order-001", "order-002", "order-004"]
    for path in contracts:
        text = "".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
        assert "Services Agreement" in text
        assert "Mutual Non-Disclosure Agreement" in text
    assert ElementTree.parse(folder / "table.svg").getroot().tag.endswith("svg")
    assert await nothing_left(folder)


@needs_proc
@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [
        (signal.SIGINT, 130, "drafting"),
        (signal.SIGTERM, 143, "waiting"),
        (signal.SIGKILL, -9, "waiting"),
    ],
)
async def test_stopped_in_the_middle_it_leaves_no_process(
    tmp_path: Path, number: int, code: int, moment: str
):
    """Ctrl-C, SIGTERM or even SIGKILL in the middle: every program ends, the exit code says how."""
    folder = tmp_path / "demo"
    async with demo(folder, "--envelopes", "2") as process:
        await line_with(process, moment)
        assert processes_about(folder / "logs")
        process.send_signal(number)
        await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == code
    assert await nothing_left(folder)


@needs_proc
async def test_a_program_that_fails_ends_it(tmp_path: Path):
    """When a program dies by itself, the demonstration says which, where to look, and exits 1."""
    folder = tmp_path / "demo"
    async with demo(folder, "--envelopes", "2") as process:
        await line_with(process, "waiting")
        bridge = json.loads((folder / "logs" / "bridge.announce.json").read_text())
        os.kill(bridge["pid"], signal.SIGKILL)
        output, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 1
    assert b"bridge ended with code -9 in the middle; see" in output
    assert await nothing_left(folder)


@needs_proc
async def test_kept_up_it_can_be_looked_at_until_ctrl_c(tmp_path: Path):
    """With --keep the addresses answer after the end, and Ctrl-C then stops everything with 0."""
    folder = tmp_path / "demo"
    async with demo(folder, "--envelopes", "1", "--overlap", "off", "--keep") as process:
        ledger = await line_with(process, "Provider's ledger: ")
        await line_with(process, "until Ctrl-C")
        async with Control(ledger.split()[-1].partition("/simulator")[0]) as control:
            document = await control.ledger("nobody")
        assert document["envelopes"] == []
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.communicate(), WAIT_S)
    assert process.returncode == 0
    assert await nothing_left(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--envelopes", "0"), "--envelopes is a number from 1 to 200"),
        (("--envelopes", "many"), "invalid int value"),
        (("--overlap", "maybe"), "invalid choice"),
        (("--folder", str(CHECKOUT)), "holds files that are not the demo's"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: tuple[str, ...], says: str):
    """A bad option is one line on stderr and exit code 2; nothing is started or written."""
    done = subprocess.run(
        [sys.executable, "-m", "demo", *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_only_a_folder_of_its_own_is_emptied(tmp_path: Path):
    """An earlier run's folder is emptied; one with other files is refused and stays as it is."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    with own_folder(ours):
        (ours / "logs").mkdir()
        (ours / "logs" / "old.txt").write_text("of an earlier run")
    with own_folder(ours):
        assert not (ours / "logs").exists()
    other.mkdir()
    (other / "thesis.txt").write_text("the only copy")
    with pytest.raises(BadFolder, match="not the demo's"), own_folder(other):
        raise AssertionError("a folder of somebody else was taken")
    assert (other / "thesis.txt").read_text() == "the only copy"


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path):
    """A second run in the same folder is refused and takes nothing away; afterwards it may run."""
    folder = tmp_path / "demo"
    with own_folder(folder):
        (folder / "figures").write_text("of the first run")
        with pytest.raises(BadFolder, match="another demo runs"), own_folder(folder):
            raise AssertionError("two runs share a folder")
        assert (folder / "figures").exists()
    with own_folder(folder):
        assert not (folder / "figures").exists()


def test_the_document_lies_beside_the_folder():
    """`build/demo` holds the run, `build/demo.json` its figures."""
    assert Options().document == Path("build/demo.json")
