"""What the adapter makes of DocuSign through the shell, as the simulator's ledger has it.

Every request and every answer is checked against the published definitions on the way.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from pypdf import PdfReader

from sealwax.calls import Mutate
from sealwax.definition import Definition, Recipient, RecipientKind, Tab, TabKind
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
from sealwax.observations import Observation, landed
from sealwax.providers.base import (
    NeedsPerson,
    NotSentError,
    OutcomeUnknown,
    ProviderRejected,
)
from sealwax.providers.http import HttpProvider
from tests.providers.samples import (
    DEE,
    DEFINITION,
    NUMBERS,
    SINCE,
    change,
    contents,
    document,
    finding,
    new_envelope,
    pdf,
    sign_here,
)
from tests.providers.simulated import ACCOUNT, Stage, in_process

CREATED, SENT = EnvelopeStatus.CREATED, EnvelopeStatus.SENT
ANNEX = document(2, "annex.pdf", "Annex")
ED = Recipient("dee", "Ed Elm", "ed@example.com", 9, kind=RecipientKind.CARBON_COPY)
ED_TOO = replace(ED, recipient_id="ed")
TWO_DOCUMENTS = replace(DEFINITION, documents=(*DEFINITION.documents, ANNEX))
TEXT = Tab(TabKind.TEXT, "rent", document_id=1, x=5, value="900")
CHECKBOX = Tab(TabKind.CHECKBOX, "pets", document_id=1, value="true")


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with in_process() as made:
        yield made


class Desk:
    """One envelope in the making: remembers its definition between mutations."""

    def __init__(self, stage: Stage, provider: HttpProvider, envelope_id: str) -> None:
        self.stage, self.provider, self.envelope_id = stage, provider, envelope_id
        self.definition: Definition = DEFINITION
        self.status = CREATED
        self.last: Mutate | None = None

    @staticmethod
    async def draft(stage: Stage) -> Desk:
        provider = await stage.provider()
        applied = await provider.create(new_envelope())
        return Desk(stage, provider, applied.provider_envelope_id)

    @staticmethod
    async def sent(stage: Stage) -> Desk:
        desk = await Desk.draft(stage)
        await desk.make(SendEnvelope())
        return desk

    async def make(self, mutation: Mutation, *texts: str) -> Any:
        call = change(mutation, self.status, self.definition)
        applied = await self.provider.mutate(
            self.envelope_id, call, contents(*texts) if texts else {}
        )
        self.definition, self.last = call.after, call
        if isinstance(mutation, SendEnvelope):
            self.status = SENT
        return applied

    async def read(self, with_tabs: bool = True) -> Observation:
        return await self.provider.read(self.envelope_id, with_tabs)

    async def truth(self) -> Any:
        return await self.stage.truth(self.envelope_id)


def definition_of(truth: Any) -> Any:
    """The simulator's record in the terms of a definition."""
    return {
        "subject": truth["emailSubject"],
        "message": truth["emailBlurb"],
        "documents": {int(d["documentId"]): (d["name"], d["sha256"]) for d in truth["documents"]},
        "recipients": {
            r["recipientId"]: (
                r["name"],
                r["email"],
                r["routingOrder"],
                r["clientUserId"] or "",
                {(t["tabLabel"], str(t.get("xPosition"))) for t in r["tabs"]},
            )
            for r in truth["recipients"]
        },
    }


def wanted(definition: Definition) -> Any:
    return {
        "subject": definition.subject,
        "message": definition.message,
        "documents": {d.document_id: (d.name, d.blob.digest) for d in definition.documents},
        "recipients": {
            NUMBERS[r.recipient_id]: (
                r.name,
                r.email,
                r.routing_order,
                r.client_user_id,
                {(t.label, str(t.x)) for t in r.tabs},
            )
            for r in definition.recipients
        },
    }


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


@pytest.mark.parametrize(
    ("transaction", "marker"), [(True, True), (True, False), (False, True), (False, False)]
)
async def test_a_create_whose_answer_is_lost_is_unknown_and_found(
    stage: Stage, transaction: bool, marker: bool
) -> None:
    """By transaction id or by marker, each alone; by neither, nothing."""
    provider = await stage.provider()
    await provider.create(new_envelope())
    await stage.lose("Envelopes_PostEnvelopes", "commit_then_drop", times=1)
    new = new_envelope()
    with pytest.raises(OutcomeUnknown):
        await provider.create(new)
    assert len(await stage.calls("Envelopes_PostEnvelopes")) == 2
    (made,) = [
        e["envelopeId"]
        for e in (await stage.ledger())["envelopes"]
        if e["transactionId"] == new.call.transaction_id
    ]
    found = await provider.find_created(finding(new, transaction=transaction, marker=marker))
    assert found == ((made,) if transaction or marker else ())


async def test_a_create_lost_before_it_took_effect_is_unknown_and_not_found(stage: Stage) -> None:
    """From outside it looks the same; only looking tells."""
    provider = await stage.provider()
    await stage.lose("Envelopes_PostEnvelopes", "drop_before_commit", times=1)
    new = new_envelope()
    with pytest.raises(OutcomeUnknown):
        await provider.create(new)
    assert await provider.find_created(finding(new)) == ()


async def test_two_creates_of_one_transaction_are_both_found(stage: Stage) -> None:
    """The provider does not merge them, so neither is hidden."""
    provider = await stage.provider()
    new = new_envelope()
    made = {(await provider.create(new)).provider_envelope_id for _ in range(2)}
    assert len(made) == 2
    assert set(await provider.find_created(finding(new))) == made


