"""Requests that name a revision: judged at their turn, remembered within bounds, told whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from sealwax import views
from sealwax.calls import Applied, Mutate, Observed, Unknown
from sealwax.conflicts import (
    CHANGES_BYTES_MAX,
    CONFLICTS_KEPT_MAX,
    FIELDS_TOLD_MAX,
    REVISIONS_KEPT_MAX,
    TEXT_TOLD_MAX,
    ConflictFound,
    fields_at,
)
from sealwax.definition import Refusal, RefusalCode, Tab, TabKind
from sealwax.envelope import Envelope
from sealwax.facts import EnvelopeStatus
from sealwax.merge import Expected
from sealwax.mutations import (
    AddRecipients,
    ChangeMessage,
    RemoveRecipients,
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
)
from tests.builders import (
    a_definition,
    a_recipient,
    an_event,
    an_observation,
    an_order,
    seen_recipient,
)
from tests.playbook import Playbook

TWO = a_definition(recipients=(a_recipient("1"), a_recipient("2", 2, "Ben")))


def subjects(play: Playbook, count: int, text: str = "") -> None:
    """So many applied changes of the subject and message."""
    for n in range(count):
        play.asks(f"s-{play.state.revision}", ChangeMessage(f"S{n}", text and f"{n}{text}"))
        play.answers(Applied())


def test_what_stands_before_it_in_the_queue_counts() -> None:
    """Two ask from one reading at once: the second is judged after the first had its turn."""
    play = Playbook.draft()
    read = play.state.revision
    play.asks("a", ChangeMessage("A"), expected=Expected(read))
    play.asks("b", ChangeMessage("B"), expected=Expected(read))
    play.asks("c", UpdateRecipient("1", name="Anna"), expected=Expected(read, merge=True))

    play.expects("mutate").answers(Applied())

    assert (play.answer("b").state, play.answer("b").code) == ("refused", "conflict")
    told = views.result(play.state, "b")
    assert told is not None
    assert told.conflict is not None
    assert (told.conflict.expected, told.conflict.revision) == (read, read + 1)
    (change,) = told.conflict.changed
    assert (change.path, change.before, change.now, change.wanted, change.overlaps) == (
        "subject",
        "Please sign",
        "A",
        "B",
        True,
    )
    play.expects("mutate").answers(Applied()).rests()
    assert play.answer("c").state == "applied"


def test_a_stale_request_in_the_queue_does_not_shape_what_may_follow() -> None:
    """The removal will be refused, so what needs the recipient may be asked for."""
    play = Playbook.draft(an_order(TWO, send=False))
    read = play.state.revision
    play.asks("a", ChangeMessage("A"), expected=Expected(read))
    play.asks("b", RemoveRecipients(("2",)), expected=Expected(read))
    play.asks("c", UpdateRecipient("2", name="Benno"))
    play.expects("mutate").answers(Applied()).expects("mutate").answers(Applied()).rests()
    assert [play.answer(o).state for o in "abc"] == ["applied", "refused", "applied"]


def test_a_request_that_is_repeated_after_reading_again_gets_its_first_answer() -> None:
    """Who died after asking expects another revision, and means the same request by its id."""
    play = Playbook.draft()
    read = play.state.revision
    play.asks("a", ChangeMessage("A"), expected=Expected(read)).answers(Applied())
    for other in (None, Expected(read), Expected(read, merge=True), Expected(read + 1)):
        play.asks("a", ChangeMessage("A"), expected=other).rests()
    assert (play.answer("a").state, play.state.revision) == ("applied", read + 1)
    with pytest.raises(Refusal) as caught:
        play.asks("a", ChangeMessage("B"), expected=Expected(read))
    assert caught.value.code is RefusalCode.OPERATION_ID_REUSED


def test_a_revision_that_is_yet_to_come_is_a_conflict_at_its_turn() -> None:
    """It may come true while the request waits, and is refused where it did not."""
    play = Playbook.draft()
    read = play.state.revision
    play.asks("a", ChangeMessage("A"))
    play.asks("b", ChangeMessage("B"), expected=Expected(read + 1))
    play.asks("c", ChangeMessage("C"), expected=Expected(read + 9))
    play.answers(Applied()).answers(Applied()).rests()
    assert [play.answer(o).code for o in "abc"] == ["", "", "conflict"]
    assert "yet to come" in play.answer("c").message


def test_a_deletion_and_an_edit_of_the_same_recipient_conflict_both_ways() -> None:
    """Neither undoes the other unseen; the law's word would be that there is no such recipient."""
    for first, second in (
        (RemoveRecipients(("2",)), UpdateRecipient("2", name="Benno")),
        (UpdateRecipient("2", name="Benno"), RemoveRecipients(("2",))),
    ):
        play = Playbook.draft(an_order(TWO, send=False))
        read = play.state.revision
        play.asks("first", first).answers(Applied())
        with pytest.raises(ConflictFound) as caught:
            play.asks("second", second, expected=Expected(read, merge=True))
        assert "recipients.2.name" in {c.path for c in caught.value.conflict.changed}


