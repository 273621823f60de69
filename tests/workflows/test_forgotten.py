"""Law 3, last part: what Temporal's retention forgets, the registry remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from bridge.sink import TemporalSink, WorkflowGone
from sealwax import messages
from sealwax.definition import Refusal, RefusalCode
from sealwax.handle import EnvelopeHandle
from sealwax.messages import EventBatch
from tests import rig
from tests.builders import an_event


async def test_a_forgotten_envelope_is_the_same_envelope(house: rig.Rig):
    """Closed, deleted, and asked for again under its business key: nothing new is made, it ends
    as it had ended; a late event changes nothing."""
    envelope = await house.create("forgotten-closed")
    snapshot = await envelope.wait("sent", timeout_s=30)
    await house.desk.acts(snapshot.provider_envelope_id, "1", "sign")
    await heard(house, envelope, snapshot.provider_envelope_id)
    first = await envelope.wait("closed", timeout_s=30)
    before = (await house.desk.ledger())["writes"]
    await forget(house, envelope)

    again = await house.create("forgotten-closed")
    second = await again.wait("final", timeout_s=30)
    await heard(house, again, snapshot.provider_envelope_id)
    last = await again.wait("closed", timeout_s=30)

    assert second.provider_envelope_id == first.provider_envelope_id
    assert last.status == "completed"
    # The certificate says when it was made, so it differs from the first.
    assert [d.name for d in last.archive] == [d.name for d in first.archive]
    assert last.archive[0] == first.archive[0]
    assert (await house.desk.ledger())["writes"] == before
    assert len(await house.desk.envelopes()) == 1


async def test_a_create_that_an_earlier_life_may_have_made_is_looked_for_first(house: rig.Rig):
    """The workflow was deleted before it knew its envelope's id: the next life finds the draft by
    its mark and makes no second one."""
    await house.desk.harm(
        lost_answers=[
            {"operation": "Envelopes_PostEnvelopes", "mode": "commit_then_hang", "times": 1}
        ]
    )
    envelope = await house.create("forgotten-made", send=False)
    async with asyncio.timeout(20):
        # The ledger can only be asked again.
        while not await house.desk.envelopes():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    workflow = house.temporal.get_workflow_handle(envelope.workflow_id)
    await workflow.terminate("forgotten")
    await forget(house, envelope)

    again = await house.create("forgotten-made", send=False)
    snapshot = await again.wait("created", timeout_s=30)

    (made,) = await house.desk.envelopes()
    assert made["envelopeId"] == snapshot.provider_envelope_id


async def test_a_forgotten_envelope_keeps_its_business_key(house: rig.Rig):
    """Another order under the key of an envelope that Temporal has forgotten is refused like one
    under a key that it remembers; nothing is made, a late event is kept as late, and the order
    that the key belongs to gets its envelope back."""
    envelope = await house.create("forgotten-key")
    sent = await envelope.wait("sent", timeout_s=30)
    await house.desk.acts(sent.provider_envelope_id, "1", "sign")
    await heard(house, envelope, sent.provider_envelope_id)
    await envelope.wait("closed", timeout_s=30)
    before = await house.desk.ledger()
    await forget(house, envelope)

    other = await house.create("forgotten-key", subject="Another contract")
    said = [
        await refusal(other.wait("sent", timeout_s=30)),
        await refusal(other.status()),
        await refusal(other.void("Withdrawn")),
        await refusal(other.open_session("1", "http://127.0.0.1/thanks", timeout_s=10)),
    ]
    with pytest.raises(WorkflowGone):
        await delivered(house, envelope, sent.provider_envelope_id)
    again = await house.create("forgotten-key")
    last = await again.wait("closed", timeout_s=30)
    with pytest.raises(WorkflowGone):
        await delivered(house, envelope, sent.provider_envelope_id)
    told = await refusal(house.create("forgotten-key", subject="A third contract"))

    assert set(said) == {told} == {RefusalCode.BUSINESS_KEY_REUSED}
    assert (last.status, last.provider_envelope_id) == ("completed", sent.provider_envelope_id)
    after = await house.desk.ledger()
    assert (after["writes"], after["mails"]) == (before["writes"], before["mails"])
    assert len(after["envelopes"]) == 1


async def test_an_envelope_whose_workflow_was_ended_from_outside_is_taken_up_again(
    house: rig.Rig,
):
    """Asked for again it is the same envelope, nothing is sent twice; another order gets none."""
    envelope = await house.create("forgotten-ended")
    sent = await envelope.wait("sent", timeout_s=30)
    await house.temporal.get_workflow_handle(envelope.workflow_id).terminate("by mistake")
    before = await house.desk.ledger()

    other = await house.create("forgotten-ended", subject="Another contract")
    told = await refusal(other.wait("sent", timeout_s=30))
    again = await house.create("forgotten-ended")
    adopted = await again.wait("sent", timeout_s=30)
    after = await house.desk.ledger()
    await again.void("Withdrawn")

    assert told is RefusalCode.BUSINESS_KEY_REUSED
    assert adopted.provider_envelope_id == sent.provider_envelope_id
    assert (after["writes"], after["mails"]) == (before["writes"], before["mails"])
    assert [e["status"] for e in await house.desk.envelopes()] == ["voided"]


async def refusal(asked: Awaitable[Any]) -> RefusalCode:
    """The code with which this is refused."""
    with pytest.raises(Refusal) as caught:
        await asked
    return caught.value.code


async def forget(house: rig.Rig, envelope: EnvelopeHandle) -> None:
    """What the server's retention does after its time."""
    service = house.temporal.workflow_service
    execution = WorkflowExecution(workflow_id=envelope.workflow_id)
    await service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=house.temporal.namespace, workflow_execution=execution
        )
    )
    async with asyncio.timeout(20):
        while not await is_forgotten(house, envelope):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def is_forgotten(house: rig.Rig, envelope: EnvelopeHandle) -> bool:
    """Whether the server knows nothing of the workflow any more."""
    try:
        await house.temporal.get_workflow_handle(envelope.workflow_id).describe()
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    return False


async def heard(house: rig.Rig, envelope: EnvelopeHandle, provider_envelope_id: str) -> None:
    """The webhook of the completion, as the bridge would hand it on."""
    workflow = house.temporal.get_workflow_handle(envelope.workflow_id)
    await workflow.signal(messages.SIGNAL_EVENTS, completion(house, provider_envelope_id))


async def delivered(house: rig.Rig, envelope: EnvelopeHandle, provider_envelope_id: str) -> None:
    """The same by the bridge's own way to the workflow, which tells when that is closed."""

    async def connected() -> Client:
        return house.temporal

    batch = completion(house, provider_envelope_id)
    await TemporalSink(connected).signal(envelope.workflow_id, batch)


def completion(house: rig.Rig, provider_envelope_id: str) -> EventBatch:
    """What the provider says when all have signed."""
    event = an_event(
        "envelope-completed",
        account_id=house.desk.account_id,
        envelope_id=provider_envelope_id,
    )
    return EventBatch(events=(event,))
