"""The machine, played line by line: one writer, outcomes resolved by looking, an honest end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sealwax import views
from sealwax.calls import (
    Applied,
    Archive,
    Archived,
    Create,
    Done,
    FindCreated,
    Found,
    Mutate,
    NotSent,
    Observed,
    Read,
    Registered,
    Rejected,
    Unknown,
)
from sealwax.definition import Refusal, RefusalCode
from sealwax.envelope import CREATE_OPERATION, SEND_OPERATION, recipient_statuses, waiting_on
from sealwax.facts import EnvelopeStatus, Fact, RecipientStatus
from sealwax.mutations import (
    AddRecipients,
    ChangeMessage,
    RemoveRecipients,
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)
from tests.builders import (
    ACCOUNT_ID,
    ENVELOPE_ID,
    a_definition,
    a_recipient,
    an_event,
    an_observation,
    an_order,
    archived,
    seen_recipient,
)
from tests.playbook import TIMING, Playbook

SENT = Applied((Fact(EnvelopeStatus.SENT),))
COMPLETED = an_observation(EnvelopeStatus.COMPLETED, (seen_recipient(status="completed"),))


class TestOneWriter:
    """At most one call is in flight, and mutations take effect in the order of acceptance."""

    def test_the_registry_knows_before_the_provider_does(self):
        """Register, create the draft, bind its id, and only then send."""
        play = Playbook().expects("register").registers()
        play.expects("create").answers(Applied(provider_envelope_id=ENVELOPE_ID))
        play.expects("bind").answers(Done())
        play.expects("mutate").answers(SENT).rests()

        assert play.state.status is EnvelopeStatus.SENT
        assert [play.answer(o).sequence for o in (CREATE_OPERATION, SEND_OPERATION)] == [1, 2]

    def test_a_second_mutation_waits_for_the_first(self):
        """While one is in flight the next only stands in the queue."""
        play = Playbook.draft()
        play.asks("a", ChangeMessage(subject="A")).asks("b", ChangeMessage(subject="B"))
        first = play.expects("mutate").call
        assert isinstance(first, Mutate)
        assert first.operation_id == "a"

        play.answers(Applied())

        second = play.expects("mutate").call
        assert isinstance(second, Mutate)
        assert (second.operation_id, second.before.subject) == ("b", "A")
        play.answers(Applied()).rests()
        assert (play.answer("a").revision, play.answer("b").revision) == (2, 3)

    def test_one_operation_id_one_effect(self):
        """Asked twice with one id and body: one call; with another body: refused."""
        play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
        play.asks("a", ChangeMessage(subject="A")).answers(Applied()).rests()
        play.asks("a", ChangeMessage(subject="A")).rests()

        with pytest.raises(Refusal, match="used for another request") as refused:
            play.asks("a", ChangeMessage(subject="B"))
        assert refused.value.code is RefusalCode.OPERATION_ID_REUSED

    def test_legality_is_judged_against_the_state_as_it_will_be(self):
        """A void behind a send is fine on a draft; a subject change behind a send is not."""
        play = Playbook.draft().asks("a", ChangeMessage(subject="A")).asks("s", SendEnvelope())

        play.asks("v", VoidEnvelope("wrong price"))
        with pytest.raises(Refusal, match="change_message is not possible while the envelope is"):
            play.asks("c", ChangeMessage(subject="late"))

    def test_what_became_illegal_while_it_waited_is_refused_with_an_answer(self):
        """Declined while a correction stood in the queue: a typed refusal, no call."""
        play = Playbook.draft().asks("s", SendEnvelope())
        play.asks("u", UpdateRecipient("1", name="Anna"))
        play.hears(an_event("envelope-declined", (Fact("declined"),)))

        play.answers(SENT).rests()

        assert (play.answer("u").state, play.answer("u").code) == ("refused", "illegal_in_status")


class TestUnknownOutcomes:
    """An answer that never came is resolved by looking, never by trying again."""

    def test_a_lost_create_that_landed_is_found_and_adopted(self):
        """Found by its mark: no second create."""
        play = Playbook(an_order(send=False)).registers()
        made = play.expects("create").call
        play.answers(Unknown("connection dropped"))
        look = play.expects("find_created").call
        assert isinstance(made, Create)
        assert isinstance(look, FindCreated)
        assert (look.marker, look.transaction_ids) == (made.marker, (made.transaction_id,))

        play.answers(Found((ENVELOPE_ID,))).expects("bind").answers(Done())

        assert play.state.provider_envelope_id == ENVELOPE_ID
        assert play.answer(CREATE_OPERATION).state == "applied"

    def test_not_found_counts_only_after_deadline_and_settle_time(self):
        """Looks that find nothing too early are repeated; then it is made under a new id."""
        play = Playbook(an_order(send=False)).registers()
        first = play.expects("create").call
        started = play.now
        play.answers(Unknown("timed out"))

        while play.state.unknown is not None:
            play.expects("find_created").answers(Found(()))
            if play.state.unknown is not None:
                play.rests()
                play.passes((play.wakes_at - play.now).total_seconds())

        assert play.now == started + timedelta(seconds=15)
        second = play.expects("create").call
        assert isinstance(first, Create)
        assert isinstance(second, Create)
        assert (second.attempt, second.marker) == (2, first.marker)
        assert second.transaction_id != first.transaction_id

    @pytest.mark.parametrize(
        ("began_s_ago", "settles_s"), [(None, 15), (4, 11), (10, 5)], ids=["lost", "4 s", "10 s"]
    )
    def test_the_settle_time_counts_from_when_the_call_was_begun(self, began_s_ago, settles_s):
        """Not from when it was asked for: it may have waited for a worker for minutes. Where the
        worker was lost, nobody knows, so it may have been begun just now.
        """
        play = Playbook(an_order(send=False)).registers()
        play.expects("create").passes(200)
        began_at = None if began_s_ago is None else play.now - timedelta(seconds=began_s_ago)
        play.answers(Unknown("no answer", began_at)).expects("find_created").answers(Found(()))

        assert play.state.unknown is not None
        assert play.state.unknown.settled_at == play.now + timedelta(seconds=settles_s)

    @pytest.mark.parametrize(
        ("mutation", "shown"),
        [
            (ChangeMessage(subject="A"), an_observation(EnvelopeStatus.CREATED, subject="A")),
            (SendEnvelope(), an_observation(EnvelopeStatus.SENT)),
            (
                UpdateRecipient("1", name="Anna"),
                an_observation(
                    EnvelopeStatus.CREATED,
                    (replace(seen_recipient(status="created"), name="Anna"),),
                ),
            ),
            (
                AddRecipients((a_recipient("2", 2, "Ben"),)),
                an_observation(
                    EnvelopeStatus.CREATED,
                    (
                        seen_recipient(status="created"),
                        replace(seen_recipient("2", "guid-2", "created", "Ben"), routing_order=2),
                    ),
                ),
            ),
        ],
    )
    def test_a_lost_mutation_that_landed_is_not_made_again(self, mutation, shown):
        """The read shows what it would have left, so it counts as done."""
        play = Playbook.draft().asks("a", mutation).answers(Unknown("worker lost"))
        look = play.expects("read").call
        assert isinstance(look, Read)
        assert look.why == "look"

        play.answers(Observed(shown)).rests()

        assert play.answer("a").state == "applied"

    def test_a_lost_mutation_that_did_not_land_is_made_again_in_time(self):
        """Not before the old one could no longer take effect."""
        play = Playbook.draft().asks("a", ChangeMessage(subject="A")).answers(Unknown("dropped"))
        play.answers(Observed(an_observation(EnvelopeStatus.CREATED))).rests()
        play.passes(15).expects("read").answers(Observed(an_observation(EnvelopeStatus.CREATED)))

        again = play.expects("mutate").call
        assert isinstance(again, Mutate)
        assert (again.operation_id, again.attempt) == ("a", 2)

    def test_nobody_passes_a_head_whose_outcome_is_unknown(self):
        """The next in the queue waits while we look."""
        play = Playbook.draft().asks("a", ChangeMessage(subject="A")).answers(Unknown("dropped"))
        play.asks("b", ChangeMessage(subject="B")).expects("read")
        play.answers(Observed(an_observation(EnvelopeStatus.CREATED, subject="A")))

        following = play.expects("mutate").call
        assert isinstance(following, Mutate)
        assert following.operation_id == "b"

    def test_setting_tabs_may_be_done_again_when_nobody_can_tell(self):
        """A read without tabs tells nothing; after the settle time the tabs are set anew."""
        play = Playbook.draft().asks("t", SetTabs("1", ())).answers(Unknown("dropped"))
        play.answers(Observed(an_observation(EnvelopeStatus.CREATED))).passes(15)
        play.answers(Observed(an_observation(EnvelopeStatus.CREATED))).expects("mutate")


class TestRefusalsOfTheProvider:
    """Not sent waits and tries again; rejected is an answer; some need a person."""

    def test_not_sent_is_tried_again_after_the_time_asked_for(self):
        """A rate limit names its time and it is kept."""
        play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
        play.answers(NotSent("hourly limit", retry_after_s=120)).rests()
        play.passes(119).rests().passes(1).expects("mutate")

    def test_rejected_answers_the_caller_and_asks_for_a_read(self):
        """The law had thought it legal: what we know may be out of date."""
        play = Playbook.sent().asks("v", VoidEnvelope("no"))
        play.answers(Rejected("ENVELOPE_CANNOT_VOID_INVALID_STATE", "only sent or delivered"))
        play.expects("read").answers(Observed(COMPLETED))

        assert play.answer("v").state == "rejected"
        assert play.state.status is EnvelopeStatus.COMPLETED

    def test_missing_consent_keeps_the_head_and_calls_a_person(self):
        """Nothing is lost: it goes on when consent was granted."""
        play = Playbook.draft().asks("a", ChangeMessage(subject="A"))
        play.answers(Rejected("consent_required", "open this page", needs_person=True)).rests()
        assert play.state.attention == "consent_required: open this page"

        play.passes(300).expects("mutate").answers(Applied())
        assert (play.state.attention, play.answer("a").state) == ("", "applied")

    def test_an_envelope_the_provider_refuses_to_make_ends_rejected(self):
        """Everybody in the queue gets an answer, and the workflow ends."""
        play = Playbook().registers()
        play.answers(Rejected("ANCHOR_TAG_PROCESSING_FAILURE", "no such text"))
        play.expects("close").answers(Done())

        assert play.finished
        assert play.state.status is EnvelopeStatus.REJECTED
        assert play.answer(CREATE_OPERATION).code == "ANCHOR_TAG_PROCESSING_FAILURE"
        assert play.answer(SEND_OPERATION).state == "refused"


class TestWebhooks:
    """Events are held until the envelope is known, counted once, and never another's."""

    def test_events_that_overtake_the_create_are_held(self):
        """envelope-created before the create call returned."""
        play = Playbook(an_order(send=False)).registers()
        early = an_event("envelope-sent", (Fact("sent"),))
        play.hears(early).hears(early)
        statuses = [play.state.status]

        play.creates()

        statuses.append(play.state.status)
        assert statuses == [EnvelopeStatus.NEW, EnvelopeStatus.SENT]
        assert (play.state.events_seen, play.state.events_duplicate) == (1, 1)

    @pytest.mark.parametrize("theirs", [{"envelope_id": "b" * 36}, {"account_id": "b" * 36}])
    def test_a_valid_event_of_another_envelope_changes_nothing(self, theirs):
        """Signed for B, posted to A: counted as foreign."""
        play = Playbook.sent().hears(an_event(**theirs))

        assert play.state.status is EnvelopeStatus.SENT
        assert (play.state.events_seen, play.state.events_foreign) == (0, 1)

    def test_a_repeated_delivery_is_counted_and_not_told_again(self):
        """Redelivery changes neither state nor timeline."""
        play = Playbook.sent().hears(an_event("recipient-sent", (Fact("sent", "1", "g"),)))
        before = play.state
        play.hears(an_event("recipient-sent", (Fact("sent", "1", "g"),)))

        assert play.state == replace(before, events_duplicate=1)

    def test_the_timeline_names_whom_an_event_is_about(self):
        """By the application's id, though the summary in it speaks of everybody."""
        two = a_definition((a_recipient("buyer"), a_recipient("seller", 2, "Ben")))
        everybody = (Fact("sent", "1", "g"), Fact("created", "2", "h"))
        event = replace(an_event("recipient-sent", everybody), recipient="1")

        play = Playbook.sent(an_order(two)).hears(event)

        assert play.state.timeline[-1].text == "webhook recipient-sent (buyer)"

    def test_a_correction_is_read(self):
        """The event says that something changed and not what."""
        play = Playbook.sent().hears(an_event("envelope-corrected", (), needs_read=True))
        play.expects("read").answers(Observed(an_observation(subject="Corrected"))).rests()

    def test_reads_that_nobody_needs_at_once_keep_their_distance(self):
        """A second correction within the least time waits for it."""
        play = Playbook.sent().hears(an_event("envelope-corrected", (), needs_read=True))
        play.answers(Observed(an_observation()))
        play.hears(an_event("envelope-corrected", (), needs_read=True, event_key="2")).rests()
        play.passes(30).expects("read")


