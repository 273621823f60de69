"""What the adapter makes of DocuSign through the shell, as the simulator's ledger has it.

Every request and every answer is checked against the published definitions on the way.
"""

from __future__ import annotations

import hashlib
import io

import pytest
from pypdf import PdfReader

from sealwax.definition import Definition, TabKind
from sealwax.facts import EnvelopeStatus, Facts
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
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)
from sealwax.observations import landed
from sealwax.providers.base import (
    ProviderRejected,
)
from tests.providers.desk import (
    ANNEX,
    CHECKBOX,
    CREATED,
    ED,
    SENT,
    TEXT,
    TWO_DOCUMENTS,
    Desk,
    definition_of,
    wanted,
)
from tests.providers.samples import (
    DEE,
    DEFINITION,
    NUMBERS,
    SINCE,
    change,
    document,
    finding,
    new_envelope,
    pdf,
    sign_here,
)
from tests.providers.simulated import ACCOUNT, Stage


async def test_create_read_send_void_end_to_end(stage: Stage) -> None:
    """A draft as defined, sent to its first recipient, voided with the reason; facts agree."""
    desk = await Desk.draft(stage)
    truth = await desk.truth()
    assert (truth["status"], definition_of(truth)) == ("created", wanted(DEFINITION))
    seen = await desk.read()
    assert seen.status is CREATED
    assert seen.documents == {1: "lease.pdf"}
    ann = seen.recipient("1")
    assert ann is not None
    assert ann.tabs == frozenset({(TabKind.SIGN_HERE, "sign")})
    sent = await desk.make(SendEnvelope())
    assert [f.status for f in sent.facts] == ["sent"]
    seen = await desk.read()
    assert [r.status for r in seen.recipients] == ["sent", "created", "created"]
    guids = {r["recipientId"]: r["recipientIdGuid"] for r in (await desk.truth())["recipients"]}
    assert {r.recipient: r.incarnation for r in seen.recipients} == guids
    await desk.make(VoidEnvelope("the flat is gone"))
    truth = await desk.truth()
    assert (truth["status"], truth["voidedReason"]) == ("voided", "the flat is gone")
    assert (await desk.read()).status is EnvelopeStatus.VOIDED


MUTATIONS: list[tuple[Mutation, Definition, tuple[str, ...]]] = [
    (AddDocuments((ANNEX,)), DEFINITION, ("Annex",)),
    (ReplaceDocument(document(1, "Übergabe.pdf", "New")), DEFINITION, ("New",)),
    (RemoveDocuments((2,)), TWO_DOCUMENTS, ()),
    (AddRecipients((DEE,)), DEFINITION, ()),
    (AddRecipients((ED,)), DEFINITION, ()),
    (UpdateRecipient("ann", name="Ann Ash"), DEFINITION, ()),
    (UpdateRecipient("bob", email="bob@example.org", routing_order=3), DEFINITION, ()),
    (RemoveRecipients(("bob", "cy")), DEFINITION, ()),
    (ReorderRouting({"ann": 2, "bob": 1, "cy": 1}), DEFINITION, ()),
    (SetTabs("ann", (sign_here("sign", x=7), TEXT, CHECKBOX)), DEFINITION, ()),
    (SetTabs("ann", ()), DEFINITION, ()),
]


@pytest.mark.parametrize("status", [CREATED, SENT])
@pytest.mark.parametrize(
    ("mutation", "before", "texts"), MUTATIONS, ids=lambda v: getattr(v, "kind", "")
)
async def test_each_mutation_leaves_its_definition(
    stage: Stage,
    status: EnvelopeStatus,
    mutation: Mutation,
    before: Definition,
    texts: tuple[str, ...],
) -> None:
    """On a draft and in process: the ledger holds what was wanted, and a read proves it landed."""
    desk = await Desk.draft(stage)
    if before is TWO_DOCUMENTS:
        await desk.make(AddDocuments((ANNEX,)), "Annex")
    if status is SENT:
        await desk.make(SendEnvelope())
    applied = await desk.make(mutation, *texts)
    truth = await desk.truth()
    assert definition_of(truth) == wanted(desk.definition)
    assert truth["status"] == status
    guids = {r["recipientId"]: r["recipientIdGuid"] for r in truth["recipients"]}
    assert applied.incarnations.items() <= guids.items()
    assert desk.last is not None
    proof = landed(mutation, desk.definition, NUMBERS, await desk.read())
    assert proof is (None if isinstance(mutation, ReplaceDocument) else True)


@pytest.mark.parametrize(
    ("status", "mutation"),
    [
        (CREATED, ChangeMessage(subject="New subject", message="")),
        (SENT, CorrectEnvelope(subject="New subject")),
        (
            SENT,
            CorrectEnvelope(
                message="Please hurry",
                recipients=(
                    UpdateRecipient("ann", name="Ann Ash"),
                    UpdateRecipient("bob", email="bob@example.org", routing_order=4),
                ),
            ),
        ),
    ],
)
async def test_texts_and_corrections_leave_their_definition(
    stage: Stage, status: EnvelopeStatus, mutation: Mutation
) -> None:
    """The ledger holds what was wanted, in one write."""
    desk = await (Desk.sent(stage) if status is SENT else Desk.draft(stage))
    writes = len((await stage.ledger())["writes"])
    await desk.make(mutation)
    assert definition_of(await desk.truth()) == wanted(desk.definition)
    assert len((await stage.ledger())["writes"]) == writes + 1
    assert landed(mutation, desk.definition, NUMBERS, await desk.read()) is True


