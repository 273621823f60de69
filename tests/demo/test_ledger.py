"""The figures are counted from the ledger of truth: each harm shows in its own figure."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from demo import ledger, standing, workload
from demo.ledger import Belief, Figures
from demo.workload import Life

LIVES = workload.make(7, 3)


def truth_of(life: Life) -> dict[str, Any]:
    """What the ledger holds of an envelope that ended as intended."""
    want = workload.intended(life)
    return {
        "envelopeId": f"id-of-{life.key}",
        "status": want.status,
        "emailSubject": want.subject,
        "emailBlurb": want.message,
        "voidedReason": next(
            (r.change.reason for r in life.requests() if isinstance(r.change, workload.Void)), None
        ),
        "documents": [
            {"documentId": str(number), "sha256": standing.contract_sha256(name)}
            for number, name in want.documents.items()
        ],
        "recipients": [
            {
                "type": "signer" if party.signs else "carboncopy",
                "name": party.name,
                "email": email,
                "routingOrder": party.order,
                "status": want.status,
                "tabs": [{"tabLabel": label} for label in want.fields.get(email, ())],
            }
            for email, party in want.parties.items()
        ],
    }


def account(*truths: dict[str, Any], lost: tuple[str, ...] = (), overlaps: int = 0) -> Any:
    """An account's ledger; `lost` names the envelope of each write that was wiped out."""
    return {
        "envelopes": list(truths),
        "writes": [{"envelopeId": envelope_id, "lost": True} for envelope_id in lost],
        "overlaps": overlaps,
        "calls_total": 50,
    }


def beliefs_of(truths: list[dict[str, Any]]) -> dict[str, Belief]:
    """Clients that know how their envelopes ended."""
    return {
        life.key: Belief(truth["envelopeId"], truth["status"])
        for life, truth in zip(LIVES, truths, strict=True)
    }


@pytest.fixture
def truths() -> list[dict[str, Any]]:
    """Three envelopes, one of them voided, all as intended."""
    return [truth_of(life) for life in LIVES]


def counted(truths: list[dict[str, Any]], **harm: Any) -> Figures:
    return ledger.count(LIVES, account(*truths, **harm), beliefs_of(truths))


def test_all_as_intended_is_harmless(truths):
    """When everything stands, every mutation counts as effective and no harm is counted."""
    requested = sum(len(list(life.requests())) for life in LIVES)
    assert counted(truths) == Figures(
        envelopes=3,
        completed=2,
        mutations_requested=requested,
        mutations_effective=requested,
        lost_updates=0,
        duplicate_envelopes=0,
        wrong_final_states=0,
        api_calls=50,
        overlapping_writes=0,
    )
    assert counted(truths).harmless


def undo(change: workload.Change, life: Life, truth: dict[str, Any]) -> None:
    """Take one change's effect out of the ledger."""
    people = {recipient["email"]: recipient for recipient in truth["recipients"]}
    match change:
        case workload.AddDocument(number, _):
            truth["documents"] = [d for d in truth["documents"] if d["documentId"] != str(number)]
        case workload.ChangeSubject():
            truth["emailSubject"] = life.subject
        case workload.ChangeMessage():
            truth["emailBlurb"] = life.message
        case workload.AddParty(party):
            truth["recipients"].remove(people[party.email])
        case workload.PlaceFields(role, _):
            people[life.party(role).email]["tabs"].pop()
        case workload.Reorder(role, _):
            people[life.party(role).email]["routingOrder"] = life.party(role).order
        case workload.Rename(role, _):
            people[life.party(role).email]["name"] = life.party(role).name
        case workload.Void():
            truth["status"] = "sent"
        case workload.Send():
            truth["status"] = "created"


@pytest.mark.parametrize("number", range(len(LIVES)))
def test_every_missing_effect_is_seen(truths, number):
    """Whichever single change is missing, one fewer is effective and the final state is wrong."""
    life = LIVES[number]
    whole = counted(truths)
    for request in life.requests():
        harmed = copy.deepcopy(truths)
        undo(request.change, life, harmed[number])
        found = counted(harmed, lost=(harmed[number]["envelopeId"],), overlaps=1)
        assert not found.harmless
        assert found.wrong_final_states == 1, request
        if not isinstance(request.change, workload.Send):
            assert found.mutations_effective == whole.mutations_effective - 1, request
            assert found.lost_updates == 1, request


@pytest.mark.parametrize("number", range(len(LIVES)))
def test_what_is_missing_is_named(truths, number):
    """Nothing is missing of an envelope as intended; of a harmed one exactly what was undone."""
    life = LIVES[number]
    belief = beliefs_of(truths)[life.key]
    assert ledger.missing(life, account(*truths), belief) == ()
    for request in life.draft:
        harmed = copy.deepcopy(truths)
        undo(request.change, life, harmed[number])
        assert ledger.missing(life, account(*harmed), belief) == (request,)


def test_a_change_that_was_never_accepted_is_not_lost(truths):
    """Missing without a wiped-out write: ineffective, the state wrong, but no lost update."""
    undo(workload.ChangeSubject(""), LIVES[0], truths[0])
    found = counted(truths)
    assert (found.lost_updates, found.wrong_final_states) == (0, 1)
    assert found.mutations_effective == found.mutations_requested - 1


def test_racing_writes_are_never_harmless(truths):
    """A wiped-out write that chance brought back is no lost update, yet not harmless."""
    found = counted(truths, lost=(truths[0]["envelopeId"],), overlaps=2)
    assert found.lost_updates == 0
    assert not found.harmless


@pytest.mark.parametrize(("status", "duplicates"), [("created", 1), ("sent", 1), ("deleted", 0)])
def test_second_envelopes_of_a_key_are_counted_unless_binned(truths, status, duplicates):
    """A second envelope of a business key is a duplicate, a draft too; one in the bin is not."""
    second = copy.deepcopy(truths[0]) | {"envelopeId": "another", "status": status}
    found = ledger.count(LIVES, account(*truths, second), beliefs_of(truths))
    assert found.duplicate_envelopes == duplicates
    assert found.wrong_final_states == 0


def test_a_client_that_believes_another_status_is_wrong(truths):
    """The envelope may be right: a client that does not know is counted as a wrong final state."""
    beliefs = beliefs_of(truths) | {LIVES[0].key: Belief(truths[0]["envelopeId"], "sent")}
    assert ledger.count(LIVES, account(*truths), beliefs).wrong_final_states == 1


def test_a_missing_envelope_is_wrong(truths):
    """An order without an envelope ends wrong, and none of its changes is effective."""
    found = ledger.count(LIVES, account(*truths[1:]), beliefs_of(truths))
    assert found.wrong_final_states == 1
    assert found.mutations_effective == found.mutations_requested - len(list(LIVES[0].requests()))


def test_somebody_who_was_not_asked_for_is_wrong(truths):
    """Content beyond what was intended is wrong as well."""
    truths[0]["recipients"].append(dict(truths[0]["recipients"][0], email="x@example.com"))
    assert counted(truths).wrong_final_states == 1
