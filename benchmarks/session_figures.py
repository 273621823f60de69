"""What came of the signing sessions, counted in the provider's ledger.

`kicked` and `input_lost` count the sessions of signers whose pings arrive. A signer whose pings are
blocked cannot be told from one who never opened the URL, so Sealwax hands the session on when such
silence has lasted longer than an unopened URL and one ping could; where that signer was alive all
the same, it is counted apart as `takeovers_alive`. The naive client is counted by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from benchmarks.signing import Visit

DONE = ("completed", "declined")
BY_SIGNER = ("signing_complete", "decline", "cancel")


@dataclass(frozen=True, slots=True)
class Figures:
    """One side. Times in milliseconds.

    `wanted`, `granted`: signers who wanted a session, and who got one. `stayed`, `finished`: those
    who did not walk away, and those of them who signed or declined in the end. `abandoned`:
    sessions that were left without a word; `abandoned_recovered`: those after which another signer
    got a session. `handover_ms`: from a signer's last act to the URL of one who had waited.
    """

    wanted: int
    granted: int
    stayed: int
    finished: int
    kicked: int
    input_lost: int
    takeovers_alive: int
    abandoned: int
    abandoned_recovered: int
    urls: int
    grant_ms: tuple[float, ...]
    handover_ms: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures with p50 and p99 of the times."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        times = {name: spread(plain[name]) for name in ("grant_ms", "handover_ms")}
        return plain | times


def count(
    visits: Sequence[Visit],
    ledger: Mapping[str, Any],
) -> Figures:
    """The figures of one side, from its account's ledger and the times at its users' hands."""
    sessions = ledger["sessions"]
    seen = [s for s in sessions if not s["pingsBlocked"]]
    blocked = [s for s in sessions if s["pingsBlocked"]]
    gone = [s for s in sessions if _abandoned(s, visits)]
    stayers = [v for v in visits if v.plan.stays]
    statuses = {
        (e["envelopeId"], r["recipientId"]): r["status"]
        for e in ledger["envelopes"]
        for r in e["recipients"]
    }
    return Figures(
        wanted=len(visits),
        granted=sum(bool(v.granted) for v in visits),
        stayed=len(stayers),
        finished=sum(statuses[v.envelope_id, v.recipient_id] in DONE for v in stayers),
        kicked=sum(s["kicked"] for s in seen),
        input_lost=sum(s["inputLost"] for s in seen),
        takeovers_alive=sum(s["kicked"] for s in blocked),
        abandoned=len(gone),
        abandoned_recovered=sum(_handed_on(s, sessions) for s in gone),
        urls=len(sessions),
        grant_ms=tuple(
            1_000 * (granted - asked)
            for v in visits
            for asked, granted in zip(v.asked, v.granted, strict=False)
        ),
        handover_ms=tuple(handovers(visits, sessions)),
    )


def handovers(visits: Sequence[Visit], sessions: Sequence[Mapping[str, Any]]) -> list[float]:
    """Milliseconds between a signer's last act, by the ledger, and the URL of one who waited."""
    found = []
    for session in sessions:
        if session["end"] not in BY_SIGNER:
            continue
        ended = seconds(session["ended"])
        waits = [
            granted
            for v in visits
            if v.envelope_id == session["envelopeId"]
            for asked, granted in zip(v.asked, v.granted, strict=False)
            if asked < ended < granted
        ]
        if waits:
            found.append(1_000 * (min(waits) - ended))
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """p50 and p99 (nearest rank); of nothing, zeros."""
    ranked = sorted(values)
    if not ranked:
        return {"p50": 0.0, "p99": 0.0}
    return {
        f"p{share}": round(ranked[math.ceil(share / 100 * len(ranked)) - 1], 1)
        for share in (50, 99)
    }


def seconds(stamp: str) -> float:
    """A ledger's time as seconds of the wall clock."""
    return datetime.fromisoformat(stamp).timestamp()


def _abandoned(session: Mapping[str, Any], visits: Sequence[Visit]) -> bool:
    return any(
        not v.plan.stays
        and (v.envelope_id, v.recipient_id) == (session["envelopeId"], session["recipientId"])
        for v in visits
    )


def _handed_on(session: Mapping[str, Any], sessions: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        s["envelopeId"] == session["envelopeId"] and s["requested"] > session["requested"]
        for s in sessions
    )
