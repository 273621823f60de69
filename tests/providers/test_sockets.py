"""Against the simulator as a program: real connections, lost answers, large documents, overlap."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from sealwax.definition import Document
from sealwax.facts import EnvelopeStatus
from sealwax.mutations import AddDocuments, ReplaceDocument, SendEnvelope, VoidEnvelope
from sealwax.providers.base import OutcomeUnknown
from sealwax.providers.http import Deadlines
from tests.providers.samples import blob, change, contents, finding, new_envelope
from tests.providers.simulated import Stage, as_program

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
async def program() -> AsyncIterator[Stage]:
    async with as_program("--processing-ms", "0:5") as stage:
        yield stage


async def test_answers_lost_on_the_wire_are_unknown_and_calls_are_made_once(
    program: Stage,
) -> None:
    """The connection is aborted after the commit: nothing asks again, the envelope is found."""
    stage = replace(program, account="acc-lost")
    provider = await stage.provider("lost")
    new = new_envelope()
    await stage.lose("Envelopes_PostEnvelopes", "commit_then_drop", times=1)
    with pytest.raises(OutcomeUnknown):
        await provider.create(new)
    assert len(await stage.calls("Envelopes_PostEnvelopes")) == 1
    (envelope_id,) = await provider.find_created(finding(new))
    await stage.lose("Envelopes_PutEnvelope", "commit_then_drop", times=1)
    with pytest.raises(OutcomeUnknown):
        await provider.mutate(envelope_id, change(SendEnvelope()), {})
    assert (await provider.read(envelope_id, False)).status is EnvelopeStatus.SENT
    assert len(await stage.calls("Envelopes_PutEnvelope")) == 1


async def test_an_answer_later_than_the_deadline_is_unknown(program: Stage) -> None:
    """The void took effect; the caller was told that it is not known."""
    stage = replace(program, account="acc-slow")
    provider = await stage.provider("slow", deadlines=Deadlines(write_s=0.3))
    envelope_id = (await provider.create(new_envelope())).provider_envelope_id
    await provider.mutate(envelope_id, change(SendEnvelope()), {})
    await stage.lose("Envelopes_PutEnvelope", "slow", times=1, delay_ms=5_000)
    with pytest.raises(OutcomeUnknown, match=r"within 0\.3 s"):
        await provider.mutate(envelope_id, change(VoidEnvelope("late"), EnvelopeStatus.SENT), {})
    assert (await provider.read(envelope_id, False)).status is EnvelopeStatus.VOIDED


async def test_documents_of_twenty_megabytes_go_both_ways_of_upload(program: Stage) -> None:
    """As base64 in JSON and as raw bytes: what arrives is what was given."""
    stage = replace(program, account="acc-large")
    provider = await stage.provider("large")
    envelope_id = (await provider.create(new_envelope())).provider_envelope_id
    large = b"%PDF-1.4\n" + b"\0" * (20 * 1024 * 1024)
    held = Document(2, "large.pdf", blob(large))
    bring = {held.blob.digest: large}
    await provider.mutate(envelope_id, change(AddDocuments((held,))), bring)
    larger = large + b"more"
    first = Document(1, "lease.pdf", blob(larger))
    bring = {first.blob.digest: larger, **contents()}
    await provider.mutate(envelope_id, change(ReplaceDocument(first)), bring)
    shown = {d["documentId"]: d["sha256"] for d in (await stage.truth(envelope_id))["documents"]}
    assert shown == {
        "1": hashlib.sha256(larger).hexdigest(),
        "2": hashlib.sha256(large).hexdigest(),
    }
