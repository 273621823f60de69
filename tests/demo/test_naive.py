"""The naive client is competent: its harm comes from overlapping writes, and from nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo import workload
from demo.control import Control
from demo.drive import Driver, Run
from demo.ledger import Figures, count
from demo.naive.listener import Listener
from demo.naive.rest import backoff_s
from demo.naive.rows import Rows
from demo.run import Options, naive_side, start_simulator
from demo.stack import Stack
from demo.workload import Life


@dataclass(frozen=True)
class Outcome:
    """What the naive client did to a workload, and what the ledger says of it."""

    figures: Figures
    run: Run
    ledger: dict[str, Any]


async def lived(folder: Path, lives: tuple[Life, ...], *, overlap: bool, **harms: Any) -> Outcome:
    """A workload lived by the naive client alone."""
    async with Stack(folder) as stack:
        url = await start_simulator(stack, Options(overlap=overlap))
        async with Control(url) as control:
            if harms:
                await control.set_harms(harms)
            async with naive_side(control, folder / "naive") as (side, tenant):
                run = await Driver(side, control, lambda key, text: None).live(lives)
                assert await control.flush_webhooks(10) == 0
                ledger = await control.ledger(tenant.account_id)
    return Outcome(count(lives, ledger, run.beliefs), run, ledger)


@pytest.mark.server
async def test_without_the_overlap_harm_it_does_no_harm(tmp_path: Path):
    """Every figure of harm is 0 when the provider applies each write at once, whatever webhooks do.

    Webhooks come late, doubled and out of order here as in the demonstration.
    """
    outcome = await lived(tmp_path, workload.make(3, 8), overlap=False)
    assert outcome.figures.harmless, outcome.run.failures
    assert outcome.run.failures == {}
    assert outcome.figures.completed == 7
    assert len(list((tmp_path / "naive").glob("*.pdf"))) == 7


@pytest.mark.server
async def test_with_the_overlap_harm_it_loses_updates(tmp_path: Path):
    """What the provider accepted is gone: effective and lost mutations are all that were requested.

    The client itself was refused nothing, so nothing told it.
    """
    outcome = await lived(tmp_path, workload.make(3, 4), overlap=True)
    figures = outcome.figures
    assert outcome.run.failures == {}
    assert figures.lost_updates > 0
    assert figures.mutations_effective + figures.lost_updates == figures.mutations_requested
    assert figures.wrong_final_states > 0


@pytest.mark.server
async def test_a_lost_answer_of_a_create_makes_no_second_envelope(tmp_path: Path):
    """Where a create took effect and its answer was lost, the client finds the envelope again."""
    plan = {"operation": "Envelopes_PostEnvelopes", "mode": "commit_then_drop", "times": 2}
    outcome = await lived(tmp_path, workload.make(3, 2), overlap=False, lost_answers=[plan])
    unanswered = [write for write in outcome.ledger["writes"] if not write["answered"]]
    assert len(unanswered) == 2
    assert outcome.figures.duplicate_envelopes == 0
    assert outcome.figures.wrong_final_states == 0


def body_of(event: str = "envelope-sent") -> bytes:
    return json.dumps({"event": event, "data": {"envelopeId": "e"}}).encode()


def signed(key: str, body: bytes) -> str:
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (lambda body: {}, 401),
        (lambda body: {"X-DocuSign-Signature-1": signed("other", body)}, 401),
        (lambda body: {"X-DocuSign-Signature-1": signed("right", body + b" ")}, 401),
        (lambda body: {"X-DocuSign-Signature-1": signed("right", body)}, 200),
        (
            lambda body: {
                "X-DocuSign-Signature-1": signed("old", body),
                "X-DocuSign-Signature-2": signed("right", body),
            },
            200,
        ),
    ],
)
async def test_only_what_is_signed_is_heard(
    headers: Callable[[bytes], dict[str, str]], status: int
):
    """A webhook counts if any of its signatures is right over the raw body; else it is refused."""
    heard: list[dict[str, Any]] = []

    async def hear(event: dict[str, Any]) -> None:
        heard.append(event)

    async with Listener("right", hear) as listener, httpx.AsyncClient(trust_env=False) as client:
        body = body_of()
        answer = await client.post(listener.url, content=body, headers=headers(body))
    assert answer.status_code == status
    assert len(heard) == (status == 200)


async def test_what_could_not_be_handled_is_asked_for_again():
    """A listener that fails answers 500, so that the provider sends the webhook once more."""

    async def hear(event: dict[str, Any]) -> None:
        raise LookupError("the database is away")

    async with Listener("right", hear) as listener, httpx.AsyncClient(trust_env=False) as client:
        body = body_of()
        headers = {"X-DocuSign-Signature-1": signed("right", body)}
        answer = await client.post(listener.url, content=body, headers=headers)
    assert answer.status_code == 500


@pytest.mark.parametrize(
    ("statuses", "end"),
    [
        (("sent", "delivered", "completed"), "completed"),
        (("completed", "sent", "delivered"), "completed"),
        (("delivered", "sent"), "delivered"),
        (("voided", "completed"), "voided"),
        (("sent", "nonsense"), "sent"),
    ],
)
def test_a_status_never_goes_back(statuses: tuple[str, ...], end: str):
    """Whatever order webhooks come in, a row only climbs and never leaves a final status."""
    rows = Rows()
    rows.add("order-001", "e", "created")
    for status in statuses:
        rows.move("e", status)
    row = rows.by_key("order-001")
    rows.close()
    assert row is not None
    assert row.status == end


def test_the_first_row_of_a_key_stands():
    """Two jobs that both made an envelope agree on one of them."""
    rows = Rows()
    assert rows.add("order-001", "first", "created").envelope_id == "first"
    assert rows.add("order-001", "second", "created").envelope_id == "first"
    rows.close()


def test_backoff_grows_and_is_jittered():
    """Waits are drawn below a bound that doubles with each try."""
    for number in range(1, 5):
        drawn = [backoff_s(number) for _ in range(50)]
        assert 0 <= min(drawn) < max(drawn) <= 0.25 * 2**number
        assert len(set(drawn)) > 1
