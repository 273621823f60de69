"""Law 1: whoever asks, however many at once, mutations take effect one by one in their order."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from tests import programs, rig

PROCESSES = 10
EACH = 10


async def test_a_hundred_concurrent_mutations_from_ten_processes(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """All take effect, in the order of acceptance; each caller gets its own result.

    The simulator loses overlapping writes here, so that any overlap would show in its ledger.
    """
    async with Stack(tmp_path) as stack:
        url = await programs.start_simulator(stack, "--overlap", "on", "--processing-ms", "5:25")
        async with rig.running(dev_env.client, url, tmp_path) as house:
            envelope = await house.create("hundred", send=False)
            await envelope.wait("created", timeout_s=20)
            results = await _from_many_processes(house, "hundred")
            ledger = await house.desk.ledger()

    assert all(r["operation_id"] == f"op-{r['mine']}" for r in results)
    assert {r["state"] for r in results} == {"applied"}
    in_order = sorted(results, key=lambda r: r["sequence"])
    assert [r["revision"] for r in in_order] == list(range(2, 2 + PROCESSES * EACH))
    (truth,) = ledger["envelopes"]
    added = [r["recipientId"] for r in truth["recipients"] if r["type"] == "carboncopy"]
    emails = [r["email"] for r in truth["recipients"] if r["type"] == "carboncopy"]
    assert emails == [f"c{r['mine']}@example.com" for r in in_order]
    assert len(set(added)) == PROCESSES * EACH
    assert (ledger["lost_update_count"], ledger["overlaps"]) == (0, 0)


async def _from_many_processes(house: rig.Rig, key: str) -> list[dict[str, Any]]:
    settings = house.settings.temporal
    module = "tests.workflows.one_of_many"
    argv = [sys.executable, "-m", module, settings.address, settings.task_queue, key]
    processes = [
        await asyncio.create_subprocess_exec(
            *argv,
            str(number),
            str(EACH),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for number in range(1, PROCESSES + 1)
    ]
    results: list[dict[str, Any]] = []
    for process in processes:
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        # The SDK writes its warnings to standard output, too; the result is the last line.
        results += json.loads(out.splitlines()[-1])
    return results


async def test_a_caller_that_dies_and_starts_again_has_one_effect(house: rig.Rig):
    """The same work within the same transaction: the same answers, and one write each."""

    async def work() -> list[Any]:
        envelope = house.client.envelope(rig.ACCOUNT, "job").within("job-7")
        renamed = await envelope.update_recipient("1", name="Anna")
        again = await envelope.update_recipient("1", name="Ana")
        back = await envelope.update_recipient("1", name="Anna")
        return [renamed, again, back]

    envelope = await house.create("job", send=False)
    await envelope.wait("created", timeout_s=20)
    first = await work()
    assert await work() == first
    written = [w["operationId"] for w in (await house.desk.ledger())["writes"]]
    assert written.count("Recipients_PutRecipients") == 3
