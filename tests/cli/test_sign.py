"""`sealwax sign`: a signing URL at the terminal, and who signs in what is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from sealwax.cli import run
from sealwax.definition import RecipientKind
from sealwax.envelope import Envelope
from sealwax.messages import SessionTicket, SigningView
from sealwax.running import recipient_from, wait_of
from sealwax.terminal import Terminal, progress_of
from sealwax.views import snapshot
from tests import programs, rig
from tests.builders import START, an_order
from tests.rig import ACCOUNT, Rig

THANKS = "http://127.0.0.1:9/thanks"


@pytest_asyncio.fixture(loop_scope="session")
async def house(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Rig]:
    """A whole Sealwax but for the bridge, whose address signing URLs need all the same."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path, bridge_port=9) as running:
            yield running


async def test_a_signer_gets_the_url_and_bad_requests_an_exit_code(
    house: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent embedded, signed for at the terminal, shown as signing; refusals are told apart."""
    monkeypatch.setenv("SEALWAX_CONFIG", str(house.folder / "sealwax.toml"))

    async def sealwax(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = await asyncio.to_thread(run, arguments)
        printed = capsys.readouterr()
        return code, printed.out.strip(), printed.err.strip()

    key = f"order-{uuid4().hex[:8]}"
    options = ("--account", ACCOUNT, "--key", key, "--subject", "Contract", "--embedded")
    signer = ("--signer", "buyer:Bea Buyer:bea@example.com")
    assert (await sealwax("send", str(house.pdf()), *options, *signer))[0] == 0
    await house.client.envelope(ACCOUNT, key).wait("sent", timeout_s=30)
    code, url, _ = await sealwax("sign", key, "buyer", "--return-url", THANKS)
    assert code == 0
    assert url.startswith(house.desk.url)
    code, shown, _ = await sealwax("status", key)
    assert "buyer is signing" in shown
    assert "page not known to be open yet" in shown
    assert url not in shown
    code, _, said = await sealwax("sign", key, "buyer", "--return-url", THANKS, "--json")
    assert (code, json.loads(said)["error"]["code"]) == (3, "already_open")
    again = ("sign", key, "buyer", "--return-url", THANKS, "--takeover", "--json")
    code, said, _ = await sealwax(*again)
    assert (code, json.loads(said)["token"]) == (0, 2)
    code, _, said = await sealwax("sign", key, "buyer", "--return-url", "ftp://x", "--json")
    assert (code, json.loads(said)["error"]["code"]) == (2, "bad_return_url")


def test_who_signs_and_who_waits_is_shown_by_ids() -> None:
    """The line of progress and the full view name the application's ids."""
    base = snapshot(an_envelope())
    signing = SigningView(recipient_id="ana", since=datetime.now(UTC), waiting=("ben", "carl"))
    seen = base.model_copy(update={"signing": signing})
    assert "ana is signing, 2 wait to sign" in progress_of(seen)
    out = StringIO()
    Terminal(as_json=False, out=out, err=StringIO()).snapshot(seen)
    assert "then      ben, carl" in out.getvalue()


def an_envelope() -> Envelope:
    """An envelope that was just ordered."""
    return Envelope(an_order(), START)


def test_an_embedded_signer_is_known_by_its_id() -> None:
    """Only with --embedded does a recipient get no mail."""
    text = "buyer:Bea:bea@example.com:2"
    assert recipient_from(text, RecipientKind.SIGNER).client_user_id == ""
    assert recipient_from(text, RecipientKind.SIGNER, embedded=True).client_user_id == "buyer"


def test_what_is_waited_for_is_told_in_few_words() -> None:
    """Place and reason."""
    ticket = SessionTicket(
        operation_id="op", recipient_id="ben", state="waiting", position=1, why="ana is signing"
    )
    assert wait_of(ticket) == "1 before it: ana is signing"
    assert wait_of(ticket.model_copy(update={"position": 0, "why": ""})) == "next"
