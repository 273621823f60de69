"""A circuit: when a provider fails as a whole, one call at a time asks whether it is back.

After several outages in a row (refused and reset connections, timeouts, 5xx) the circuit opens.
Calls are then refused at once, certainly without effect, but for one probe at the end of each
pause; pauses double up to a bound, with jitter. Any answer of a provider that works closes it,
refusals and limits included. The arithmetic is pure over given times; ``Breaker`` holds the state.

One worker process has one circuit per account, so W workers make W probes in each pause. Sharing
it would need a store that outlives the outage, to save a few requests a minute.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sealwax.providers.base import Unavailable

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens, and how long its pauses are, in seconds.

    ``outages`` in a row open it. Pauses go from ``pause_first_s`` to ``pause_max_s``, or as long
    as the provider asks, up to ``asked_max_s``. An interactive call may probe after
    ``interactive_share`` of a pause. A probe without a word for ``probe_max_s`` has failed; no
    call takes that long.
    """

    outages: int = 5
    pause_first_s: float = 1.0
    pause_max_s: float = 60.0
    asked_max_s: float = 300.0
    interactive_share: float = 0.5
    probe_max_s: float = 150.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """Closed while ``pause_s`` is 0. Times are readings of one clock, in seconds.

    ``outages``: how many came in a row. ``pause_s``: the present pause before jitter.
    ``interactive_at``, ``probe_at``: from when the next probe may go. ``probes``: how many went so
    far, which numbers them. ``probing``: the number of the one in flight, else 0, and
    ``probe_until``: when it counts as failed.
    """

    outages: int = 0
    pause_s: float = 0.0
    interactive_at: float = 0.0
    probe_at: float = 0.0
    probes: int = 0
    probing: int = 0
    probe_until: float = 0.0

    @property
    def open(self) -> bool:
        """Whether calls are refused, but for probes."""
        return self.pause_s > 0


def wait_s(circuit: Circuit, now: float, rules: CircuitRules, *, interactive: bool) -> float:
    """How long a call has to wait before it may be made; 0 where it may be made now."""
    if not circuit.open:
        return 0.0
    if circuit.probing:
        # Its end is not known; it will mostly be soon.
        return rules.pause_first_s
    return max(0.0, (circuit.interactive_at if interactive else circuit.probe_at) - now)


def admitted(circuit: Circuit, now: float, rules: CircuitRules) -> tuple[Circuit, int]:
    """A call that need not wait goes; with its number where it is a probe, else 0."""
    if not circuit.open:
        return circuit, 0
    number = circuit.probes + 1
    until = now + rules.probe_max_s
    return replace(circuit, probes=number, probing=number, probe_until=until), number


def answered(circuit: Circuit) -> Circuit:
    """The provider gave an answer, which closes the circuit whichever call it was given to."""
    return Circuit(probes=circuit.probes)


def failed(
    circuit: Circuit,
    now: float,
    rules: CircuitRules,
    draw: float,
    *,
    probe: int = 0,
    asked_s: float = 0.0,
) -> Circuit:
    """A call found the provider out. ``draw``: from 0 to 1. ``asked_s``: the wait it asked for.

    While the circuit is open only the failure of the probe in flight counts: other calls went out
    before it opened and tell nothing new.
    """
    if circuit.open:
        if not probe or probe != circuit.probing:
            return circuit
        full_s = min(rules.pause_max_s, 2 * circuit.pause_s)
    elif circuit.outages + 1 < rules.outages:
        return replace(circuit, outages=circuit.outages + 1)
    else:
        full_s = rules.pause_first_s
    pause_s = full_s * (0.5 + draw / 2)
    asked_s = min(asked_s, rules.asked_max_s)
    return replace(
        circuit,
        outages=circuit.outages + 1,
        pause_s=full_s,
        interactive_at=now + max(asked_s, rules.interactive_share * pause_s),
        probe_at=now + max(asked_s, pause_s),
        probing=0,
    )


def overdue(circuit: Circuit, now: float) -> bool:
    """Whether the probe in flight has been without a word for too long."""
    return bool(circuit.probing) and now >= circuit.probe_until


class Passage:
    """One request's way through a circuit; say what came of it before the passage ends."""

    __slots__ = ("_breaker", "_probe", "told")

    def __init__(self, breaker: Breaker, probe: int) -> None:
        self._breaker = breaker
        self._probe = probe
        self.told = False

    @property
    def is_probe(self) -> bool:
        """Whether this request asks for all others whether the provider is back."""
        return self._probe > 0

    def answered(self) -> None:
        """The provider works, whatever its answer was."""
        self.told = True
        self._breaker.answered()

    def failed(self, asked_s: float | None = None) -> None:
        """The provider is out; ``asked_s`` is the wait that it asked for."""
        self.told = True
        self._breaker.failed(self._probe, asked_s)


class Breaker:
    """Holds one circuit. For use in one event loop: nothing in it waits.

    ``name`` is for the log: the account's word in settings. ``monotonic`` is the clock in seconds
    and ``draw`` a source of numbers from 0 to 1; tests replace them.
    """

    def __init__(
        self,
        name: str = "",
        rules: CircuitRules | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._name = name
        self._rules = rules or CircuitRules()
        self._monotonic = monotonic
        self._draw = draw
        self.circuit = Circuit()

    def check(self, *, interactive: bool = False) -> None:
        """Raise ``Unavailable`` where a call would be refused now; changes nothing else.

        For what would be done in vain before the request, such as getting a token for it.
        """
        now = self._monotonic()
        if overdue(self.circuit, now):
            self.failed(self.circuit.probing, None)
        left_s = wait_s(self.circuit, now, self._rules, interactive=interactive)
        if left_s > 0:
            raise Unavailable(
                f"the provider was out of reach {self.circuit.outages} times in a row;"
                " asked again by one call at a time",
                left_s,
            )

    @contextmanager
    def passage(self, *, interactive: bool = False) -> Iterator[Passage]:
        """The way of one request. Raises ``Unavailable`` where it may not be made now.

        A probe that ends without a word, because its caller gave up, counts as failed.
        """
        self.check(interactive=interactive)
        self.circuit, probe = admitted(self.circuit, self._monotonic(), self._rules)
        passage = Passage(self, probe)
        try:
            yield passage
        finally:
            if probe and not passage.told:
                passage.failed()

    def answered(self) -> None:
        """Some call was answered by a provider that works."""
        if self.circuit.open:
            _LOG.warning("%s: the provider answers again", self._name)
        self.circuit = answered(self.circuit)

    def failed(self, probe: int = 0, asked_s: float | None = None) -> None:
        """Some call found the provider out; ``probe`` is its number where it was one."""
        was_open, now = self.circuit.open, self._monotonic()
        self.circuit = failed(
            self.circuit, now, self._rules, self._draw(), probe=probe, asked_s=asked_s or 0.0
        )
        if self.circuit.open and not was_open:
            _LOG.warning(
                "%s: the provider was out of reach %d times in a row; now one call at a time asks",
                self._name,
                self.circuit.outages,
            )
