"""Laws of adoption in the whole: an envelope made elsewhere is taken over with its webhooks, and is
then as any other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax.accounts import ConfiguredAccounts
from sealwax.answers import MutationRefused
from sealwax.blobs import BlobStore
from sealwax.calls import Create, Mutate
from sealwax.cli import run
from sealwax.definition import (
    CustomField,
    Definition,
    Document,
    Recipient,
    RecipientKind,
    Refusal,
    Tab,
    TabKind,
)
from sealwax.facts import EnvelopeStatus
from sealwax.mutations import SendEnvelope
from sealwax.providers.base import NewEnvelope
from sealwax.stores.base import JournalCounts
from sealwax.stores.journal import open_journal
from tests import keys, programs, rig

ANA = Recipient("1", "Ana", "ana@example.com", tabs=(Tab(TabKind.SIGN_HERE, "here", 1),))
CY = Recipient("2", "Cy", "cy@example.com", 2, RecipientKind.CARBON_COPY)


@dataclass
class World:
    """A rig with its bridge, and a terminal."""

    house: rig.Rig
    port: int
    capsys: pytest.CaptureFixture[str]

    async def made_elsewhere(self) -> str:
        """An envelope that a person sent with the provider's own tools; the account's webhooks are
        told of it."""
        async with ConfiguredAccounts(self.house.settings) as accounts:
            provider = accounts.provider(rig.ACCOUNT, "")
            blobs = BlobStore(self.house.settings.storage.blobs, keys.KEYRING)
            document = Document(1, "lease.pdf", await blobs.put(self.house.pdf()))
            fields = (CustomField("po", "17"),)
            definition = Definition(
                "Lease", "Dear Ana", (document,), (ANA, CY), custom_fields=fields
            )
            numbers = {"1": "1", "2": "2"}
            url = f"http://127.0.0.1:{self.port}/webhooks/{rig.ACCOUNT}"
            create = Create(definition, numbers, "", "not-ours", attempt=1)
            new = NewEnvelope(create, {document.blob.digest: rig.PDF}, url)
            made = (await provider.create(new)).provider_envelope_id
            sending = SendEnvelope()
            send = Mutate(
                "send", sending, EnvelopeStatus.CREATED, definition, definition, numbers, 1
            )
            await provider.mutate(made, send, {})
        return made

    async def journal(self) -> JournalCounts:
        path = self.house.settings.storage.journal_file
        journal = open_journal(path, keys.KEYRING, synced="normal", check_s=0)
        try:
            return await journal.counts()
        finally:
            await journal.close()

    async def until_parked(self, number: int) -> None:
        async with asyncio.timeout(40):
            while (await self.journal()).parked < number:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.05)

    async def adopts(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """The command, its exit code and its JSON, be it on stdout or on stderr."""
        self.capsys.readouterr()
        options = ("webhooks", "adopt", rig.ACCOUNT, *arguments, "--json")
        code = await asyncio.to_thread(run, options)
        printed = self.capsys.readouterr()
        return code, json.loads(printed.out or printed.err)


@pytest_asyncio.fixture
async def world(
    dev_env: WorkflowEnvironment,
    simulator_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    port = free_port()
    async with rig.running(dev_env.client, simulator_url, tmp_path, bridge_port=port) as house:
        async with Stack(tmp_path / "programs") as stack:
            await programs.start_bridge(stack, tmp_path / "sealwax.toml")
            monkeypatch.setenv("SEALWAX_CONFIG", str(tmp_path / "sealwax.toml"))
            yield World(house, port, capsys)


async def test_an_adopted_envelope_takes_its_parked_webhooks_and_goes_to_its_archived_end(
    world: World,
) -> None:
    """Adopted twice, it is the same; nothing was written at the provider for it."""
    envelope_id = await world.made_elsewhere()
    await world.until_parked(2)
    writes = (await world.house.desk.ledger())["writes"]
    for expected in ("sent", "sent"):
        code, done = await world.adopts(envelope_id)
        assert (code, done["status"], done["key"]) == (0, expected, f"adopted-{envelope_id}")
    envelope = world.house.client.envelope(rig.ACCOUNT, done["key"])
    snapshot = await envelope.status()
    assert (snapshot.subject, snapshot.message, snapshot.revision) == ("Lease", "Dear Ana", 1)
    assert [(r.recipient_id, r.name, r.kind) for r in snapshot.recipients] == [
        ("1", "Ana", "signer"),
        ("2", "Cy", "carbon_copy"),
    ]
    assert [(d.document_id, d.name, d.digest) for d in snapshot.documents] == [(1, "lease.pdf", "")]
    assert [(t.kind, t.label) for t in snapshot.recipients[0].tabs] == [("sign_here", "here")]
    assert snapshot.custom_fields == {"po": "17"}
    assert snapshot.waiting_on == ("1",)
    await world.house.desk.acts(envelope_id, "1", "sign")
    last = await envelope.wait("closed", timeout_s=40)
    assert last.status == "completed"
    assert [document.name for document in last.archive] == ["combined", "certificate"]
    assert last.events_seen >= 3
    assert (await world.house.desk.ledger())["writes"] == writes
    counts = await world.journal()
    assert (counts.parked, counts.quarantined) == (0, 0)
    # A late replay finds the workflow closed, and revives nothing.
    await asyncio.to_thread(run, ("webhooks", "replay", "--envelope", envelope_id))
    async with asyncio.timeout(40):
        while (await world.journal()).late < counts.delivered:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.05)
    assert (await envelope.status()).events_seen == last.events_seen


async def test_an_adopted_envelope_is_changed_and_voided_as_any_other(world: World) -> None:
    envelope_id = await world.made_elsewhere()
    code, _ = await world.adopts(envelope_id, "--key", "lease-17")
    assert code == 0
    envelope = world.house.client.envelope(rig.ACCOUNT, "lease-17")
    await envelope.update_recipient("1", email="ana.new@example.com")
    await envelope.resend()
    with pytest.raises((MutationRefused, Refusal), match="not possible while"):
        await envelope.send()
    await envelope.void("a new lease")
    (truth,) = await world.house.desk.envelopes()
    assert truth["status"] == "voided"
    last = await envelope.wait("closed", timeout_s=40)
    assert (last.status, last.revision) == ("voided", 4)
    code, error = await world.adopts(envelope_id, "--key", "another-key")
    assert (code, error["error"]["code"]) == (3, "business_key_reused")


async def test_what_the_provider_does_not_have_is_not_adopted(world: World) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"
    code, done = await world.adopts(nowhere)
    assert (code, done["status"]) == (4, "rejected")
    assert "ENVELOPE" in done["message"]
    assert await world.house.desk.envelopes() == []
