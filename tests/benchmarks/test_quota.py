"""The quota's benchmark: what it prints, what it counts, and that nobody is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.quota import redis_server
from benchmarks.quota.__main__ import SIDES, parsed
from benchmarks.quota.figures import lines, ratios
from benchmarks.quota.harms import HARMS
from benchmarks.quota.provider import Counted
from benchmarks.quota.sides import measured, rank
from benchmarks.quota.ways import Answer, Backoff, Call, Paced, PeopleFirst, share_gap_s
from sealwax.quota_limits import Klass

CHECKOUT = Path(__file__).resolve().parents[2]
FIGURES = {"refusals", "utilisation", "interactive_ms", "round_trips_per_call"}


@pytest.mark.server
@pytest.mark.timeout(120)
def test_a_short_run_says_what_the_provider_counted() -> None:
    """One JSON object; nobody is refused, unless the machine stopped a worker, which is told."""
    argv = [sys.executable, "-m", "benchmarks.quota", "--json", "--workers", "2", "--windows", "1"]
    argv += ["--side", "reserve", "--side", "paced_split"]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    ours, baselines = found["reserve"], found["baselines"]
    assert baselines.keys() == {"paced_split"}
    for side in (ours, *baselines.values()):
        assert side.keys() >= FIGURES
        assert 0 < side["utilisation"] <= 1
        assert 0 < side["interactive_ms"]["p50"] <= side["interactive_ms"]["p99"]
        assert side["accepted"] > 0
    assert ours["refusals_ever"] == 0 or ours["breaches"] > 0
    assert ours["round_trips_per_call"] > 0 == baselines["paced_split"]["round_trips_per_call"]


@pytest.mark.server
@pytest.mark.timeout(120)
def test_redis_is_measured_where_it_is_and_a_stopped_worker_is_told_of() -> None:
    """Without Redis its sides are left out with a line that says so; a breach is never silent."""
    argv = [sys.executable, "-m", "benchmarks.quota", "--json", "--workers", "2", "--windows", "1"]
    sides = ["redis_gcra", "redis_sliding_log"]
    argv += ["--long", "--part", "stop", *(part for side in sides for part in ("--side", side))]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert list(found["baselines"]) == ([] if redis_server.missing() else sides)
    for name in sides if redis_server.missing() else []:
        assert f"{name}: left out, {redis_server.missing()}" in done.stderr
    for side in found["baselines"].values():
        assert side["accepted"] > 0
        assert side["round_trips_per_call"] >= 1
    stop = found["long"]["stop"]
    assert stop["stops"] > 0
    assert stop["breaches_in_ledger"] > 0
    assert stop["breach_in_log"]


def figures(refusals: int, p99: float) -> dict[str, Any]:
    """One side's."""
    people = {"p50": 1.0, "p99": p99}
    more = {"utilisation": 0.9, "round_trips_per_call": 0.0, "load_average": 1.0}
    return {"refusals": refusals, "interactive_ms": people, **more}


def test_we_are_compared_with_the_best_that_was_never_refused() -> None:
    """A baseline with refusals is no measure, however fast; what is no library's stands apart."""
    baselines = {"quick": figures(9, 20.0), "slow": figures(0, 400.0), "slower": figures(0, 900.0)}
    found = {"reserve": figures(0, 10.0), "baselines": baselines, "beside": {"own": figures(0, 30)}}
    ratio = ratios(found)
    assert ratio == {"best_baseline": "slow", "interactive_p99": 40.0, "beside": {"own": 3.0}}
    more = {"workers": 4, "cores": 2, "scale": 0.1, "steady_s": 9.0, "ratios": ratio}
    told = "\n".join(lines(found | more))
    assert "40 times longer" in told
    assert "3 times as long" in told
    nothing = ratios({"baselines": baselines, "beside": {}})
    assert nothing == {"best_baseline": None, "interactive_p99": None, "beside": {}}


