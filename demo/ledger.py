"""The figures of one side, counted from the simulator's ledger of truth and from nothing else.

One function counts both sides. The only thing that it takes from a client is what the client
believes at the end, and that only to compare it with the ledger.

An envelope's business key is told by its buyer's e-mail address, which no change touches: so the
count needs to know neither client's ways of marking envelopes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from demo import workload
from demo.standing import as_intended, recipients, stands
from demo.workload import Life, Request

Truth = Mapping[str, Any]

_NOT_SENT = ("created", "deleted")


@dataclass(frozen=True, slots=True)
class Belief:
    """What a client holds of an envelope at the end: the provider's id and the status."""

    envelope_id: str
    status: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of a workload on one side.

    `mutations_effective`: requested ones whose effect stands in the ledger at the end.
    `lost_updates`: those that the provider accepted and a later write of a stale copy wiped out
    (what another stale copy happened to bring back is not counted).
    `duplicate_envelopes`: envelopes beyond the first of a business key, binned ones not counted.
    `wrong_final_states`: envelopes that ended otherwise than intended (status or content), or of
    which the client believes another status than the ledger holds. `overlapping_writes`: writes
    that were stored over one which they had not seen, harmful or not. `limit_refusals`: calls that
    the provider's limits refused. `burst_peak`: the most calls within one window of the burst, of
    `burst_limit` that it allows.
    """

    envelopes: int
    completed: int
    mutations_requested: int
    mutations_effective: int
    lost_updates: int
    duplicate_envelopes: int
    wrong_final_states: int
    api_calls: int
    overlapping_writes: int
    limit_refusals: int = 0
    burst_peak: int = 0
    burst_limit: int = 0

    def as_json(self) -> dict[str, int]:
        """The figures by name, without the one that is not a result but a cause."""
        figures = asdict(self)
        del figures["overlapping_writes"]
        return figures

    @property
    def harmless(self) -> bool:
        """Nothing was lost, doubled or wrong, no writes raced, and every mutation took effect."""
        harm = self.lost_updates + self.duplicate_envelopes + self.wrong_final_states
        all_effective = self.mutations_effective == self.mutations_requested
        return harm == 0 and all_effective and self.overlapping_writes == 0


def count(
    lives: Sequence[Life], ledger: Mapping[str, Any], beliefs: Mapping[str, Belief]
) -> Figures:
    """The figures of a side, of its account's ledger and its beliefs by business key."""
    by_key = _by_key(lives, ledger["envelopes"])
    wiped = Counter(w["envelopeId"] for w in ledger["writes"] if w["lost"])
    effective = completed = wrong = duplicates = lost = 0
    for life in lives:
        truths = by_key[life.key]
        belief = beliefs.get(life.key)
        duplicates += max(0, len([t for t in truths if t["status"] != "deleted"]) - 1)
        truth = _the_one(truths, belief)
        if truth is None:
            wrong += 1
            continue
        completed += truth["status"] == "completed"
        standing = [stands(life, request.change, truth) for request in life.requests()]
        effective += sum(standing)
        lost += min(standing.count(False), wiped[truth["envelopeId"]])
        wrong += not (
            as_intended(life, truth) and belief is not None and belief.status == truth["status"]
        )
    return Figures(
        envelopes=len(lives),
        completed=completed,
        mutations_requested=sum(1 for life in lives for _ in life.requests()),
        mutations_effective=effective,
        lost_updates=lost,
        duplicate_envelopes=duplicates,
        wrong_final_states=wrong,
        api_calls=int(ledger["calls_total"]),
        overlapping_writes=int(ledger["overlaps"]),
    )


def with_limits(figures: Figures, limits: Mapping[str, Any]) -> Figures:
    """The same, with what the provider's limits made of the account's calls."""
    burst = limits["windows"]["burst"]
    return replace(
        figures,
        limit_refusals=int(limits["clients"]["refused_total"]),
        burst_peak=int(burst["peak"]),
        burst_limit=int(burst["limit"]),
    )


def limits_told(limits: Mapping[str, Any]) -> str:
    """What the provider's limits made of an account's calls, in a few words."""
    calls, burst = limits["clients"], limits["windows"]["burst"]
    refused = calls["refused_total"]
    return (
        f"{calls['accepted'] + refused} calls, {refused} refused by limits,"
        f" at most {burst['peak']} of {burst['limit']} in {burst['length_s']:g} s"
    )


def missing(life: Life, ledger: Mapping[str, Any], belief: Belief | None) -> tuple[Request, ...]:
    """The requests of a life whose effect does not stand in its envelope; all without one."""
    truth = _the_one(_by_key([life], ledger["envelopes"])[life.key], belief)
    return tuple(
        request
        for request in life.requests()
        if truth is None or not stands(life, request.change, truth)
    )


def _by_key(lives: Sequence[Life], truths: Sequence[Truth]) -> dict[str, list[Truth]]:
    key_of = {life.party(workload.BUYER).email: life.key for life in lives}
    by_key: dict[str, list[Truth]] = {life.key: [] for life in lives}
    for truth in truths:
        for email in recipients(truth).keys() & key_of.keys():
            by_key[key_of[email]].append(truth)
    return by_key


def _the_one(truths: Sequence[Truth], belief: Belief | None) -> Truth | None:
    """The envelope that the client takes for its own, else the one that got furthest."""
    if belief is not None:
        return next((t for t in truths if t["envelopeId"] == belief.envelope_id), None)
    sent = [t for t in truths if t["status"] not in _NOT_SENT]
    return next(iter([*sent, *truths]), None)
