"""How long each class of failure makes an envelope wait, and when a person is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.calls import (
    Applied,
    Capabilities,
    Cause,
    Create,
    Done,
    FindCreated,
    Found,
    NotSent,
    Rejected,
    Timing,
    Unknown,
)
from sealwax.definition import Refusal, RefusalCode
from sealwax.envelope import CREATE_OPERATION
from sealwax.mutations import ChangeMessage
from sealwax.patience import ASKED_JITTER, FAILURES_BEFORE_ATTENTION, needs_a_person, wait_s
from sealwax.providers.base import (
    Locked,
    NotSentError,
    QuotaHeld,
    RateLimited,
    TokenRefused,
    Unavailable,
)
from tests.builders import ENVELOPE_ID, an_order
from tests.playbook import Playbook

TIMING = Timing()
CAUSES: tuple[Cause, ...] = get_args(Cause)
counts = st.dictionaries(st.sampled_from(CAUSES), st.integers(0, 50))
names = st.tuples(st.text(max_size=3))


def waits(cause: Cause, times: int, asked_s: float | None = None) -> list[float]:
    """The waits of failures of one class in a row."""
    return [wait_s(cause, asked_s, {cause: n}, TIMING, ("w",)) for n in range(times)]


def test_every_error_that_had_no_effect_has_its_class() -> None:
    """The exceptions of a provider and the causes of an outcome are one list."""
    kinds = (NotSentError, Unavailable, RateLimited, QuotaHeld, Locked, TokenRefused)
    assert sorted(kind.cause for kind in kinds) == sorted(CAUSES)


@pytest.mark.parametrize("cause", ["transient", "not_sent", "authentication"])
def test_outages_double_from_a_second_to_a_minute(cause: Cause) -> None:
    """With jitter downwards, so that envelopes that failed together do not come together."""
    for number, waited_s in enumerate(waits(cause, 1 if cause == "authentication" else 10)):
        full_s = min(60, 2**number)
        assert full_s / 2 <= waited_s <= full_s


@given(asked_s=st.floats(0, 7200), failures=counts, who=names)
def test_a_limit_is_waited_out_and_not_much_more(
    asked_s: float, failures: dict[str, int], who: tuple[str]
) -> None:
    """Never earlier than the provider says, and no count of failures makes it longer."""
    waited_s = wait_s("rate_limited", asked_s, failures, TIMING, who)
    assert asked_s <= waited_s <= asked_s + max(1, ASKED_JITTER * asked_s)


def test_a_limit_that_does_not_say_its_end_is_waited_for_a_burst_s_window_at_least() -> None:
    """30 s, growing to a quarter of an hour."""
    found = waits("rate_limited", 10)
    assert 30 <= found[0] <= 45
    assert found[:5] == sorted(found[:5])
    assert 900 <= found[-1] <= 1350


def test_a_lock_is_waited_for_longer_and_longer() -> None:
    """Half a minute at first, two minutes at most: signers wait behind it, too."""
    found = waits("locked", 8)
    assert 15 <= found[0] <= 30
    assert 60 <= found[-1] <= 120


@given(
    cause=st.sampled_from(CAUSES), failures=counts, asked_s=st.none() | st.floats(0, 600), who=names
)
def test_a_class_waits_by_its_own_count_alone(
    cause: Cause, failures: dict[str, int], asked_s: float | None, who: tuple[str]
) -> None:
    """What other classes counted never changes the wait, until a person has been told."""
    alone: dict[str, int] = {cause: failures.get(cause, 0)}
    if needs_a_person(cause, failures, TIMING) == needs_a_person(cause, alone, TIMING):
        waited_s = wait_s(cause, asked_s, failures, TIMING, who)
        assert waited_s == wait_s(cause, asked_s, alone, TIMING, who)
        assert waited_s >= (asked_s or 0)


def failing(play: Playbook, cause: Cause, reason: str = "said") -> float:
    """The call in flight fails and is due again; the seconds in between."""
    kind = play.call.kind
    play.answers(NotSent(reason, cause=cause)).rests()
    waited_s = (play.wakes_at - play.now).total_seconds()
    play.passes(waited_s).expects(kind)
    return waited_s


@pytest.mark.parametrize(
    ("cause", "tries", "words"),
    [
        ("transient", 8, "the provider cannot be reached"),
        ("rate_limited", 8, "the provider's limits"),
        ("locked", 3, "somebody else has the envelope open for editing"),
        ("authentication", 2, "does not accept our access token"),
        ("not_sent", 8, "no progress"),
    ],
)
def test_a_person_is_told_in_words_after_failures_in_a_row(
    cause: Cause, tries: int, words: str
) -> None:
    """Not before, and no longer once it went through."""
    play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
    for _ in range(tries - 1):
        failing(play, cause)
    assert play.state.attention == ""
    failing(play, cause, "the reason")
    assert words in play.state.attention
    assert f"({tries} in a row; the reason)" in play.state.attention
    play.answers(Applied()).rests()
    assert (play.state.attention, dict(play.state.failures)) == ("", {})


def test_classes_that_take_turns_are_told_of_as_well() -> None:
    """Eight failures in a row, whatever their classes."""
    play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
    for number in range(FAILURES_BEFORE_ATTENTION):
        assert play.state.attention == ""
        failing(play, "transient" if number % 2 else "rate_limited")
    assert play.state.attention


def test_a_refused_token_is_tried_soon_and_then_as_a_person_s_matter() -> None:
    """The shell has renewed it once already; what persists is not for a loop to mend."""
    play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
    assert failing(play, "authentication") <= 1
    assert failing(play, "authentication") == 300


def test_the_timeline_tells_each_class_once() -> None:
    """Not a line for each try."""
    play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
    for cause, reason in (("transient", "gone"), ("transient", "gone"), ("locked", "held")) * 2:
        failing(play, cause, reason)  # type: ignore[arg-type]
    lines = [entry.text for entry in play.state.timeline if "not done yet" in entry.text]
    assert lines == [f"not done yet ({reason}); trying again" for reason in ("gone", "held")]


def test_a_person_s_matter_does_not_lengthen_what_comes_after_it() -> None:
    """Consent was missing for hours; the outage that follows begins at one second."""
    play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
    for _ in range(20):
        play.answers(Rejected("consent_required", "open this page", needs_person=True))
        play.passes(300)
    assert failing(play, "transient") <= 1


class TestCapabilities:
    """What a provider's API offers decides how an unknown create is resolved."""

    @staticmethod
    def created_into_silence(able: Capabilities) -> Playbook:
        play = Playbook(replace(an_order(), send=False))
        play.state = replace(play.state, capabilities=able)
        play.registers(capabilities=able)
        return play.expects("create").answers(Unknown("timed out"))

    def test_under_an_idempotency_key_a_create_is_repeated_as_it_was(self) -> None:
        """The same transaction id, no look; the first answer is the answer."""
        play = self.created_into_silence(Capabilities(idempotency_key_s=86_400))
        assert play.state.unknown is None
        play.passes(60)
        again = play.expects("create").call
        assert isinstance(again, Create)
        assert again.attempt == 1
        play.answers(Applied(provider_envelope_id=ENVELOPE_ID)).expects("bind").answers(Done())
        assert play.answer(CREATE_OPERATION).state == "applied"

    def test_a_key_that_the_provider_may_have_forgotten_is_no_longer_relied_upon(self) -> None:
        """After its life the create is looked for."""
        play = self.created_into_silence(Capabilities(idempotency_key_s=100))
        play.passes(101)
        play.expects("create").answers(Unknown("timed out")).expects("find_created")

    def test_after_seven_days_only_the_marker_is_asked_for(self) -> None:
        """SPEC envelopeDefinition.transactionId: it is valid for 7 days."""
        play = self.created_into_silence(Capabilities())
        first = play.call
        assert isinstance(first, FindCreated)
        assert first.transaction_ids
        play.answers(NotSent("outage", retry_after_s=7 * 86_400))
        play.passes(8 * 86_400)
        later = play.expects("find_created").call
        assert isinstance(later, FindCreated)
        assert (later.transaction_ids, later.marker) == ((), first.marker)

    def test_where_nothing_can_be_asked_for_a_person_decides(self) -> None:
        """No second create is made on the strength of a look that cannot see."""
        play = self.created_into_silence(Capabilities(reference_s=None, marker_search=False))
        for _ in range(40):
            if play.state.in_flight is not None:
                assert play.call.kind == "find_created"
                play.answers(Found(()))
            play.passes(30)
        assert "cannot tell" in play.state.attention

    def test_without_embedded_signing_no_session_is_waited_for(self) -> None:
        """A typed refusal that says why."""
        play = Playbook.sent()
        play.state = replace(play.state, capabilities=Capabilities(sessions=False))
        with pytest.raises(Refusal, match="no embedded signing") as refused:
            play.wants("s", "1")
        assert refused.value.code is RefusalCode.NOT_EMBEDDED


def test_the_waits_of_stored_histories_are_the_same() -> None:
    """Before there were classes: the longer of doubling and what was asked, the same jitter."""
    plain = waits("not_sent", 8)
    assert waits("not_sent", 8, 20) == [max(20, waited_s) for waited_s in plain]
    assert waits("transient", 8) == plain
    play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
    play.answers(NotSent("said", 7.0))
    assert play.wakes_at == play.now + timedelta(seconds=7)
