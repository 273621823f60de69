"""Law 8: a long life in many runs loses nothing, doubles nothing, and stays small.

``LONG_LIFE`` sets how many mutations one envelope is asked for; ``make storms`` asks for 3,000,
and 5,000 webhooks with them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from sealwax import messages
from sealwax.envelope import EVENT_KEYS_MAX
from sealwax.facts import Fact
from sealwax.handle import EnvelopeHandle
from sealwax.messages import EventBatch
from sealwax.mutations import ChangeMessage
from tests import rig
from tests.builders import an_event

MUTATIONS = int(os.environ.get("LONG_LIFE", "240"))
WEBHOOKS = MUTATIONS * 5 // 3
CALLERS = 16
BATCH = 50
RUN_BYTES_MAX = 1_000_000


@pytest_asyncio.fixture
async def steady(
    dev_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> AsyncIterator[rig.Rig]:
    """A rig whose envelopes go on as a new run every few hundred events."""
    timing = replace(rig.QUICK, history_events_max=300, refresh_min_s=3600)
    async with rig.running(dev_env.client, simulator_url, tmp_path, timing=timing) as running:
        yield running


@pytest.mark.timeout(1200)
async def test_a_long_life_loses_nothing_and_stays_small(steady: rig.Rig):
    """Every change once, in the order of its caller; every webhook once; a bounded state."""
    envelope = await steady.create(send=False)
    snapshot = await envelope.wait("created", timeout_s=30)

    async def changes(caller: int) -> list[int]:
        return [
            (await envelope.mutate(ChangeMessage(subject=f"{caller}-{turn}"), f"{caller}-{turn}"))
            .revision
            for turn in range(MUTATIONS // CALLERS)
        ]  # fmt: skip

    revisions, _ = await asyncio.gather(
        asyncio.gather(*(changes(caller) for caller in range(CALLERS))),
        delivers(steady, envelope, snapshot.provider_envelope_id),
    )

    made = MUTATIONS // CALLERS * CALLERS
    assert sorted(r for mine in revisions for r in mine) == list(range(2, made + 2))
    assert all(mine == sorted(mine) for mine in revisions)
    ledger = await steady.desk.ledger()
    written = [w["operationId"] for w in ledger["writes"]]
    assert written.count("Envelopes_PutEnvelope") == made
    (truth,) = ledger["envelopes"]
    last = await envelope.status()
    assert truth["emailSubject"] == last.subject
    assert last.events_seen == WEBHOOKS
    assert last.events_duplicate == WEBHOOKS
    # The oldest operation is still known, and repeated it has no second effect.
    assert (await envelope.mutate(ChangeMessage(subject="0-0"), "0-0")).revision == revisions[0][0]
    run_ids, largest_bytes = await runs(steady, envelope)
    print(f"{made} changes, {WEBHOOKS} webhooks twice: {run_ids} runs of {largest_bytes} bytes")
    assert run_ids > made * 5 // 300
    assert largest_bytes < RUN_BYTES_MAX


async def delivers(house: rig.Rig, envelope: EnvelopeHandle, provider_envelope_id: str) -> None:
    """Each webhook twice, in batches, while the changes are made."""
    workflow = house.temporal.get_workflow_handle(envelope.workflow_id)
    for start in range(0, WEBHOOKS, BATCH):
        events = tuple(
            an_event(
                "envelope-corrected",
                (Fact("created"),),
                event_key=f"{number:064}",
                account_id=house.desk.account_id,
                envelope_id=provider_envelope_id,
            )
            for number in range(start, min(start + BATCH, WEBHOOKS))
        )
        assert len(events) <= EVENT_KEYS_MAX
        for _ in range(2):
            await workflow.signal(messages.SIGNAL_EVENTS, EventBatch(events=events))


async def runs(house: rig.Rig, envelope: EnvelopeHandle) -> tuple[int, int]:
    """How many runs there were, and the size of the largest start of one, in bytes."""
    query = f"WorkflowId = '{envelope.workflow_id}'"
    sizes = []
    async for execution in house.temporal.list_workflows(query):
        workflow = house.temporal.get_workflow_handle(execution.id, run_id=execution.run_id)
        async for event in workflow.fetch_history_events(page_size=1):
            sizes.append(event.workflow_execution_started_event_attributes.input.ByteSize())
            break
    return len(sizes), max(sizes)
