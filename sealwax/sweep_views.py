"""An account's sweeps as others see them: for programs, and for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime

from sealwax.stores.sweep_base import Drifted, SweepView
from sealwax.sweep_messages import DriftedChange, SweepSnapshot


def sweep_snapshot(
    account: str, view: SweepView, drifted: Iterable[Drifted], now: datetime
) -> SweepSnapshot:
    """An account's sweeps as the store showed them at that time."""
    return SweepSnapshot(
        account=account,
        looked_at=now,
        drifted=tuple(
            DriftedChange(
                provider_envelope_id=each.provider_envelope_id,
                status=each.change.status,
                recipient=each.change.recipient,
                found_at=each.found_at,
            )
            for each in drifted
        ),
        **{part.name: getattr(view, part.name) for part in fields(view)},
    )


def sweep_card(sweep: SweepSnapshot) -> str:
    """An account's sweeps at a glance, as Markdown."""
    lines = ["", f"## 🧹 sweeps of {sweep.account}", ""]
    if sweep.problem:
        lines += [f"> ⚠️ **The last one did not end:** {_plain(sweep.problem)}", ""]
    if sweep.swept_at is None:
        return "\n".join([*lines, "No sweep has ended yet.", ""])
    lines += [f"- {what}" for what in sweep_lines(sweep, "**")]
    return "\n".join([*lines, ""])


def sweep_lines(sweep: SweepSnapshot, mark: str = "") -> list[str]:
    """How sweeps stand, one thing a line, the drift between ``mark`` s."""
    if sweep.swept_at is None:
        return ["no sweep has ended yet"]
    known = _when(sweep.watermark) if sweep.watermark else "nowhere yet"
    return [
        f"drift: {mark}{sweep.drift}{mark} status changes whose webhooks have not come;"
        f" {sweep.waiting} more are not late yet",
        f"webhooks that came after a sweep had missed them: {sweep.came_late}",
        f"last sweep ended at {_when(sweep.swept_at)}; all changes known up to {known}",
        f"ever: {sweep.sweeps} sweeps, {sweep.listed} envelopes listed, {sweep.signalled} told what"
        f" they lacked, {sweep.asked} asked about because of their silence",
        f"envelopes made elsewhere: {sweep.strangers}",
    ]


def _when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(text: str) -> str:
    """Text of others, kept from being read as Markdown."""
    return " ".join(text.replace("|", "/").replace("`", "'").split())[:300]
