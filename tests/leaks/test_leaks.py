"""Law 7: nothing leaks. Whole lives are led by the real programs; then every file is searched."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from demo import stage
from demo.control import Control
from demo.stack import Stack
from demo.temporal_dev import free_port, start_temporal
from sealwax.client import EnvelopeClient, MutationRejected
from sealwax.definition import Recipient, Refusal, Tab, TabKind
from sealwax.handle import EnvelopeHandle
from sealwax.intake import DocumentFile
from sealwax.messages import SEARCH_ATTRIBUTES
from sealwax.opening import open_client
from sealwax.settings import Settings, load_settings
from tests import programs
from tests.leaks.recorder import Recorder, server_of
from tests.leaks.scan import Hit, forms, hits

TOLD = {
    "name": "Zoë Ångström-Quarles",
    "second name": "Balthasar Ypsilon",
    "new name": "Balthasar Zebediah",
    "e-mail": "zoe.angstrom@quarles-letters.example",
    "second e-mail": "balthasar@ypsilon-works.example",
    "new e-mail": "balthasar@zebediah-works.example",
    "copy's name": "Cornelius Umberto",
    "subject": "Severance of the northern lighthouse",
    "new subject": "Severance of both lighthouses",
    "message": "Between us: the keeper knows nothing yet.",
    "document's name": "Lighthouse severance terms",
    "text of the PDF": "Twelve thousand crowns in unmarked buoys",
    "label of a tab": "keepers-nickname",
    "value of a tab": "Old Barnacle Bill",
    "reason of the void": "The keeper has found out about it",
    "reason of the refusal": "Not on these terms.",
    "bad e-mail": "spelt.wrongly@@nowhere-at-all",
    "application's URL": "http://localhost/keepers?pension=withheld-until-spring",
    "client user id": "keeper-of-the-northern-light",
}
PLANTED = "Planted Perpetua in the open"


def a_pdf(text: str) -> bytes:
    """A PDF whose text stands in it uncompressed."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    head = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    pages = b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    page = b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R>>endobj\n"
    length = str(len(stream)).encode()
    content = b"4 0 obj<</Length " + length + b">>stream\n" + stream + b"\nendstream endobj\n"
    return head + pages + page + content + b"trailer<</Root 1 0 R>>\n%%EOF\n"


@dataclasses.dataclass
class World:
    """The programs, one client, and the secrets that they were made with."""

    folder: Path
    pdf: Path
    control: Control
    client: EnvelopeClient
    settings: Settings
    recorder: Recorder
    secrets: dict[str, str]


@contextlib.asynccontextmanager
async def recorded(url: str) -> AsyncIterator[tuple[Recorder, str]]:
    """A recorder in front of the provider, and its address."""
    recorder, port = Recorder(url), free_port()
    server = server_of(recorder, port)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while True:
                if server.started:
                    break
                await asyncio.sleep(0.01)
        yield recorder, f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving
        await recorder.close()


@contextlib.asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """All programs with a database file, as the demonstration starts them."""
    folder = tmp_path / "left"
    codec = stage.Codec(free_port())
    tenant = stage.new_tenant(stage.ACCOUNT)
    async with Stack(tmp_path / "provider") as provider, Stack(folder / "logs") as stack:
        url = await programs.start_simulator(provider)
        async with Control(url) as control, recorded(url) as (recorder, wire):
            await stage.admit(control, tenant, "Sealwax")
            server = await start_temporal(
                stack,
                search_attributes=SEARCH_ATTRIBUTES,
                preferred_ports=False,
                codec_endpoint=codec.endpoint,
            )
            path = stage.write_settings(
                folder,
                tenant,
                simulator=wire,
                temporal=server.address,
                bridge_port=free_port(taken=codec.port),
                codec=codec,
                ui_url=server.ui_url,
            )
            for program in (stage.codec_program, stage.bridge_program, stage.worker_program):
                await stack.start(program(path))
            settings = load_settings(path)
            secrets = {
                "private key": tenant.private_key_pem.splitlines()[3],
                "Connect key": tenant.hmac_key,
                "token of the codec server": codec.token,
                "encryption key": (folder / "keys" / "encryption.txt").read_text().strip(),
            }
            await _read_through_the_codec(codec)
            client = await open_client(settings)
            pdf = tmp_path / "contract.pdf"
            pdf.write_bytes(a_pdf(TOLD["text of the PDF"]))
            yield World(folder, pdf, control, client, settings, recorder, secrets)


