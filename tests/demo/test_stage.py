"""The stage of demonstrations, storms and benchmarks: the quota is on, and its windows agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo import stage
from demo.ledger import limits_told
from sealwax.settings import load_settings
from simulator.limit_rules import LimitRules, from_option
from simulator.limits import AccountLimits, Arrival


def rules_of(scale: float) -> LimitRules:
    """The limits that the staged provider counts by."""
    argv = stage.simulator_program(1, overlap=False, scale=scale).argv
    return LimitRules().patched(from_option(argv[argv.index("--limits") + 1]))


@pytest.mark.parametrize("scale", [stage.SCALE, 0.02, 1.0])
def test_worker_and_provider_shorten_all_windows_alike(tmp_path: Path, scale: float) -> None:
    """Burst, hour and the polls' quarter of an hour are the same to both; the numbers stay."""
    file = stage.write_settings(
        tmp_path,
        stage.new_tenant("windows"),
        simulator="http://127.0.0.1:1",
        temporal="127.0.0.1:2",
        bridge_port=3,
        codec=stage.Codec(4),
        ui_url="http://127.0.0.1:5",
        scale=scale,
    )
    limits, rules = load_settings(file).limits(stage.ACCOUNT), rules_of(scale)
    assert rules.on
    assert (limits.burst_calls, limits.hour_calls) == (rules.burst, rules.hour) == (500, 3_000)
    ours = (limits.burst_window_s, limits.hour_s, limits.poll_every_s)
    assert ours == pytest.approx((rules.burst_s, rules.hour_s, rules.polling_s))


def test_what_the_limits_made_of_the_calls_is_told() -> None:
    """Calls, refusals, and the most that any window held, from the provider's own log."""
    limits = AccountLimits("a", rules_of(0.1), 0.0)
    for at_s in [0.0] * 502 + [3.0] * 10:
        limits.arrive(Arrival("Envelopes_List", "", "/envelopes", read=True), at_s)
    told = limits_told(limits.truth(None, None, 4.0))
    assert told == "512 calls, 2 refused by limits, at most 500 of 500 in 3 s"
