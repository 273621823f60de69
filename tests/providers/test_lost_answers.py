"""Answers that get lost and tokens that get refused, as the simulator's ledger has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from sealwax.facts import EnvelopeStatus
from sealwax.mutations import (
    AddRecipients,
    DiscardDraft,
    Mutation,
    RemoveRecipients,
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
)
from sealwax.observations import landed
from sealwax.providers.base import (
    NeedsPerson,
    NotSentError,
    OutcomeUnknown,
    ProviderRejected,
)
from tests.providers.desk import (
    CREATED,
    ED_TOO,
    SENT,
    TEXT,
    Desk,
    definition_of,
    wanted,
)
from tests.providers.samples import (
    DEE,
    change,
    finding,
    new_envelope,
)
from tests.providers.simulated import Stage


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
    # In process the last step, which mails, is still to come.
    last = operation == "Recipients_PostRecipientTabs" and status is CREATED
    whole = last and mode == "commit_then_drop"
    assert landed(call.mutation, call.after, call.numbers, await desk.read()) is whole
    await desk.provider.mutate(desk.envelope_id, replace(call, attempt=2), {})
    assert definition_of(await desk.truth()) == wanted(call.after)
    assert landed(call.mutation, call.after, call.numbers, await desk.read()) is True
    mailed = [m["recipientId"] for m in await stage.mails(desk.envelope_id)]
    assert mailed.count("4") == (status is SENT)


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
