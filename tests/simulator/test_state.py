"""What a simulator keeps between two runs, where it was given a file."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import pytest

from simulator.plans import BadPlan
from simulator.state import Keeper
from tests.simulator.desk import ACCOUNT, Desk, definition, person
from tests.simulator.program import running, user_token

HOOK = {
    "url": "https://listener.example.com/hook",
    "events": ["envelope-completed"],
    "eventData": {"version": "restv2.1"},
}

# What the logs tell of an envelope; they end with the run.
LOGS = {"effects", "repeats", "mails", "mailCounts"}


async def test_envelopes_come_back_as_they_were(tmp_path: Path) -> None:
    """Documents, progress, tombstones and listeners: the ledger's truth of them is the same."""
    file = tmp_path / "state.json"
    async with Desk() as desk:
        two = (person("1"), person("2", 2))
        envelope = await desk.create(*two, eventNotification=HOOK)
        body = {"signers": [{"recipientId": "2"}]}
        await desk.ok("DELETE", f"/envelopes/{envelope}/recipients", body)
        assert (await desk.act(envelope, "1", "sign")).is_success
        before = await desk.truth(envelope)
        subscribed = desk.service.connect.subscribed(envelope)
        Keeper(desk.service, file).save()
    assert before["removedRecipients"]
    assert subscribed
    async with Desk() as later:
        Keeper(later.service, file).load()
        after = await later.truth(envelope)
        assert {k for k in before if before[k] != after[k]} <= LOGS
        assert later.service.connect.subscribed(envelope) == subscribed
        assert later.service.ledger.next_number(ACCOUNT) == 2
        fresh = await later.create()
        assert fresh != envelope


async def test_a_file_that_is_no_state_is_refused_and_kept(tmp_path: Path) -> None:
    """Nothing is overwritten that is not the simulator's."""
    file = tmp_path / "state.json"
    file.write_text("[]")
    async with Desk() as desk:
        with pytest.raises(BadPlan, match="remove it"):
            Keeper(desk.service, file).load()
        with pytest.raises(BadPlan, match="no folder"):
            Keeper(desk.service, tmp_path / "nowhere" / "state.json").load()
    assert file.read_text() == "[]"


def test_a_stopped_program_goes_on_with_its_envelopes(tmp_path: Path) -> None:
    """What was answered before SIGTERM is there after the next start."""
    option = ("--state", str(tmp_path / "state.json"))
    with running(*option) as (url, process):
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        path = f"{url}/restapi/v2.1/accounts/acc-1/envelopes"
        made = httpx.post(path, json=definition(), headers=headers).raise_for_status().json()
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    with running(*option) as (url, _):
        held = httpx.get(f"{url}/simulator/envelopes/{made['envelopeId']}").raise_for_status()
        assert held.json()["status"] == "sent"
