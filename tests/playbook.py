"""Playbooks: what happens to an envelope, line by line, and the calls that are expected of it.

    play = Playbook(an_order())
    play.expects("register").answers(registered())
    play.expects("create").answers(...)

A line that is not as expected fails with the whole play so far; time moves only by ``passes``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sealwax.advance import (
    CallFinished,
    Effect,
    EnvelopeEvent,
    EventsReceived,
    Finish,
    MutationAccepted,
    Perform,
    WakeAt,
    Woke,
    advance,
    opened,
)
from sealwax.calls import Applied, Call, Done, Outcome, Registered, Timing
from sealwax.envelope import Answer, Envelope, Order, check_acceptable
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from sealwax.mutations import Mutation
from tests.builders import ACCOUNT_ID, ENVELOPE_ID, START, an_order

TIMING = Timing(
    call_deadline_s=10,
    outcome_settle_s=5,
    close_settle_s=60,
    backoff_first_s=1,
    backoff_max_s=60,
    attention_retry_s=300,
    refresh_min_s=30,
)


class Playbook:
    """One envelope being played."""

    def __init__(self, order: Order | None = None) -> None:
        self.now: datetime = START
        self.state: Envelope = opened(order or an_order(), START)
        self.effects: tuple[Effect, ...] = ()
        self.script: list[str] = []
        self._happens(Woke())

    @classmethod
    def sent(cls, order: Order | None = None) -> Playbook:
        """An envelope that is registered, created, bound and sent."""
        play = cls(order or an_order())
        play.registers().creates()
        return play.expects("mutate").answers(Applied((Fact(EnvelopeStatus.SENT),)))

    @classmethod
    def draft(cls, order: Order | None = None) -> Playbook:
        """An envelope that is registered, created and bound."""
        return cls(order or replace(an_order(), send=False)).registers().creates()

    def registers(self, provider_envelope_id: str = "") -> Playbook:
        """The registry's row is written."""
        outcome = Registered("docusign", ACCOUNT_ID, TIMING, provider_envelope_id)
        return self.expects("register").answers(outcome)

    def creates(self) -> Playbook:
        """The draft is made and bound."""
        self.expects("create").answers(Applied(provider_envelope_id=ENVELOPE_ID))
        return self.expects("bind").answers(Done())

    def asks(self, operation_id: str, mutation: Mutation) -> Playbook:
        """A caller asks for a mutation. Raises what the validator would."""
        check_acceptable(self.state, operation_id, mutation)
        return self._happens(MutationAccepted(operation_id, mutation))

    def hears(self, *events: ProviderEvent) -> Playbook:
        """Webhooks arrive."""
        return self._happens(EventsReceived(events))

    def passes(self, seconds: float) -> Playbook:
        """Time passes, and whoever asked to be woken is."""
        self.now += timedelta(seconds=seconds)
        return self._happens(Woke())

    def expects(self, kind: str) -> Playbook:
        """The call in flight is of this kind."""
        flight = self.state.in_flight
        assert (flight.kind if flight else "") == kind, self._so_far(f"expected the call {kind}")
        return self

    def rests(self) -> Playbook:
        """No call is in flight."""
        assert self.state.in_flight is None, self._so_far("expected no call")
        return self

    def answers(self, outcome: Outcome) -> Playbook:
        """The call in flight comes to this outcome."""
        assert self.state.in_flight is not None, self._so_far("nothing is in flight")
        return self._happens(CallFinished(outcome))

    @property
    def call(self) -> Call:
        """The call in flight."""
        assert self.state.in_flight is not None, self._so_far("nothing is in flight")
        return self.state.in_flight

    @property
    def wakes_at(self) -> datetime:
        """When it asked to be woken."""
        wakes = [e.at for e in self.effects if isinstance(e, WakeAt)]
        assert wakes, self._so_far("expected a time to wake")
        return wakes[-1]

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return any(isinstance(e, Finish) for e in self.effects)

    def answer(self, operation_id: str) -> Answer:
        """What came of an operation."""
        assert operation_id in self.state.answers, self._so_far(f"no answer to {operation_id}")
        return self.state.answers[operation_id]

    def _happens(self, event: EnvelopeEvent) -> Playbook:
        self.state, self.effects = advance(self.state, event, self.now)
        performed = [e.call.kind for e in self.effects if isinstance(e, Perform)]
        self.script.append(f"{self.now:%H:%M:%S} {event} -> {performed or self.effects}")
        return self

    def _so_far(self, problem: str) -> str:
        flight = self.state.in_flight
        lines = [problem, *self.script, f"in flight: {flight.kind if flight else 'nothing'}"]
        return "\n".join(lines)
