"""The program: start, announce, hang up, stop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.simulator.desk import definition
from tests.simulator.program import ROOT, running, user_token

pytestmark = pytest.mark.server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_announces_itself_and_ends_with_0_on_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    file = tmp_path / "simulator.json"
    with running("--announce", str(file)) as (url, process):
        httpx.get(f"{url}/simulator/health").raise_for_status()
        assert json.loads(file.read_text()) == {"url": url, "pid": process.pid}
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_lost_answer_closes_the_connection_after_the_effect() -> None:
    """The client sees a closed connection, the ledger an envelope, the log no traceback."""
    with running("--lost-answers", "create:1", "--processing-ms", "0:1") as (url, process):
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        path = f"{url}/restapi/v2.1/accounts/acc-1/envelopes"
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(path, json=definition(), headers=headers)
        ledger = httpx.get(f"{url}/simulator/ledger").json()
        assert [(w["accepted"], w["answered"]) for w in ledger["writes"]] == [(True, False)]
        process.terminate()
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "99999"],
        ["--processing-ms", "5:x"],
        ["--processing-ms", "9:5"],
        ["--webhook-plan", "late=5"],
        ["--lost-answers", "create"],
        ["--lost-answers", "create:often"],
        ["--token-life-s", "0"],
        ["--sessions", "two"],
        ["--session-clock", "0"],
        ["--url-life-s", "nan"],
        ["--session-timeout-s", "-1"],
        ["--announce", "/no/such/folder/file"],
        ["--frobnicate"],
    ],
)
def test_bad_options_are_one_line_and_status_2(options: list[str]) -> None:
    command = [sys.executable, "-m", "simulator", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_help_stands_alone() -> None:
    """It tells how to point any client at it, and names nothing but the provider."""
    command = [sys.executable, "-m", "simulator", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert "/restapi" in done.stdout
    assert "sealwax" not in done.stdout.lower()
