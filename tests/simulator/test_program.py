"""The program: start, announce, hang up, stop."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from simulator.__main__ import listen
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


def test_it_ends_with_0_while_clients_wait_in_vain_and_calls_are_still_to_come() -> None:
    """Neither a silent connection nor a late commit keeps the program from stopping."""
    plans = "create:1:commit_late:20,read:1:hang_before_commit"
    with running("--lost-answers", plans, "--lookup-lag-s", "1:2") as (url, process):
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        path = f"{url}/restapi/v2.1/accounts/acc-1/envelopes"
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(path, json=definition(), headers=headers)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{path}/some", headers=headers, timeout=0.2)
        ledger = httpx.get(f"{url}/simulator/ledger").json()
        assert (ledger["late_pending"], ledger["envelopes"]) == (1, [])
        harms = httpx.get(f"{url}/simulator/harms").json()
        assert (harms["lookup_lag_s"], harms["lost_answers"][0]["late_s"]) == ([1, 2], [20, 20])
        port = httpx.URL(url).port
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(
                b"GET /restapi/v2.1/accounts/acc-1/envelopes/some HTTP/1.1\r\nHost: x\r\n\r\n"
            )
            while len(httpx.get(f"{url}/simulator/ledger").json()["faults"]) < 3:
                pass
            process.terminate()
            assert process.wait(10) == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "99999"],
        ["--processing-ms", "5:x"],
        ["--processing-ms", "9:5"],
        ["--webhook-plan", "late=5"],
        ["--lost-answers", "create"],
        ["--lost-answers", "create:often"],
        ["--lost-answers", "create:0.1:sometimes"],
        ["--lost-answers", "create:0.1:locked:3"],
        ["--lost-answers", "create:0.1:commit_late:99"],
        ["--lookup-lag-s", "5:1"],
        ["--lookup-lag-s", "x"],
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


def test_a_connection_sends_at_once() -> None:
    """No answer waits for an ACK of its own head: the listener's connections have TCP_NODELAY."""
    with (
        listen(("127.0.0.1", 0), socket.AF_INET) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_help_stands_alone() -> None:
    """It tells how to point any client at it, and names nothing but the provider."""
    command = [sys.executable, "-m", "simulator", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0
    assert "/restapi" in done.stdout
    assert "sealwax" not in done.stdout.lower()
