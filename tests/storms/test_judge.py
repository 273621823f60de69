"""The judge of storms: every kind of harm is counted, once, and nothing else is."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from benchmarks.storms import load, weather
from benchmarks.storms.judge import Harm, judge
from benchmarks.storms.record import Answer, Held, Record
from demo import workload
from demo.standing import contract_sha256
from demo.workload import Life
from sealwax.legality import LEGAL

LIFE = load.lives(3, 10)[0]
OPERATIONS = list(load.operations(LIFE))
LIVES = load.lives(3, 30)
BARE: dict[str, Any] = {
    "emailSubject": "",
    "emailBlurb": "",
    "documents": [{"documentId": "3", "sha256": ""}],
    "removedRecipients": [],
    "customFields": {"region": "north"},
    "notification": {},
    "history": [],
}


def truth(life: Life = LIFE, envelope_id: str = "e1", **other: Any) -> dict[str, Any]:
    """The ledger's record of an envelope that ended as it was meant to."""
    meant = workload.intended(life)
    reasons = (r.change.reason for r in life.requests() if isinstance(r.change, workload.Void))
    gone = [
        life.address(request.change.role)
        for request in life.requests()
        if isinstance(request.change, workload.RemoveParty)
    ]
    people = [
        {
            "recipientId": "1" if party.role == workload.BUYER else party.role,
            "email": party.email,
            "name": party.name,
            "type": "signer" if party.signs else "carboncopy",
            "routingOrder": str(party.order),
            "status": "completed",
            "tabs": [{"tabLabel": label} for label in meant.fields.get(party.email, ())],
        }
        for party in meant.parties.values()
    ]
    documents = [
        {"documentId": str(number), "sha256": contract_sha256(contract)}
        for number, contract in meant.documents.items()
    ]
    return {
        "envelopeId": envelope_id,
        "status": meant.status,
        "emailSubject": meant.subject,
        "emailBlurb": meant.message,
        "documents": documents,
        "recipients": people,
        "voidedReason": next(reasons, None),
        "removedRecipients": [{"email": email} for email in gone],
        "customFields": {name: v for name, v in meant.labels.items() if v is not None},
        "notification": notification(meant),
        "history": [{"what": "mail to recipient 1: resent"}] * mailed_again(life),
        **other,
    }


def people_at_first(life: Life) -> list[dict[str, Any]]:
    """Those who are there before any change, and the observer."""
    emails = {p.email for p in life.parties}
    emails |= {f"observer.{life.party(workload.SELLER).email}"}
    return [{"recipientId": "1", "email": email} for email in sorted(emails)]


def mailed_again(life: Life) -> int:
    """How often the buyer is mailed again."""
    return sum(isinstance(r.change, workload.Resend) for r in life.requests())


def notification(meant: workload.Intended) -> dict[str, Any]:
    """Reminders and end as the provider keeps them."""
    held: dict[str, Any] = {}
    if meant.reminders is not None:
        first, every = map(str, meant.reminders)
        days = {"reminderDelay": first, "reminderFrequency": every}
        held["reminders"] = {"reminderEnabled": "true", **days}
    if meant.expiration is not None:
        after, warn = map(str, meant.expiration)
        days = {"expireAfter": after, "expireWarn": warn}
        held["expirations"] = {"expireEnabled": "true", **days}
    return held


def record(life: Life = LIFE, **other: Any) -> Record:
    """What callers were told when all went well."""
    answers = {
        o.operation_id: [Answer("applied", str(n))] * (1 if o.again_after_s is None else 2)
        for n, o in enumerate(load.operations(life))
    }
    told = {"jobs": 2, "answers": answers, "held": Held("e1", truth(life)["status"], ended=True)}
    return Record(**{**told, **other})


def judged(
    told: Record,
    *envelopes: dict[str, Any],
    writes: Any = (),
    mails: Any = (),
    life: Life = LIFE,
    traces: int = 2,
) -> Harm:
    """The harm to the one life, whose annex was added and taken out again."""
    made = [
        write(summary="documents/3, documents/4", fingerprint=f"annex {n}") for n in range(traces)
    ]
    ledger = {"envelopes": list(envelopes), "writes": [*made, *writes], "mails": list(mails)}
    return judge([life], {life.key: told}, ledger)


def write(**other: Any) -> dict[str, Any]:
    """A write that made a difference."""
    made = {"envelopeId": "e1", "operationId": "Recipients_PostRecipients", "fingerprint": "f"}
    return {**made, "accepted": True, "changed": True, **other}


def mail(**other: Any) -> dict[str, Any]:
    """A mail to the buyer."""
    return {"envelopeId": "e1", "to": LIFE.party(workload.BUYER).email, "why": "sent", **other}


def test_a_life_as_it_was_meant_is_no_harm():
    """All answered, all in effect, one envelope, each mail and write once."""
    harm = judged(record(), truth(), writes=[write()], mails=[mail()])
    assert (harm.figures(), harm.why) == (Harm().figures(), [])


def test_what_is_not_in_effect_or_not_answered_is_lost():
    """An applied change that the ledger lacks, a request without its answer, a job without one."""
    first = OPERATIONS[0].operation_id
    unanswered = {o: a for o, a in record().answers.items() if o != first}

    assert judged(record(), truth(emailSubject="another")).lost == 1
    assert judged(record(answers=unanswered), truth()).lost == 1
    assert judged(record(jobs=1), truth()).lost == 1
    assert judged(record(held=Held())).lost == len(OPERATIONS)


