"""Every call that changes something, each losing exactly its answer: one effect, no second mail.

The table is that of ARCHITECTURE.md ("Unknown outcomes, call by call"). What happened is asked of
the simulator's ledger alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from sealwax.blobs import BlobStore
from sealwax.definition import BlobRef, Document, Recipient, Tab, TabKind
from sealwax.handle import EnvelopeHandle
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    DiscardDraft,
    Mutation,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    ResendEnvelope,
    SendEnvelope,
    SetCustomFields,
    SetExpiration,
    SetReminders,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)
from tests import keys, rig

ANA = Recipient("1", "Ana", "ana@example.com", 1)
BEN = Recipient("ben", "Ben", "ben@example.com", 2)
CYD = Recipient("cyd", "Cyd", "cyd@example.com", 1)
DOT = Recipient("dot", "Dot", "dot@example.com", 9)
HERE = Tab(TabKind.SIGN_HERE, "here", document_id=1, x=100, y=200)
TIMING = replace(rig.QUICK, call_deadline_s=2, outcome_settle_s=0.5)

PUT_ENVELOPE = "Envelopes_PutEnvelope"
PUT_RECIPIENTS = "Recipients_PutRecipients"
POST_RECIPIENTS = "Recipients_PostRecipients"
POST_TABS = "Recipients_PostRecipientTabs"


@dataclass(frozen=True)
class Row:
    """A call: what is asked, which answer is lost, who is mailed by it (by the provider's ids)."""

    mutation: Mutation
    operation: str
    mails: dict[str, int] = field(default_factory=dict)
    draft: bool = False


OTHER_PDF = rig.PDF + b"2"


def brought(document_id: int, name: str) -> Document:
    """A document that a mutation brings; the test stores its bytes."""
    return Document(
        document_id, name, BlobRef(hashlib.sha256(OTHER_PDF).hexdigest(), len(OTHER_PDF))
    )


ROWS = {
    "send": Row(SendEnvelope(), PUT_ENVELOPE, {"1": 1}, draft=True),
    "void": Row(VoidEnvelope("wrong price"), PUT_ENVELOPE),
    "discard": Row(DiscardDraft(), "Folders_PutFolderById", draft=True),
    "message": Row(ChangeMessage("New"), PUT_ENVELOPE, draft=True),
    "resend": Row(ResendEnvelope(), PUT_ENVELOPE, {"1": 1}),
    "resend to one": Row(ResendEnvelope(("1",)), PUT_RECIPIENTS, {"1": 1}),
    "recipient's name": Row(UpdateRecipient("1", name="Anna"), PUT_RECIPIENTS),
    "recipient's e-mail": Row(UpdateRecipient("1", email="a@ex.com"), PUT_RECIPIENTS, {"1": 1}),
    "routing": Row(ReorderRouting({"ben": 3}), PUT_RECIPIENTS),
    "correct": Row(CorrectEnvelope(subject="New"), PUT_ENVELOPE),
    "correct e-mail": Row(
        CorrectEnvelope(recipients=(UpdateRecipient("1", email="a@ex.com"),)),
        PUT_ENVELOPE,
        {"1": 1},
    ),
    "add recipient to come": Row(AddRecipients((DOT,)), POST_RECIPIENTS),
    "add recipient due, added": Row(AddRecipients((CYD,)), POST_RECIPIENTS, {"3": 1}),
    "add recipient due, tabs": Row(
        AddRecipients((replace(CYD, tabs=(HERE,)),)), POST_TABS, {"3": 1}
    ),
    "add recipient due, mailed": Row(
        AddRecipients((replace(CYD, tabs=(HERE,)),)), PUT_RECIPIENTS, {"3": 1}
    ),
    "remove recipient": Row(RemoveRecipients(("ben",)), "Recipients_DeleteRecipients"),
    "tabs": Row(SetTabs("1", (HERE,)), POST_TABS),
    "add document": Row(AddDocuments((brought(2, "two.pdf"),)), "Documents_PutDocuments"),
    "replace document": Row(ReplaceDocument(brought(1, "new.pdf")), "Documents_PutDocument"),
    "remove document": Row(RemoveDocuments((7,)), "Documents_DeleteDocuments"),
    "new custom field": Row(SetCustomFields({"matter": "4711"}), "CustomFields_PostCustomFields"),
    "custom field": Row(SetCustomFields({"office": "Bern"}), "CustomFields_PutCustomFields"),
    "remove field": Row(SetCustomFields(remove=("office",)), "CustomFields_DeleteCustomFields"),
    "reminders": Row(SetReminders(3, 2), "Notification_PutEnvelopesEnvelopeIdNotification"),
    "expiration": Row(SetExpiration(30, 5), "Notification_PutEnvelopesEnvelopeIdNotification"),
}
MAILING = {name: row for name, row in ROWS.items() if row.mails and name != "resend to one"}


@pytest_asyncio.fixture
async def quick(
    dev_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> AsyncIterator[rig.Rig]:
    """A rig that gives a lost call up soon."""
    async with rig.running(dev_env.client, simulator_url, tmp_path, timing=TIMING) as running:
        yield running


@pytest.mark.parametrize("name", ROWS)
async def test_a_call_that_took_effect_is_found_and_not_repeated(quick: rig.Rig, name: str):
    """Committed, then the connection dropped: one effect of that call, and one mail at most."""
    row = ROWS[name]
    envelope, before = await standing(quick, row)
    await lose(quick, row.operation, "commit_then_drop")

    result = await envelope.mutate(row.mutation, timeout_s=30)

    after = await quick.desk.ledger()
    assert result.state == "applied"
    assert effects(before, after)[row.operation] == 1
    assert mails(before, after) == row.mails
    assert (lost_answers(after), after["lost_update_count"]) == (1, 0)


@pytest.mark.parametrize("name", MAILING)
async def test_a_mail_that_never_went_out_goes_out_once(quick: rig.Rig, name: str):
    """Dropped before it was processed: looked for, not found, and made once after the settle
    time."""
    row = MAILING[name]
    envelope, before = await standing(quick, row)
    await lose(quick, row.operation, "drop_before_commit")

    result = await envelope.mutate(row.mutation, timeout_s=30)

    after = await quick.desk.ledger()
    assert result.state == "applied"
    assert effects(before, after)[row.operation] == 1
    assert mails(before, after) == row.mails


async def test_a_resend_that_no_look_can_tell_waits_for_a_person(quick: rig.Rig):
    """A line of unknown meaning came into the history meanwhile: it might be the mail, so nobody
    is mailed again until a person has decided."""
    envelope, before = await standing(quick, ROWS["resend"])
    await envelope.set_reminders(1, 1)
    await lose(quick, PUT_ENVELOPE, "hang_before_commit")
    (made,) = before["envelopes"]

    asked = asyncio.create_task(envelope.mutate(ResendEnvelope(), "r-1", timeout_s=60))
    await struck(quick)
    await quick.desk.post(f"/envelopes/{made['envelopeId']}/remind", {})
    async with asyncio.timeout(30):
        async for snapshot in envelope.watch():
            if snapshot.attention:
                break
    reminded = mails(before, await quick.desk.ledger())
    question = snapshot.question
    await envelope.resolve("landed")

    assert question is not None
    assert {"landed", "not_landed"} <= set(question.choices)
    assert (await asked).state == "applied"
    assert mails(before, await quick.desk.ledger()) == reminded == {"1": 1}


async def standing(house: rig.Rig, row: Row) -> tuple[EnvelopeHandle, dict[str, Any]]:
    """An envelope of two signers and two documents, as the row wants it, and the ledger then."""
    blobs = BlobStore(house.settings.storage.blobs, keys.KEYRING)
    await blobs.put(house.pdf("other.pdf", OTHER_PDF))
    envelope = await house.create(
        documents=[house.pdf()],
        recipients=[ANA, BEN],
        custom_fields={"office": "Chur"},
        send=not row.draft,
    )
    await envelope.wait("created" if row.draft else "sent", timeout_s=20)
    if isinstance(row.mutation, RemoveDocuments):
        await envelope.add_documents({7: house.pdf()})
    return envelope, await house.desk.ledger()


async def lose(house: rig.Rig, operation: str, mode: str) -> None:
    """Lose the next answer to this operation."""
    await house.desk.harm(lost_answers=[{"operation": operation, "mode": mode, "times": 1}])


async def struck(house: rig.Rig) -> None:
    """Until the planned loss has struck."""
    async with asyncio.timeout(20):
        # Another process's ledger can only be asked again.
        while not any(c["fault"] for c in (await house.desk.ledger(calls=True))["calls"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def effects(before: dict[str, Any], after: dict[str, Any]) -> Counter[str]:
    """How many calls of each operation made a difference since."""
    new = after["writes"][len(before["writes"]) :]
    return Counter(w["operationId"] for w in new if w["accepted"] and w["changed"])


def mails(before: dict[str, Any], after: dict[str, Any]) -> dict[str, int]:
    """How often each recipient was mailed since."""
    return dict(Counter(m["recipientId"] for m in after["mails"][len(before["mails"]) :]))


def lost_answers(ledger: dict[str, Any]) -> int:
    """How many writes got no answer."""
    return sum(bool(w["fault"]) for w in ledger["writes"])
