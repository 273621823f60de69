"""What the documentation tells other languages runs as printed, with the `temporal` program."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from demo.stack import Program, Stack
from demo.temporal_dev import temporal_binary
from sealwax.definition import Recipient, Refusal
from sealwax.intake import DocumentFile
from sealwax.payloads import PLAIN_PAYLOAD
from tests.rig import ACCOUNT, Rig

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "other-languages.md"

pytestmark = pytest.mark.usefixtures("codec")


@pytest.fixture
def key() -> str:
    """A business key that no other test uses."""
    return f"order-{uuid4().hex[:8]}"


def steps(house: Rig, key: str) -> list[str]:
    """The page's shell steps, with this test's task queue and key."""
    found = re.findall(r"(?ms)^```sh\n(.*?)^```", PAGE.read_text("utf-8"))
    queue = house.settings.temporal.task_queue
    ours = {"--task-queue sealwax": f"--task-queue {queue}"}
    return [_replaced(step, {**ours, "order-17": key}) for step in found]


def _replaced(text: str, words: dict[str, str]) -> str:
    for word, instead in words.items():
        text = text.replace(word, instead)
    return text


@pytest_asyncio.fixture(loop_scope="session")
async def codec(house: Rig, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The codec server for the test's settings; its address stands in ``$codec``."""
    token = "0123456789abcdef" * 4
    env = {
        "SEALWAX_CODEC__PORT": "0",
        "SEALWAX_CODEC__TOKEN": "env:CODEC_TOKEN",
        "CODEC_TOKEN": token,
    }
    argv = (sys.executable, "-m", "bridge.codec", "--config", str(house.folder / "sealwax.toml"))
    async with Stack(house.folder / "codec") as stack:
        running = await stack.start(Program(name="codec", argv=argv, env=env))
        monkeypatch.setenv("codec", f"{running.url}/{token}")
        yield


def sealwax_program(folder: Path) -> Path:
    """A folder with the program `sealwax`, as an installed wheel has it."""
    program = folder / "bin" / "sealwax"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m sealwax "$@"\n')
    program.chmod(0o755)
    return program.parent


async def shell(house: Rig, script: str) -> tuple[int, str, str]:
    """Run a script beside the document, as a user of the test's server would."""
    ours = (str(sealwax_program(house.folder)), str(Path(temporal_binary()).parent))
    path = os.pathsep.join((*ours, os.environ["PATH"]))
    process = await asyncio.create_subprocess_exec(
        *("sh", "-eu", "-c", script),
        cwd=house.folder,
        env={
            **os.environ,
            "PATH": path,
            "TEMPORAL_ADDRESS": house.settings.temporal.address,
            "SEALWAX_CONFIG": str(house.folder / "sealwax.toml"),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def answer_in(output: str) -> Any:
    """The JSON value that an answer of the program holds."""
    return json.loads(output[re.search(r"[\[{]", output).start() :])  # type: ignore[union-attr]


async def test_the_page_runs_as_printed_and_the_provider_has_the_envelope(
    house: Rig, key: str
) -> None:
    """Stored, started, changed and read from a shell; the ledger of truth agrees."""
    house.pdf()
    store, start, submit, answer, look, listing = steps(house, key)

    code, _, err = await shell(house, f"{store}\n{start}")
    assert code == 0, err
    envelope = house.client.envelope(ACCOUNT, key)
    await envelope.wait("sent", timeout_s=30)

    code, out, err = await shell(house, submit.replace("execute", "execute -o json", 1))
    assert code == 0, err
    assert '"applied"' in out
    code, out, err = await shell(house, answer.replace("query", "query -o json", 1))
    assert code == 0, err
    assert answer_in(out)["queryResult"][0]["operation_id"] == "copy-to-legal-1"
    code, out, err = await shell(house, look)
    assert code == 0, err
    assert "Services agreement" in out
    code, _, err = await shell(house, listing)
    assert code == 0, err

    (truth,) = await house.desk.envelopes()
    assert truth["status"] == "sent"
    assert {r["email"] for r in truth["recipients"]} == {"bea@example.com", "legal@example.com"}
    await _also_for_the_library(house, key)


async def _also_for_the_library(house: Rig, key: str) -> None:
    """The library's create finds it where the content is the same, and only there."""
    asked: dict[str, Any] = {
        "message": "Please sign by Friday.",
        "documents": [DocumentFile(house.pdf(), "Agreement")],
        "recipients": [Recipient("buyer", "Bea Buyer", "bea@example.com")],
    }
    found = await house.create(key, subject="Services agreement", **asked)
    assert (await found.status()).revision == 3
    with pytest.raises(Refusal, match="used for another"):
        await house.create(key, subject="Another", **asked)


async def test_a_repeated_start_and_a_used_operation_id_are_refused(house: Rig, key: str) -> None:
    """The second start fails, the same update repeats its answer, another body is refused."""
    house.pdf()
    store, start, submit, *_ = steps(house, key)
    code, _, err = await shell(house, f"{store}\n{start}")
    assert code == 0, err
    code, _, err = await shell(house, f"{store}\n{start}")
    assert code != 0
    assert "already" in err.lower()
    await house.client.envelope(ACCOUNT, key).wait("sent", timeout_s=30)
    for _ in range(2):
        code, out, err = await shell(house, submit.replace("execute", "execute -o json", 1))
        assert code == 0, err
        assert '"applied"' in out
    code, _, err = await shell(house, submit.replace("Legal department", "Others"))
    assert code != 0
    assert "operation id" in err
    (truth,) = await house.desk.envelopes()
    assert len(truth["recipients"]) == 2


async def test_an_input_under_another_id_is_refused(house: Rig, key: str) -> None:
    """A workflow whose id is not that of its order ends at once; nothing is made."""
    house.pdf()
    store, start, *_ = steps(house, key)
    odd = start.replace(f"envelope/acme/{key}", f"envelope/acme/{key}-b")
    code, _, err = await shell(house, f"{store}\n{odd}")
    assert code == 0, err
    workflow = house.temporal.get_workflow_handle(f"envelope/acme/{key}-b")
    with pytest.raises(WorkflowFailureError):
        await workflow.result()
    assert await house.desk.envelopes() == []


async def test_a_start_without_the_codec_closes_with_a_typed_error(house: Rig, key: str) -> None:
    """Who forgets the codec is told so, and nothing is made at the provider."""
    house.pdf()
    store, start, *_ = steps(house, key)
    forgotten = start.replace('--codec-endpoint "$codec"', "")
    code, _, err = await shell(house, f"{store}\n{forgotten}")
    assert code == 0, err
    with pytest.raises(WorkflowFailureError) as caught:
        await house.temporal.get_workflow_handle(f"envelope/acme/{key}").result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == PLAIN_PAYLOAD
    assert await house.desk.envelopes() == []
