"""The benchmark of signing sessions: what it promises, on a small run, and how it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.session_figures import count, spread
from benchmarks.sessions import parsed
from benchmarks.signing import Kind, Plan, Visit, plans

CHECKOUT = Path(__file__).resolve().parents[2]
KEYS = {
    "wanted",
    "granted",
    "kicked",
    "input_lost",
    "abandoned_recovered",
    "takeovers_alive",
    "grant_ms",
    "handover_ms",
    "provider_call_ms",
    "handover_ratio",
    "naive",
}


def ran(*options: str) -> dict[str, Any]:
    """The benchmark's document; nothing else is on its stdout."""
    argv = [sys.executable, "-m", "benchmarks.sessions", "--json", *options]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.server
@pytest.mark.timeout(120)
@pytest.mark.parametrize("harm", ["on", "off"])
def test_nobody_is_kicked_and_everybody_who_stays_signs(harm: str) -> None:
    """By the ledger: Sealwax harms nobody; the naive client does, unless the rule is off."""
    found = ran("--envelopes", "2", "--harm", harm)
    assert found.keys() >= KEYS
    assert (found["kicked"], found["input_lost"]) == (0, 0)
    assert found["granted"] == found["wanted"] == 6
    assert found["finished"] == found["stayed"] > 0
    naive = found["naive"]
    harmed = naive["kicked"] + naive["takeovers_alive"], naive["input_lost"]
    assert all(harmed) if harm == "on" else harmed == (0, 0)


def test_the_default_run_is_as_large_as_promised() -> None:
    """At least 20 envelopes and 60 signers, of every kind, the same from the same seed."""
    options, as_json = parsed([])
    drawn = plans(options.seed, options.envelopes, options.signers)
    assert (options.envelopes, len(drawn), as_json) == (20, 60, False)
    assert {plan.kind for plan in drawn} == set(Kind)
    assert plans(options.seed, 20, 3) == drawn != plans(options.seed + 1, 20, 3)


@pytest.mark.parametrize("bad", [["--envelopes", "-1"], ["--signers", "1"], ["--harm", "maybe"]])
def test_bad_options_are_told_in_one_line(
    bad: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They end with status 2 before anything starts."""
    with pytest.raises(SystemExit) as caught:
        parsed(bad)
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


def session(recipient: str, requested: int, **more: Any) -> dict[str, Any]:
    """A session as the ledger has it."""
    times = {"requested": f"2026-01-01T09:00:{requested:02}Z", "ended": None}
    flags = {"kicked": False, "inputLost": False, "pingsBlocked": False, "end": None}
    return {"envelopeId": "e", "recipientId": recipient, **times, **flags, **more}


def test_the_harm_of_blocked_pings_is_counted_apart() -> None:
    """A kick counts as such where pings arrive; a session left and handed on is recovered."""
    signs = [Visit(Plan(0, n, Kind.SIGN, 0, 0, 0), "e", str(n)) for n in (1, 2)]
    gone = Visit(Plan(0, 3, Kind.WALK_AWAY, 0, 0, 0), "e", "3")
    ledger = {
        "sessions": [
            session("1", 1, kicked=True, inputLost=True),
            session("3", 2),
            session("2", 3, kicked=True, inputLost=True, pingsBlocked=True),
        ],
        "envelopes": [
            {
                "envelopeId": "e",
                "recipients": [
                    {"recipientId": n, "status": "completed" if n == "1" else "sent"} for n in "123"
                ],
            }
        ],
    }
    figures = count([*signs, gone], ledger)
    assert (figures.kicked, figures.input_lost, figures.takeovers_alive) == (1, 1, 1)
    assert (figures.abandoned, figures.abandoned_recovered) == (1, 1)
    assert (figures.wanted, figures.stayed, figures.finished) == (3, 2, 1)


def test_a_handover_is_from_the_last_act_to_the_url_of_one_who_waited() -> None:
    """Who asked after the end did not wait for it, and a kick is no handover."""
    first, waited, later = (Visit(Plan(0, n, Kind.SIGN, 0, 0, 0), "e", str(n)) for n in (1, 2, 3))
    nine = 1_767_258_000.0
    waited.asked, waited.granted = [nine + 1], [nine + 5.25]
    later.asked, later.granted = [nine + 5.1], [nine + 5.15]
    ended = {"end": "signing_complete", "ended": "2026-01-01T09:00:05Z"}
    people = [{"recipientId": n, "status": "sent"} for n in "123"]
    ledger = {
        "sessions": [session("1", 0, **ended), session("2", 1, end="kicked", ended=ended["ended"])],
        "envelopes": [{"envelopeId": "e", "recipients": people}],
    }
    assert count([first, waited, later], ledger).handover_ms == pytest.approx((250.0,))


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank; of nothing, zeros."""
    assert spread([4.0, 1.0, 3.0, 2.0]) == {"p50": 2.0, "p99": 4.0}
    assert spread([]) == {"p50": 0.0, "p99": 0.0}
