"""Every end of a signing session, played line by line, and what is no end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealwax.calls import (
    Applied,
    BridgeUp,
    Done,
    NotSent,
    Rejected,
    RevokeView,
)
from sealwax.facts import Fact
from sealwax.session import NOT_LEFT, RETURN_EVENTS, End, SessionRules
from tests.builders import START
from tests.playbook import Playbook
from tests.signing import LIFE_S, QUIET_S, UP, another, at_work, how, later, live, shown, told


class TestEnds:
    """Every way in which a session is known to be over, and what is not an end."""

    @pytest.mark.parametrize("event", sorted({*RETURN_EVENTS, "forged"} - NOT_LEFT))
    def test_every_return_ends_the_session_whose_token_it_bears(self, event: str):
        """The browser has left the provider's page, whatever the event says."""
        play = at_work().returns(event)
        ticket = play.ticket("s-ana")
        assert (ticket.state, ticket.how) == ("ended", End.RETURNED)
        assert ticket.event == (event if event in RETURN_EVENTS else "unknown")

    def test_a_url_that_was_opened_twice_ends_nobody_s_session(self):
        """The second opening is sent back with ttl_expired; the first signer is at work."""
        play = live().returns("ttl_expired").rests().passes(60).pings()
        assert how(play) == ""

        play.returns("signing_complete")
        assert play.ticket("s-ana").event == "signing_complete"

    def test_a_url_that_was_opened_too_late_ends_by_silence(self):
        """Nobody is at work there; a ping would have come by now."""
        play = live().passes(LIFE_S + 1).returns("ttl_expired").passes(QUIET_S)
        play.expects("ask_bridge").answers(UP)
        assert how(play) == End.SILENT

    def test_a_return_before_the_opening_ping(self):
        """The session was shorter than one interval; the late ping is of no consequence."""
        play = live().passes(5).returns("cancel")
        play.pings(token=1, at=play.now - timedelta(seconds=4))
        assert (how(play), play.state.sessions.alive_after_end) == (End.RETURNED, 0)

    def test_a_ping_of_a_session_that_was_believed_over_is_counted(self):
        """It ends and revives nothing, but it is told."""
        play = at_work().closes("s-ana").passes(60).pings(token=1)
        assert play.state.sessions.alive_after_end == 1
        assert play.state.sessions.lease is None

    @pytest.mark.parametrize("order", ["before", "after", "without"])
    def test_a_completed_webhook_before_after_and_without_the_return(self, order: str):
        """In every order the session is over once, and Ben is next."""
        play = at_work().wants("s-ben", "ben")
        webhook = told("recipient-completed", Fact("completed", "1", "guid-ana"))
        match order:
            case "before":
                play.hears(webhook).returns(token=1)
            case "after":
                play.returns().hears(webhook)
            case _:
                play.hears(webhook)
        play.expects("read").answers(shown(ana="completed")).gets_url()

        assert how(play) == (End.RETURNED if order == "after" else End.SIGNED)
        assert play.lease.recipient_id == "ben"

    @pytest.mark.parametrize("order", ["before", "after", "without"])
    def test_finishing_later_before_after_and_without_the_return(self, order: str):
        """The browser may never come back: the provider's word is enough, and Ben is next."""
        play = at_work().wants("s-ben", "ben")
        match order:
            case "before":
                play.hears(later(play)).returns("cancel", token=1)
            case "after":
                play.returns("cancel").hears(later(play))
            case _:
                play.hears(later(play))
        play.expects("read").answers(shown(ana="delivered")).gets_url().rests()

        assert how(play) == (End.RETURNED if order == "after" else End.FINISHED_LATER)
        assert (play.lease.recipient_id, play.state.sessions.losses) == ("ben", 0)

    def test_finishing_later_ends_no_other_recipient_s_session(self):
        """Late word of Ana, dated as you like, while Ben is at work."""
        play = at_work().wants("s-ben", "ben").returns("cancel")
        play.expects("read").answers(shown(ana="delivered")).gets_url()
        play.passes(60).pings().hears(later(play)).rests()
        assert play.lease.recipient_id == "ben"

    @pytest.mark.parametrize("end", ["returned", "taken over", "silent", "finished later"])
    def test_finishing_later_ends_no_later_session_of_the_same_recipient(self, end: str):
        """Word of her first session may come late, twice, or be dated when it was sent: nobody can
        tell it from word of the second, which ends by its return or by silence."""
        play = at_work()
        match end:
            case "returned":
                play.returns("cancel").wants("again", "ana")
            case "taken over":
                play.wants("again", "ana", takeover=True)
            case "silent":
                play.wants("more", "ben").passes(QUIET_S).expects("ask_bridge").answers(UP)
                play.expects("read").answers(shown(ana="delivered")).gets_url()
                play.passes(1).returns("cancel").wants("again", "ana")
            case _:
                play.hears(later(play)).wants("again", "ana")
        play.expects("read").answers(shown(ana="delivered")).gets_url()
        play.passes(60).pings()
        play.hears(later(play, key="late"), later(play, after_s=1, key="later")).rests()
        assert (play.lease.operation_id, how(play, "again")) == ("again", "")
        assert play.returns("cancel").ticket("again").how == End.RETURNED

    def test_finishing_later_dated_before_the_grant_ends_nothing(self):
        """It speaks of something that was before us: a session that another program asked for."""
        play = at_work()
        play.hears(later(play, after_s=-61)).rests()
        assert how(play) == ""

    def test_declined(self):
        """The signer's own fact ends the session, the envelope's those who wait."""
        play = at_work().wants("s-ben", "ben")
        play.hears(told("recipient-declined", Fact("declined", "1", "guid-ana"), Fact("declined")))
        assert (how(play), how(play, "s-ben")) == (End.DECLINED, End.ENVELOPE_ENDED)

    @pytest.mark.parametrize("status", ["completed", "voided", "declined", "deleted"])
    def test_the_envelope_s_end_ends_the_session_and_refuses_those_who_wait(self, status: str):
        """Typed refusals for all; nothing is asked of the provider for them."""
        play = at_work().wants("s-ben", "ben").wants("s-cyd", "cyd")
        play.hears(told(f"envelope-{status}", Fact(status))).rests()

        assert how(play) == End.ENVELOPE_ENDED
        assert [play.ticket(o).state for o in ("s-ben", "s-cyd")] == ["refused", "refused"]
        assert how(play, "s-cyd") == End.ENVELOPE_ENDED

    def test_closed_by_the_application_after_it_was_opened(self):
        """Its word is enough, and an opened URL is not revoked."""
        play = at_work().closes("s-ana").rests()
        assert (how(play), play.state.sessions.losses) == (End.CLOSED, 0)

    def test_closed_by_the_application_before_it_was_opened(self):
        """The URL is revoked first: otherwise somebody could open it during the next session."""
        play = live().closes("s-ana")
        call = play.expects("revoke_view").call
        assert isinstance(call, RevokeView)
        assert call.url == "https://provider.example/1"
        play.answers(Done()).rests()
        assert (how(play), play.state.sessions.losses) == (End.CLOSED, 0)

    def test_a_revocation_that_is_refused_means_that_it_was_opened(self):
        """Then the application's word counts as for any opened session."""
        play = live().closes("s-ana").answers(Rejected("404", "gone"))
        assert how(play) == End.CLOSED

    def test_a_ping_during_the_revocation_outweighs_its_success(self):
        """The page was open; that the URL is useless now says nothing of it."""
        play = live().closes("s-ana").expects("revoke_view").pings().answers(Done()).rests()
        assert (how(play), play.lease.revoked) == ("", False)
        play.closes("s-ana")
        assert how(play) == End.CLOSED

    def test_a_revocation_that_never_gets_through_is_given_up_with_the_url(self):
        """An expired URL needs none; the session ends and nobody waits for ever."""
        play = live().closes("s-ana")
        for _ in range(40):
            if play.state.in_flight is None:
                break
            play.expects("revoke_view").answers(NotSent("no route"))
            play.passes((play.wakes_at - play.now).total_seconds())
        play.rests()
        assert how(play) == End.CLOSED
        assert play.now >= START + timedelta(seconds=LIFE_S)

    def test_a_stranger_s_token_ends_nothing(self):
        """Tokens of earlier and of unheard-of sessions are fenced, for returns and pings."""
        play = at_work().returns().wants("s-ben", "ben")
        play.answers(shown(ana="completed")).gets_url().rests()
        before = play.state
        for token in (1, 3, 99):
            play.returns(token=token)
            assert play.state == before
        play.pings(token=99)
        assert play.state == before


