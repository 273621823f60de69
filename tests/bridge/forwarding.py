"""A forwarder as its tests meet it: real stores, a sink that records, and a clock to turn."""

from __future__ import annotations

from pathlib import Path

from bridge.forward import Forwarder
from bridge.ingest import Accept, Source, ingest
from bridge.pace import Pace
from sealwax.providers.base import WebhookReader
from sealwax.stores.base import EnvelopeName, RegistryRow
from sealwax.stores.journal import SqliteJournal, open_journal
from sealwax.stores.registry import SqliteRegistry, open_registry
from tests.bridge.deliveries import ACCOUNT_ID, Clock, RecordingSink, registered, signed, source
from tests.keys import KEYRING

QUICK = Pace(retry_first_s=0.001, retry_max_s=0.01, park_first_s=0.001, park_max_s=0.01)


class Rig:
    """A forwarder on real stores with a recording sink and a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.journal: SqliteJournal = open_journal(folder / "journal.db", KEYRING)
        self.registry: SqliteRegistry = open_registry(folder / "registry.db")
        self.sink = RecordingSink()
        self.clock = Clock()
        self.sources: dict[str, Source] = {
            "acme": source(),
            "globex": source("globex", ACCOUNT_ID, b"key of globex"),
        }
        self.readers: dict[str, WebhookReader] = {n: s.reader for n, s in self.sources.items()}
        self.forwarder = self.made(QUICK)

    def made(self, pace: Pace) -> Forwarder:
        return Forwarder(
            journal=self.journal,
            registry=self.registry,
            sink=self.sink,
            readers=self.readers,
            now=self.clock,
            pace=pace,
        )

    async def take(self, body: bytes, token: str = "", account: str = "acme") -> str:
        """Keep a delivery as the bridge would; returns its event key."""
        of = self.sources[account]
        decision = ingest(of, signed(body, of.keys[0]), body, token, self.clock())
        assert isinstance(decision, Accept)
        await self.journal.append(decision.webhook)
        return decision.webhook.event_key

    async def forward(self, envelope: str = "env-a", account: str = "acme") -> None:
        await self.forwarder.forward(EnvelopeName(account, envelope))

    async def bound(self, key: str, envelope: str, account: str = "acme") -> RegistryRow:
        row = await registered(self.registry, key, account)
        return await self.registry.bind(row.workflow_id, envelope)

    async def close(self) -> None:
        await self.journal.close()
        await self.registry.close()
