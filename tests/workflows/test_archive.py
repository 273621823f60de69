"""The archive is completed whatever interrupts it, and what stands is not fetched again.

What was fetched is counted on the simulator's own list of calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from sealwax.blobs import BlobCorrupt, BlobStore
from sealwax.connection import start_accounts
from sealwax.handle import EnvelopeHandle
from sealwax.messages import Snapshot
from tests import programs, rig
from tests.keys import KEYRING

pytestmark = pytest.mark.server

BOTH = ["combined", "certificate"]


async def fetched(house: rig.Rig) -> Counter[str]:
    """How often each file was asked for, by the simulator's list of calls."""
    calls = (await house.desk.ledger(calls=True))["calls"]
    asked = [c for c in calls if c["operationId"] == "Documents_GetDocument"]
    return Counter(str(c["path"]).rpartition("/")[2].partition("?")[0] for c in asked)


async def signed(house: rig.Rig) -> EnvelopeHandle:
    """An envelope whose signer signs; a voiceless provider, so a sweep is what tells it."""
    envelope = await house.create()
    sent = await envelope.wait("sent", timeout_s=30)
    await house.desk.acts(sent.provider_envelope_id, "1", "sign")
    return envelope


async def swept(house: rig.Rig) -> None:
    """A sweep besides the schedule, for which the account's workflow has to stand."""
    queue = house.settings.temporal.task_queue
    await start_accounts(house.temporal, [rig.ACCOUNT], queue)
    await house.client.sweep(rig.ACCOUNT)


async def lose(house: rig.Rig, mode: str, nth: int, **more: object) -> None:
    """Harm the nth fetch of a file from now on."""
    plan = {"operation": "Documents_GetDocument", "mode": mode, "nth": nth, **more}
    await house.desk.harm(lost_answers=[plan])


async def whole(house: rig.Rig, closed: Snapshot) -> None:
    """Both files stand, each as its digest says."""
    blobs = BlobStore(house.settings.storage.blobs, KEYRING)
    assert sorted(d.name for d in closed.archive) == sorted(BOTH)
    for document in closed.archive:
        assert (await blobs.read(document.blob)).startswith(b"%PDF-")


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("mode", ["commit_then_drop", "error_before_commit"])
async def test_a_lost_answer_costs_one_more_fetch_of_that_file_alone(
    dev_env: WorkflowEnvironment, tmp_path: Path, mode: str, nth: int
):
    """The other file is fetched once, whichever of them it was."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack, "--overlap", "off")
        async with rig.running(dev_env.client, url, tmp_path) as house:
            await lose(house, mode, nth)
            envelope = await signed(house)
            await swept(house)
            closed = await envelope.wait("closed", timeout_s=40)
            await whole(house, closed)
            expected = Counter(BOTH) + Counter([BOTH[nth - 1]])
            assert await fetched(house) == expected


async def test_a_worker_killed_over_the_second_file_leaves_the_first_as_it_stands(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """SIGKILL while the certificate is on its way: another worker fetches that one again, and the
    archive is whole."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack, "--overlap", "off")
        running = rig.running(
            dev_env.client, url, tmp_path, work=False, sweep={"every_s": 1, "overlap_s": 5}
        )
        async with running as house:
            await programs.start_worker(stack, tmp_path / "sealwax.toml")
            await lose(house, "slow", 2, delay_ms=3_000)
            envelope = await signed(house)
            async with asyncio.timeout(40):
                while (await fetched(house))["certificate"] < 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert not (await envelope.status()).closed
            await stack.kill("worker")
            await stack.restart("worker")
            closed = await envelope.wait("closed", timeout_s=60)
            await whole(house, closed)
            assert await fetched(house) == Counter({"combined": 1, "certificate": 2})


async def test_a_file_that_goes_bad_on_disk_is_not_handed_out(house: rig.Rig):
    """The digest of the state is checked on every read."""
    envelope = await signed(house)
    await swept(house)
    closed = await envelope.wait("closed", timeout_s=40)
    blobs = BlobStore(house.settings.storage.blobs, KEYRING)
    ref = closed.archive[0].blob
    path = blobs.path(ref)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BlobCorrupt):
        await blobs.read(ref)