def test_who_still_waits_at_the_end_is_counted() -> None:
    """Else the worst waits would be the ones that nobody sees; who came too early is not."""
    counted = Counted(accepted=2, refused=0, utilisation=0.5, peak=2, tenant=0)
    result = {
        "people": [(0.5, 0.1, True), (1.0, 0.2, True), (1.5, 3.5, False), (2.0, 0.1, True)],
        "calls": 10,
        "round_trips": 5,
        "ledger": {"breaches": 1},
        "failures": {"ReadTimeout": 2},
        "cpu_s": 1.0,
    }
    found = measured(counted, counted, [result, result], (1.0, 2.0))
    assert sorted(found.people_ms) == [200, 200, 3500, 3500]
    assert (found.unanswered, found.breaches, found.failures) == (2, 2, 4)
    assert found.as_json()["round_trips_per_call"] == 0.5


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank; 0 of nothing."""
    assert [rank([1.0, 2.0, 3.0, 4.0], part) for part in (0.5, 0.99)] == [2.0, 4.0]
    assert rank([], 0.5) == 0


@pytest.mark.parametrize("workers", [1, 3, 4, 7])
def test_a_static_share_never_exceeds_the_window(workers: int) -> None:
    """However late calls arrive within the jitter, and however the processes are out of step."""
    gap_s, random = share_gap_s(500, 3.0, workers, 0.02), Random(workers)
    arrivals: list[float] = []
    for _ in range(workers):
        due_s = random.uniform(0, gap_s)
        while due_s < 9.0:
            arrivals.append(due_s + random.uniform(0, 0.06) + random.choice((0, gap_s)))
            due_s += gap_s
    arrivals.sort()
    first = 0
    for index, at_s in enumerate(arrivals):
        while arrivals[first] <= at_s - 3.0:
            first += 1
        assert index - first + 1 <= 500


async def test_baselines_try_again_until_they_are_accepted() -> None:
    """And people go first where a share lets them."""
    answers = [Answer({"retry-after": "0"}, "BURST_APIINVOCATION_LIMIT_EXCEEDED")] * 2
    answers.append(Answer({}, None))
    for way in (Backoff(0.001, Random(1)), Paced(0.001, Backoff(0.001, Random(1)))):
        left = list(answers)

        async def send(left: list[Answer] = left) -> Answer:
            return left.pop(0)

        await way.make(Call(Klass.BULK, "e", send))
        assert left == []


async def test_people_go_before_batches_that_came_earlier() -> None:
    """The share with a queue of its own serves by class."""
    way = PeopleFirst(0.001, Backoff(0.001, Random(1)))
    order: list[Klass] = []

    def call(klass: Klass) -> Call:
        async def send() -> Answer:
            order.append(klass)
            return Answer({}, None)

        return Call(klass, "e", send)

    classes = [Klass.BULK, Klass.BULK, Klass.INTERACTIVE]
    await asyncio.gather(*(way.make(call(klass)) for klass in classes))
    await way.close()
    assert order == sorted(order)


@pytest.mark.parametrize(
    "bad",
    [
        ["--workers", "0"],
        ["--windows", "-1"],
        ["--scale", "2"],
        ["--side", "none"],
        ["--long", "--part", "none"],
        ["--part", "kill"],
    ],
)
def test_bad_options_are_told_in_one_line(
    bad: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """They end with status 2 before anything starts."""
    with pytest.raises(SystemExit) as caught:
        parsed(bad)
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


def test_the_default_run_has_all_sides() -> None:
    """Four workers, ten times faster than the provider."""
    options, as_json = parsed([])
    assert (options.workers, options.scale, options.long, as_json) == (4, 0.1, False, False)
    assert options.sides == tuple(SIDES)
    assert options.parts == HARMS
    assert parsed(["--long", "--part", "kill"])[0].sides == ()
    assert {"reserve", "no_reserve", "postgres", "paced_split"} <= SIDES.keys()
