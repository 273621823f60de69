"""Playbooks: what happens to an envelope, line by line, and the calls that are expected of it.

    play = Playbook(an_order())
    play.expects("register").answers(registered())
    play.expects("create").answers(...)

A line that is not as expected fails with the whole play so far; time moves only by ``passes``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from sealwax import views
from sealwax.advance import (
    CallFinished,
    Effect,
    EnvelopeEvent,
    EventsReceived,
    Finish,
    MutationAccepted,
    Perform,
    PersonDecided,
    SessionAsked,
    SessionClosed,
    SessionPinged,
    SessionReturned,
    WakeAt,
    Woke,
    advance,
    opened,
)
from sealwax.calls import (
    Applied,
    Call,
    Capabilities,
    Done,
    OpenView,
    Outcome,
    Registered,
    Timing,
    ViewOpened,
)
from sealwax.conflicts import check_submitted
from sealwax.envelope import DuringSession, Envelope, Order
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from sealwax.memory import Answer
from sealwax.merge import Expected
from sealwax.messages import SessionTicket
from sealwax.mutations import Mutation
from sealwax.resolving import Choice, Resolved, check_resolvable
from sealwax.session import Lease, SessionRules
from sealwax.signing import check_session
from tests.builders import ACCOUNT_ID, ENVELOPE_ID, START, an_order

BACK = "http://localhost/back"
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

    def __init__(self, order: Order | None = None, rules: SessionRules | None = None) -> None:
        self.now: datetime = START
        self.rules = rules or SessionRules()
        self.state: Envelope = opened(order or an_order(), START)
        self.effects: tuple[Effect, ...] = ()
        self.script: list[str] = []
        self._happens(Woke())

    @classmethod
    def sent(cls, order: Order | None = None, rules: SessionRules | None = None) -> Playbook:
        """An envelope that is registered, created, bound and sent."""
        play = cls(order or an_order(), rules)
        play.registers().creates()
        return play.expects("mutate").answers(Applied((Fact(EnvelopeStatus.SENT),)))

    @classmethod
    def draft(cls, order: Order | None = None) -> Playbook:
        """An envelope that is registered, created and bound."""
        return cls(order or replace(an_order(), send=False)).registers().creates()

    def registers(
        self, provider_envelope_id: str = "", capabilities: Capabilities | None = None
    ) -> Playbook:
        """The registry's row is written."""
        outcome = Registered(
            "docusign",
            ACCOUNT_ID,
            TIMING,
            provider_envelope_id,
            rules=self.rules,
            capabilities=capabilities or Capabilities(),
        )
        return self.expects("register").answers(outcome)

    def creates(self) -> Playbook:
        """The draft is made and bound."""
        self.expects("create").answers(Applied(provider_envelope_id=ENVELOPE_ID))
        return self.expects("bind").answers(Done())

    def asks(
        self,
        operation_id: str,
        mutation: Mutation,
        during_session: DuringSession = "wait",
        expected: Expected | None = None,
    ) -> Playbook:
        """A caller asks for a mutation. Raises what the validator would."""
        check_submitted(self.state, operation_id, mutation, expected)
        return self._happens(MutationAccepted(operation_id, mutation, during_session, expected))

    def wants(
        self, operation_id: str, recipient_id: str, *, takeover: bool = False, back: str = BACK
    ) -> Playbook:
        """A caller asks for a signing session. Raises what the validator would."""
        check_session(self.state, operation_id, recipient_id, back, takeover)
        return self._happens(SessionAsked(operation_id, recipient_id, back, takeover))

    def gets_url(self, url: str = "") -> Playbook:
        """The provider gives the signing URL that is being asked for."""
        call = self.expects("open_view").call
        assert isinstance(call, OpenView)
        return self.answers(ViewOpened(url or f"https://provider.example/{call.token}"))

    def pings(self, token: int | None = None, at: datetime | None = None) -> Playbook:
        """The page of a session, the live one unless told otherwise, is open."""
        return self._happens(SessionPinged(token or self.lease.token, at or self.now))

    def returns(self, event: str = "signing_complete", token: int | None = None) -> Playbook:
        """The browser comes back from a session, the live one unless told otherwise."""
        return self._happens(SessionReturned(token or self.lease.token, event))

    def closes(self, operation_id: str) -> Playbook:
        """The caller closes its session, or no longer waits for one."""
        return self._happens(SessionClosed(operation_id))

    def decides(self, choice: Choice, provider_envelope_id: str = "") -> Playbook:
        """A person answers what the envelope asks. Raises what the validator would."""
        decision = Resolved(choice, provider_envelope_id)
        check_resolvable(self.state, decision)
        return self._happens(PersonDecided(decision))

    @property
    def lease(self) -> Lease:
        """The live session."""
        assert self.state.sessions.lease is not None, self._so_far("there is no live session")
        return self.state.sessions.lease

    def ticket(self, operation_id: str) -> SessionTicket:
        """How a session request stands, with its URL while that may be given."""
        ticket = views.ticket(self.state, operation_id, self.now, with_url=True)
        assert ticket is not None, self._so_far(f"no session {operation_id}")
        return ticket

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
        wake_at = self.wake_at
        assert wake_at is not None, self._so_far("expected a time to wake")
        return wake_at

    @property
    def wake_at(self) -> datetime | None:
        """When it asked to be woken, if it did."""
        return next((e.at for e in reversed(self.effects) if isinstance(e, WakeAt)), None)

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
