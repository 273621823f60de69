"""Laws of the codec server: who has the token reads, from an exact origin; nobody else does."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bridge import codec as module
from bridge.codec import CodecApp, main
from demo.stack import Program, Stack
from demo.temporal_dev import temporal_binary
from sealwax.crypto import Keyring
from sealwax.payloads import data_converter
from tests import keys

TOKEN = "a-token-that-nobody-guesses-0123456789"
UI = "http://localhost:8233"
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,x-namespace",
}
NEXT = Keyring("next", {**keys.KEYRING.keys, "next": b"n" * 32})


@pytest_asyncio.fixture
async def server() -> AsyncIterator[httpx.AsyncClient]:
    """The application itself, without a socket."""
    app = CodecApp(NEXT, TOKEN, (UI, "https://temporal.example.com"))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://codec") as http:
        yield http


def message(*payloads: tuple[dict[str, str], bytes]) -> dict[str, Any]:
    """The proto3 JSON of Payloads."""
    return {
        "payloads": [
            {
                "metadata": {k: base64.b64encode(v.encode()).decode() for k, v in metadata.items()},
                "data": base64.b64encode(data).decode(),
            }
            for metadata, data in payloads
        ]
    }


async def encrypted(ring: Keyring, *values: Any) -> list[dict[str, Any]]:
    """What a program sent to Temporal, as the UI gets it."""
    payloads = await data_converter(ring).encode(values)
    sealed = [({k: v.decode() for k, v in p.metadata.items()}, p.data) for p in payloads]
    return list(message(*sealed)["payloads"])


def data_of(payload: dict[str, Any]) -> bytes:
    """The payload's bytes."""
    return base64.b64decode(payload["data"])


async def test_what_was_encrypted_under_any_key_is_decoded_in_order(
    server: httpx.AsyncClient,
) -> None:
    """The old key's and the current one's; one that does not open hides none of the others."""
    foreign = Keyring("lost", {"lost": b"l" * 32})
    sent = [
        *await encrypted(keys.KEYRING, "Ana"),
        *await encrypted(foreign, "Ben"),
        *message(({"encoding": "json/plain"}, b'"in plain"'))["payloads"],
        *await encrypted(NEXT, {"name": "Cleo"}),
    ]
    answer = await server.post(f"/{TOKEN}/decode", json={"payloads": sent})
    assert answer.status_code == 200
    ana, ben, plain, cleo = answer.json()["payloads"]
    assert (data_of(ana), data_of(cleo)) == (b'"Ana"', b'{"name":"Cleo"}')
    assert base64.b64decode(ana["metadata"]["encoding"]) == b"json/plain"
    assert ben == sent[1]
    assert plain == sent[2]


async def test_what_is_encoded_is_read_by_programs(server: httpx.AsyncClient) -> None:
    """The `temporal` program's input reaches a worker as if a program had sent it."""
    asked = message(({"encoding": "json/plain"}, b'{"a": 1}'))
    (sealed,) = (await server.post(f"/{TOKEN}/encode", json=asked)).json()["payloads"]
    assert base64.b64decode(sealed["metadata"]["encryption-key-id"]) == b"next"
    back = await server.post(f"/{TOKEN}/decode", json={"payloads": [sealed]})
    assert back.json() == asked


@pytest.mark.parametrize("verb", ["decode", "encode"])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/{verb}", {}),
        ("/wrong/{verb}", {}),
        ("/" + TOKEN[:-1] + "/{verb}", {}),
        ("/" + TOKEN + "/more/{verb}", {}),
        ("/{verb}", {"authorization": "Bearer wrong"}),
        ("/{verb}", {"authorization": "Bearer "}),
        ("/{verb}", {"authorization": TOKEN}),
        ("/wrong/{verb}", {"authorization": f"Bearer {TOKEN}"}),
        ("/{verb}?token=" + TOKEN, {}),
        ("/\u00e9/{verb}", {}),
    ],
)
async def test_without_the_token_nothing_is_decoded_or_encoded(
    server: httpx.AsyncClient, verb: str, path: str, headers: dict[str, str]
) -> None:
    asked = {"payloads": await encrypted(NEXT, "Ana")}
    answer = await server.post(path.format(verb=verb), json=asked, headers=headers)
    assert answer.status_code == 401
    assert "payloads" not in answer.text


async def test_the_token_may_come_as_a_bearer(server: httpx.AsyncClient) -> None:
    asked = {"payloads": await encrypted(NEXT, "Ana")}
    answer = await server.post("/decode", json=asked, headers={"authorization": f"Bearer {TOKEN}"})
    assert data_of(answer.json()["payloads"][0]) == b'"Ana"'


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:8234",
        "https://localhost:8233",
        "http://localhost:8233.evil.example",
        "http://LOCALHOST:8233",
        "null",
        "https://evil.example",
    ],
)
async def test_a_page_of_another_origin_gets_nothing_though_it_has_the_token(
    server: httpx.AsyncClient, origin: str
) -> None:
    asked = {"payloads": await encrypted(NEXT, "Ana")}
    headers = {"origin": origin}
    answer = await server.post(f"/{TOKEN}/decode", json=asked, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    before = await server.options(f"/{TOKEN}/decode", headers=headers | PREFLIGHT)
    assert before.status_code == 403
    assert "access-control-allow-origin" not in before.headers


async def test_the_ui_may_ask_and_nothing_of_it_is_stored(server: httpx.AsyncClient) -> None:
    """The browser's preflight and the request get the exact origin back, and no-store."""
    before = await server.options(f"/{TOKEN}/decode", headers={"origin": UI} | PREFLIGHT)
    assert before.status_code == 204
    assert before.headers["access-control-allow-origin"] == UI
    assert before.headers["access-control-allow-methods"] == "POST"
    allowed = before.headers["access-control-allow-headers"].split(",")
    assert {"content-type", "x-namespace", "authorization"} <= set(allowed)
    asked = {"payloads": await encrypted(NEXT, "Ana")}
    answer = await server.post(f"/{TOKEN}/decode", json=asked, headers={"origin": UI})
    assert answer.headers["access-control-allow-origin"] == UI
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"\xff\xfe", 400),
        (b'{"payloads": 7}', 400),
        (b"[" * 100_000, 400),
        (b"{}", 200),
    ],
)
async def test_a_body_that_is_no_message_is_refused(
    server: httpx.AsyncClient, body: bytes, status: int
) -> None:
    answer = await server.post(f"/{TOKEN}/decode", content=body)
    assert answer.status_code == status


