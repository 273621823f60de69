"""Law 8, first part: an envelope outlives any number of runs of its workflow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from sealwax import keys, messages
from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.handle import EnvelopeHandle
from sealwax.mutations import AddRecipients, UpdateRecipient
from tests import rig
from tests.builders import a_recipient, an_event

BACK = "http://localhost/back"
ANA = Recipient("ana", "Ana", "ana@example.com", 1, client_user_id="a")
BEN = Recipient("ben", "Ben", "ben@example.com", 1, client_user_id="b")


@pytest_asyncio.fixture
async def restless(
    dev_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> AsyncIterator[rig.Rig]:
    """A rig whose envelopes go on as a new run at every opportunity."""
    timing = replace(rig.QUICK, history_events_max=1)
    async with rig.running(
        dev_env.client, simulator_url, tmp_path, timing=timing, bridge_port=9
    ) as running:
        yield running


async def test_a_life_in_many_runs_is_the_same_life(restless: rig.Rig):
    """A new run after every call: order kept, every operation once, sessions handed on, closed."""
    envelope = await restless.create(recipients=[ANA, BEN])
    snapshot = await envelope.wait("sent", timeout_s=30)
    changes = [UpdateRecipient("ben", name=f"Ben {n}") for n in range(6)]
    results = await asyncio.gather(
        *(envelope.mutate(change, f"op-{n}", timeout_s=60) for n, change in enumerate(changes))
    )
    assert [r.state for r in results] == ["applied"] * 6
    ticket = await envelope.open_session("ana", BACK, operation_id="s-ana", timeout_s=30)
    waiting = asyncio.create_task(
        envelope.open_session("ben", BACK, operation_id="s-ben", timeout_s=60)
    )
    await restless.desk.acts(snapshot.provider_envelope_id, "1", "sign")
    await envelope.close_session("s-ana", ticket.token)
    assert (await waiting).url
    await restless.desk.acts(snapshot.provider_envelope_id, "2", "sign")
    await envelope.close_session("s-ben", (await waiting).token)
    # No bridge listens here: one event that asks for a read stands for all that were missed.
    missed = replace(
        an_event("recipient-completed", (), needs_read=True),
        account_id=restless.desk.account_id,
        provider_envelope_id=snapshot.provider_envelope_id,
    )
    workflow = restless.temporal.get_workflow_handle(envelope.workflow_id)
    await workflow.signal(messages.SIGNAL_EVENTS, messages.EventBatch(events=(missed,)))
    last = await envelope.wait("closed", timeout_s=60)

    assert last.status == "completed"
    assert [d.name for d in last.archive] == ["combined", "certificate"]
    again = await envelope.mutate(changes[0], "op-0")
    assert again == results[0]
    with pytest.raises(Refusal) as reused:
        await envelope.mutate(changes[1], "op-0")
    assert reused.value.code is RefusalCode.OPERATION_ID_REUSED
    (made,) = await restless.desk.envelopes()
    writes = [w["operationId"] for w in (await restless.desk.ledger())["writes"]]
    assert writes.count("Recipients_PutRecipients") == 6
    assert writes.count("Envelopes_PostEnvelopes") == 1
    assert made["status"] == "completed"
    assert len(await runs(restless, envelope)) > 10


async def test_an_operator_can_have_an_envelope_go_on_as_a_new_run(house: rig.Rig):
    """`renew`: one new run, the envelope as it was; a used operation id gets its first answer."""
    envelope = await house.create(send=False)
    await envelope.wait("created", timeout_s=30)
    first = await envelope.mutate(AddRecipients((a_recipient("2", 2, "Ben"),)), "add-ben")
    before = await envelope.status()
    await house.temporal.get_workflow_handle(envelope.workflow_id).signal(messages.SIGNAL_RENEW)
    async with asyncio.timeout(20):
        # A new run is seen by asking alone.
        while len(await runs(house, envelope)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    assert await envelope.status() == before
    assert await envelope.mutate(AddRecipients((a_recipient("2", 2, "Ben"),)), "add-ben") == first
    described = await house.temporal.get_workflow_handle(envelope.workflow_id).describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


async def test_waiting_for_an_answer_goes_on_over_new_runs(restless: rig.Rig):
    """Callers in the middle of waiting notice nothing: forty changes from eight callers, all
    applied, in the order of acceptance by revision."""
    envelope = await restless.create(send=False)
    await envelope.wait("created", timeout_s=30)

    async def caller(number: int) -> list[int]:
        return [
            (await envelope.change_message(subject=f"{number}-{turn}")).revision
            for turn in range(5)
        ]

    revisions = await asyncio.gather(*(caller(number) for number in range(8)))

    assert sorted(r for mine in revisions for r in mine) == list(range(2, 42))
    assert all(mine == sorted(mine) for mine in revisions)


async def runs(house: rig.Rig, envelope: EnvelopeHandle) -> list[str]:
    """The run ids of an envelope's workflow, as the server's visibility store shows them."""
    assert keys.account_and_key(envelope.workflow_id)
    query = f"WorkflowId = '{envelope.workflow_id}'"
    return [e.run_id async for e in house.temporal.list_workflows(query)]
