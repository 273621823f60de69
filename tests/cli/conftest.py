"""The command line over a settings file, a real Temporal server and the stand-in workflow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sealwax.cli import run
from tests.client.stand_in import StandIn
from tests.keys import SETTINGS

ACCOUNT = """
[accounts.{name}]
provider = "docusign"
account_id = "01234567-89ab-cdef-0123-456789abcdef"
api_base = "http://127.0.0.1:1"
oauth_base = "http://127.0.0.1:1"
[accounts.{name}.principals.system]
integration_key = "key"
user_id = "user"
private_key = "file:key.pem"
"""


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def error(self) -> dict[str, str]:
        """The one JSON error on stderr."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        report: dict[str, dict[str, str]] = json.loads(line)
        return report["error"]


Sealwax = Callable[..., Awaitable[Ran]]


@pytest.fixture
def pdf(tmp_path: Path) -> Path:
    """The smallest thing that is taken for a PDF."""
    file = tmp_path / "contract.pdf"
    file.write_bytes(b"%PDF-1.7\n%%EOF\n")
    return file


@pytest.fixture
def account() -> str:
    """An account that no other test uses."""
    return f"a{uuid4().hex[:12]}"


@pytest.fixture
def settings(dev_env: WorkflowEnvironment, tmp_path: Path, account: str) -> Path:
    """A settings file for the test's server, task queue and account."""
    file = tmp_path / "sealwax.toml"
    address = dev_env.client.service_client.config.target_host
    temporal = f'[temporal]\naddress = "{address}"\ntask_queue = "{account}"\n'
    file.write_text(temporal + SETTINGS + ACCOUNT.format(name=account))
    return file


@pytest_asyncio.fixture(loop_scope="session")
async def worker(dev_env: WorkflowEnvironment, account: str) -> AsyncIterator[None]:
    """A worker with the stand-in workflow on the settings' task queue."""
    async with Worker(
        dev_env.client,
        task_queue=account,
        workflows=[StandIn],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield


@pytest.fixture
def sealwax(
    settings: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Sealwax:
    """Runs a command with the settings; its code and what it printed."""
    monkeypatch.setenv("SEALWAX_CONFIG", str(settings))

    async def ran(*arguments: str) -> Ran:
        capsys.readouterr()
        code = await asyncio.to_thread(run, arguments)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return ran
