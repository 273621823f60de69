"""Whether what was asked for stands in the simulator's ledger of truth, change by change.

One look for both sides, which takes nothing from either client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from demo import workload
from demo.contracts.render import pdf_path
from demo.workload import Change, Life

Truth = Mapping[str, Any]

_NOT_SENT = ("created", "deleted")
_TYPES = {True: "signer", False: "carboncopy"}


def stands(life: Life, change: Change, truth: Truth) -> bool:
    """Whether a change's effect stands in the ledger's record of the envelope.

    What the life itself takes out again later stands where it is out again.
    """
    match change:
        case workload.AddDocument() | workload.ReplaceDocument() | workload.RemoveDocument():
            return _document_stands(life, change, truth)
        case workload.ChangeSubject(subject):
            return bool(truth["emailSubject"] == subject)
        case workload.ChangeMessage(message):
            return bool(truth["emailBlurb"] == message)
        case workload.Remind() | workload.Expire() | workload.Label():
            return _setting_stands(life, change, truth)
        case workload.Send():
            return bool(truth["status"] not in _NOT_SENT)
        case workload.Discard():
            return bool(truth["status"] == "deleted")
        case workload.Void(reason):
            return bool(truth["status"] == "voided" and truth["voidedReason"] == reason)
        case _:
            return _party_stands(life, change, truth)


def as_intended(life: Life, truth: Truth) -> bool:
    """Whether the envelope ended with the status and the content that the workload intends."""
    want = workload.intended(life)
    people = recipients(truth)
    contents = {number: contract_sha256(name) for number, name in want.documents.items()}
    return (
        truth["status"] == want.status
        and truth["emailSubject"] == want.subject
        and truth["emailBlurb"] == want.message
        and documents(truth) == contents
        and all(truth["customFields"].get(name) == v for name, v in want.labels.items())
        and (want.reminders is None or _reminders(truth) == want.reminders)
        and (want.expiration is None or _expiration(truth) == want.expiration)
        and len(truth["recipients"]) == len(want.parties)
        and people.keys() == want.parties.keys()
        and all(
            held["name"] == party.name
            and held["type"] == _TYPES[party.signs]
            and int(held["routingOrder"]) == party.order
            and labels(held) == want.fields.get(email, frozenset())
            and (want.status != "completed" or held["status"] == "completed")
            for email, party in want.parties.items()
            for held in (people[email],)
        )
    )


def contract_sha256(contract: str) -> str:
    """Digest of a contract's PDF, in hex."""
    return hashlib.sha256(pdf_path(contract).read_bytes()).hexdigest()


def recipients(truth: Truth) -> dict[str, Mapping[str, Any]]:
    """The recipients by e-mail address."""
    return {recipient["email"]: recipient for recipient in truth["recipients"]}


def documents(truth: Truth) -> dict[int, str]:
    """The documents' digests by id."""
    return {int(document["documentId"]): document["sha256"] for document in truth["documents"]}


def labels(recipient: Mapping[str, Any]) -> frozenset[str]:
    """The labels of a recipient's fields."""
    return frozenset(tab["tabLabel"] for tab in recipient["tabs"])


def resent(life: Life, role: str, truth: Truth) -> int:
    """How often a party was mailed again."""
    held = recipients(truth).get(life.address(role))
    if held is None:
        return 0
    line = f"mail to recipient {held['recipientId']}: resent"
    return sum(entry["what"] == line for entry in truth["history"])


def _document_stands(
    life: Life,
    change: workload.AddDocument | workload.ReplaceDocument | workload.RemoveDocument,
    truth: Truth,
) -> bool:
    held = documents(truth).get(change.document_id)
    taken_out = workload.RemoveDocument(change.document_id)
    if any(request.change == taken_out for request in life.requests()):
        return held is None
    match change:
        case workload.RemoveDocument():
            return held is None
        case _:
            return held == contract_sha256(change.contract)


def _setting_stands(
    life: Life, change: workload.Remind | workload.Expire | workload.Label, truth: Truth
) -> bool:
    match change:
        case workload.Remind(first, every):
            return _reminders(truth) == (first, every)
        case workload.Expire(after, warn):
            return _expiration(truth) == (after, warn)
        case workload.Label(values, remove):
            wanted = workload.intended(life).labels
            names = [*dict(values), *remove]
            return all(truth["customFields"].get(name) == wanted[name] for name in names)


def _party_stands(life: Life, change: Change, truth: Truth) -> bool:
    people = recipients(truth)
    match change:
        case workload.AddParty(party):
            if any(r.change == workload.RemoveParty(party.role) for r in life.requests()):
                return _was_removed(life.address(party.role), truth)
            return life.address(party.role) in people
        case workload.RemoveParty(role):
            return _was_removed(life.address(role), truth)
        case workload.PlaceFields(role, fields):
            held = people.get(life.address(role))
            return held is not None and {f.label for f in fields} <= labels(held)
        case workload.Reorder(role, order):
            held = people.get(life.address(role))
            return held is not None and int(held["routingOrder"]) == order
        case workload.Rename(role, name):
            return _named(life, role, name, truth)
        case workload.RenameAll(names):
            return all(_named(life, role, name, truth) for role, name in names)
        case workload.Readdress(role, email):
            return email in people
        case workload.Resend(role):
            return resent(life, role, truth) > 0
        case _:
            raise AssertionError(f"{change} is judged elsewhere")


def _was_removed(email: str, truth: Truth) -> bool:
    gone = {held["email"] for held in truth["removedRecipients"]}
    return email in gone and email not in recipients(truth)


def _named(life: Life, role: str, name: str, truth: Truth) -> bool:
    held = recipients(truth).get(life.address(role))
    return held is not None and bool(held["name"] == name)


def _reminders(truth: Truth) -> tuple[int, int] | None:
    held = truth["notification"].get("reminders") or {}
    if held.get("reminderEnabled") != "true":
        return None
    return int(held["reminderDelay"]), int(held["reminderFrequency"])


def _expiration(truth: Truth) -> tuple[int, int] | None:
    held = truth["notification"].get("expirations") or {}
    if held.get("expireEnabled") != "true":
        return None
    return int(held["expireAfter"]), int(held["expireWarn"])
