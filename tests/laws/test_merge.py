"""Laws of the three-way merge: of fields alone, and of mutations against remembered revisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from sealwax.calls import Applied, Mutate
from sealwax.conflicts import ConflictFound, fields_at, fields_of
from sealwax.definition import CustomField, Definition, Refusal, Tab, TabKind, check_definition
from sealwax.fields import built, flat
from sealwax.merge import ENTITY, Expected, Fields, Merged, Value, differing, merge3
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    Mutation,
    Projection,
    RemoveDocuments,
    SetCustomFields,
    SetTabs,
    UpdateRecipient,
    project,
)
from tests.builders import a_definition, a_document, an_order
from tests.laws.definitions import definitions, edits, overlapping
from tests.playbook import Playbook

THINGS = ("a", "b")


@st.composite
def field_maps(draw: st.DrawFn, whole: bool = False) -> dict[str, Value]:
    """Two things with fields of their own, each there or not (``whole``: both there), and two
    fields that stand alone."""
    values: dict[str, Value] = {}
    leaves = st.sampled_from((None, 1, 2, True, "x"))
    for thing in THINGS:
        if not whole and not draw(st.booleans()):
            continue
        values[thing] = ENTITY
        for name in ("x", "y"):
            if (value := draw(leaves)) is not None:
                values[f"{thing}.{name}"] = value
    for name in ("s", "t"):
        if (value := draw(leaves)) is not None:
            values[name] = value
    return values


def sides(base: Fields, merged: Merged, ours: Fields, theirs: Fields) -> list[tuple[str, Fields]]:
    """Each path that one side changed and that is no conflict, with that side."""
    told = set(merged.conflicts)
    return [(p, s) for s in (ours, theirs) for p in differing(base, s) if p not in told]


@given(field_maps(), field_maps())
def test_identity(base: dict[str, Value], other: dict[str, Value]) -> None:
    """Where one side changed nothing, the other side is what comes out."""
    assert merge3(base, base, other) == Merged(other, ())
    assert merge3(base, other, base) == Merged(other, ())


@given(field_maps(), field_maps())
def test_equal_edits_are_that_edit(base: dict[str, Value], both: dict[str, Value]) -> None:
    """The same change on both sides is no conflict."""
    assert merge3(base, both, both) == Merged(both, ())


@given(field_maps(), field_maps(), field_maps())
def test_disjoint_edits_commute(
    base: dict[str, Value], ours: dict[str, Value], theirs: dict[str, Value]
) -> None:
    """Who came first does not matter: the same conflicts either way, and without any the same
    values."""
    one, other = merge3(base, ours, theirs), merge3(base, theirs, ours)
    assert one.conflicts == other.conflicts
    if not one.conflicts:
        assert one.values == other.values


@given(field_maps(), field_maps(), field_maps())
def test_no_edit_is_lost_silently(
    base: dict[str, Value], ours: dict[str, Value], theirs: dict[str, Value]
) -> None:
    """Each change of either side is in the result, or told as a conflict; nothing else changed."""
    merged = merge3(base, ours, theirs)
    for path, side in sides(base, merged, ours, theirs):
        assert path not in differing(merged.values, side)
    touched = {*differing(base, ours), *differing(base, theirs)}
    assert set(differing(base, merged.values)) <= touched


@given(field_maps(whole=True), field_maps(whole=True), st.sampled_from(THINGS))
def test_a_deletion_conflicts_with_any_edit_inside(
    base: dict[str, Value], theirs: dict[str, Value], thing: str
) -> None:
    """Whether the other side changed, added or took something away there."""
    ours = {p: v for p, v in base.items() if p != thing and not p.startswith(f"{thing}.")}
    inside = [p for p in differing(base, theirs) if p.startswith(f"{thing}.")]
    left = [p for p in inside if p in theirs]
    for one, other in ((ours, theirs), (theirs, ours)):
        conflicts = merge3(base, one, other).conflicts
        assert set(left) <= set(conflicts)
        assert bool(conflicts) == bool(left)


def after(definition: Definition, *made: Mutation) -> Definition:
    """The definition that mutations of a draft leave one after the other; an example in which one
    is illegal is none."""
    projection = Projection(Playbook.draft().state.status, definition)
    try:
        for mutation in made:
            projection = project(projection, mutation)
    except Refusal:
        reject()
    return projection.definition


def made(play: Playbook, mutation: Mutation, name: str, expected: Expected | None = None) -> str:
    """Ask for a mutation and let the provider make what comes of it: "applied", or the refusal."""
    try:
        play.asks(name, mutation, expected=expected)
    except Refusal as refusal:
        return refusal.code
    while play.state.in_flight is not None:
        play.answers(Applied())
    answer = play.answer(name)
    return answer.code or answer.state


@given(definitions, st.lists(edits, min_size=1, max_size=4), edits)
def test_a_merged_mutation_leaves_what_both_wanted(
    base: Definition, theirs: list[Mutation], ours: Mutation
) -> None:
    """From any reading: applied, the envelope holds exactly the merge of both; refused as a
    conflict or by the law, what others left. Refused are overlaps, what no envelope may come to,
    a document's removal that would take along what others placed on it, and the addition of what
    others added otherwise under the same id."""
    wanted = after(base, ours)
    play = Playbook.draft(an_order(base, send=False))
    read = play.state.revision
    for number, mutation in enumerate(theirs):
        made(play, mutation, f"theirs-{number}")
    now = flat(play.state.definition)
    merged = merge3(flat(base), flat(wanted), now)
    came = made(play, ours, "ours", Expected(read, merge=True))
    if came == "applied":
        assert not merged.conflicts
        assert flat(play.state.definition) == merged.values
        return
    assert flat(play.state.definition) == now
    if came == "conflict":
        reaching = RemoveDocuments | AddRecipients | AddDocuments
        assert merged.conflicts or isinstance(ours, reaching)
    else:
        with pytest.raises(Refusal):
            check_definition(built(merged.values))


@given(definitions, st.lists(edits, min_size=1, max_size=6))
def test_every_kept_revision_can_be_rebuilt(base: Definition, mutations: list[Mutation]) -> None:
    """Walking back over the changes gives the fields as they stood at each revision."""
    play = Playbook.draft(an_order(base, send=False))
    stood = {play.state.revision: fields_of(play.state)}
    for number, mutation in enumerate(mutations):
        made(play, mutation, f"op-{number}")
        stood[play.state.revision] = fields_of(play.state)
    for revision, fields in stood.items():
        assert fields_at(play.state, revision) == fields


@given(definitions, overlapping, st.booleans())
def test_a_conflict_shows_both_values(
    base: Definition, pair: tuple[Mutation, Mutation], turned: bool
) -> None:
    """What both touched otherwise is refused with all three values of each field."""
    theirs, ours = reversed(pair) if turned else pair
    left, wanted = after(base, theirs), after(base, ours)
    before, mine, others = flat(base), flat(wanted), flat(left)
    overlaps = merge3(before, mine, others).conflicts
    assume(overlaps)
    play = Playbook.draft(an_order(base, send=False))
    read = play.state.revision
    assert made(play, theirs, "theirs") == "applied"
    with pytest.raises(ConflictFound) as found:
        play.asks("ours", ours, expected=Expected(read, merge=True))
    told = {c.path: (c.before, c.now, c.wanted) for c in found.value.conflict.changed}
    assert told == {p: (before.get(p), others.get(p), mine.get(p)) for p in overlaps}
    assert all(c.overlaps for c in found.value.conflict.changed)


def test_a_call_is_what_is_missing() -> None:
    """What others made already is not asked of the provider again."""
    play = Playbook.draft()
    read = play.state.revision
    assert made(play, UpdateRecipient("1", name="Anna"), "theirs") == "applied"
    same = UpdateRecipient("1", name="Anna")
    play.asks("same", same, expected=Expected(read, merge=True)).rests()
    assert play.answer("same").state == "applied"
    both = UpdateRecipient("1", name="Anna", routing_order=3)
    call = play.asks("both", both, expected=Expected(read, merge=True)).expects("mutate").call
    assert isinstance(call, Mutate)
    assert call.mutation == UpdateRecipient("1", routing_order=3)


def test_a_removal_does_not_reach_into_what_others_made() -> None:
    """A document on which somebody placed a tab meanwhile is not taken out together with it."""
    order = an_order(a_definition(documents=(a_document(1), a_document(2))), send=False)
    play = Playbook.draft(order)
    read = play.state.revision
    assert made(play, SetTabs("1", (Tab(TabKind.TEXT, "price", 2),)), "theirs") == "applied"
    with pytest.raises(ConflictFound) as found:
        play.asks("ours", RemoveDocuments((2,)), expected=Expected(read, merge=True))
    assert [c.path for c in found.value.conflict.changed] == ["recipients.1.tabs.text:price"]
    assert made(play, RemoveDocuments((1,)), "other", Expected(read, merge=True)) == "applied"


def test_what_a_caller_repeats_without_changing_it_does_not_undo_others() -> None:
    """A custom field that is set to what was read stays as others left it meanwhile."""
    fields = (CustomField("po", "1"), CustomField("site", "Oslo"))
    definition = replace(a_definition(), custom_fields=fields)
    play = Playbook.draft(an_order(definition, send=False))
    read = play.state.revision
    assert made(play, SetCustomFields({"po": "2"}), "theirs") == "applied"
    ours = SetCustomFields({"po": "1", "site": "Rome"})
    assert made(play, ours, "ours", Expected(read, merge=True)) == "applied"
    assert {f.name: f.value for f in play.state.definition.custom_fields} == {
        "po": "2",
        "site": "Rome",
    }