async def _read_through_the_codec(codec: stage.Codec) -> None:
    """As the UI does; with a wrong token, too."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{codec.endpoint}/decode", json={"payloads": []})
        assert answer.status_code == 200
        wrong = f"http://127.0.0.1:{codec.port}/{codec.token[:-1]}/decode"
        assert (await http.post(wrong, json={})).status_code == 401


async def created(
    house: World, key: str, *, send: bool = True, client_user_id: str = ""
) -> EnvelopeHandle:
    """An envelope of which everything is a secret."""
    return await house.client.create(
        account=stage.ACCOUNT,
        key=key,
        subject=TOLD["subject"],
        message=TOLD["message"],
        documents=[DocumentFile(house.pdf, TOLD["document's name"])],
        recipients=[
            Recipient("first", TOLD["name"], TOLD["e-mail"], client_user_id=client_user_id),
            Recipient("second", TOLD["second name"], TOLD["second e-mail"], 2),
        ],
        send=send,
    )


async def completed(house: World) -> None:
    """Changed in every way, with a refusal of the provider's, then signed by all and archived."""
    envelope = await created(house, "order-1", send=False)
    await envelope.wait("created", timeout_s=30)
    await envelope.change_message(subject=TOLD["new subject"])
    label, value = TOLD["label of a tab"], TOLD["value of a tab"]
    await envelope.set_tabs("first", [Tab(TabKind.TEXT, label, 1, page=1, x=72, y=90, value=value)])
    await envelope.add_recipients(Recipient("copy", TOLD["copy's name"], TOLD["e-mail"], 3))
    await envelope.update_recipient("second", name=TOLD["new name"], email=TOLD["new e-mail"])
    with contextlib.suppress(Refusal, MutationRejected):
        await envelope.update_recipient("second", email=TOLD["bad e-mail"])
    with pytest.raises(Refusal):
        await envelope.mutate(_rename(), TOLD["e-mail"])
    sent = await _sent(envelope)
    for recipient in sorted(sent.recipients, key=lambda r: r.routing_order):
        number = recipient.provider_recipient_id
        assert await house.control.act(sent.provider_envelope_id, number, "sign")
    ended = await envelope.wait("closed", timeout_s=60)
    assert ended.status == "completed"
    assert ended.archive


async def _sent(envelope: EnvelopeHandle) -> Any:
    await envelope.send()
    return await envelope.wait("sent", timeout_s=30)


def _rename() -> Any:
    from sealwax.mutations import UpdateRecipient

    return UpdateRecipient("second", name=TOLD["new name"])


async def voided(house: World) -> None:
    """Voided for a reason that is nobody's business."""
    envelope = await created(house, "order-2")
    await envelope.wait("sent", timeout_s=30)
    await envelope.void(TOLD["reason of the void"])
    assert (await envelope.wait("closed", timeout_s=60)).status == "voided"


async def declined(house: World) -> None:
    """Declined with the words of the one who should have signed."""
    envelope = await created(house, "order-3")
    sent = await envelope.wait("sent", timeout_s=30)
    (first,) = (r for r in sent.recipients if r.recipient_id == "first")
    number = first.provider_recipient_id
    assert await house.control.act(sent.provider_envelope_id, number, "decline")
    assert (await envelope.wait("closed", timeout_s=60)).status == "declined"


