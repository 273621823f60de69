"""Law 3, first part: a lost answer or a killed worker never makes a second envelope or effect."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from sealwax.handle import EnvelopeHandle
from sealwax.mutations import AddRecipients, ChangeMessage, UpdateRecipient, VoidEnvelope
from tests import programs, rig
from tests.builders import a_recipient


async def test_a_create_whose_answer_is_lost_is_found_not_repeated(house: rig.Rig):
    """Committed, then the connection dropped: one envelope, one write, adopted and sent."""
    await lose(house, "Envelopes_PostEnvelopes", "commit_then_drop")

    envelope = await house.create()
    snapshot = await envelope.wait("sent", timeout_s=30)

    (made,) = await house.desk.envelopes()
    assert (made["envelopeId"], made["status"]) == (snapshot.provider_envelope_id, "sent")
    assert [w["operationId"] for w in (await house.desk.ledger())["writes"]].count(
        "Envelopes_PostEnvelopes"
    ) == 1
    assert any("was found and adopted" in e.text for e in await envelope.timeline())


async def test_a_create_that_never_arrived_is_made_again_after_the_settle_time(house: rig.Rig):
    """Dropped before it was processed: nothing is found, so it is made under a new id."""
    await lose(house, "Envelopes_PostEnvelopes", "drop_before_commit")

    envelope = await house.create()
    await envelope.wait("sent", timeout_s=40)

    (made,) = await house.desk.envelopes()
    assert made["status"] == "sent"


@pytest.mark.parametrize(
    ("mutation", "operation"),
    [
        (AddRecipients((a_recipient("2", 2, "Ben"),)), "Recipients_PostRecipients"),
        (UpdateRecipient("1", name="Anna"), "Recipients_PutRecipients"),
        (VoidEnvelope("wrong price"), "Envelopes_PutEnvelope"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
async def test_a_mutation_whose_answer_is_lost_takes_effect_once(
    house: rig.Rig, mutation, operation
):
    """The read shows that it landed; the caller gets `applied`, the ledger holds one write."""
    envelope = await sent(house)
    before = len((await house.desk.ledger())["writes"])
    await lose(house, operation, "commit_then_drop")

    result = await envelope.mutate(mutation, timeout_s=30)

    writes = (await house.desk.ledger())["writes"][before:]
    assert result.state == "applied"
    assert [w["operationId"] for w in writes if w["accepted"]] == [operation]


async def test_a_slow_answer_past_the_deadline_is_looked_into(house: rig.Rig):
    """The call's own deadline ends it first; the effect is found by looking."""
    envelope = await house.create(send=False)
    await envelope.wait("created", timeout_s=20)
    await lose(house, "Envelopes_PutEnvelope", "slow", delay_ms=7_000)

    result = await envelope.mutate(ChangeMessage(subject="Patience"), timeout_s=40)

    (made,) = await house.desk.envelopes()
    assert (result.state, made["emailSubject"]) == ("applied", "Patience")


async def test_a_worker_killed_in_the_middle_of_a_call_loses_and_doubles_nothing(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """SIGKILL while writes are in flight, then a new worker: the ledger holds each effect once."""
    async with Stack(tmp_path) as stack:
        url = await programs.start_simulator(stack, "--overlap", "on", "--processing-ms", "300:500")
        async with rig.running(dev_env.client, url, tmp_path, work=False) as house:
            await programs.start_worker(stack, tmp_path / "sealwax.toml")
            envelope = await house.create(send=False)
            await envelope.wait("created", timeout_s=30)
            asked = [asyncio.create_task(add(envelope, i)) for i in range(10, 16)]
            await until_written(house, 2)

            await stack.kill("worker")
            await stack.restart("worker")

            results = await asyncio.wait_for(asyncio.gather(*asked), 60)
            ledger = await house.desk.ledger()

    (made,) = ledger["envelopes"]
    assert {r.state for r in results} == {"applied"}
    assert sorted(r["recipientId"] for r in made["recipients"]) == ["1", *map(str, range(10, 16))]
    assert (ledger["lost_update_count"], len(ledger["envelopes"])) == (0, 1)


async def add(envelope: EnvelopeHandle, number: int):
    """Add a recipient of this number."""
    mutation = AddRecipients((a_recipient(str(number), 1, f"N{number}"),))
    return await envelope.mutate(mutation, f"op-{number}", timeout_s=60)


async def sent(house: rig.Rig) -> EnvelopeHandle:
    """An envelope that is out for signing."""
    envelope = await house.create()
    await envelope.wait("sent", timeout_s=20)
    return envelope


async def lose(house: rig.Rig, operation: str, mode: str, **more: object) -> None:
    """Lose the next answer to this operation."""
    plan = {"operation": operation, "mode": mode, "times": 1}
    await house.desk.harm(lost_answers=[{**plan, **more}])


async def until_written(house: rig.Rig, count: int) -> None:
    """Until the ledger holds so many accepted writes."""
    async with asyncio.timeout(30):
        # Another process's ledger can only be asked again.
        while sum(w["accepted"] for w in (await house.desk.ledger())["writes"]) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