LOSABLE: list[tuple[Mutation, str]] = [
    (SendEnvelope(), "Envelopes_PutEnvelope"),
    (UpdateRecipient("ann", name="Ann Ash"), "Recipients_PutRecipients"),
    (RemoveRecipients(("bob",)), "Recipients_DeleteRecipients"),
    (AddRecipients((DEE,)), "Recipients_PostRecipients"),
    (AddRecipients((DEE,)), "Recipients_PostRecipientTabs"),
    (SetTabs("ann", (TEXT,)), "Recipients_DeleteRecipientTabs"),
    (DiscardDraft(), "Folders_PutFolderById"),
]


@pytest.mark.parametrize("mode", ["commit_then_drop", "drop_before_commit"])
@pytest.mark.parametrize(("mutation", "operation"), LOSABLE, ids=lambda v: getattr(v, "kind", v))
async def test_a_mutation_whose_answer_is_lost_is_unknown_and_made_once(
    stage: Stage, mutation: Mutation, operation: str, mode: str
) -> None:
    """One request at the provider, whatever came of it."""
    desk = await Desk.draft(stage)
    await stage.lose(operation, mode, times=1)
    with pytest.raises(OutcomeUnknown):
        await desk.make(mutation)
    assert len(await stage.calls(operation)) == 1


@pytest.mark.parametrize("status", [CREATED, SENT])
@pytest.mark.parametrize("mode", ["commit_then_drop", "drop_before_commit"])
@pytest.mark.parametrize("operation", ["Recipients_PostRecipients", "Recipients_PostRecipientTabs"])
async def test_recipients_added_halfway_are_seen_as_such_and_made_up(
    stage: Stage, operation: str, mode: str, status: EnvelopeStatus
) -> None:
    """A read with tabs tells whether all landed; a further attempt adds only what is missing."""
    desk = await (Desk.sent(stage) if status is SENT else Desk.draft(stage))
    call = change(AddRecipients((DEE, ED_TOO)), status)
    await stage.lose(operation, mode, times=1)
    with pytest.raises(OutcomeUnknown):
        await desk.provider.mutate(desk.envelope_id, call, {})
    whole = operation == "Recipients_PostRecipientTabs" and mode == "commit_then_drop"
    assert landed(call.mutation, call.after, call.numbers, await desk.read()) is whole
    await desk.provider.mutate(desk.envelope_id, replace(call, attempt=2), {})
    assert definition_of(await desk.truth()) == wanted(call.after)
    assert landed(call.mutation, call.after, call.numbers, await desk.read()) is True


async def test_a_read_whose_answer_is_lost_is_only_not_done(stage: Stage) -> None:
    """It may be made again."""
    desk = await Desk.draft(stage)
    await stage.lose("Envelopes_GetEnvelope", "commit_then_drop", times=1)
    with pytest.raises(NotSentError):
        await desk.read()
    assert (await desk.read()).status is CREATED


async def test_a_revoked_token_is_renewed_once(stage: Stage) -> None:
    """The call succeeds, its first request refused, its second made with the new token."""
    desk = await Desk.draft(stage)
    await stage.harms(revoke_tokens=True)
    await desk.make(SendEnvelope())
    assert [c["status"] for c in await stage.calls("Envelopes_PutEnvelope")] == [401, 200]


async def test_many_calls_with_a_revoked_token_renew_it_together(stage: Stage) -> None:
    """Each call is refused at most once."""
    desk = await Desk.draft(stage)
    await stage.harms(revoke_tokens=True)
    await asyncio.gather(*(desk.read() for _ in range(20)))
    statuses = [c["status"] for c in await stage.calls("Envelopes_GetEnvelope")]
    assert statuses.count(200) == 20
    assert statuses.count(401) <= 20


async def test_no_consent_and_no_membership_need_a_person(stage: Stage) -> None:
    """Said in one line, with what to open or to ask for."""
    provider = await stage.provider("stranger", consented=False)
    with pytest.raises(NeedsPerson, match=r"open http://simulator\.test/oauth/auth"):
        await provider.create(new_envelope())
    outsider = await stage.provider("outsider", accounts=["another"])
    with pytest.raises(NeedsPerson, match="LACKS_PERMISSIONS"):
        await outsider.create(new_envelope())
    assert (await stage.ledger())["envelopes"] == []


async def test_a_thousand_interleaved_calls_use_their_own_tokens_only(stage: Stage) -> None:
    """Two principals on one client, tokens revoked on the way: the ledger shows no mix-up.

    Each principal names itself in a read's path (an envelope id of its own making), so that the
    ledger can tell who meant each call from whose token it bore.
    """
    providers = {which: await stage.provider(which) for which in ("leasing", "sales")}

    async def call(number: int) -> None:
        which = ("leasing", "sales")[number % 2]
        if number % 250 == 249:
            await stage.harms(revoke_tokens=True)
        with pytest.raises(ProviderRejected):
            await providers[which].read(f"{which}-{number}", False)

    gate = asyncio.Semaphore(50)

    async def gated(number: int) -> None:
        async with gate:
            await call(number)

    await asyncio.gather(*(gated(n) for n in range(1000)))
    calls = await stage.calls("Envelopes_GetEnvelope")
    answered = [c for c in calls if c["status"] != 401]
    assert len(answered) == 1000
    assert {c["userId"] for c in answered} == {"user-leasing", "user-sales"}
    for made in answered:
        meant = made["envelopeId"].split("-")[0]
        assert (made["integrationKey"], made["userId"]) == (f"key-{meant}", f"user-{meant}")


async def test_documents_arrive_byte_for_byte(stage: Stage) -> None:
    """What the ledger hashed is what was given."""
    desk = await Desk.draft(stage)
    (held,) = (await desk.truth())["documents"]
    assert held["sha256"] == hashlib.sha256(pdf("Lease")).hexdigest()
