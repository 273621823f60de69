"""The benchmark of concurrent edits: what it promises, on a small run, and how it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.edits import SUBJECT, Options, lost, parsed

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.server
@pytest.mark.timeout(120)
def test_nobody_loses_an_edit_and_own_fields_take_one_attempt() -> None:
    """By the ledger nothing is lost; `edit()` of a field of one's own never starts over."""
    argv = [sys.executable, "-m", "benchmarks.edits", "--json", "--clients", "4", "--rounds", "1"]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for side in ("edit", "version_retry"):
        for workload in ("one_field", "own_field"):
            assert (found[side][workload]["edits"], found[side][workload]["lost"]) == (4, 0)
    assert found["edit"]["own_field"]["attempts_per_success"] == 1.0


def test_an_edit_that_is_not_there_or_is_there_twice_is_lost() -> None:
    """The count can fail: letters missing or doubled, and names of an earlier turn."""
    two = Options(clients=2, rounds=1)
    assert lost({"emailSubject": f"{SUBJECT}ba"}, "one_field", two) == 0
    assert lost({"emailSubject": f"{SUBJECT}bb"}, "one_field", two) == 2
    names = [{"recipientId": str(n + 1), "name": f"Caller {n} turn 0"} for n in range(2)]
    assert lost({"recipients": names}, "own_field", two) == 0
    assert lost({"recipients": names}, "own_field", Options(clients=2, rounds=2)) == 2


def test_more_edits_than_there_are_letters_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input ends with one line that says what to give."""
    with pytest.raises(SystemExit):
        parsed(["--clients", "60"])
    assert "--clients times --rounds" in capsys.readouterr().err
