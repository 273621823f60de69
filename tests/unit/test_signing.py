"""Signing sessions, played line by line: one at a time, first come first served, nobody kicked."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealwax import views
from sealwax.calls import (
    Applied,
    Done,
    Mutate,
    NotSent,
    OpenView,
    Rejected,
)
from sealwax.definition import RefusalCode
from sealwax.facts import Fact
from sealwax.mutations import (
    AddRecipients,
    CorrectEnvelope,
    Mutation,
    RemoveRecipients,
    UpdateRecipient,
    VoidEnvelope,
)
from sealwax.session import End
from tests.builders import START, a_definition, an_event, an_order
from tests.playbook import BACK, Playbook
from tests.signing import LIFE_S, PEOPLE, another, at_work, how, live, out, refusal, shown, told


class TestGranting:
    """The URL is fetched when the lease is granted, on facts that are not stale."""

    def test_a_session_is_granted_after_a_read(self):
        """The read comes first; the URL is in the ticket, and its life begins when it came."""
        play = out().wants("s-ana", "ana").expects("read").answers(shown())
        call = play.expects("open_view").call
        assert isinstance(call, OpenView)
        assert (call.recipient, call.name, call.client_user_id, call.token) == ("1", "Ana", "a", 1)

        play.gets_url("https://provider.example/u").rests()

        ticket = play.ticket("s-ana")
        assert (ticket.state, ticket.url, ticket.token) == (
            "granted",
            "https://provider.example/u",
            1,
        )
        assert ticket.url_until == START + timedelta(seconds=LIFE_S)

    def test_a_read_that_was_under_way_when_it_was_asked_is_stale(self):
        """It may have been answered before the signer acted; the next one counts."""
        play = out().hears(an_event("envelope-corrected", (), needs_read=True)).expects("read")
        play.passes(1).wants("s-ana", "ana").answers(shown()).expects("read")
        play.answers(shown()).expects("open_view")

    def test_one_who_signed_while_the_webhook_is_on_its_way_is_refused(self):
        """The read before the grant shows it: no URL is asked for, and the refusal is typed."""
        play = out().wants("s-ana", "ana").answers(shown(ana="completed")).rests()

        ticket = play.ticket("s-ana")
        assert (ticket.state, ticket.how) == ("refused", End.ALREADY_ACTED)
        assert refusal(play, "again", "ana") is RefusalCode.RECIPIENT_HAS_ACTED

    def test_the_second_waits_until_the_first_is_over(self):
        """One call per grant, and only then; first come, first served."""
        play = at_work().wants("s-ben", "ben").rests()
        waiting = play.ticket("s-ben")
        assert (waiting.state, waiting.position, waiting.why) == (
            "waiting",
            1,
            "recipient ana is signing",
        )

        play.returns().expects("read").answers(shown(ana="completed")).gets_url()

        assert (play.lease.recipient_id, play.lease.token) == ("ben", 2)

    def test_later_routing_orders_wait_without_blocking_anybody(self):
        """Cyd asked first, but it is Ben's turn; Cyd's comes when the provider says so."""
        play = out().wants("s-cyd", "cyd").answers(shown()).rests()
        assert play.ticket("s-cyd").why == "others come first by routing order"

        play.passes(1).wants("s-ben", "ben").expects("read").answers(shown()).gets_url()
        assert play.lease.recipient_id == "ben"
        play.passes(60).returns()
        play.answers(shown(ana="completed", ben="completed", cyd="sent")).gets_url()

        assert play.lease.recipient_id == "cyd"

    def test_a_lost_webhook_does_not_keep_the_next_in_line_waiting(self):
        """Nobody is known to be asked though the envelope is out: it is read, at a distance."""
        play = out().wants("s-cyd", "cyd").answers(shown(ana="completed", ben="completed")).rests()
        play.passes(29).rests().passes(1).expects("read")
        play.answers(shown(ana="completed", ben="completed", cyd="sent")).expects("open_view")

    def test_a_request_before_sending_waits_for_it(self):
        """Drafts cannot be signed; nothing is asked of the provider until it is sent."""
        play = Playbook.draft(an_order(a_definition(PEOPLE), send=False))
        play.wants("s-ana", "ana").rests().passes(3600).rests()
        assert "has to be sent first" in play.ticket("s-ana").why

    def test_a_view_that_the_provider_rejects_is_a_typed_refusal_and_blocks_nobody(self):
        """The next in line gets its turn; what is known of the envelope is read again."""
        play = out().wants("s-ana", "ana").wants("s-ben", "ben").answers(shown())
        play.expects("open_view").answers(Rejected("UNKNOWN_ENVELOPE_RECIPIENT", "who?"))

        ticket = play.ticket("s-ana")
        assert (ticket.state, ticket.how) == ("refused", End.REJECTED)
        assert ticket.message == "UNKNOWN_ENVELOPE_RECIPIENT: who?"
        play.expects("open_view").gets_url()
        assert play.lease.recipient_id == "ben"
        play.passes(30).expects("read")

    def test_a_view_that_was_not_sent_is_asked_for_again(self):
        """The caller waits through an outage; the token stays the same, since nobody got it."""
        play = out().wants("s-ana", "ana").answers(shown()).answers(NotSent("limit", 5)).rests()
        play.passes(5).gets_url()

        assert play.lease.token == 1

    def test_withdrawn_while_the_url_is_on_its_way(self):
        """Nobody gets it, the next in line gets another one under another token."""
        play = out().wants("s-ana", "ana").wants("s-ben", "ben").answers(shown())
        play.expects("open_view").closes("s-ana")
        assert how(play) == End.WITHDRAWN

        play.gets_url("https://provider.example/ana").gets_url("https://provider.example/ben")

        assert play.ticket("s-ana").url == ""
        assert (play.lease.recipient_id, play.lease.url) == ("ben", "https://provider.example/ben")
        assert play.lease.token == 2

    def test_signed_elsewhere_while_the_url_is_on_its_way(self):
        """The fact outruns the URL: refused, and the URL reaches nobody."""
        play = out().wants("s-ana", "ana").answers(shown()).expects("open_view")
        play.hears(told("recipient-completed", Fact("completed", "1", "guid-ana")))

        play.gets_url().rests()

        assert (how(play), play.ticket("s-ana").url) == (End.ALREADY_ACTED, "")


class TestWhoMayAsk:
    """Refusals are typed, cost no call and change nothing."""

    def test_an_unknown_recipient(self):
        """The refusal names those that there are."""
        assert refusal(out(), "s", "zoe") is RefusalCode.UNKNOWN_RECIPIENT

    def test_one_who_signs_by_mail(self):
        """Without a client_user_id there is no embedded session."""
        assert refusal(out(), "s", "dan") is RefusalCode.NOT_EMBEDDED

    @pytest.mark.parametrize(
        "url",
        [
            "http://app.example.com/",
            "https://evil.example.com/",
            "https://user@localhost/",
            "javascript:alert(1)",
            "https://[broken/",
            "",
            "http://localhost/" + "x" * 2_000,
        ],
    )
    def test_a_url_that_signers_may_not_be_sent_to(self, url: str):
        """Not https, not on the list, with a user in it, no URL at all, or too long."""
        assert refusal(out(), "s", "ana", back=url) is RefusalCode.BAD_RETURN_URL

    def test_an_envelope_that_has_ended(self):
        """Completed: nobody can sign any more."""
        assert refusal(out().hears(an_event()), "s", "ana") is RefusalCode.ILLEGAL_IN_STATUS

    def test_the_same_signer_while_active(self):
        """A second window is told that there is a first one; another signer just waits."""
        play = at_work()
        assert refusal(play, "again", "ana") is RefusalCode.ALREADY_OPEN

    def test_the_same_signer_while_the_first_session_is_being_closed(self):
        """Nobody is active there any more: the request waits its turn."""
        play = live().closes("s-ana").expects("revoke_view").wants("again", "ana")
        play.passes(1).answers(Done()).answers(shown()).gets_url()
        assert play.lease.operation_id == "again"

    def test_the_same_operation_id_gives_the_same_ticket(self):
        """Asked twice: one request, one URL while it can be opened; another body is refused."""
        play = live().wants("s-ana", "ana").rests()
        assert play.ticket("s-ana").url == play.lease.url
        assert refusal(play, "s-ana", "ben") is RefusalCode.OPERATION_ID_REUSED

    @pytest.mark.parametrize("spent_by", ["ping", "return", "time", "close", "end"])
    def test_a_spent_or_expired_url_is_never_given_again(self, spent_by: str):
        """Opened, come back, too old, being closed, or over."""
        play = live()
        match spent_by:
            case "ping":
                play.pings()
            case "return":
                play.returns("ttl_expired")
            case "time":
                play.passes(LIFE_S)
            case "close":
                play.closes("s-ana")
            case _:
                play.returns()
        play.wants("s-ana", "ana")

        ticket = play.ticket("s-ana")
        assert (ticket.url, ticket.state) == ("", "ended" if spent_by == "end" else "spent")

    def test_a_removal_that_only_waits_turns_nobody_away(self):
        """It may yet be refused: the one who waits is turned away once it is done."""
        play = at_work().wants("s-ben", "ben").asks("r", RemoveRecipients(("ben",)))
        assert how(play, "s-ben") == ""

        play.returns().expects("mutate").answers(Applied())

        assert how(play, "s-ben") == End.NOT_A_RECIPIENT


class TestTakeover:
    """A signer may take his own session over; the loss is recorded, and nobody else's is."""

    def test_an_active_one_is_lost(self):
        """It goes before those who wait, since the place was his already."""
        play = at_work().wants("s-ben", "ben").passes(1)
        play.wants("again", "ana", takeover=True).answers(shown()).gets_url()

        assert (play.lease.operation_id, play.lease.token) == ("again", 2)
        assert (how(play), play.state.sessions.losses) == (End.TAKEN_OVER, 1)

    def test_an_unopened_one_is_revoked_and_nothing_is_lost(self):
        """Nobody had typed anything."""
        play = live().wants("again", "ana", takeover=True)
        play.expects("revoke_view").answers(Done())
        assert (how(play), play.state.sessions.losses) == (End.TAKEN_OVER, 0)

    def test_one_that_could_not_be_revoked_may_have_been_at_work(self):
        """Pings may be blocked: a refused revocation is a loss."""
        play = live().wants("again", "ana", takeover=True).answers(Rejected("404", "gone"))
        assert (how(play), play.state.sessions.losses) == (End.TAKEN_OVER, 1)

    def test_nobody_takes_over_another_s(self):
        """With or without the word, Ben waits."""
        play = at_work().wants("s-ben", "ben", takeover=True).rests()
        assert play.lease.recipient_id == "ana"
        assert play.ticket("s-ben").state == "waiting"


