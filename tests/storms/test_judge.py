"""The judge of storms: every kind of harm is counted, once, and nothing else is."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from benchmarks.storms import load, weather
from benchmarks.storms.judge import Harm, judge
from benchmarks.storms.record import Answer, Held, Record
from demo import workload
from demo.ledger import contract_sha256
from demo.workload import Life

LIFE = load.lives(3, 10)[0]
OPERATIONS = list(load.operations(LIFE))


def truth(life: Life = LIFE, envelope_id: str = "e1", **other: Any) -> dict[str, Any]:
    """The ledger's record of an envelope that ended as it was meant to."""
    meant = workload.intended(life)
    people = [
        {
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
        "voidedReason": None,
        **other,
    }


def record(**other: Any) -> Record:
    """What callers were told when all went well."""
    answers = {
        o.operation_id: [Answer("applied", str(n))] * (1 if o.again_after_s is None else 2)
        for n, o in enumerate(OPERATIONS)
    }
    told = {"jobs": 2, "answers": answers, "held": Held("e1", truth()["status"], ended=True)}
    return Record(**{**told, **other})


def judged(told: Record, *envelopes: dict[str, Any], writes: Any = (), mails: Any = ()) -> Harm:
    """The harm to the one life."""
    ledger = {"envelopes": list(envelopes), "writes": list(writes), "mails": list(mails)}
    return judge([LIFE], {LIFE.key: told}, ledger)


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
    assert (waiting.stuck, waiting.needs_attention, waiting.total) == (0, 1, 0)


def test_everything_that_is_drawn_comes_from_the_seed():
    """The same seed gives the same lives, requests asked twice, and spells; another, others."""
    again = load.lives(3, 10)
    assert again == load.lives(3, 10)
    assert list(load.operations(again[0])) == OPERATIONS
    assert list(islice(weather.spells(3), 5)) == list(islice(weather.spells(3), 5))
    assert load.lives(4, 10) != again
    assert list(islice(weather.spells(4), 5)) != list(islice(weather.spells(3), 5))