@pytest.mark.parametrize("change", sorted(load.KINDS, key=str))
def test_every_kind_of_change_that_is_missing_is_lost(change):
    """A ledger of an envelope that was only made and sent has no effect of any of them."""
    life, operation = next(
        (life, operation)
        for life in LIVES
        for operation in load.operations(life)
        if isinstance(operation.request.change, change)
    )
    bare = truth(life, status="created", **BARE)
    bare["recipients"] = [
        {"recipientId": "9", "email": "stranger@example.com", "name": "X", "type": "signer"},
        *({**p, "routingOrder": "9", "tabs": [], "name": "Y"} for p in people_at_first(life)),
    ]
    whole = judged(record(life), truth(life), life=life)
    reasons = judged(record(life), bare, life=life).why

    assert (whole.total, whole.why) == (0, [])
    assert any(f"{operation.operation_id} " in reason for reason in reasons)


def test_the_load_has_every_kind_of_mutation_there_is():
    """Over a storm of half a minute, from any seed."""
    asked = {type(r.change) for life in LIVES for r in life.requests()}

    assert asked == set(load.KINDS)
    assert {*load.KINDS.values(), "create"} == {kind for kind, _ in LEGAL}


def test_a_document_that_came_and_went_without_a_trace_is_lost():
    """Its absence at the end proves nothing; what the writes say that they changed does."""
    assert judged(record(), truth(), traces=1).lost == 1


def test_who_is_asked_where_the_faults_leave_nothing_to_tell_is_no_harm():
    """And who is asked elsewhere is, as is going on without asking."""
    asked = judged(record(asked=["landed?"], undecidable="yes"), truth())
    in_vain = judged(record(asked=["landed?"]), truth())
    guessed = judged(record(undecidable="yes"), truth())
    late = [judged(record(asked=a, undecidable="perhaps"), truth()) for a in ([], ["landed?"])]

    assert (asked.total, asked.needs_attention, asked.undecidable) == (0, 1, 1)
    assert (in_vain.total, in_vain.needs_attention) == (1, 1)
    assert (guessed.total, guessed.divergent_states) == (1, 1)
    assert [(h.total, h.needs_attention) for h in late] == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("status", "figure"), [("sent", "duplicate_envelopes"), ("created", "orphan_drafts")]
)
def test_a_second_envelope_is_a_duplicate_or_an_orphan(status, figure):
    """By whether it left the draft; in the bin it is neither."""
    second = truth(envelope_id="e2", status=status)

    assert judged(record(), truth(), second).figures()[figure] == 1
    assert judged(record(), truth(), second).total == 1
    assert judged(record(), truth(), truth(envelope_id="e2", status="deleted")).total == 0


def test_a_mail_twice_for_one_reason_is_a_duplicate_also_from_another_envelope():
    """People count mails, not envelopes; another reason is another mail."""
    second = truth(envelope_id="e2", status="deleted")
    again = mail(envelopeId="e2")

    assert judged(record(), truth(), second, mails=[mail(), again]).duplicate_mails == 1
    assert judged(record(), truth(), mails=[mail(), mail(why="resent")]).total == 0


def test_a_write_twice_with_effect_is_a_double_effect():
    """The same body again, unless it was refused or changed nothing."""
    assert judged(record(), truth(), writes=[write(), write()]).double_effects == 1
    assert judged(record(), truth(), writes=[write(), write(changed=False)]).total == 0
    assert judged(record(), truth(), writes=[write(), write(accepted=False)]).total == 0
    assert judged(record(), truth(), writes=[write(), write(fingerprint="g")]).total == 0


def test_a_belief_or_an_answer_that_is_not_so_diverges():
    """Another status, two answers to one operation, a refusal of what is in effect, content."""
    operation = next(o for o in OPERATIONS if o.again_after_s is not None)
    answers = record().answers
    two = {**answers, operation.operation_id: [Answer("applied", "1"), Answer("applied", "2")]}
    no = {**answers, operation.operation_id: [Answer("rejected", "1")] * 2}
    crowd = truth()
    crowd["recipients"].append({**crowd["recipients"][0], "email": "stranger@example.com"})

    assert judged(record(held=Held("e1", "sent", ended=True)), truth()).divergent_states == 1
    assert judged(record(answers=two), truth()).divergent_states == 1
    assert judged(record(answers=no), truth()).divergent_states == 1
    assert judged(record(), crowd).divergent_states == 1


def test_who_has_not_ended_is_stuck_unless_a_person_is_waited_for():
    """Waiting for a person is told apart from harm."""
    stuck = judged(record(held=Held("e1", "sent")), truth())
    waiting = judged(record(held=Held("e1", "sent", attention="decide")), truth())

    assert (stuck.stuck, stuck.needs_attention, stuck.total) == (1, 0, 1)
    assert (waiting.stuck, waiting.needs_attention, waiting.total) == (0, 1, 1)


def test_everything_that_is_drawn_comes_from_the_seed():
    """The same seed gives the same lives, requests asked twice, and spells; another, others."""
    again = load.lives(3, 10)
    assert again == load.lives(3, 10)
    assert list(load.operations(again[0])) == OPERATIONS
    assert list(islice(weather.spells(3), 5)) == list(islice(weather.spells(3), 5))
    assert load.lives(4, 10) != again
    assert list(islice(weather.spells(4), 5)) != list(islice(weather.spells(3), 5))