class TestSilence:
    """Silence ends a session only where a living one would have been heard."""

    def test_a_url_opened_in_its_last_second_keeps_the_lease(self):
        """The first ping comes a minute later, and is in time."""
        play = live().passes(LIFE_S - 1 + 60).rests().pings().rests()
        play.passes(QUIET_S - 1).rests()
        assert how(play) == ""

    def test_a_url_that_nobody_opens(self):
        """Its life, one interval and the slack pass; the bridge confirms that it was there."""
        play = live().passes(LIFE_S + QUIET_S - 1).rests().passes(1).expects("ask_bridge")
        play.answers(UP).rests()
        assert (how(play), play.state.sessions.losses) == (End.NEVER_OPENED, 0)

    def test_a_window_that_was_closed_falls_silent(self):
        """One interval and the slack after the last ping."""
        play = at_work().passes(QUIET_S - 1).rests().passes(1).expects("ask_bridge").answers(UP)
        assert how(play) == End.SILENT

    def test_a_ping_while_the_bridge_is_asked_keeps_the_lease(self):
        """It came late, but it came."""
        play = at_work().passes(QUIET_S).expects("ask_bridge").pings().answers(UP).rests()
        assert how(play) == ""

    def test_a_bridge_that_was_down_for_ten_minutes(self):
        """Its silence counts from its return: the session has a whole interval to be heard."""
        play = at_work()
        back = play.now + timedelta(minutes=10)
        play.passes(660).expects("ask_bridge").answers(BridgeUp(back)).rests()
        play.passes(29).rests().pings().rests()
        assert how(play) == ""

        play.passes(QUIET_S).expects("ask_bridge").answers(BridgeUp(back))
        assert how(play) == End.SILENT

    def test_a_bridge_that_is_down_now_proves_nothing(self):
        """It is asked again and again, and the lease stays until it can tell."""
        play = at_work().passes(QUIET_S)
        for _ in range(5):
            play.expects("ask_bridge").answers(BridgeUp(None)).rests()
            assert how(play) == ""
            play.passes(QUIET_S)
        play.expects("ask_bridge").answers(BridgeUp(play.now - timedelta(seconds=1))).rests()
        play.passes(QUIET_S - 1).expects("ask_bridge").answers(
            BridgeUp(play.now - timedelta(seconds=QUIET_S))
        )
        assert how(play) == End.SILENT

    def test_a_session_of_many_hours_is_flagged_and_not_ended(self):
        """While it pings it lives; a person is told, for as long as it lasts."""
        play = at_work(SessionRules(maximum_s=600))
        for _ in range(10):
            play.passes(60).pings()
        assert (how(play), play.lease.flagged) == ("", True)
        said = play.state.attention
        assert said == "recipient ana has been signing for very long"

        play.asks("n", another(0)).expects("mutate").answers(Applied())
        assert play.state.attention == said

        play.returns()
        assert play.state.attention == ""