async def test_a_large_body_is_refused_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the bound, however much more would come."""
    monkeypatch.setattr(module, "BODY_BYTES_MAX", 1000)
    received = 0
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 400
        return {"type": "http.request", "body": b"x" * 400, "more_body": True}

    async def send(part: Any) -> None:
        said.append(part)

    scope = {"type": "http", "method": "POST", "path": f"/{TOKEN}/decode", "headers": []}
    await CodecApp(NEXT, TOKEN, ())(scope, receive, send)
    assert said[0]["status"] == 413
    assert (b"connection", b"close") in said[0]["headers"]
    assert received == 1200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "decode", 405), ("PUT", "encode", 405), ("POST", "download", 404)],
)
async def test_only_two_verbs_are_served(
    server: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await server.request(method, f"/{TOKEN}/{path}")).status_code == status


SETTINGS = (
    keys.SETTINGS
    + """
[codec]
port = 0
{codec}
[accounts.acme]
provider = "docusign"
account_id = "01234567-89ab-cdef-0123-456789abcdef"
api_base = "http://127.0.0.1:1"
oauth_base = "http://127.0.0.1:1"
[accounts.acme.principals.system]
integration_key = "key"
user_id = "user"
private_key = "file:key.pem"
"""
)
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes settings with a token file."""

    def written(token: str = TOKEN, *, codec: str = 'token = "file:codec.txt"') -> Path:
        (tmp_path / "codec.txt").write_text(token)
        (tmp_path / "codec.txt").chmod(0o600)
        path = tmp_path / "sealwax.toml"
        path.write_text(SETTINGS.format(codec=codec))
        return path

    return written


def test_it_does_not_start_without_a_token_that_is_hard_to_guess(
    write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line that names the key of the settings and what to do."""
    for token, codec, said in (
        (TOKEN, "", "codec.token: missing"),
        ("short", 'token = "file:codec.txt"', "32 or more"),
        ("a/b" * 20, 'token = "file:codec.txt"', "32 or more"),
        (TOKEN, 'token = "file:absent.txt"', "absent.txt"),
        (TOKEN, 'origins = ["*"]\ntoken = "file:codec.txt"', "codec.origins.0"),
    ):
        assert main(["--config", str(write(token, codec=codec))]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert token not in line
    path = write()
    (tmp_path / "codec.txt").chmod(0o644)
    assert main(["--config", str(path)]) == 2
    assert "chmod 600" in capsys.readouterr().err


@workflow.defn(name="carded")
class Carded:
    """Shows a card, as an envelope does."""

    @workflow.run
    async def run(self, name: str) -> str:
        workflow.set_current_details(f"waiting for {name}")
        return f"signed by {name}"


async def temporal(client: Client, *arguments: str) -> str:
    """Run the `temporal` program; what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(temporal_binary(), *arguments),
        env={**os.environ, "TEMPORAL_ADDRESS": client.service_client.config.target_host},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_the_temporal_program_starts_and_reads_through_it(
    dev_env: WorkflowEnvironment, write: Write, tmp_path: Path
) -> None:
    """With the endpoint, inputs go in encrypted and results come out readable; without it not."""
    name, queue = "Ana Lovelace", f"carded-{uuid4()}"
    readable = base64.b64encode(json.dumps(name).encode()).decode()
    client = keys.encrypting(dev_env.client)
    argv = (sys.executable, "-m", "bridge.codec", "--config", str(write()))
    async with Stack(tmp_path / "programs") as stack:
        running = await stack.start(Program(name="codec", argv=argv))
        endpoint = ("--codec-endpoint", f"{running.url}/{TOKEN}")
        worker = Worker(
            client,
            task_queue=queue,
            workflows=[Carded],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with worker:
            start = ("workflow", "execute", "--type", "carded", "--task-queue", queue)
            given = ("--workflow-id", queue, "--input", json.dumps(name))
            out = await temporal(client, *start, *given, "--static-summary", name, *endpoint)
            assert f"signed by {name}" in out
            show = ("workflow", "show", "--workflow-id", queue, "-o", "json")
            assert readable in await temporal(client, *show, *endpoint)
            blind = await temporal(client, *show)
        assert readable not in blind
        assert await client.get_workflow_handle(queue).result() == f"signed by {name}"
        log = running.log.read_text()
    assert TOKEN not in log