DISTURBING: list[Mutation] = [
    VoidEnvelope("wrong price"),
    CorrectEnvelope("New subject", None, (UpdateRecipient("cyd", name="Cyn"),)),
    UpdateRecipient("cyd", email="cyn@example.com"),
]


class TestMutations:
    """What would disturb a signer waits for the session, or ends it by explicit choice."""

    @pytest.mark.parametrize("mutation", DISTURBING, ids=lambda m: m.kind)
    def test_it_waits_and_goes_first_then(self, mutation):
        """Nothing is asked while Ana is at work; then it goes before Ben, who asked later."""
        play = at_work().asks("m", mutation).rests().passes(30).pings()
        play.wants("s-ben", "ben").rests()

        play.returns().expects("mutate")

        assert (how(play), play.state.sessions.losses) == (End.RETURNED, 0)

    @pytest.mark.parametrize("mutation", DISTURBING, ids=lambda m: m.kind)
    def test_it_ends_the_session_where_that_was_asked(self, mutation):
        """The loss is recorded."""
        play = at_work().asks("m", mutation, "end").expects("mutate")
        assert (how(play), play.state.sessions.losses) == (End.FOR_MUTATION, 1)

    def test_an_unopened_session_is_revoked_before_it(self):
        """Then nothing is lost."""
        play = live().asks("m", DISTURBING[0], "end").expects("revoke_view").answers(Done())
        play.expects("mutate")
        assert (how(play), play.state.sessions.losses) == (End.FOR_MUTATION, 0)

    def test_one_that_may_end_sessions_does_so_from_behind_those_that_wait(self):
        """The others wait of their own accord; they go first, in their order."""
        play = at_work().asks("a", DISTURBING[2]).rests().asks("v", DISTURBING[0], "end")
        call = play.expects("mutate").call
        assert isinstance(call, Mutate)
        assert call.operation_id == "a"

    def test_one_that_disturbs_nobody_goes_at_once(self):
        """One more recipient does not touch what the signer has before his eyes."""
        at_work().asks("n", another(0)).expects("mutate")

    def test_a_void_refuses_those_who_wait(self):
        """After the session that it waited for."""
        play = at_work().asks("v", VoidEnvelope("no")).wants("s-ben", "ben").returns()
        play.expects("mutate").answers(Applied((Fact("voided"),)))
        assert how(play, "s-ben") == End.ENVELOPE_ENDED

    def test_mutations_do_not_wait_behind_an_endless_row_of_sessions(self):
        """One session at the most stands between a mutation and its turn."""
        play = at_work().wants("s-ben", "ben").passes(1).asks("m", DISTURBING[2])
        play.wants("again-1", "ben").returns().expects("mutate").answers(Applied())
        play.expects("read")

    def test_sessions_do_not_wait_behind_an_endless_row_of_mutations(self):
        """Those that came after the request wait until it is granted."""
        play = out().asks("n-0", another(0)).expects("mutate")
        play.passes(1).wants("s-ana", "ana")
        for i in range(1, 4):
            play.passes(1).asks(f"n-{i}", another(i))
        play.answers(Applied()).expects("read").answers(shown()).expects("open_view")
        play.gets_url().expects("mutate")

    def test_a_recipient_who_is_still_to_be_added_may_wait(self):
        """The addition stands in the queue; the request is kept."""
        play = Playbook.draft(an_order(a_definition(PEOPLE[:1]), send=False))
        play.asks("add", AddRecipients((PEOPLE[1],))).wants("s-ben", "ben")
        play.expects("mutate").answers(Applied()).rests()
        assert play.ticket("s-ben").state == "waiting"


