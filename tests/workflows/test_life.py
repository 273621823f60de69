"""Whole lives through worker, bridge and simulator as programs, judged by the ledger."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax.blobs import BlobStore
from sealwax.definition import Recipient, Tab, TabKind
from sealwax.handle import EnvelopeHandle
from sealwax.messages import Snapshot
from tests import programs, rig
from tests.keys import KEYRING
from worker import build_id

HERE = Tab(TabKind.SIGN_HERE, "here", 1, page=1, x=100, y=100)
TWO = [
    Recipient("buyer", "Ana", "ana@example.com", 1, tabs=(HERE,)),
    Recipient("seller", "Ben", "ben@example.com", 2),
]
LATE_TWICE_AND_SHUFFLED = {"delay_ms": [0, 1_500], "duplicate_rate": 0.5}


@pytest_asyncio.fixture
async def whole(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[rig.Rig]:
    """Simulator, bridge and worker as programs; webhooks late, twice and out of order."""
    port = free_port()
    async with Stack(tmp_path) as stack:
        url = await programs.start_simulator(stack, "--overlap", "on", "--processing-ms", "20:60")
        async with rig.running(
            dev_env.client, url, tmp_path, work=False, bridge_port=port
        ) as house:
            await house.desk.harm(webhooks=LATE_TWICE_AND_SHUFFLED, seed=11)
            await programs.start_worker(stack, tmp_path / "sealwax.toml")
            await programs.start_bridge(stack, tmp_path / "sealwax.toml")
            yield house


async def test_a_contract_is_signed_in_turn_and_archived(whole: rig.Rig):
    """Scrambled webhooks alone tell of progress; the archive holds what the provider completed."""
    envelope = await whole.create(recipients=TWO)
    sent = await envelope.wait("sent", timeout_s=30)
    numbers = {r.recipient_id: r.provider_recipient_id for r in sent.recipients}
    for name in ("buyer", "seller"):
        assert (await envelope.status()).waiting_on
        await whole.desk.acts(sent.provider_envelope_id, numbers[name], "open")
        await whole.desk.acts(sent.provider_envelope_id, numbers[name], "sign")

    closed = await envelope.wait("closed", timeout_s=60)

    assert (closed.status, closed.contradictions, closed.attention) == ("completed", (), "")
    assert {r.status for r in closed.recipients} == {"completed"}
    assert await _decided_by(whole, envelope) == {build_id()}
    await _archive_is_whole(whole, closed)
    (truth,) = await whole.desk.envelopes()
    assert truth["status"] == "completed"


async def _decided_by(house: rig.Rig, envelope: EnvelopeHandle) -> set[str]:
    """Which code its history names, task by task."""
    history = await house.temporal.get_workflow_handle(envelope.workflow_id).fetch_history()
    return {
        event.workflow_task_completed_event_attributes.worker_version.build_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    }


async def _archive_is_whole(whole: rig.Rig, closed: Snapshot) -> None:
    blobs = BlobStore(whole.settings.storage.blobs, KEYRING)
    assert [d.name for d in closed.archive] == ["combined", "certificate"]
    for document in closed.archive:
        content = await blobs.read(document.blob)
        assert content.startswith(b"%PDF-")


async def test_a_declined_envelope_ends_declined(whole: rig.Rig):
    """One signer's no ends it for all."""
    envelope = await whole.create(recipients=TWO)
    sent = await envelope.wait("sent", timeout_s=30)
    await whole.desk.acts(sent.provider_envelope_id, "1", "decline")

    closed = await envelope.wait("closed", timeout_s=60)

    assert closed.status == "declined"
    assert (await whole.desk.envelopes())[0]["status"] == "declined"


async def test_twenty_megabytes_arrive_as_they_were(whole: rig.Rig):
    """References travel through Temporal; the provider holds the same bytes."""
    content = rig.PDF + bytes(range(256)) * (20 * 1024 * 4)
    envelope = await whole.create(documents=[whole.pdf("big.pdf", content)], send=False)
    await envelope.wait("created", timeout_s=60)

    (truth,) = await whole.desk.envelopes()
    assert truth["documents"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert truth["documents"][0]["bytes"] == len(content)


async def test_redelivery_after_the_end_revives_nothing(whole: rig.Rig):
    """All webhooks once more: kept as late, and the envelope stays closed."""
    envelope = await whole.create()
    sent = await envelope.wait("sent", timeout_s=30)
    await whole.desk.acts(sent.provider_envelope_id, "1", "sign")
    closed = await envelope.wait("closed", timeout_s=60)
    await whole.desk.post("/webhooks/flush", {"timeout_s": 20})

    await whole.desk.post(f"/webhooks/{sent.provider_envelope_id}/redeliver", {})
    flushed = await whole.desk.post("/webhooks/flush", {"timeout_s": 20})

    assert flushed["pending"] == 0
    assert (await envelope.status()).model_dump() == closed.model_dump()


@pytest.mark.parametrize("asked_at_once", [8])
async def test_creating_twice_gives_one_envelope(whole: rig.Rig, asked_at_once: int):
    """The same business key from several callers at once: one workflow, one envelope."""
    handles: list[EnvelopeHandle] = await asyncio.gather(
        *(whole.create("asked-at-once") for _ in range(asked_at_once))
    )
    await handles[0].wait("sent", timeout_s=30)

    assert len({h.workflow_id for h in handles}) == 1
    assert len(await whole.desk.envelopes()) == 1
