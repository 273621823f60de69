"""Timers, with the real server's time skipping: minutes and hours pass in milliseconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from sealwax.calls import Timing
from sealwax.messages import Snapshot
from tests import rig


@pytest_asyncio.fixture
async def skipping(
    temporal_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> AsyncIterator[rig.Rig]:
    """A rig with the timing that operators get by default, on a server that skips time."""
    async with rig.running(
        temporal_env.client, simulator_url, tmp_path, timing=Timing()
    ) as running:
        yield running


async def test_a_voided_envelope_closes_when_a_read_after_the_settle_time_confirms_it(
    skipping: rig.Rig,
):
    """Void, a minute of settling, a read that shows `voided`, then the workflow ends."""
    envelope = await skipping.create()
    await envelope.wait("sent", timeout_s=20)
    await envelope.void("wrong price")

    handle = skipping.temporal.get_workflow_handle(envelope.workflow_id, result_type=Snapshot)
    ended = await handle.result()

    described = await handle.describe()
    assert (ended.status, ended.closed) == ("voided", True)
    assert described.close_time is not None
    assert described.close_time - described.start_time >= timedelta(seconds=60)
    lines = [entry.text for entry in await envelope.timeline()]
    assert lines[-2:] == ["voided confirmed by a read", "closed: voided"]


async def test_a_person_is_waited_for_and_then_it_goes_on(skipping: rig.Rig):
    """Consent is missing: the envelope says so, asks again every five minutes, and recovers."""
    principal = {
        "integration_key": skipping.desk.integration_key,
        "user_id": skipping.desk.user_id,
        "public_key_pem": rig.public_key_pem(rig.KEY),
        "accounts": [skipping.desk.account_id],
    }
    await skipping.desk.put("/principals", {**principal, "consented": False})
    envelope = await skipping.create()
    async for snapshot in envelope.watch():
        if snapshot.attention:
            break
    assert "consent" in snapshot.attention

    await skipping.desk.put("/principals", {**principal, "consented": True})
    sent = await envelope.wait("sent", timeout_s=30)

    assert (sent.attention, sent.status) == ("", "sent")
