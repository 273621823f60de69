"""Laws of repetition: a delivery that was captured and is told again changes nothing, not even when
its key is forgotten and the workflow has begun a new run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sealwax.carrying import carried, resumed
from sealwax.envelope import EVENT_KEYS_MAX, Envelope
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from tests.builders import an_event
from tests.playbook import Playbook

CAPTURED = {
    "sent": an_event("envelope-sent", (Fact(EnvelopeStatus.SENT),), event_key="captured"),
    "signed by one": an_event(
        "recipient-completed",
        (Fact("completed", recipient="1", incarnation="guid-1"),),
        event_key="captured",
        recipient="1",
    ),
    "left for later": an_event(
        "recipient-finish-later", (), event_key="captured", recipient="1", session_left_at=None
    ),
}


def another(n: int) -> ProviderEvent:
    return an_event("recipient-delivered", (Fact("delivered", recipient="1"),), event_key=f"n-{n}")


def meaning(state: Envelope) -> Envelope:
    """The state without what only counts or tells that something was heard."""
    return replace(
        carried(state),
        events_seen=0,
        events_duplicate=0,
        event_keys=(),
        last_event=None,
        timeline=(),
    )


def anew(play: Playbook) -> None:
    """The workflow goes on as a new run."""
    play.state = resumed(carried(play.state), play.now)


@pytest.mark.parametrize("what", CAPTURED)
def test_while_its_key_is_known_it_is_counted_and_no_more(what: str):
    play = Playbook.sent().hears(CAPTURED[what])
    before = play.state
    for _ in range(50):
        play.hears(CAPTURED[what])
    assert replace(play.state, events_duplicate=0) == before
    assert play.state.events_duplicate == 50
    anew(play)
    play.hears(CAPTURED[what])
    assert play.state.events_duplicate == 51


@pytest.mark.parametrize("what", CAPTURED)
def test_when_its_key_is_forgotten_it_says_nothing_new(what: str):
    """After so many other events that the key is gone, in this run and in the next ones."""
    play = Playbook.sent().hears(CAPTURED[what])
    play.hears(*(another(n) for n in range(EVENT_KEYS_MAX + 1)))
    assert "captured" not in play.state.event_keys
    before = meaning(play.state)
    for _ in range(3):
        play.hears(CAPTURED[what]).rests()
        assert meaning(play.state) == before
        anew(play)
        play.now += timedelta(days=36)


def test_a_late_word_does_not_take_a_status_back():
    """An old "sent" replayed against a completed envelope, whatever was forgotten in between."""
    play = Playbook.sent().hears(CAPTURED["sent"]).hears(an_event())
    play.hears(*(another(n) for n in range(EVENT_KEYS_MAX + 1)))
    anew(play)
    play.hears(CAPTURED["sent"])
    assert play.state.status is EnvelopeStatus.COMPLETED
    assert play.state.facts.contradictions() == ()


def test_a_repeated_correction_costs_no_second_read():
    """It says that something changed; told again, it asks for nothing."""
    corrected = an_event("envelope-corrected", (), event_key="captured", needs_read=True)
    play = Playbook.sent().passes(60).hears(corrected)
    play.expects("read")
    state = play.state
    play.hears(*[corrected] * 20)
    assert replace(play.state, events_duplicate=0) == state
