"""A whole Sealwax around one test: a real Temporal server, the worker's own composition, and the
simulator as its own program. The simulator's ledger is asked what really happened.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.accounts import AccountActivities
from activities.envelopes import EnvelopeActivities
from sealwax.accounts import ConfiguredAccounts
from sealwax.blobs import BlobStore
from sealwax.calls import Timing
from sealwax.client import EnvelopeClient
from sealwax.definition import Recipient
from sealwax.handle import EnvelopeHandle
from sealwax.keys import account_workflow_id
from sealwax.schedules import unschedule
from sealwax.settings import Settings, load_settings
from sealwax.stores.quota_base import QuotaStore
from sealwax.stores.registry import open_registry
from sealwax.stores.sweeps import open_sweeps
from tests import keys
from worker import build_hearing, build_sweeps, build_worker, sweeps_file

ACCOUNT = "acme"
HMAC_KEY = "a-connect-key"
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
QUICK = Timing(
    call_deadline_s=5,
    outcome_settle_s=1,
    close_settle_s=0.2,
    backoff_first_s=0.1,
    backoff_max_s=1,
    attention_retry_s=2,
    refresh_min_s=0.2,
)

GENEROUS: Mapping[str, float] = {
    "scale": 0.01,
    "poll_every_s": 1,
    "envelope_reads": 100_000,
    "envelope_reads_per_hour": 100_000,
    "envelope_writes": 100_000,
    "envelope_writes_per_hour": 100_000,
}
"""The account's usual limits in windows of a hundredth, which no test fills by accident."""