class TestIncarnations:
    """A recipient's past self cannot act for the present one."""

    def test_a_removed_recipient_s_number_is_never_used_again(self):
        """Removed and added under the same id of ours: another number at the provider."""
        two = a_definition((a_recipient(), a_recipient("2", name="Ben")))
        play = Playbook.sent(an_order(two))
        play.asks("r", RemoveRecipients(("2",))).answers(Applied())
        play.asks("a", AddRecipients((a_recipient("2", name="Ben"),)))
        call = play.expects("mutate").call
        assert isinstance(call, Mutate)
        assert call.numbers == {"1": "1", "2": "3"}
        play.answers(Applied(incarnations={"3": "new"}))

        play.hears(an_event("recipient-completed", (Fact("completed", "2", "old"),)))

        assert recipient_statuses(play.state)["2"] is RecipientStatus.CREATED
        play.rests()

    def test_a_new_guid_starts_anew_and_an_event_without_one_is_read(self):
        """Corrected e-mail, new guid: `completed` without a guid could be either's."""
        play = Playbook.sent().hears(an_event("x", (Fact("delivered", "1", "old"),)))
        play.asks("u", UpdateRecipient("1", email="new@example.com"))
        play.answers(Applied(incarnations={"1": "new"})).rests()
        assert recipient_statuses(play.state)["1"] is RecipientStatus.CREATED

        play.hears(an_event("recipient-completed", (Fact("completed", "1"),), event_key="y"))
        play.expects("read")
        play.answers(Observed(an_observation(recipients=(seen_recipient("1", "new", "sent"),))))

        assert recipient_statuses(play.state)["1"] is RecipientStatus.SENT
        play.passes(3600).rests()

    def test_a_guid_first_heard_during_a_read_is_left_to_the_next_one(self):
        """The read may be older than the webhook that arrived while it was under way."""
        play = Playbook.sent().hears(an_event("c", (Fact("sent", "1", "a"),), needs_read=True))
        play.expects("read").hears(an_event("d", (Fact("sent", "1", "b"),)))
        play.answers(Observed(an_observation(recipients=(seen_recipient("1", "a"),)))).rests()

        play.passes(30).expects("read")
        play.answers(Observed(an_observation(recipients=(seen_recipient("1", "b"),)))).rests()
        assert play.state.incarnations == {"1": "b"}

    def test_a_recipient_that_somebody_else_added_is_taken_in(self):
        """A snapshot adds; it never takes away."""
        play = Playbook.sent().hears(an_event("envelope-corrected", (), needs_read=True))
        shown = (seen_recipient("7", "guid-7", "sent", "Zoe"),)
        play.answers(Observed(an_observation(recipients=shown)))

        assert [r.recipient_id for r in play.state.definition.recipients] == ["1", "7"]
        assert waiting_on(play.state) == ("1", "7")


