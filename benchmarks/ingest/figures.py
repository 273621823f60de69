"""The document, and the table that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.ingest.parts import SURGE, Part
from benchmarks.ingest.samples import rank, spread
from benchmarks.ingest.truth import Verdict

ON_ITS_WAY_S = 0.25


def document(done: Sequence[Part], verdict: Verdict) -> dict[str, Any]:
    """What was measured of the parts. ``sent`` and ``acked`` are of the surge that counts: of
    several the one whose p99 is the median."""
    surges = [part for part in done if part.name == SURGE]
    p99 = [rank(part.surge_ms, 0.99) for part in surges]
    counts = sorted(zip(p99, surges, strict=True), key=lambda one: one[0])[len(surges) // 2][1]
    away = next(part for part in done if part.happened.away_s)
    return {
        "sent": len(counts.sent.due),
        "acked": counts.acked,
        "ack_ms": spread(counts.surge_ms),
        "ack_p99_ms_runs": [round(one, 1) for one in p99],
        "rate_peak": counts.rate_peak,
        "memory_mb": _memory(*counts.memory.listener),
        "forwarder_memory_mb": _memory(*counts.memory.others),
        "lost": verdict.lost,
        "double_effects": verdict.double_effects,
        "diverged": verdict.diverged,
        "webhook_to_state_ms": spread(visible_ms(surges, verdict, surging=False)),
        "webhook_to_state_ms_surge": spread(visible_ms(surges, verdict, surging=True)),
        "drain_seconds": round(away.drain_s, 1),
        "load_average": round(counts.load_average, 1),
        "sent_late_ms": spread(counts.sent.late_ms),
        "delivered_again": verdict.delivered_again,
        "signals": verdict.signals,
        "parts": [told(part) for part in done],
    }


def _memory(usual: Sequence[float], surging: Sequence[float]) -> dict[str, int]:
    return {"base": round(median(usual)), "peak": round(max(surging))}


def told(part: Part) -> dict[str, Any]:
    """One part."""
    return {
        "part": part.name,
        "sent": len(part.sent.due),
        "acked": part.acked,
        "tries": sum(part.sent.tries),
        "ack_ms": spread(part.surge_ms),
        "backlog": part.backlog,
        "drain_seconds": round(part.drain_s, 1),
        "kills": part.happened.kills,
        "temporal_away_seconds": round(part.happened.away_s, 1),
        "load_average": round(part.load_average, 1),
        "cpu_us_per_event": _cpu(part),
    }


def _cpu(part: Part) -> dict[str, int]:
    each = 1e6 / len(part.sent.due)
    programs = {"benchmarks.ingest.load": part.sent.cpu_s, **part.cpu_s}
    return {name: round(each * spent) for name, spent in programs.items() if each * spent >= 1}


def visible_ms(surges: Sequence[Part], verdict: Verdict, *, surging: bool) -> list[float]:
    """From each event's time to when its state was visible, at the usual rate or in the surge.

    What came just before a surge, and met it on its way, is of neither.
    """
    return [
        1000 * (verdict.visible[key] - part.sent.began - due)
        for part in surges
        for key, due in zip(verdict.keys[part.sent.first], part.sent.due, strict=True)
        if key in verdict.visible
        and (due >= part.surge_from_s if surging else due < part.surge_from_s - ON_ITS_WAY_S)
    ]


def table(found: Mapping[str, Any]) -> Table:
    """The document in a table."""
    made = Table(
        title=f"{found['sent']} webhooks, 40 and then 2,000 a second, of {found['envelopes']}"
        f" envelopes; seed {found['seed']}, {found['cores']} cores, load {found['load_average']}"
    )
    made.add_column("")
    made.add_column("measured", justify="right")
    made.add_column("what it means", style="dim")
    ms, memory, drains = found["ack_ms"], found["memory_mb"], found["drain_per_second"]
    visible, slow = found["webhook_to_state_ms"], found["ack_ms_slow_disk"]
    rows = [
        ("acknowledged", f"{found['acked'] / found['sent']:.2%}", "of all that was sent"),
        ("lost", found["lost"], "acknowledged, and no workflow counted it; all parts"),
        ("double effects", found["double_effects"], "counted more often than it happened"),
        ("ack p50 / p99", _pair(ms), "in the surge, from the scheduled time on"),
        ("peak rate", f"{found['rate_peak']:,.0f}/s", "acknowledgements in one second"),
        ("rate to verifying alone", found["ratio_to_verify_only"], "closed loop, same listener"),
        ("the same, slow disk", _or_none(found["ratio_with_slow_disk"]), "each fsync 5 ms longer"),
        ("ack p50 / p99, slow disk", _pair(slow), "2,000 a second"),
        ("memory base / peak", f"{memory['base']} / {memory['peak']} MB", "of the listener"),
        ("state visible p50 / p99", _pair(visible), "at 40 a second, from the scheduled time on"),
        ("drained in", f"{found['drain_seconds']} s", "from when Temporal was back"),
        (
            "drain, few envelopes",
            f"{drains['few_envelopes']:,}/s",
            "a journal full of their events",
        ),
        ("drain, all different", f"{drains['all_different']:,}/s", "one event each"),
        ("to the server's own rate", drains["ratio_to_server"], "bare signals, same workflows"),
    ]
    for name, measured, meaning in rows:
        made.add_row(name, str(measured), meaning)
    return made


def _pair(ms: Mapping[str, float | None] | None) -> str:
    if ms is None or ms["p50"] is None:
        return "-"
    return f"{ms['p50']:,.0f} / {ms['p99']:,.0f} ms"


def _or_none(value: float | None) -> str:
    return "-" if value is None else str(value)
