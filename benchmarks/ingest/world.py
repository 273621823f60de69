"""All that stands while webhooks come: provider, Temporal, worker, bridge, open envelopes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from temporalio.client import Client

from benchmarks.ingest.load import Job
from benchmarks.ingest.payloads import Target, target
from demo import stage
from demo.contracts.render import SERVICES_AGREEMENT
from demo.control import Control
from demo.orchestrated import contract_file, recipient
from demo.run import start_sealwax
from demo.stack import Program, ProgramFailed, Stack
from demo.workload import Party
from sealwax.client import EnvelopeClient
from sealwax.connection import connect
from sealwax.opening import open_client
from sealwax.settings import Settings, load_settings

AT_ONCE = 24
SENT_WITHIN_S = 120.0
WEBHOOKS_WITHIN_S = 60.0
LOOK_S = 0.1
SCALE = 0.02
CONTRACT = SERVICES_AGREEMENT
PARTIES = (
    Party("buyer", "Ana Kovac", "ana@example.com", 1, True),
    Party("seller", "Ben Okafor", "ben@example.com", 1, True),
)
UNDELIVERED = ("pending", "parked")


@dataclass
class World:
    """A running Sealwax with open envelopes that the provider has sent.

    ``keys``: business key of each of ``targets``, in their order.
    """

    stack: Stack
    control: Control
    folder: Path
    tenant: stage.Tenant
    settings_file: Path
    settings: Settings
    client: EnvelopeClient
    temporal: Client
    http: httpx.AsyncClient
    bridge_url: str
    targets: tuple[Target, ...]
    keys: tuple[str, ...]

    def job(self, **how: Any) -> Job:
        """What the load program is to send, by way of the account's own Connect configuration."""
        return Job(
            url=self.bridge_url,
            path=f"/webhooks/{stage.ACCOUNT}",
            account_id=self.tenant.account_id,
            key=self.tenant.hmac_key,
            targets=self.targets,
            **how,
        )

    def bridge_pid(self) -> int:
        """The listener's process as it announced itself; 0 while it starts."""
        try:
            file = self.stack.folder / f"{stage.BRIDGE}.announce.json"
            return int(json.loads(file.read_text(encoding="utf-8"))["pid"])
        except (FileNotFoundError, json.JSONDecodeError):
            return 0

    async def counts(self) -> dict[str, Any]:
        """What the bridge says of its journal. Raises ``httpx.HTTPError``."""
        answer = await self.http.get(f"{self.bridge_url}/counts")
        return dict(answer.raise_for_status().json())

    async def drained(self, within_s: float) -> float:
        """Wait until nothing is undelivered; how long it took. Raises ``ProgramFailed``."""
        began = time.monotonic()
        while (took_s := time.monotonic() - began) < within_s:
            try:
                left = undelivered(await self.counts())
            except httpx.HTTPError:
                left = -1
            if left == 0:
                return took_s
            await asyncio.sleep(LOOK_S)
        raise ProgramFailed(f"{left} webhooks were not delivered within {within_s:g} s")


def undelivered(counts: Mapping[str, Any]) -> int:
    """How many webhooks have not reached a workflow."""
    return sum(int(counts[name]) for name in UNDELIVERED)


@asynccontextmanager
async def world(folder: Path, envelopes: int, seed: int) -> AsyncIterator[World]:
    """Start it all, and have so many envelopes sent. Raises what the programs' starts raise."""
    async with Stack(folder / "logs") as stack:
        options = ("--port", "0", "--seed", str(seed), "--overlap", "off")
        argv = (sys.executable, "-m", "simulator", *options)
        simulator = await stack.start(Program(name=stage.SIMULATOR, argv=argv))
        async with Control(simulator.url or "") as control:
            (_, tenant), places = await start_sealwax(stack, control, folder, scale=SCALE)
            settings = load_settings(places.settings)
            limits = httpx.Limits(max_connections=8)
            async with httpx.AsyncClient(timeout=10, trust_env=False, limits=limits) as http:
                made = World(
                    stack=stack,
                    control=control,
                    folder=folder,
                    tenant=tenant,
                    settings_file=places.settings,
                    settings=settings,
                    client=await open_client(settings),
                    temporal=await connect(settings.temporal, settings.keyring()),
                    http=http,
                    bridge_url=places.bridge,
                    targets=(),
                    keys=tuple(f"contract-{number}" for number in range(envelopes)),
                )
                made.targets = await _sent(made)
                yield made


async def _sent(made: World) -> tuple[Target, ...]:
    narrow = asyncio.Semaphore(AT_ONCE)

    async def one(key: str) -> str:
        async with narrow:
            envelope = await made.client.create(
                account=stage.ACCOUNT,
                key=key,
                subject="Services agreement",
                documents=[contract_file(CONTRACT)],
                recipients=[recipient(party) for party in PARTIES],
                send=True,
                timeout_s=SENT_WITHIN_S,
            )
            snapshot = await envelope.wait("sent", timeout_s=SENT_WITHIN_S)
            # One signer has opened it, so that there is more to tell than that it was sent.
            number = snapshot.recipients[0].provider_recipient_id
            await made.control.act(snapshot.provider_envelope_id, number, "open")
            return snapshot.provider_envelope_id

    ids: Sequence[str] = await asyncio.gather(*(one(key) for key in made.keys))
    await made.control.flush_webhooks(WEBHOOKS_WITHIN_S)
    await made.drained(WEBHOOKS_WITHIN_S)
    ledger = await made.control.ledger(made.tenant.account_id)
    truths = {truth["envelopeId"]: target(truth) for truth in ledger["envelopes"]}
    return tuple(truths[envelope_id] for envelope_id in ids)