def test_sending_merges_with_what_others_wrote_and_not_with_what_they_ended() -> None:
    """The status is a field of its own, of those mutations that bring one about."""
    play = Playbook.draft()
    read = play.state.revision
    play.asks("a", ChangeMessage("A")).answers(Applied())
    play.asks("send", SendEnvelope(), expected=Expected(read, merge=True)).expects("mutate")
    strict = Playbook.draft()
    strict.asks("a", ChangeMessage("A")).answers(Applied())
    with pytest.raises(ConflictFound):
        strict.asks("send", SendEnvelope(), expected=Expected(read))


def test_what_somebody_did_at_the_provider_is_a_change() -> None:
    """A recipient that a read shows for the first time moves the revision and is told."""
    play = Playbook.sent(an_order(TWO))
    read = play.state.revision
    play.passes(60).hears(an_event("x", (), needs_read=True))
    seen = (
        seen_recipient("1"),
        seen_recipient("2", "guid-2", name="Ben"),
        seen_recipient("7", "guid-7", name="Zoe"),
    )
    play.expects("read").answers(Observed(an_observation(recipients=seen))).rests()
    assert play.state.revision == read + 1
    with pytest.raises(ConflictFound) as caught:
        play.asks("a", UpdateRecipient("1", name="Anna"), expected=Expected(read))
    assert {c.path.split(".")[1] for c in caught.value.conflict.changed} == {"7"}
    merge = Expected(read, merge=True)
    play.asks("a", UpdateRecipient("1", name="Anna"), expected=merge).expects("mutate")


def test_a_recipient_that_a_look_shows_is_kept_with_what_had_landed() -> None:
    """The lost mutation's result is joined with what somebody else did meanwhile."""
    play = Playbook.sent(an_order(TWO))
    play.asks("a", UpdateRecipient("1", name="Anna")).answers(Unknown("dropped"))
    seen = (
        seen_recipient("1", name="Anna"),
        seen_recipient("2", "guid-2", name="Ben"),
        seen_recipient("7", "guid-7", name="Zoe"),
    )
    anna = replace(seen[0], email="ana@example.com")
    play.expects("read").answers(Observed(an_observation(recipients=(anna, *seen[1:]))))
    assert play.answer("a").state == "applied"
    names = {r.recipient_id: r.name for r in play.state.definition.recipients}
    assert names == {"1": "Anna", "2": "Ben", "7": "Zoe"}
    assert play.state.numbers["7"] == "7"


