"""The commands do what they say, for people and for programs."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from sealwax import cli
from sealwax.definition import RecipientKind
from sealwax.opening import open_client
from sealwax.running import recipient_from
from sealwax.settings import load_settings
from tests.cli.conftest import Ran, Sealwax
from tests.client.stand_in import Plan

pytestmark = pytest.mark.usefixtures("worker")
SIGNERS = ("--signer", "buyer:Bea Buyer:bea@example.com", "--signer", "two:T Wo:two@example.com:2")


async def sent(sealwax: Sealwax, account: str, pdf: Path, *more: str) -> Ran:
    """An envelope under the key order-17."""
    options = ("--account", account, "--key", "order-17", "--subject", "Contract", *SIGNERS)
    return await sealwax("send", str(pdf), *options, *more)


async def test_sending_twice_is_sending_once(sealwax: Sealwax, account: str, pdf: Path) -> None:
    """The command may be repeated; with another content it is refused by the law."""
    first = await sent(sealwax, account, pdf, "--json")
    assert first.code == 0
    assert first.json == {
        "workflow_id": f"envelope/{account}/order-17",
        "account": account,
        "key": "order-17",
    }
    assert (await sent(sealwax, account, pdf, "--json")).out == first.out
    other = await sent(sealwax, account, pdf, "--draft", "--json")
    assert (other.code, other.error["code"]) == (3, "business_key_reused")


async def test_bulk_at_the_terminal_is_the_clients_bulk(
    sealwax: Sealwax, account: str, pdf: Path, settings: Path
) -> None:
    """`send --bulk` is another order than `send`, and the same as `create(..., bulk=True)`."""
    assert (await sent(sealwax, account, pdf, "--bulk")).code == 0
    plain = await sent(sealwax, account, pdf, "--json")
    assert (plain.code, plain.error["code"]) == (3, "business_key_reused")
    client = await open_client(load_settings(settings))
    envelope = await client.create(
        account=account,
        key="order-17",
        subject="Contract",
        documents=[pdf],
        recipients=[recipient_from(text, RecipientKind.SIGNER) for text in SIGNERS[1::2]],
        bulk=True,
    )
    assert envelope.workflow_id == f"envelope/{account}/order-17"


async def test_status_shows_one_object_or_a_table(
    sealwax: Sealwax, account: str, pdf: Path
) -> None:
    """JSON has the whole snapshot; a person sees recipients by name and status."""
    await sent(sealwax, account, pdf)
    shown = (await sealwax("status", "order-17", "--timeline", "--json")).json
    assert shown["business_key"] == "order-17"
    assert [r["recipient_id"] for r in shown["recipients"]] == ["buyer", "two"]
    assert shown["timeline"][0]["text"] == "opened"
    text = (await sealwax("status", "order-17", "--timeline")).out
    assert "Bea Buyer" in text
    assert "contract.pdf" in text
    assert "opened" in text


async def test_a_void_ends_the_watch_and_the_list_knows(
    sealwax: Sealwax, account: str, pdf: Path
) -> None:
    """Who watches sees each change on a line of its own, and the exit code tells the end."""
    await sent(sealwax, account, pdf)
    voided = await sealwax("void", "order-17", "--reason", "No", "--operation-id", "v-1", "--json")
    assert voided.code == 0
    assert (voided.json["state"], voided.json["operation_id"]) == ("applied", "v-1")
    watched = await sealwax("watch", "order-17", "--json")
    assert watched.code == 7
    assert [json.loads(line)["status"] for line in watched.out.splitlines()] == ["voided"]
    assert (await sealwax("watch", "order-17")).out.rstrip().endswith("voided, closed")
    rows: list[dict[str, object]] = []
    async with asyncio.timeout(20):
        while not rows:  # the visibility store is a moment late
            rows = (await sealwax("list", "--account", account, "--json")).json
    assert [(row["account"], row["key"]) for row in rows] == [(account, "order-17")]
    assert "order-17" in (await sealwax("list", "--account", account)).out


async def test_waiting_tells_how_it_ended(sealwax: Sealwax, account: str, pdf: Path) -> None:
    """`send --wait` of an envelope that is voided shows it and ends with 7."""
    await sent(sealwax, account, pdf)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sealwax", "send", str(pdf), "--account", account),
        *("--key", "order-17", "--subject", "Contract", *SIGNERS, "--wait", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await sealwax("void", "order-17", "--reason", "No")).code == 0
    out, _ = await process.communicate()
    assert process.returncode == 7
    assert json.loads(out)["snapshot"]["status"] == "voided"


async def test_no_answer_in_time_has_its_own_exit_code(
    sealwax: Sealwax, account: str, pdf: Path
) -> None:
    """The error names the operation id to ask again with."""
    await sent(sealwax, account, pdf, "--message", Plan(paused=True).model_dump_json())
    ran = await sealwax(
        *("void", "order-17", "--reason", "No", "--operation-id", "v-1", "--timeout", "1", "--json")
    )
    assert (ran.code, ran.error["code"]) == (6, "no_answer")
    assert "v-1" in ran.error["message"]


async def test_an_interrupt_ends_quietly_with_130(
    sealwax: Sealwax, account: str, pdf: Path
) -> None:
    """Ctrl-C while watching is one line and no traceback."""
    await sent(sealwax, account, pdf)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sealwax", "watch", "order-17"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert b"sent" in await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode().splitlines() == ["error: interrupted"]


async def test_a_reader_that_leaves_is_no_error(sealwax: Sealwax) -> None:
    """`sealwax ... | head` ends with 0 and prints no traceback."""
    script = f"{sys.executable} -m sealwax --help | head -1; echo ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        script,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert out.decode().splitlines()[-1] == "0"
    assert err == b""


async def test_the_demo_needs_a_checkout(
    sealwax: Sealwax, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an installed package the demo refuses, with what to do."""
    monkeypatch.setattr(cli, "CHECKOUT", tmp_path)
    ran = await sealwax("demo", "--json")
    assert (ran.code, ran.error["code"]) == (2, "no_checkout")


async def test_help_names_every_exit_code(sealwax: Sealwax) -> None:
    """What a script may meet stands in the help."""
    text = (await sealwax("--help")).out
    for code in ("0", "1", "2", "3", "4", "5", "6", "7", "130"):
        assert any(line.split()[:1] == [code] for line in text.splitlines())


async def test_the_version_is_the_packages(sealwax: Sealwax) -> None:
    """For people and for programs."""
    plain = (await sealwax("version")).out.strip()
    assert (await sealwax("version", "--json")).json == {"version": plain}