class TestWhatIsShown:
    """The URL reaches its asker alone."""

    def test_no_view_and_no_text_holds_the_url(self):
        """Snapshot, card, timeline, summaries and the printed state do not show it."""
        secret = "https://provider.example/secret-of-ana"
        play = out().wants("s-ana", "ana").answers(shown()).gets_url(secret)
        texts = [
            views.snapshot(play.state).model_dump_json(),
            views.card(play.state),
            str(views.timeline(play.state)),
            str(play.ticket("s-ana")),
            repr(play.lease),
        ]
        play.closes("s-ana")
        texts += [views.summary(play.call), repr(play.call), views.card(play.state)]

        assert [text for text in texts if "secret-of-ana" in text] == []

    def test_the_card_says_who_signs_since_when_and_who_waits(self):
        """By the application's ids."""
        card = views.card(at_work().wants("s-ben", "ben").state)
        assert "- now: **ana** since 2026-01-01 09:00:00 UTC, the page is open" in card
        assert "- then: ben" in card

    def test_the_landing_page_knows_where_to_go_also_afterwards(self):
        """By token; unknown tokens lead nowhere."""
        play = at_work()
        assert views.landing(play.state, 1).return_url == BACK
        play.returns()
        assert [views.landing(play.state, t).return_url for t in (1, 0, 7)] == [BACK, "", ""]
