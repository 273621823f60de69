"""Laws of what a bridge says of forwarding: from the journal, wherever the forwarders run."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.watch import forwarding
from sealwax.stores.base import ForwarderBeat, JournalHealth
from tests.bridge.deliveries import NOW


def beat(ago_s: float, reaching: bool = True) -> ForwarderBeat:
    return ForwarderBeat(f"host:{ago_s}", NOW - timedelta(seconds=ago_s), reaching)


@pytest.mark.parametrize(
    ("beats", "oldest_s", "said"),
    [
        ((), None, False),
        ((beat(3),), None, True),
        ((beat(3),), 5, True),
        ((beat(3),), 31, False),
        ((beat(3, reaching=False),), None, False),
        ((beat(16),), None, False),
        ((beat(3, reaching=False), beat(4)), None, True),
        ((beat(-3),), None, True),
    ],
    ids=[
        "none was ever up",
        "one is up and nothing waits",
        "one has just come",
        "one has waited too long",
        "Temporal is away",
        "it died",
        "one of two reaches Temporal",
        "a clock is ahead",
    ],
)
def test_forwarding_is_a_live_forwarder_that_reaches_temporal_and_nothing_stuck(
    beats: tuple[ForwarderBeat, ...], oldest_s: float | None, said: bool
) -> None:
    oldest = None if oldest_s is None else NOW - timedelta(seconds=oldest_s)
    assert forwarding(JournalHealth(oldest, 0, beats), NOW) is said
