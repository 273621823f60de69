"""Each caller gets the result of its own mutation, through whatever happens on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sealwax.blobs import BlobStore
from sealwax.client import (
    EnvelopeAborted,
    EnvelopeClient,
    MutationRefused,
    MutationRejected,
    NoAnswerYet,
    UnknownEnvelope,
)
from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.mutations import ChangeMessage
from tests.client.conftest import SIGNER, Create
from tests.client.stand_in import Plan, StandIn
from tests.keys import KEYRING


@pytest.mark.parametrize(
    "plan",
    [Plan(), Plan(run_max=15), Plan(held_max=0)],
    ids=["held", "new runs", "tickets only"],
)
async def test_a_hundred_concurrent_callers_each_get_their_own_result(
    create: Create, plan: Plan
) -> None:
    """No slot limit, ticket or new run loses an answer, doubles an effect or swaps results."""
    envelope = await create(plan)
    operations = [f"op-{n}" for n in range(100)]
    results = await asyncio.gather(
        *(
            envelope.mutate(ChangeMessage(subject=f"S{n}"), operation, timeout_s=90)
            for n, operation in enumerate(operations)
        )
    )
    assert [r.operation_id for r in results] == operations
    assert {r.state for r in results} == {"applied"}
    assert sorted(r.sequence for r in results) == list(range(1, 101))
    assert all(r.revision == r.sequence for r in results)
    assert (await envelope.status()).revision == 100


async def test_one_operation_id_has_one_effect(create: Create) -> None:
    """Repeating a request gives its first answer, at once and later."""
    envelope = await create(Plan())
    results = await asyncio.gather(*(envelope.send(operation_id="send-1") for _ in range(8)))
    assert {r.revision for r in results} == {1}
    assert await envelope.send(operation_id="send-1") == results[0]
    assert (await envelope.status()).revision == 1


async def test_an_operation_id_with_another_body_is_refused(create: Create) -> None:
    """The first answer is not given to another question."""
    envelope = await create(Plan())
    await envelope.change_message(subject="One", operation_id="op-1")
    with pytest.raises(Refusal) as caught:
        await envelope.change_message(subject="Two", operation_id="op-1")
    assert caught.value.code is RefusalCode.OPERATION_ID_REUSED
    assert (await envelope.status()).revision == 1


async def test_late_refusals_and_rejections_are_told_apart(create: Create) -> None:
    """Who said no is in the type; the whole answer comes with it."""
    envelope = await create(Plan())
    with pytest.raises(MutationRefused) as refused:
        await envelope.add_recipients(Recipient("refused", "R", "r@example.com"))
    assert refused.value.code is RefusalCode.ILLEGAL_IN_STATUS
    with pytest.raises(MutationRejected, match="as planned") as rejected:
        await envelope.add_recipients(Recipient("rejected", "R", "r@example.com"))
    assert rejected.value.code == "SOME_ERROR"
    assert rejected.value.result.state == "rejected"


async def test_a_closed_envelope_repeats_answers_and_refuses_the_rest(create: Create) -> None:
    """After the end, a known operation id has its answer and a new one is refused."""
    envelope = await create(Plan())
    first = await envelope.void("Withdrawn", operation_id="void-1")
    await envelope.wait("closed", timeout_s=20)
    assert await envelope.void("Withdrawn", operation_id="void-1") == first
    with pytest.raises(Refusal) as caught:
        await envelope.send()
    assert caught.value.code is RefusalCode.CLOSED


async def test_an_envelope_that_nobody_made_is_unknown(client: EnvelopeClient) -> None:
    """Changes, status and watching all say so, whatever words its key has."""
    envelope = client.envelope("acme", f"update-{uuid4()}")
    with pytest.raises(UnknownEnvelope):
        await envelope.send()
    with pytest.raises(UnknownEnvelope):
        await envelope.status()
    with pytest.raises(UnknownEnvelope):
        await anext(aiter(envelope.watch()))


async def test_time_up_names_the_operation_to_ask_again_with(
    create: Create, dev_env: WorkflowEnvironment
) -> None:
    """A caller that gave up early still gets the result of the same, single effect."""
    envelope = await create(Plan(paused=True))
    with pytest.raises(NoAnswerYet, match="op-1") as caught:
        await envelope.mutate(ChangeMessage(subject="S"), "op-1", timeout_s=1.5)
    assert caught.value.operation_id == "op-1"
    await dev_env.client.get_workflow_handle(envelope.workflow_id).signal("resume")
    result = await envelope.mutate(ChangeMessage(subject="S"), "op-1", timeout_s=20)
    assert (result.state, result.revision) == ("applied", 1)


async def test_cancelling_a_caller_cancels_it(create: Create) -> None:
    """A cancelled request ends as cancelled, not as one to be repeated for ever."""
    envelope = await create(Plan(paused=True))
    asking = asyncio.create_task(envelope.send())
    async for snapshot in envelope.watch():
        if snapshot.queue_length:
            break
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_caller_waits_through_the_absence_of_workers(
    dev_env: WorkflowEnvironment, pdf: Path, tmp_path: Path
) -> None:
    """Asked while no worker runs, a mutation has its one effect when one comes."""
    queue = f"late-{uuid4()}"
    client = EnvelopeClient(
        dev_env.client, blobs=BlobStore(tmp_path / "blobs", KEYRING), task_queue=queue
    )
    envelope = await client.create(
        account="acme",
        key=f"order-{uuid4()}",
        subject="Contract",
        documents=[pdf],
        recipients=[SIGNER],
    )
    with pytest.raises(NoAnswerYet, match="worker"):
        await envelope.mutate(ChangeMessage(subject="S"), "op-1", timeout_s=1.0)
    with pytest.raises(NoAnswerYet):
        await envelope.status(timeout_s=1.0)
    asking = asyncio.create_task(envelope.mutate(ChangeMessage(subject="S"), "op-1"))
    runner = UnsandboxedWorkflowRunner()
    async with Worker(
        dev_env.client, task_queue=queue, workflows=[StandIn], workflow_runner=runner
    ):
        assert (await asking).revision == 1
        assert (await envelope.status()).revision == 1


async def test_watching_shows_changes_and_ends_when_closed(create: Create) -> None:
    """Snapshots come in order, no two alike, the last one closed."""
    envelope = await create(Plan())
    seen = []
    async for snapshot in envelope.watch():
        seen.append(snapshot)
        if snapshot.revision < 3:
            await envelope.change_message(subject=f"S{snapshot.revision}")
        elif not snapshot.closed:
            await envelope.void("Enough")
    assert seen[-1].closed
    assert [s.revision for s in seen] == sorted({s.revision for s in seen})


async def test_waiting_ends_where_the_status_can_not_come_any_more(create: Create) -> None:
    """Waiting for completion of an envelope that is voided answers with what became of it."""
    envelope = await create(Plan())
    assert (await envelope.wait("created", timeout_s=10)).status == "sent"
    with pytest.raises(NoAnswerYet, match="still sent"):
        await envelope.wait("completed", timeout_s=0.5)
    with pytest.raises(Refusal, match="use one of"):
        await envelope.wait("compleeted")
    await envelope.void("Withdrawn")
    assert (await envelope.wait("completed", timeout_s=10)).status == "voided"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_terminated_workflow_ends_the_wait(
    create: Create, dev_env: WorkflowEnvironment, begun: bool
) -> None:
    """Nobody waits for ever on an envelope whose workflow an operator ended."""
    envelope = await create(Plan())
    if begun:
        await envelope.status()
    await dev_env.client.get_workflow_handle(envelope.workflow_id).terminate("by hand")
    with pytest.raises(EnvelopeAborted, match=r"ended|terminated"):
        await envelope.wait("completed", timeout_s=60)


async def test_the_timeline_is_typed(create: Create) -> None:
    """Entries come with their times."""
    (entry,) = await (await create(Plan())).timeline()
    assert entry.text == "opened"
    assert entry.at.tzinfo is not None
