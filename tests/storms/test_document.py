"""What `--json` prints: the figures by these names, summed over storms and sweep."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.storms.__main__ import document
from benchmarks.storms.judge import Harm
from benchmarks.storms.storm import Result
from benchmarks.storms.sweep import Swept

KILLS = {"worker": 3, "bridge": 2, "forwarder": 2, "server": 1, "connections": 4}
NAMES = [
    "envelopes",
    "kills",
    "faults",
    "sweep_points",
    "lost",
    "duplicate_envelopes",
    "duplicate_mails",
    "double_effects",
    "divergent_states",
    "stuck",
    "needs_attention",
    "orphan_drafts",
    "unreplayable",
    "undecidable",
    "seed",
]


def result(lost: int, naive: Harm | None = None) -> Result:
    """A storm that lost so much."""
    return Result(10, KILLS, {}, 7, Harm(lost=lost), naive, 1.0)


def test_the_figures_are_summed_under_their_names():
    """Two storms and a sweep; the naive side has a place of its own."""
    swept = Swept(reached=["a", "b"], missed=["c"], harm=Harm(stuck=1))

    found = document([result(1, Harm(lost=5)), result(2, Harm(lost=6))], swept, 4)

    assert [name for name in found if name != "naive"] == NAMES
    assert (found["envelopes"], found["faults"], found["sweep_points"]) == (20, 14, 2)
    kills = {"worker": 6, "bridge": 4, "forwarder": 4, "server": 2, "connections": 8}
    assert found["kills"] == kills
    assert (found["lost"], found["stuck"], found["naive"]["lost"]) == (3, 1, 11)


def test_without_a_sweep_or_the_naive_side_nothing_is_made_up():
    """The points are null, and there is no naive side."""
    found = document([result(0)], None, 4)

    assert (found["sweep_points"], sorted(found)) == (None, sorted(NAMES))


def test_a_storm_of_no_length_is_refused_in_one_line():
    """A bad option is told, and nothing is started."""
    command = [sys.executable, "-m", "benchmarks.storms", "--seconds", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "--seconds is above 0" in ended.stderr