class TestBridgeAway:
    """While no bridge is up nobody's silence ends anything, and a person is told so."""

    SAID = (
        "the bridge is down, so nobody can tell whether recipient ana is still signing;"
        " start it again"
    )

    def away(self) -> Playbook:
        """Ana is at work, and three looks for the bridge in a row have found none."""
        play = at_work()
        for _ in range(3):
            play.passes(QUIET_S).expects("ask_bridge").answers(BridgeUp(None))
        return play

    def test_a_bridge_that_stays_away_is_shown(self):
        """After minutes, not at a restart; the session lives on, however long it takes."""
        play = at_work().passes(QUIET_S).expects("ask_bridge").answers(BridgeUp(None))
        assert play.state.attention == ""

        play = self.away()
        assert (play.state.attention, how(play)) == (self.SAID, "")
        play.asks("n", another(0)).expects("mutate").answers(Applied())
        assert play.state.attention == self.SAID
        for _ in range(20):
            play.passes(QUIET_S).expects("ask_bridge").answers(BridgeUp(None))
        assert (play.state.attention, how(play)) == (self.SAID, "")

    @pytest.mark.parametrize("sign", ["ping", "look", "return"])
    def test_it_is_shown_no_longer_than_it_is_true(self, sign: str):
        """A ping or a return came through a bridge; a look may find one, too."""
        play = self.away()
        match sign:
            case "ping":
                play.pings()
            case "look":
                play.passes(QUIET_S).expects("ask_bridge").answers(BridgeUp(play.now))
            case _:
                play.returns()
        assert play.state.attention == ""
        assert how(play) == (End.RETURNED if sign == "return" else "")


class TestRules:
    """Each belief can be switched off; then only what is proven without it ends a session."""

    def test_without_return_ends_a_return_is_a_hint(self):
        """Silence ends it."""
        play = at_work(SessionRules(return_ends=False)).returns()
        assert (how(play), play.lease.returned) == ("", "signing_complete")
        play.passes(QUIET_S).expects("ask_bridge").answers(UP)
        assert how(play) == End.SILENT

    def test_without_finish_later_ends_its_word_is_a_hint(self):
        """Silence ends it."""
        play = at_work(SessionRules(finish_later_ends=False))
        play.hears(later(play)).rests()
        assert how(play) == ""
        play.passes(QUIET_S).expects("ask_bridge").answers(UP)
        assert how(play) == End.SILENT

    def test_without_revoke_ends_nothing_is_revoked(self):
        """The application's word alone ends an unopened session."""
        play = live(SessionRules(revoke_ends=False)).closes("s-ana").rests()
        assert how(play) == End.CLOSED

    def test_without_close_ends_a_close_waits_for_silence(self):
        """The application may err; the page may still be open."""
        play = at_work(SessionRules(close_ends=False)).closes("s-ana").rests()
        assert how(play) == ""
        play.passes(QUIET_S).expects("ask_bridge").answers(UP)
        assert how(play) == End.CLOSED

    def test_without_close_ends_an_explicit_choice_still_ends(self):
        """A takeover stands above a close that waits."""
        play = at_work(SessionRules(close_ends=False)).closes("s-ana")
        play.wants("again", "ana", takeover=True)
        assert (how(play), play.state.sessions.losses) == (End.TAKEN_OVER, 1)

    @pytest.mark.parametrize(
        ("rules", "late"),
        [(SessionRules(url_life_s=60), 150), (SessionRules(ping_every_s=600), 930)],
        ids=["url_life_s", "ping_every_s"],
    )
    def test_times_are_the_operator_s(self, rules: SessionRules, late: int):
        """A shorter life or a longer interval moves the deadline."""
        play = live(rules).passes(late - 1).rests()
        play.passes(1).expects("ask_bridge")
