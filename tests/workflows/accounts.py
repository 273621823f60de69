"""A quota ledger with a worker that shows it, and the words to move both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker

from activities.accounts import AccountActivities
from sealwax import keys, messages
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient
from sealwax.messages import QuotaSnapshot
from sealwax.providers.base import UnknownAccount
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import Ask, Close, QuotaView, Seen, Told, Want
from sealwax.stores.base import StoreError
from sealwax.stores.quota_base import QuotaStore
from sealwax.stores.quota_sqlite import open_quota
from sealwax.stores.sweeps import SqliteSweeps, open_sweeps
from tests.keys import KEYRING, encrypting
from worker import SANDBOX
from workflows.account import AccountWorkflow

LIMITS = Limits(life_s=60)
"""A worker that is heard of once stays one that waits for as long as a test takes."""


@dataclass
class Ledger:
    """A store that can go away, and a settings file that can forget its account."""

    store: QuotaStore
    away: bool = False
    configured: bool = True
    looks: int = 0
    round_trips: int = 0

    async def look(self, account: str, limits: Limits) -> QuotaView:
        self.looks += 1
        if self.away:
            raise StoreError("the quota database is away: TimeoutError")
        return await self.store.look(account, limits)

    async def exchange(self, account: str, limits: Limits, ask: Ask) -> Told:
        return await self.store.exchange(account, limits, ask)

    async def close(self) -> None:
        await self.store.close()

    def quota_of(self, account: str) -> tuple[str, Limits]:
        if not self.configured:
            raise UnknownAccount(f"no account {account!r} in the settings; use one of: other")
        return account, LIMITS


@dataclass
class Shown:
    """One account that is shown by a worker."""

    temporal: Client
    ledger: Ledger
    folder: Path
    sweeps: SqliteSweeps
    account: str = field(default_factory=lambda: f"a{uuid4().hex[:12]}")
    task_queue: str = field(default_factory=lambda: f"queue-{uuid4().hex[:8]}")
    turn: int = 0

    @property
    def handle(self) -> WorkflowHandle[object, QuotaSnapshot]:
        """The account's workflow."""
        return self.temporal.get_workflow_handle(
            keys.account_workflow_id(self.account), result_type=QuotaSnapshot
        )

    @property
    def client(self) -> EnvelopeClient:
        """What an application has."""
        return EnvelopeClient(self.temporal, blobs=BlobStore(self.folder / "blobs", KEYRING))

    async def start(self, **given: object) -> None:
        """The workflow, as a test without a worker's program starts it."""
        found = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_ACCOUNT)
        await self.temporal.start_workflow(
            messages.WORKFLOW_ACCOUNT,
            messages.AccountInput.model_validate({"account": self.account, **given}),
            id=keys.account_workflow_id(self.account),
            task_queue=self.task_queue,
            search_attributes=TypedSearchAttributes([SearchAttributePair(found, self.account)]),
        )

    async def calls(self, *klasses: Klass, closes: tuple[Close, ...] = (), known: int = 0) -> Told:
        """One exchange of a worker process with the ledger."""
        self.turn += 1
        wants = tuple(Want(klass) for klass in klasses)
        ask = Ask("one", self.turn, known=known, closes=closes, wants=wants)
        return await self.ledger.exchange(self.account, LIMITS, ask)

    async def refused(self, told: Told) -> None:
        """The first call of an exchange comes back refused for its number."""
        close = Close(1, "answered", told.now, told.now, seen=Seen(refusal="burst"))
        await self.calls(closes=(close,), known=len(told.decisions))

    async def card(self) -> str:
        """What a person sees in the Temporal UI."""
        metadata: WorkflowMetadata = await self.handle.query(
            "__temporal_workflow_metadata", result_type=WorkflowMetadata
        )
        return metadata.current_details


@asynccontextmanager
async def shown(
    client: Client, folder: Path, *, every_s: float = 60.0, account: str = ""
) -> AsyncIterator[Shown]:
    """An account with a ledger of its own, and a worker; its workflow is not started yet."""
    store, sweeps = open_quota(folder / "quota.db"), open_sweeps(folder / "sweeps.db")
    try:
        ledger = Ledger(store)
        shows = Shown(encrypting(client), ledger, folder, sweeps)
        if account:
            shows.account = shows.task_queue = account
        activities = AccountActivities(
            store=ledger, quota_of=ledger.quota_of, every_s=every_s, sweeps=sweeps
        )
        async with Worker(
            shows.temporal,
            task_queue=shows.task_queue,
            workflows=[AccountWorkflow],
            activities=[activities.look_quota],
            workflow_runner=SANDBOX,
        ):
            yield shows
            await shows.handle.terminate()
    finally:
        await store.close()
        await sweeps.close()