async def test_an_update_without_a_new_address_mails_nobody(stage: Stage) -> None:
    """Name and order change quietly; a new address gets its correction."""
    desk = await Desk.sent(stage)
    mails = len((await stage.ledger())["mails"])
    await desk.make(UpdateRecipient("ann", name="Ann Ash", email="ann@example.com"))
    assert len((await stage.ledger())["mails"]) == mails
    await desk.make(UpdateRecipient("ann", email="ann@example.org"))
    assert [m["to"] for m in (await stage.ledger())["mails"][mails:]] == ["ann@example.org"]


async def test_a_recipient_added_when_the_turn_has_come_is_called_after_the_tabs(
    stage: Stage,
) -> None:
    """One mail, to the new one alone; one whose turn is yet to come gets none."""
    desk = await Desk.sent(stage)
    before = (await stage.ledger())["mails"]
    await desk.make(AddRecipients((DEE,)))
    ledger = await stage.ledger()
    assert [m["to"] for m in ledger["mails"][len(before) :]] == ["dee@example.com"]
    order = [w["operationId"] for w in ledger["writes"]][-3:]
    assert order == [
        "Recipients_PostRecipients",
        "Recipients_PostRecipientTabs",
        "Recipients_PutRecipients",
    ]
    later = await Desk.sent(stage)
    count = len((await stage.ledger())["mails"])
    await later.make(AddRecipients((ED,)))
    assert len((await stage.ledger())["mails"]) == count


async def test_a_draft_is_discarded(stage: Stage) -> None:
    """It is in the bin, a read says so, and it is found no more."""
    provider = await stage.provider()
    new = new_envelope()
    envelope_id = (await provider.create(new)).provider_envelope_id
    assert await provider.find_created(finding(new)) == (envelope_id,)
    await provider.mutate(envelope_id, change(DiscardDraft()), {})
    assert (await stage.truth(envelope_id))["status"] == "deleted"
    assert (await provider.read(envelope_id, False)).status is EnvelopeStatus.DELETED
    assert await provider.find_created(finding(new)) == ()


async def test_setting_the_same_tabs_twice_writes_once(stage: Stage) -> None:
    """The repeat is a read: nothing is added again."""
    desk = await Desk.draft(stage)
    tabs = (sign_here(), TEXT, CHECKBOX)
    await desk.make(SetTabs("ann", tabs))
    writes = len((await stage.ledger())["writes"])
    await desk.make(SetTabs("ann", tabs))
    assert len((await stage.ledger())["writes"]) == writes


async def test_wrong_states_are_rejected_with_the_provider_s_code(stage: Stage) -> None:
    """Nothing changes, and the code tells what to look at."""
    desk = await Desk.sent(stage)
    await desk.make(VoidEnvelope("over"))
    with pytest.raises(ProviderRejected) as caught:
        await desk.make(VoidEnvelope("again"))
    assert caught.value.code == "ENVELOPE_CANNOT_VOID_INVALID_STATE"
    with pytest.raises(ProviderRejected) as caught:
        await desk.make(UpdateRecipient("ann", name="A"))
    assert caught.value.code == "ENVELOPE_INVALID_STATUS"
    assert (await desk.truth())["voidedReason"] == "over"
    with pytest.raises(ProviderRejected, match="ENVELOPE_DOES_NOT_EXIST"):
        await desk.provider.read("00000000-0000-0000-0000-000000000000", False)


async def test_a_recipient_who_has_signed_is_a_rejection_inside_a_success(stage: Stage) -> None:
    """The service answers 200; the item's error is what counts."""
    desk = await Desk.sent(stage)
    await stage.act(desk.envelope_id, "1", "sign")
    with pytest.raises(ProviderRejected) as caught:
        await desk.make(UpdateRecipient("ann", name="Ann Ash"))
    assert caught.value.code == "RECIPIENT_UPDATE_FAILED"
    assert [c["status"] for c in await stage.calls("Recipients_PutRecipients")] == [200]


async def signed(stage: Stage) -> Desk:
    desk = await Desk.sent(stage)
    for recipient in ("1", "2"):
        await stage.act(desk.envelope_id, recipient, "sign")
    return desk


async def test_a_life_to_completion_is_read_as_the_ledger_has_it(stage: Stage) -> None:
    """Each recipient's facts name the incarnation, and listing the changes says the same."""
    desk = await signed(stage)
    seen = await desk.read()
    truth = await desk.truth()
    assert seen.status == truth["status"] == "completed"
    said = Facts().joined(seen.facts)
    for person in truth["recipients"]:
        assert (
            said.recipient_status(person["recipientId"], [person["recipientIdGuid"]])
            == person["status"]
        )
    (event,) = await desk.provider.changes(SINCE)
    assert event.provider_envelope_id == desk.envelope_id
    assert event.account_id == ACCOUNT
    listed = Facts().joined(event.facts)
    assert listed.envelope_status() == "completed"
    assert said.recipients() == listed.recipients()


async def test_the_signed_documents_and_the_certificate_are_downloaded(stage: Stage) -> None:
    """Real PDFs, apart from each other."""
    desk = await signed(stage)
    parts = {
        what: b"".join([c async for c in desk.provider.download(desk.envelope_id, what)])
        for what in ("combined", "certificate")
    }
    pages = {what: PdfReader(io.BytesIO(part)).pages for what, part in parts.items()}
    assert len(pages["combined"]) == 1
    assert "Lease" in pages["combined"][0].extract_text()
    assert "Ann" in pages["certificate"][0].extract_text()


async def test_documents_arrive_byte_for_byte(stage: Stage) -> None:
    """What the ledger hashed is what was given."""
    desk = await Desk.draft(stage)
    (held,) = (await desk.truth())["documents"]
    assert held["sha256"] == hashlib.sha256(pdf("Lease")).hexdigest()
