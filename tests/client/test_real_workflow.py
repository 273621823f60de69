"""The client against the real workflow, worker and provider simulator."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from sealwax.cli import run
from sealwax.definition import Recipient, RecipientKind, Refusal, RefusalCode
from sealwax.mutations import AddRecipients
from tests.rig import ACCOUNT, Rig


async def test_a_hundred_concurrent_callers_each_get_their_own_result(house: Rig) -> None:
    """All take effect at the provider, each caller has its own place in the order."""
    envelope = await house.create(send=False)
    await envelope.wait("created", timeout_s=30)

    async def add(n: int) -> int:
        copy = Recipient(f"c{n}", f"Copy {n}", f"c{n}@example.com", 9, RecipientKind.CARBON_COPY)
        result = await envelope.mutate(AddRecipients((copy,)), f"op-{n}", timeout_s=100)
        assert result.operation_id == f"op-{n}"
        return result.sequence

    sequences = await asyncio.gather(*(add(n) for n in range(100)))
    assert len(set(sequences)) == 100
    (truth,) = await house.desk.envelopes()
    emails = {r["email"] for r in truth["recipients"]}
    assert {f"c{n}@example.com" for n in range(100)} <= emails
    ledger = await house.desk.ledger()
    assert ledger["lost_update_count"] == 0


async def test_what_the_law_forbids_is_refused_before_the_provider_is_asked(house: Rig) -> None:
    """A draft cannot be voided; the provider hears nothing of it."""
    envelope = await house.create(send=False)
    await envelope.wait("created", timeout_s=30)
    before = len((await house.desk.ledger(calls=True))["calls"])
    with pytest.raises(Refusal, match="possible now") as caught:
        await envelope.void("Withdrawn")
    assert caught.value.code is RefusalCode.ILLEGAL_IN_STATUS
    assert len((await house.desk.ledger(calls=True))["calls"]) == before


async def test_the_command_line_takes_an_envelope_through_its_life(
    house: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent, shown, voided and watched to its end by commands; the provider agrees."""
    monkeypatch.setenv("SEALWAX_CONFIG", str(house.folder / "sealwax.toml"))

    async def sealwax(*arguments: str) -> tuple[int, list[str]]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, [*arguments, "--json"])
        return code, capsys.readouterr().out.splitlines()

    key = f"order-{uuid4().hex[:8]}"
    options = ("--account", ACCOUNT, "--key", key, "--subject", "Contract")
    signer = ("--signer", "buyer:Bea Buyer:bea@example.com")
    code, _ = await sealwax("send", str(house.pdf()), *options, *signer)
    assert code == 0
    await house.client.envelope(ACCOUNT, key).wait("sent", timeout_s=30)
    code, (shown,) = await sealwax("status", key)
    assert (code, json.loads(shown)["waiting_on"]) == (0, ["buyer"])
    revision = json.loads(shown)["revision"]
    envelope = house.client.envelope(ACCOUNT, key)
    await envelope.update_recipient("buyer", name="Beatrice Buyer")
    capsys.readouterr()
    stale = ("void", key, "--reason", "Withdrawn", "--expected-revision", str(revision))
    assert await asyncio.to_thread(run, stale) == 3
    said = capsys.readouterr().err
    assert "recipients.buyer.name was 'Bea Buyer', is 'Beatrice Buyer' now" in said
    assert await asyncio.to_thread(run, (*stale, "--json")) == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["conflict"]["expected"]) == ("conflict", revision)
    code, (voided,) = await sealwax(*stale, "--merge")
    assert (code, json.loads(voided)["state"]) == (0, "applied")
    code, seen = await sealwax("watch", key)
    assert (code, json.loads(seen[-1])["closed"]) == (7, True)
    (truth,) = await house.desk.envelopes()
    assert truth["status"] == "voided"
