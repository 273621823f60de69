"""The whole: bridge, worker, simulator and the command line, to a completed envelope."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from uuid import uuid4

from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax.definition import Recipient
from tests import programs, rig


async def test_waiting_for_a_signed_envelope_ends_with_zero(
    dev_env: WorkflowEnvironment, tmp_path: Path
) -> None:
    """`send --wait` joins an envelope on its way and ends with 0 once its signer has signed."""
    port = free_port()
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path, bridge_port=port) as house:
            settings = tmp_path / "sealwax.toml"
            await programs.start_bridge(stack, settings)
            key = f"order-{uuid4().hex[:8]}"
            buyer = Recipient("buyer", "Bea Buyer", "bea@example.com")
            envelope = await house.create(key, subject="Contract", recipients=[buyer])
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sealwax", "send", str(house.pdf()), "--wait", "--json"),
                *("--account", rig.ACCOUNT, "--key", key, "--subject", "Contract"),
                *("--signer", "buyer:Bea Buyer:bea@example.com", "--timeout", "60"),
                env={**os.environ, "SEALWAX_CONFIG": str(settings)},
                stdout=asyncio.subprocess.PIPE,
            )
            sent = await envelope.wait("sent", timeout_s=30)
            await house.desk.acts(sent.provider_envelope_id, "1", "sign")
            out, _ = await process.communicate()
            assert process.returncode == 0
            assert json.loads(out)["snapshot"]["status"] == "completed"
            (truth,) = await house.desk.envelopes()
            assert truth["status"] == "completed"
