"""What needs a person waits for one, says so, and goes on by the decision."""

from __future__ import annotations

import asyncio
import time

import pytest

from sealwax.client import MutationRejected
from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.handle import EnvelopeHandle
from sealwax.messages import Snapshot
from sealwax.mutations import ChangeMessage, UpdateRecipient
from tests import rig

CROWD = 50
ANA = Recipient("ana", "Ana", "ana@example.com", client_user_id="a")
RENAME = UpdateRecipient("1", name="Anna")


async def test_a_withdrawn_consent_waits_for_a_person_and_is_tried_again_on_their_word(
    house: rig.Rig,
):
    """The principal's consent is gone: nothing is lost, the question is asked, `retry` goes on."""
    envelope = await sent(house)
    await consents(house, False)
    asked = asyncio.create_task(envelope.mutate(RENAME, "rename"))
    question = (await until_asked(envelope)).question
    assert question is not None
    assert set(question.choices) == {"retry", "give_up"}
    assert "consent" in question.text.casefold()

    await consents(house, True)
    await envelope.resolve("retry")

    assert (await asked).state == "applied"
    writes = [w["operationId"] for w in (await house.desk.ledger())["writes"]]
    assert writes.count("Recipients_PutRecipients") == 1
    assert (await envelope.status()).question is None
    assert any("a person decided: retry" in e.text for e in await envelope.timeline())


async def test_what_is_given_up_is_told_to_its_caller_and_was_never_done(house: rig.Rig):
    """`give_up`: its caller hears `given_up`, the provider never heard of it."""
    envelope = await sent(house)
    await consents(house, False)
    asked = asyncio.create_task(envelope.mutate(RENAME, "rename"))
    await until_asked(envelope)
    await envelope.resolve("give_up")
    await consents(house, True)

    with pytest.raises(MutationRejected) as told:
        await asked
    assert told.value.code == "given_up"
    writes = [w["operationId"] for w in (await house.desk.ledger())["writes"]]
    assert "Recipients_PutRecipients" not in writes


async def test_what_was_not_asked_cannot_be_decided(house: rig.Rig):
    """A decision without a question is refused, and changes nothing."""
    envelope = await sent(house)
    before = await envelope.status()
    with pytest.raises(Refusal) as refused:
        await envelope.resolve("landed")
    assert refused.value.code is RefusalCode.NOTHING_TO_DECIDE
    assert await envelope.status() == before


async def test_a_decision_gets_in_past_a_crowd(house: rig.Rig):
    """With 50 changes and 50 session requests waiting behind a question, its answer is heard
    within seconds, and all of them go on."""
    envelope = await house.create(recipients=[ANA], send=False)
    await envelope.wait("created", timeout_s=30)
    await consents(house, False)
    changes = [
        asyncio.create_task(envelope.mutate(ChangeMessage(subject=f"{n}"), f"op-{n}"))
        for n in range(CROWD)
    ]
    asked = [
        asyncio.create_task(
            envelope.open_session("ana", "http://localhost/back", operation_id=f"ask-{n}")
        )
        for n in range(CROWD)
    ]
    async for snapshot in envelope.watch():
        if snapshot.question and snapshot.queue_length == CROWD == len(snapshot.signing.waiting):
            break

    began = time.monotonic()
    await consents(house, True)
    await envelope.resolve("retry", timeout_s=30)
    took_s = time.monotonic() - began

    assert {r.state for r in await asyncio.gather(*changes)} == {"applied"}
    assert took_s < 5
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


async def sent(house: rig.Rig) -> EnvelopeHandle:
    """An envelope out for signing."""
    envelope = await house.create()
    await envelope.wait("sent", timeout_s=30)
    return envelope


async def consents(house: rig.Rig, given: bool) -> None:
    """The user gives the integration consent, or takes it back; its tokens go with it."""
    await house.desk.put(
        "/principals",
        {
            "integration_key": house.desk.integration_key,
            "user_id": house.desk.user_id,
            "public_key_pem": rig.public_key_pem(rig.KEY),
            "accounts": [house.desk.account_id],
            "consented": given,
        },
    )
    if not given:
        await house.desk.harm(revoke_tokens=True)


async def until_asked(envelope: EnvelopeHandle) -> Snapshot:
    """The snapshot once it asks something."""
    async for snapshot in envelope.watch():
        if snapshot.question is not None:
            return snapshot
    raise AssertionError("it closed without asking")
