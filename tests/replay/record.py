"""Record histories for the replay test: ``python -m tests.replay.record VERSION``.

Each released version leaves its histories here and none is ever changed: envelopes live for
months, and a worker of today must be able to go on with what a worker of then began.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax import keys
from sealwax.connection import start_accounts
from sealwax.definition import Recipient
from sealwax.lifetime import leave
from sealwax.mutations import AddRecipients, ChangeMessage, UpdateRecipient
from tests import programs, rig, temporal_server

HISTORIES = Path(__file__).parent / "histories"
TWO = [
    Recipient("buyer", "Ana", "ana@example.com", 1),
    Recipient("seller", "Ben", "ben@example.com", 2),
]


async def main(version: str) -> None:
    """Live some lives and write down their histories."""
    folder = Path(tempfile.mkdtemp())
    async with await temporal_server.start_real_time(folder) as environment, Stack(folder) as stack:
        url = await programs.start_simulator(stack)
        port = free_port()
        async with rig.running(environment.client, url, folder, bridge_port=port) as house:
            await programs.start_bridge(stack, folder / "sealwax.toml")
            for name, live in (
                ("completed", _completed),
                ("voided", _voided),
                ("lost-answers", _lost_answers),
                ("waiting", _waiting),
                ("renewed", _renewed),
            ):
                envelope = await live(house)
                await _write(house, envelope.workflow_id, HISTORIES / f"{version}-{name}.json")
            await _write(house, await _quota(house), HISTORIES / f"{version}-quota.json")


async def _completed(house: rig.Rig) -> Any:
    envelope = await house.create("completed", recipients=TWO, send=False)
    await envelope.wait("created", timeout_s=20)
    copy = Recipient("copy", "Cleo", "cleo@example.com", 3)
    changes = (ChangeMessage(subject="Please sign today"), AddRecipients((copy,)))
    await asyncio.gather(*(envelope.mutate(c) for c in changes))
    await envelope.send()
    sent = await envelope.wait("sent", timeout_s=20)
    for recipient in sent.recipients:
        number = recipient.provider_recipient_id
        await house.desk.acts(sent.provider_envelope_id, number, "sign")
    await envelope.wait("closed", timeout_s=30)
    return envelope


async def _voided(house: rig.Rig) -> Any:
    envelope = await house.create("voided", recipients=TWO)
    await envelope.wait("sent", timeout_s=20)
    await envelope.mutate(UpdateRecipient("seller", name="Benjamin"))
    await envelope.void("wrong price")
    await envelope.wait("closed", timeout_s=30)
    return envelope


async def _lost_answers(house: rig.Rig) -> Any:
    plan = {"operation": "Envelopes_PostEnvelopes", "mode": "drop_before_commit", "times": 1}
    await house.desk.harm(lost_answers=[plan])
    envelope = await house.create("lost-answers")
    await envelope.wait("sent", timeout_s=40)
    plan = {"operation": "Envelopes_PutEnvelope", "mode": "commit_then_drop", "times": 1}
    await house.desk.harm(lost_answers=[plan])
    await envelope.void("wrong price")
    await envelope.wait("closed", timeout_s=30)
    return envelope


async def _waiting(house: rig.Rig) -> Any:
    envelope = await house.create("waiting", recipients=TWO)
    sent = await envelope.wait("sent", timeout_s=20)
    await house.desk.acts(sent.provider_envelope_id, "1", "open")
    await envelope.wait("delivered", timeout_s=20)
    return envelope


async def _renewed(house: rig.Rig) -> Any:
    """Its last run: begun with what an earlier one carried over, a session and answers among it."""
    people = [replace(TWO[0], client_user_id="ana"), TWO[1]]
    envelope = await house.create("renewed", recipients=people)
    await envelope.wait("sent", timeout_s=20)
    await envelope.mutate(UpdateRecipient("seller", name="Benjamin"), "rename")
    ticket = await envelope.open_session("buyer", "http://localhost/", operation_id="sign")
    await envelope.renew()
    while len([e async for e in house.temporal.list_workflows(_runs_of(envelope))]) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    await envelope.mutate(UpdateRecipient("seller", name="Benjamin"), "rename")
    await envelope.close_session("sign", ticket.token)
    await envelope.void("wrong price")
    await envelope.wait("closed", timeout_s=60)
    return envelope


async def _quota(house: rig.Rig) -> str:
    """The account's workflow: looks that were due or asked for, before and after calls."""
    await start_accounts(house.temporal, [rig.ACCOUNT], house.settings.temporal.task_queue)
    await house.client.quota(rig.ACCOUNT, refresh=True)
    envelope = await house.create("quota")
    await envelope.wait("sent", timeout_s=20)
    await asyncio.gather(*(house.client.quota(rig.ACCOUNT, refresh=True) for _ in range(3)))
    return keys.account_workflow_id(rig.ACCOUNT)


def _runs_of(envelope: Any) -> str:
    return f"WorkflowId = '{envelope.workflow_id}'"


async def _write(house: rig.Rig, workflow_id: str, path: Path) -> None:
    history = await house.temporal.get_workflow_handle(workflow_id).fetch_history()
    document = json.loads(history.to_json())
    path.write_text(json.dumps(_without_machine(document), indent=1) + "\n")


def _without_machine(value: Any) -> Any:
    """The history without the names of the processes that wrote it."""
    if isinstance(value, dict):
        return {k: "worker" if k == "identity" else _without_machine(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_machine(v) for v in value]
    return value


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    leave(0)
