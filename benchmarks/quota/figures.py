"""The document in ratios, and in words for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CAME = (
    "refused_part",
    "skews_s",
    "stops",
    "breaches_in_ledger",
    "breach_in_log",
    "away_s",
    "recovery_s",
    "permits_of_the_dead",
    "most_in_a_window",
    "utilisation_one_window_later",
)
"""What a part of the long run tells beside a side's figures."""


def ratios(document: Mapping[str, Any]) -> dict[str, Any]:
    """Sealwax's reserve side against the best baseline that the provider never refused.

    ``interactive_p99``: how many times longer a person waits there. ``beside``: the same for what
    is no library's design.
    """
    ours = document.get("reserve")
    found: dict[str, Any] = {"best_baseline": None, "interactive_p99": None, "beside": {}}
    if ours is None or not ours["interactive_ms"]["p99"]:
        return found
    own = ours["interactive_ms"]["p99"]
    clean = {
        name: side["interactive_ms"]["p99"]
        for name, side in document["baselines"].items()
        if not side["refusals"]
    }
    if clean:
        best = min(clean, key=lambda name: clean[name])
        found |= {"best_baseline": best, "interactive_p99": round(clean[best] / own, 1)}
    found["beside"] = {
        name: round(side["interactive_ms"]["p99"] / own, 1)
        for name, side in document["beside"].items()
    }
    return found


def lines(found: Mapping[str, Any]) -> list[str]:
    """A table, and what it comes to."""
    groups = {
        "": {name: found[name] for name in ("reserve", "no_reserve", "postgres") if name in found},
        "baseline: ": found["baselines"],
        "beside: ": found["beside"],
        "long: ": found.get("long", {}),
    }
    told = [
        f"{found['workers']} workers, {found['cores']} cores; 500 calls in"
        f" {30 * found['scale']:g} s at the provider, {found['steady_s']:g} s measured",
        f"{'':<36}{'refused':>8}{'used':>9}{'people p50':>12}{'p99 ms':>9}{'trips/call':>12}"
        f"{'load':>6}",
    ]
    for prefix, sides in groups.items():
        for name, side in sides.items():
            people = side["interactive_ms"]
            told.append(
                f"{prefix + name.replace('_', ' '):<36}{side['refusals']:>8}"
                f"{side['utilisation']:>9.2%}{people['p50']:>12.1f}{people['p99']:>9.1f}"
                f"{side['round_trips_per_call']:>12.2f}{side['load_average']:>6.1f}"
            )
    ratio = found["ratios"]
    if ratio["best_baseline"] is not None:
        told.append(
            f"A person waits {ratio['interactive_p99']:g} times longer (p99) with"
            f" {ratio['best_baseline'].replace('_', ' ')}, the best baseline without a refusal."
        )
    told += [
        f"With {name.replace('_', ' ')}, which no library offers: {times:g} times as long."
        for name, times in ratio["beside"].items()
    ]
    for name, part in found.get("long", {}).items():
        more = [f"{key.replace('_', ' ')} {part[key]}" for key in CAME if key in part]
        told.append(f"{name}: {', '.join(more)}")
    return told