class TestTheEnd:
    """A workflow ends only when a read confirms it, the archive stands and nobody waits."""

    def test_completed_is_confirmed_archived_and_closed(self):
        """Settle, read, archive one file after the other, close."""
        play = Playbook.sent().hears(an_event()).rests()
        play.passes(59).rests().passes(1).expects("read").answers(Observed(COMPLETED))
        play.expects("archive").answers(archived("combined"))
        play.expects("archive").answers(archived("certificate")).expects("close").answers(Done())

        assert play.finished
        assert play.state.closed

    def test_what_is_archived_is_not_fetched_again(self):
        """A file that could not be fetched is tried again; one that stands is not, also after a
        fetch of both by an earlier version."""
        play = Playbook.sent().hears(an_event())
        play.passes(60).expects("read").answers(Observed(COMPLETED))
        asked = [_archive_asked(play)]
        play.expects("archive").answers(archived("combined"))
        asked.append(_archive_asked(play))
        play.expects("archive").answers(NotSent("the provider is away"))
        play.passes((play.wakes_at - play.now).total_seconds())
        asked.append(_archive_asked(play))
        play.expects("archive").answers(archived()).expects("close").answers(Done())

        assert asked == ["combined", "certificate", "certificate"]
        assert [d.name for d in play.state.archive or ()] == ["combined", "certificate"]

    def test_an_archive_that_comes_back_empty_is_tried_again_later(self):
        """Not at once and for ever."""
        play = Playbook.sent().hears(an_event())
        play.passes(60).expects("read").answers(Observed(COMPLETED))
        play.expects("archive").answers(Archived(())).rests()

        assert play.wakes_at > play.now

    def test_a_final_status_that_the_read_does_not_show_is_asked_again(self):
        """Three times; then a person is told, and the asking goes on."""
        play = Playbook.sent().hears(an_event())
        for _ in range(3):
            play.passes((play.wakes_at - play.now).total_seconds())
            play.answers(Observed(an_observation(EnvelopeStatus.DELIVERED))).rests()

        assert play.state.attention == "the provider shows delivered where completed was reported"
        assert not play.finished

    def test_a_void_that_lost_the_race_ends_completed_and_flagged(self):
        """The signer finished while the void was in flight; both were reported."""
        play = Playbook.sent().asks("v", VoidEnvelope("late")).hears(an_event())
        play.answers(Applied((Fact("voided"),)))

        assert play.state.status is EnvelopeStatus.COMPLETED
        assert play.state.facts.contradictions()

    def test_a_deleted_draft_that_is_restored_lives_on(self):
        """A read asked for after the deletion was known shows a draft: it came back."""
        play = Playbook.draft().hears(an_event("envelope-deleted", (Fact("deleted", mark="t"),)))
        play.passes(60).expects("read").answers(Observed(an_observation(EnvelopeStatus.CREATED)))

        assert play.state.status is EnvelopeStatus.CREATED
        play.rests().asks("s", SendEnvelope()).expects("mutate")

    def test_another_order_under_a_known_business_key_ends_without_a_call(self):
        """Whoever asked for something gets the reason, the registry's row is left as it stands."""
        signer = replace(a_recipient(), client_user_id="a")
        play = Playbook(an_order(a_definition((signer,))))
        play.wants("session-1", "1").asks("op-1", VoidEnvelope("Withdrawn"))
        play.answers(Registered("docusign", ACCOUNT_ID, TIMING, reused=True)).rests()

        assert play.finished
        assert play.state.refused is RefusalCode.BUSINESS_KEY_REUSED
        for operation in (CREATE_OPERATION, SEND_OPERATION, "op-1"):
            answer = play.answer(operation)
            assert (answer.state, answer.code) == ("refused", RefusalCode.BUSINESS_KEY_REUSED)
        assert play.ticket("session-1").state == "refused"
        assert views.snapshot(play.state).refused is RefusalCode.BUSINESS_KEY_REUSED
        assert "business key" in views.card(play.state)

    def test_a_second_life_adopts_what_the_first_one_made(self):
        """The registry remembers the provider's envelope: nothing is created again."""
        play = Playbook().registers(provider_envelope_id=ENVELOPE_ID)
        play.expects("bind").answers(Done()).expects("read").answers(Observed(COMPLETED))

        assert play.answer(CREATE_OPERATION).state == "applied"
        assert play.answer(SEND_OPERATION).state == "refused"
        assert play.state.status is EnvelopeStatus.COMPLETED


def _archive_asked(play: Playbook) -> str:
    call = play.state.in_flight
    assert isinstance(call, Archive)
    return call.document
