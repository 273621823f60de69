"""How long an envelope waits before it tries a call again, by why the last try had no effect.

Each class counts its own failures in a row, so that a long outage does not make a rate limit's wait
longer, nor the other way round. Times that the provider asks for are kept, never shortened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sealwax import keys
from sealwax.calls import Cause, Timing

FAILURES_BEFORE_ATTENTION = 8
ASKED_JITTER = 0.1
"""What is added to a time that the provider asked for, at most, so that not all come at once."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Waits from ``first_s`` doubling to ``max_s``; a person is told after ``tries`` in a row.

    ``words`` tell a person what is the matter. ``told_s``: the least wait once a person is told.
    """

    first_s: float
    max_s: float
    tries: int
    words: str
    told_s: float = 0.0


def patience(cause: Cause, timing: Timing) -> Patience:
    """The patience with one class of failures.

    Limits: a burst is counted over 30 s, other limits over an hour (docusign.com docs, "Rules and
    limits"). Locks: 300 s by default, 900 s where a web view was left without saving (docusign.com
    docs, envelope locks; blog, "Who's locking my envelopes?"), and ended by whoever holds one.
    """
    match cause:
        case "transient":
            words = "the provider cannot be reached, or is failing"
        case "rate_limited":
            words = "the provider's limits hold this back; something uses up the account's calls"
            return Patience(30.0, 900.0, FAILURES_BEFORE_ATTENTION, words)
        case "locked":
            words = (
                "somebody else has the envelope open for editing; let them save and close it, or"
                " their lock run out"
            )
            # Short of a lock's life, because signers wait behind it too.
            return Patience(30.0, 120.0, 3, words)
        case "authentication":
            words = (
                "the provider does not accept our access token, also after a renewal; check the"
                " account's principal and its consent"
            )
            first_s, max_s = timing.backoff_first_s, timing.backoff_max_s
            return Patience(first_s, max_s, 2, words, timing.attention_retry_s)
        case "not_sent" | "quota":
            words = "no progress"
    first_s, max_s = timing.backoff_first_s, timing.backoff_max_s
    return Patience(first_s, max_s, FAILURES_BEFORE_ATTENTION, words)


def held_up(failures: Mapping[str, int], timing: Timing) -> str:
    """Why a call waits for its next try, by all the classes of its failures so far."""
    told: tuple[Cause, ...] = ("locked", "rate_limited", "authentication", "transient")
    words = [patience(cause, timing).words for cause in told if failures.get(cause)]
    return "; ".join(words) or "the last try had no effect"


def needs_a_person(cause: Cause, failures: Mapping[str, int], timing: Timing) -> bool:
    """Whether this is one failure too many to go on without telling a person.

    ``failures``: how many came in a row before this one, by class.
    """
    many = failures.get(cause, 0) + 1 >= patience(cause, timing).tries
    return many or sum(failures.values()) + 1 >= FAILURES_BEFORE_ATTENTION


def wait_s(
    cause: Cause,
    asked_s: float | None,
    failures: Mapping[str, int],
    timing: Timing,
    jitter_of: tuple[str, ...],
) -> float:
    """Seconds until the next try; ``asked_s`` is the wait that the provider asked for.

    A limit that says when it ends is waited out and no more; where it does not, and for every
    other class, the wait doubles. The jitter is drawn from ``jitter_of`` alone, for replay.
    """
    held = patience(cause, timing)
    count = failures.get(cause, 0)
    draw = _draw((*jitter_of, str(count)))
    full_s = min(held.max_s, held.first_s * 2.0 ** min(count, 30))
    if cause == "rate_limited":
        if asked_s is not None:
            return asked_s + _spread_s(asked_s, timing, draw)
        return full_s * (1 + draw / 2)
    own_s = full_s * (0.5 + draw / 2)
    if needs_a_person(cause, failures, timing):
        own_s = max(own_s, held.told_s)
    if asked_s is None:
        return own_s
    if cause == "not_sent":
        # All failures were of this class once, so histories hold timers of this very length.
        return max(own_s, asked_s)
    return max(own_s, asked_s + _spread_s(asked_s, timing, draw))


def _spread_s(asked_s: float, timing: Timing, draw: float) -> float:
    return draw * max(timing.backoff_first_s, ASKED_JITTER * asked_s)


def _draw(parts: tuple[str, ...]) -> float:
    return int(keys.digest(("jitter", *parts))[:8], 16) / 2**32
