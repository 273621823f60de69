"""At what pace webhooks are forwarded."""

from __future__ import annotations

from dataclasses import dataclass, field

from bridge.gathering import Patience


@dataclass(frozen=True, slots=True)
class Pace:
    """How the forwarder goes about it.

    ``envelopes_at_once`` signals are in flight, one per envelope; a signal has at most
    ``batch_events`` events, in a surge ``batch_events_in_surge``, and about ``batch_bytes``. An
    envelope is claimed for ``hold_s``. While Temporal is away, tries are ``retry_first_s`` to
    ``retry_max_s`` apart. A webhook that nobody knows is tried again after ``park_first_s`` to
    ``park_max_s``, until it is ``park_s`` old.
    """

    envelopes_at_once: int = 48
    batch_events: int = 250
    batch_events_in_surge: int = 100
    batch_bytes: int = 256 * 1024
    hold_s: float = 10.0
    retry_first_s: float = 0.2
    retry_max_s: float = 20.0
    park_first_s: float = 0.5
    park_max_s: float = 60.0
    park_s: float = 24 * 3600.0
    patience: Patience = field(default_factory=Patience)
