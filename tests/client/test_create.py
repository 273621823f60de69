"""One business key, one envelope; nothing starts for what could not be one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from sealwax import keys
from sealwax.answers import call
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient, UnknownEnvelope
from sealwax.definition import DOCUMENT_BYTES_MAX, Recipient, Refusal, RefusalCode, Tab, TabKind
from sealwax.intake import DocumentFile
from tests.client.conftest import SIGNER
from tests.keys import KEYRING


def order(pdf: Path, **changes: Any) -> dict[str, Any]:
    """The smallest order that is taken, with one thing changed."""
    return {
        "account": "acme",
        "key": f"order-{uuid4()}",
        "subject": "Contract",
        "documents": [pdf],
        "recipients": [SIGNER],
        **changes,
    }


async def runs_of(temporal: Client, account: str, key: str) -> int:
    """How many runs the server has of an envelope's workflow."""
    described = temporal.get_workflow_handle(keys.workflow_id(account, key))

    async def first_run() -> str:
        return (await described.describe()).run_id

    try:
        await call(first_run, 10)
    except UnknownEnvelope:
        return 0
    return 1


async def test_asking_twice_gives_the_same_envelope(
    client: EnvelopeClient, dev_env: WorkflowEnvironment, pdf: Path
) -> None:
    """The second request finds the first one's workflow and run."""
    asked = order(pdf)
    first = await client.create(**asked)
    run = (await dev_env.client.get_workflow_handle(first.workflow_id).describe()).run_id
    second = await client.create(**asked)
    assert second.workflow_id == first.workflow_id
    assert (await dev_env.client.get_workflow_handle(second.workflow_id).describe()).run_id == run


async def test_concurrent_identical_creates_give_one_workflow(
    client: EnvelopeClient, dev_env: WorkflowEnvironment, pdf: Path
) -> None:
    """Twenty callers at once, one run, and all hold its handle."""
    asked = order(pdf)
    handles = await asyncio.gather(*(client.create(**asked) for _ in range(20)))
    assert len({h.workflow_id for h in handles}) == 1
    runs = [
        w.run_id
        async for w in dev_env.client.list_workflows(f"WorkflowId = '{handles[0].workflow_id}'")
    ]
    assert len(runs) <= 1
    described = await dev_env.client.get_workflow_handle(handles[0].workflow_id).describe()
    assert described.raw_description.workflow_execution_info.first_run_id == described.run_id


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Another"},
        {"send": False},
        {"principal": "sales"},
        {"recipients": [replace(SIGNER, email="eve@example.com")]},
    ],
)
async def test_another_content_under_a_used_key_is_refused(
    client: EnvelopeClient, pdf: Path, changes: dict[str, Any]
) -> None:
    """A business key stands for one content."""
    asked = order(pdf)
    await client.create(**asked)
    with pytest.raises(Refusal) as caught:
        await client.create(**{**asked, **changes})
    assert caught.value.code is RefusalCode.BUSINESS_KEY_REUSED


async def test_another_document_under_a_used_key_is_refused(
    client: EnvelopeClient, pdf: Path
) -> None:
    """Documents count by their bytes, not by their names alone."""
    asked = order(pdf)
    await client.create(**asked)
    pdf.write_bytes(b"%PDF-1.7\nanother\n%%EOF\n")
    with pytest.raises(Refusal) as caught:
        await client.create(**asked)
    assert caught.value.code is RefusalCode.BUSINESS_KEY_REUSED


async def test_a_closed_envelope_is_found_again(client: EnvelopeClient, pdf: Path) -> None:
    """The key of an envelope that has ended does not start another one."""
    asked = order(pdf)
    envelope = await client.create(**asked)
    await envelope.void("Withdrawn")
    await envelope.wait("closed", timeout_s=20)
    again = await client.create(**asked)
    assert (await again.status()).closed


def _big(folder: Path) -> Path:
    file = folder / "big.pdf"
    with file.open("wb") as stream:
        stream.write(b"%PDF-1.7\n")
        stream.truncate(DOCUMENT_BYTES_MAX + 1)
    return file


def _text(folder: Path, content: bytes) -> Path:
    file = folder / "text.pdf"
    file.write_bytes(content)
    return file