def test_memory_of_changes_is_bounded_and_says_so() -> None:
    """So many revisions and bytes are kept; who read before them is told to read again."""
    play = Playbook.draft()
    read = play.state.revision
    subjects(play, REVISIONS_KEPT_MAX + 5)
    state = play.state
    assert state.changes_from == state.revision - REVISIONS_KEPT_MAX
    assert fields_at(state, state.changes_from) is not None
    with pytest.raises(ConflictFound, match=r"not kept any more; read it again") as caught:
        play.asks("a", UpdateRecipient("1", name="Anna"), expected=Expected(read, merge=True))
    assert caught.value.conflict.changed == ()

    long = Playbook.draft()
    subjects(long, 30, "x" * 9_000)
    kept = sum(len(str(c.before)) for c in long.state.changes)
    assert 0 < kept <= CHANGES_BYTES_MAX
    assert fields_at(long.state, long.state.changes_from) is not None
    assert fields_at(long.state, long.state.changes_from - 1) is None


def test_what_is_told_of_conflicts_is_bounded() -> None:
    """Long values are cut, many fields counted, and only the latest conflicts told whole."""
    play = Playbook.draft(an_order(TWO, send=False))
    read = play.state.revision
    tabs = tuple(Tab(TabKind.TEXT, f"t{n}", 1) for n in range(FIELDS_TOLD_MAX + 3))
    play.asks("tabs", SetTabs("1", tabs)).answers(Applied())
    play.asks("text", ChangeMessage(message="m" * 5_000)).answers(Applied())
    with pytest.raises(ConflictFound) as caught:
        play.asks("a", ChangeMessage(message="Ours"), expected=Expected(read))
    conflict = caught.value.conflict
    assert (len(conflict.changed), conflict.more) == (FIELDS_TOLD_MAX, 4)
    assert conflict.changed[0].path == "message"
    assert len(str(conflict.changed[0].now)) == TEXT_TOLD_MAX

    now = play.state.revision
    play.asks("blocker", ChangeMessage("B"))
    for n in range(CONFLICTS_KEPT_MAX + 2):
        play.asks(f"c{n}", ChangeMessage(f"C{n}"), expected=Expected(now))
    play.answers(Applied()).rests()
    assert len(play.state.conflicts) == CONFLICTS_KEPT_MAX
    for name, whole in (("c0", False), (f"c{CONFLICTS_KEPT_MAX + 1}", True)):
        told = views.result(play.state, name)
        assert told is not None
        assert told.conflict is not None
        assert told.conflict.correlation_id
        assert bool(told.conflict.changed) is whole


def test_a_new_run_knows_the_same_changes() -> None:
    """Carried over as JSON, values keep their kinds, and a merge comes to the same."""
    play = Playbook.draft(an_order(TWO, send=False))
    read = play.state.revision
    play.asks("a", UpdateRecipient("1", name="Anna", routing_order=2)).answers(Applied())
    play.asks("b", RemoveRecipients(("2",))).answers(Applied())
    whole: TypeAdapter[Envelope] = TypeAdapter(Envelope)
    again = whole.validate_json(whole.dump_json(play.state))
    assert again.changes == play.state.changes
    assert [type(c.before) for c in again.changes] == [type(c.before) for c in play.state.changes]
    play.state = again
    ours = UpdateRecipient("1", name="Ana", email="new@example.com", routing_order=1)
    call = play.asks("c", ours, expected=Expected(read, merge=True)).expects("mutate").call
    assert isinstance(call, Mutate)
    assert call.mutation == UpdateRecipient("1", email="new@example.com")
    assert play.state.status is EnvelopeStatus.CREATED


def test_an_addition_that_others_made_otherwise_is_a_conflict():
    """Both add recipient 2, one of them with a tab: the second is told, its tab is not dropped."""
    play = Playbook.draft()
    read = play.state.revision
    play.asks("theirs", AddRecipients((a_recipient("2"),)))
    while play.state.in_flight is not None:
        play.answers(Applied())
    tab = Tab(TabKind.SIGN_HERE, "here", 1, 1, 10, 10)
    ours = AddRecipients((replace(a_recipient("2"), tabs=(tab,)),))
    with pytest.raises(ConflictFound):
        play.asks("ours", ours, expected=Expected(read, merge=True))
