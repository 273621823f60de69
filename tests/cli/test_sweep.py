"""`sealwax sweep` shows what the account's workflow shows of sweeps and drift, from any machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from sealwax.stores.sweep_base import Change, Seen, Stranger
from tests.cli.conftest import Sealwax
from tests.workflows.accounts import Shown, shown

NOW = datetime.now(UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def seen(dev_env: WorkflowEnvironment, tmp_path: Path, account: str) -> AsyncIterator[Shown]:
    """The settings' account, shown by a worker on its task queue."""
    async with shown(dev_env.client, tmp_path, account=account) as running:
        await running.start()
        yield running


async def test_before_the_first_sweep_that_is_said(sealwax: Sealwax, seen: Shown) -> None:
    """No zeros that nobody counted."""
    told = await sealwax("sweep", "--refresh")
    assert told.code == 0
    assert "no sweep has ended yet" in told.out
    assert "No sweep has ended yet." in await seen.card()


async def test_drift_and_strangers_are_shown_to_people_and_programs(
    sealwax: Sealwax, seen: Shown, account: str
) -> None:
    """What is missing, since when and of whom; the card says the same."""
    changes = {Change("completed", "1", "g"): False, Change("sent"): True}
    found = NOW - timedelta(hours=1)
    await seen.sweeps.see(account, [Seen("e-17", "k", None, 1, changes)], found)
    await seen.sweeps.strangers(account, [Stranger("e-99", "sent")], NOW)
    await seen.sweeps.advance(account, NOW)
    await seen.sweeps.ended(account, NOW, {"listed": 4, "signalled": 1}, "")
    told = await sealwax("sweep", account, "--refresh", "--json")
    assert (told.code, told.json["drift"], told.json["strangers"]) == (0, 1, 1)
    assert told.json["drifted"][0]["provider_envelope_id"] == "e-17"
    assert (told.json["listed"], told.json["signalled"]) == (4, 1)
    text = (await sealwax("sweep")).out
    assert "drift: 1 status changes whose webhooks have not come" in text
    assert "e-17 completed of recipient 1" in text
    assert "made elsewhere: e-99" in text
    assert "drift: **1** status changes" in await seen.card()


async def test_a_sweep_that_did_not_end_is_no_success(
    sealwax: Sealwax, seen: Shown, account: str
) -> None:
    """Its reason is told, and the exit code says that the figures are old."""
    await seen.sweeps.ended(account, NOW, {}, "USER_LACKS_PERMISSIONS: no")
    told = await sealwax("sweep", "--refresh")
    assert told.code == 6
    assert "the last sweep did not end: USER_LACKS_PERMISSIONS: no" in told.out
