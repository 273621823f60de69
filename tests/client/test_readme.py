"""The README's example runs as it is printed."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from tests import keys, programs, rig

ROOT = Path(__file__).parents[2]


async def test_the_readme_s_example_runs_as_printed(dev_env: WorkflowEnvironment, tmp_path: Path):
    """Copied out of the README, in a folder with a contract: it prints who is waited for."""
    text = (ROOT / "README.md").read_text("utf-8")
    example, _session = re.findall(r"(?s)```python\n(.*?)```", text)
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