TABS = tuple(Tab(TabKind.TEXT, f"label-{n}", 1, value="x" * 900) for n in range(1_200))
BAD: dict[str, tuple[dict[str, Any], RefusalCode]] = {
    "missing": ({"documents": ["nowhere.pdf"]}, RefusalCode.BAD_INPUT),
    "folder": ({"documents": ["/"]}, RefusalCode.BAD_INPUT),
    "nul in path": ({"documents": ["a\0b.pdf"]}, RefusalCode.BAD_INPUT),
    "line end in path": ({"documents": ["a\nb.pdf"]}, RefusalCode.BAD_INPUT),
    "no documents": ({"documents": []}, RefusalCode.EMPTY_DOCUMENTS),
    "no recipients": ({"recipients": []}, RefusalCode.EMPTY_RECIPIENTS),
    "bad e-mail": ({"recipients": [replace(SIGNER, email="bea@")]}, RefusalCode.BAD_EMAIL),
    "twice": ({"recipients": [SIGNER, SIGNER]}, RefusalCode.DUPLICATE_ID),
    "order": ({"recipients": [replace(SIGNER, routing_order=0)]}, RefusalCode.BAD_ROUTING_ORDER),
    "subject": ({"subject": "s" * 101}, RefusalCode.OVERSIZE),
    "no subject": ({"subject": " "}, RefusalCode.BAD_INPUT),
    "message": ({"message": "m" * 10_001}, RefusalCode.OVERSIZE),
    "payload": ({"recipients": [replace(SIGNER, tabs=TABS)]}, RefusalCode.OVERSIZE),
    "e-mail as key": ({"key": "bea@example.com"}, RefusalCode.BAD_KEY),
    "slash in key": ({"key": "a/b"}, RefusalCode.BAD_KEY),
    "account": ({"account": "Acme Ltd"}, RefusalCode.BAD_KEY),
    "id": ({"recipients": [Recipient("bea@x.org", "B", "b@x.org")]}, RefusalCode.BAD_INPUT),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_could_not_be_an_envelope_starts_nothing(
    client: EnvelopeClient, dev_env: WorkflowEnvironment, pdf: Path, case: str
) -> None:
    """Each bad input is a typed refusal of one line, and no workflow has its key."""
    changes, code = BAD[case]
    asked = order(pdf, **changes)
    with pytest.raises(Refusal) as caught:
        await client.create(**asked)
    assert caught.value.code is code
    assert len(str(caught.value).splitlines()) == 1
    if code is not RefusalCode.BAD_KEY:
        assert not await runs_of(dev_env.client, asked["account"], asked["key"])


@pytest.mark.parametrize("content", [b"", b"Dear Bea", b"PK\x03\x04 a docx"])
async def test_only_pdfs_are_taken(
    client: EnvelopeClient, pdf: Path, tmp_path: Path, content: bytes
) -> None:
    """A file that does not begin as a PDF is refused by its content, whatever its name."""
    with pytest.raises(Refusal, match=r"PDF"):
        await client.create(**order(pdf, documents=[_text(tmp_path, content)]))


async def test_a_document_over_the_limit_is_refused_unread(
    dev_env: WorkflowEnvironment, pdf: Path, tmp_path: Path
) -> None:
    """Nothing is stored of an order that has one oversize document."""
    blobs = BlobStore(tmp_path / "untouched", KEYRING)
    client = EnvelopeClient(dev_env.client, blobs=blobs)
    with pytest.raises(Refusal) as caught:
        await client.create(**order(pdf, documents=[pdf, _big(tmp_path)]))
    assert caught.value.code is RefusalCode.OVERSIZE
    assert not (tmp_path / "untouched" / "sha256").exists()


async def test_documents_are_numbered_in_order_and_may_be_named(
    client: EnvelopeClient, dev_env: WorkflowEnvironment, pdf: Path
) -> None:
    """The first is document 1; a name given is the name that signers see."""
    asked = order(pdf, documents=[str(pdf), DocumentFile(pdf, "Annex A")])
    envelope = await client.create(**asked)
    handle = dev_env.client.get_workflow_handle(envelope.workflow_id)
    history = await handle.fetch_history()
    started = history.events[0].workflow_execution_started_event_attributes
    (decoded,) = await dev_env.client.data_converter.decode(started.input.payloads)
    documents = decoded["order"]["definition"]["documents"]
    assert [(d["document_id"], d["name"]) for d in documents] == [
        (1, "contract.pdf"),
        (2, "Annex A"),
    ]


async def test_ids_and_search_attributes_hold_no_personal_data(
    client: EnvelopeClient, dev_env: WorkflowEnvironment, pdf: Path
) -> None:
    """What Temporal shows in clear names neither a person nor an address."""
    envelope = await client.create(**order(pdf))
    described = await dev_env.client.get_workflow_handle(envelope.workflow_id).describe()
    shown = str(described.raw_description) + str(await described.static_summary())
    assert "bea" not in shown.lower()
    assert "example.com" not in shown
