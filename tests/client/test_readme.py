"""The README's example runs as it is printed."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from sealwax.definition import Recipient
from sealwax.mutations import UpdateRecipient
from tests import keys, programs, rig

ROOT = Path(__file__).parents[2]


def examples() -> list[str]:
    """The Python blocks of the README, in order."""
    return re.findall(r"(?s)```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"))


async def test_the_readme_s_example_runs_as_printed(dev_env: WorkflowEnvironment, tmp_path: Path):
    """Copied out of the README, in a folder with a contract: it prints who is waited for."""
    example = examples()[0]
    assert len([line for line in example.splitlines() if line.strip()]) == 10
    (tmp_path / "example.py").write_text(example)
    shutil.copy(next((ROOT / "demo" / "contracts").glob("*.pdf")), tmp_path / "contract.pdf")
    async with Stack(tmp_path) as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path) as house:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "example.py",
                cwd=tmp_path,
                env={
                    "SEALWAX_CONFIG": str(tmp_path / "sealwax.toml"),
                    "PYTHONPATH": str(ROOT),
                    keys.VARIABLE: keys.KEY_TEXT,
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            printed, _ = await process.communicate()
            (truth,) = await house.desk.envelopes()

    assert printed.decode().strip() == "('buyer',)"
    assert [r["name"] for r in truth["recipients"]] == ["Beatrice"]


async def test_the_readme_s_changes_take_effect_once_as_printed(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """The part on operation ids and edits: run twice, as a caller that died, it has one effect."""
    (changes,) = [text for text in examples() if "within" in text]
    body = "\n    ".join(changes.splitlines())
    namespace: dict[str, Any] = {"UpdateRecipient": UpdateRecipient}
    exec(f"async def change(envelope):\n    {body}", namespace)
    async with Stack(tmp_path) as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path) as house:
            people = [Recipient("buyer", "B", "b@example.com"), Recipient("cy", "C", "c@x.io", 2)]
            envelope = await house.create(recipients=people, send=False)
            await envelope.wait("created", timeout_s=20)
            for _ in range(2):
                await namespace["change"](envelope)
            (truth,) = await house.desk.envelopes()
            written = [w["operationId"] for w in (await house.desk.ledger())["writes"]]

    buyer = next(r for r in truth["recipients"] if r["email"] == "b@example.com")
    assert (buyer["name"], int(buyer["routingOrder"])) == ("Bea", 2)
    assert written.count("Recipients_PutRecipients") == 2