async def signed_embedded(house: World) -> None:
    """Signing URLs that are used, given back and asked for again; and the bridge's two addresses,
    as the provider, the signer's browser, a reader of links and a stranger ask for them."""
    envelope = await created(house, "order-4", client_user_id=TOLD["client user id"])
    sent = await envelope.wait("sent", timeout_s=30)
    (first,) = (r for r in sent.recipients if r.recipient_id == "first")
    signer = (sent.provider_envelope_id, first.provider_recipient_id)
    back = TOLD["application's URL"]
    unused = await envelope.open_session("first", back, operation_id="s-1", timeout_s=30)
    await envelope.close_session("s-1", unused.token)
    ticket = await envelope.open_session("first", back, operation_id="s-2", timeout_s=30)
    assert [view.url for view in house.recorder.views] == [unused.url, ticket.url]
    view = house.recorder.views[-1]
    mac = view.secrets()["landing URL's MAC"]
    await house.control.in_session(*signer, "open", url=ticket.url)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(view.ping_url)).status_code == 204
        assert (await http.head(view.return_url)).status_code == 405
        assert (await http.get(view.return_url.replace(mac, mac[::-1]))).status_code == 404
        left = await house.control.in_session(
            *signer, "decline", reason=TOLD["reason of the refusal"]
        )
        landed = await http.get(left["returnUrl"])
    assert back.replace("&", "&amp;") in landed.text
    assert (await envelope.wait("closed", timeout_s=60)).status == "declined"


async def refused(house: World) -> None:
    """A key with a person in it is refused before anything is written anywhere."""
    for key in (TOLD["e-mail"], TOLD["second e-mail"]):
        with pytest.raises(Refusal):
            await created(house, key)


async def planted(house: World) -> None:
    """The control: what another program leaves in the same server in clear."""
    address = house.settings.temporal.address
    other = await Client.connect(address, data_converter=pydantic_data_converter)
    await other.start_workflow("other", PLANTED, id=f"other-{uuid4()}", task_queue="of-nobody")


@pytest.mark.server
async def test_no_file_that_is_left_holds_what_was_told_in_confidence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Database, journal, registry, documents, logs: no name, address, text, key or token, no
    signing URL, and nothing by which an address of a session could be made.

    The keys' own folder is where they belong; the provider's files are the provider's.
    """
    async with world(tmp_path) as house:
        await asyncio.gather(
            completed(house), voided(house), declined(house), signed_embedded(house)
        )
        await refused(house)
        await planted(house)
        passed = dict(enumerate(sorted(house.recorder.secrets)))
        assert len(passed) >= 2, "a token and an assertion went over the wire"
        ours = TOLD | house.secrets | {f"passed {i}": text for i, text in passed.items()}
        for number, view in enumerate(house.recorder.views):
            ours |= {f"{name} {number}": text for name, text in view.secrets().items()}
    (house.folder / "logs" / "client.log").write_text(caplog.text)

    left = {p.relative_to(house.folder).parts[0] for p in house.folder.rglob("*") if p.is_file()}
    assert {"logs", "sealwax-data", "sealwax.toml"} <= left
    found = hits(house.folder, ours | {"control": PLANTED}, [house.folder / "keys"])
    assert [hit for hit in found if hit.secret != "control"] == []
    assert any(hit.place.endswith("temporal.db (cells)") for hit in found)


@pytest.mark.parametrize("form", sorted({name for name, _ in forms("Zoë Ångström")}))
@pytest.mark.parametrize("before", range(4))
def test_what_is_planted_is_found_in_every_form(tmp_path: Path, form: str, before: int) -> None:
    """The search can fail: each form of a text is seen wherever it begins."""
    (planted,) = {sought for name, sought in forms("Zoë Ångström") if name == form}
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file.bin").write_bytes(b"\xff" * before + planted + b"\xff")
    assert Hit("name", form, "deep/file.bin") in hits(tmp_path, {"name": "Zoë Ångström"})
    assert not hits(tmp_path, {"name": "Zoë Ängström"})
    assert not hits(tmp_path, {"name": "Zoë Ångström"}, [tmp_path / "deep"])


@pytest.mark.parametrize("before", range(3))
def test_a_text_in_the_middle_of_base64_is_found(tmp_path: Path, before: int) -> None:
    """Whatever stands before and after it, and however long it is."""
    import base64

    for length in range(6, 12):
        text = "Ångström-Quarles"[:length]
        whole = b"\x07" * before + text.encode() + b"{ and more }"
        (tmp_path / "file").write_bytes(base64.b64encode(whole))
        assert hits(tmp_path, {"name": text}), text