def private_key_pem() -> str:
    """A new RSA key as an integration has one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kind = serialization.PrivateFormat.PKCS8
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, kind, plain).decode()


def public_key_pem(private_pem: str) -> str:
    """Its public half."""
    key = serialization.load_pem_private_key(private_pem.encode(), None)
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind).decode()


KEY = private_key_pem()


@dataclass
class Desk:
    """The simulator's control API, for one account of its own."""

    url: str
    http: httpx.AsyncClient
    account_id: str = field(default_factory=lambda: str(uuid4()))
    integration_key: str = field(default_factory=lambda: str(uuid4()))
    user_id: str = field(default_factory=lambda: str(uuid4()))

    async def open_account(self) -> None:
        """Make the account, its principal and one Connect key."""
        await self.put(f"/accounts/{self.account_id}", {"name": "Acme"})
        await self.admit(self.integration_key, self.user_id)
        await self.post(f"/accounts/{self.account_id}/hmac-keys", {"key": HMAC_KEY})

    async def admit(self, integration_key: str, user_id: str) -> None:
        """Let a user of an integration into the account."""
        principal = {
            "integration_key": integration_key,
            "user_id": user_id,
            "public_key_pem": public_key_pem(KEY),
            "accounts": [self.account_id],
        }
        await self.put("/principals", principal)

    async def ledger(self, *, calls: bool = False) -> dict[str, Any]:
        """What really happened in this account."""
        query = f"?account={self.account_id}&calls={'true' if calls else 'false'}"
        answer = await self.http.get(f"{self.url}/simulator/ledger{query}")
        answer.raise_for_status()
        return dict(answer.json())

    async def envelopes(self) -> list[dict[str, Any]]:
        """The account's envelopes, as they truly are."""
        return list((await self.ledger())["envelopes"])

    async def acts(self, envelope_id: str, recipient: str, act: str) -> None:
        """A recipient does something (``open``, ``sign``, ``decline``)."""
        await self.post(f"/envelopes/{envelope_id}/recipients/{recipient}/{act}", {})

    async def harm(self, **harms: Any) -> None:
        """Switch harms of the simulator."""
        answer = await self.http.patch(f"{self.url}/simulator/harms", json=harms)
        answer.raise_for_status()

    async def put(self, path: str, body: dict[str, Any]) -> Any:
        """PUT to the control API."""
        answer = await self.http.put(f"{self.url}/simulator{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST to the control API."""
        answer = await self.http.post(f"{self.url}/simulator{path}", json=body)
        answer.raise_for_status()
        return answer.json()


@dataclass
class Rig:
    """Everything that a test of the whole needs."""

    desk: Desk
    client: EnvelopeClient
    temporal: Client
    settings: Settings
    folder: Path
    worker: Callable[[], Any]
    ledger: QuotaStore

    def pdf(self, name: str = "contract.pdf", content: bytes = PDF) -> Path:
        """A small PDF file on disk."""
        path = self.folder / name
        if not path.exists():
            path.write_bytes(content)
        return path

    async def create(self, key: str = "", **given: Any) -> EnvelopeHandle:
        """An envelope with one document and one signer, unless told otherwise."""
        return await self.client.create(
            account=ACCOUNT,
            key=key or f"order-{uuid4().hex[:8]}",
            subject=given.pop("subject", "Please sign"),
            documents=given.pop("documents", [self.pdf()]),
            recipients=given.pop("recipients", [Recipient("1", "Ana", "ana@example.com")]),
            **given,
        )


def write_settings(
    folder: Path,
    desk: Desk,
    *,
    address: str,
    task_queue: str,
    timing: Timing,
    bridge_port: int = 0,
    quota: Mapping[str, float] | None = None,
    sweep: Mapping[str, float] | None = None,
) -> Path:
    """The settings file of one test."""
    (folder / "key.pem").write_text(KEY)
    (folder / "connect.key").write_text(HMAC_KEY)
    public_url = f"http://127.0.0.1:{bridge_port}" if bridge_port else ""
    timings = "\n".join(f"{n} = {getattr(timing, n)}" for n in timing.__slots__)
    quotas = "\n".join(f"{name} = {value}" for name, value in (quota or GENEROUS).items())
    sweeps = "\n".join(f"{name} = {value}" for name, value in (sweep or {}).items())
    path = folder / "sealwax.toml"
    path.write_text(
        f"""
[quota]
{quotas}
[sweep]
{sweeps}
[temporal]
address = "{address}"
task_queue = "{task_queue}"
[storage]
folder = "{folder / "data"}"
{keys.SETTINGS}
[timing]
{timings}
[bridge]
port = {bridge_port}
public_url = "{public_url}"
[accounts.{ACCOUNT}]
provider = "docusign"
account_id = "{desk.account_id}"
api_base = "{desk.url}/restapi"
oauth_base = "{desk.url}"
webhook_keys = ["file:connect.key"]
[accounts.{ACCOUNT}.principals.system]
integration_key = "{desk.integration_key}"
user_id = "{desk.user_id}"
private_key = "file:key.pem"
"""
    )
    return path


async def end_account_workflow(temporal: Client) -> None:
    """End what a worker has started for the account: its card, and the schedule of its sweeps."""
    await unschedule(temporal, ACCOUNT)
    workflow = temporal.get_workflow_handle(account_workflow_id(ACCOUNT))
    try:
        await workflow.terminate("its worker is gone")
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


@asynccontextmanager
async def running(
    temporal: Client,
    simulator_url: str,
    folder: Path,
    *,
    timing: Timing = QUICK,
    work: bool = True,
    bridge_port: int = 0,
    quota: Mapping[str, float] | None = None,
    sweep: Mapping[str, float] | None = None,
) -> AsyncIterator[Rig]:
    """A rig with an account of its own; with ``work`` the worker runs from the start."""
    temporal = keys.encrypting(temporal)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
        desk = Desk(simulator_url, http)
        await desk.open_account()
        # Worker programs start it under this rig's task queue, on a server that tests share.
        stack.push_async_callback(end_account_workflow, temporal)
        config = temporal.service_client.config
        path = write_settings(
            folder,
            desk,
            address=config.target_host,
            task_queue=f"queue-{uuid4().hex[:8]}",
            timing=timing,
            bridge_port=bridge_port,
            quota=quota,
            sweep=sweep,
        )
        settings = load_settings(path)
        registry = open_registry(settings.storage.registry)
        stack.push_async_callback(registry.close)
        accounts = await stack.enter_async_context(ConfiguredAccounts(settings))
        blobs = BlobStore(settings.storage.blobs, keys.KEYRING)
        activities = EnvelopeActivities(
            accounts=accounts,
            registry=registry,
            blobs=blobs,
            timing=settings.timing,
            rules=settings.sessions.rules(),
            return_origins=settings.sessions.return_origins,
        )

        store = open_sweeps(sweeps_file(settings))
        stack.push_async_callback(store.close)
        looks = AccountActivities(
            store=accounts.ledger.store,
            quota_of=accounts.quota_of,
            every_s=settings.telemetry.quota_every_s,
            sweeps=store,
            late_after_s=settings.sweep.late_after_s,
        )

        hearing = build_hearing(settings)
        stack.push_async_callback(hearing.close)
        sweeps = build_sweeps(settings, accounts, registry, store, hearing)

        def worker() -> Any:
            return build_worker(temporal, settings, activities, looks, sweeps)

        if work:
            await stack.enter_async_context(worker())
        client = EnvelopeClient(temporal, blobs=blobs, task_queue=settings.temporal.task_queue)
        yield Rig(desk, client, temporal, settings, folder, worker, accounts.ledger.store)
