"""Ana and Ben sign at the same time, Cyd after both, each embedded; Dan gets mail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealwax.calls import BridgeUp, Observed
from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from sealwax.mutations import AddRecipients
from sealwax.session import SessionRules
from tests.builders import START, a_definition, an_event, an_observation, an_order, seen_recipient
from tests.playbook import BACK, Playbook

PEOPLE = (
    Recipient("ana", "Ana", "ana@example.com", 1, client_user_id="a"),
    Recipient("ben", "Ben", "ben@example.com", 1, client_user_id="b"),
    Recipient("cyd", "Cyd", "cyd@example.com", 2, client_user_id="c"),
    Recipient("dan", "Dan", "dan@example.com", 3),
)
NUMBERS = {"ana": "1", "ben": "2", "cyd": "3", "dan": "4"}
LIFE_S = 300
QUIET_S = 90
UP = BridgeUp(START - timedelta(days=1))


def shown(status: EnvelopeStatus = EnvelopeStatus.SENT, **statuses: str) -> Observed:
    """A read in which Ana and Ben are asked and the others are not, unless told otherwise."""
    told = {"ana": "sent", "ben": "sent", "cyd": "created", "dan": "created", **statuses}
    people = tuple(
        seen_recipient(NUMBERS[name], f"guid-{name}", what, name.title())
        for name, what in told.items()
    )
    return Observed(an_observation(status, people))


def out(rules: SessionRules | None = None) -> Playbook:
    """An envelope that is sent; that Ana and Ben are asked is not known yet."""
    return Playbook.sent(an_order(a_definition(PEOPLE)), rules)


def live(rules: SessionRules | None = None) -> Playbook:
    """Ana has the session; her page is not open yet."""
    play = out(rules).wants("s-ana", "ana").expects("read").answers(shown())
    return play.gets_url().rests()


def at_work(rules: SessionRules | None = None) -> Playbook:
    """Ana has the session, and her page is open."""
    return live(rules).passes(60).pings().rests()


def how(play: Playbook, operation_id: str = "s-ana") -> str:
    """How a session request ended; "" while it has not."""
    over = play.state.sessions.ended(operation_id)
    return over.how if over else ""


def another(number: int) -> AddRecipients:
    """A mutation that disturbs nobody."""
    return AddRecipients((Recipient(f"x{number}", "Xeno", "xeno@example.com", 4),))


def told(name: str, *facts: Fact) -> ProviderEvent:
    """A webhook with these facts."""
    return an_event(name, facts)


def later(play: Playbook, who: str = "ana", *, after_s: float = 0, key: str = "") -> ProviderEvent:
    """A webhook that says, dated so long after this moment: this recipient finishes later."""
    return an_event(
        "recipient-finish-later",
        (),
        event_key=key,
        recipient=NUMBERS[who],
        session_left_at=play.now + timedelta(seconds=after_s),
    )


def refusal(play: Playbook, operation_id: str, recipient_id: str, back: str = BACK) -> RefusalCode:
    """The code under which this request is refused; nothing changes by it."""
    before = play.state
    with pytest.raises(Refusal) as refused:
        play.wants(operation_id, recipient_id, back=back)
    assert play.state == before
    return refused.value.code
