"""The worker: settings to connection to adapters to a Temporal worker. No logic.

``python worker.py [--config FILE] [--announce FILE]``. SIGTERM and SIGINT end it gracefully:
activities that run may finish. With ``--announce`` a JSON file with the process id is written
once the worker polls.
"""

import argparse
import asyncio
import hashlib
import json
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import cache
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.accounts import AccountActivities
from activities.envelopes import EnvelopeActivities
from activities.sweeps import SweepActivities, Tools
from sealwax.accounts import ConfiguredAccounts
from sealwax.blobs import BlobStore
from sealwax.connection import (
    ConnectionFailed,
    connect,
    register_search_attributes,
    start_accounts,
)
from sealwax.hearing import Hearing, JournalHearing
from sealwax.lifetime import leave, settle_in
from sealwax.providers import registry as providers
from sealwax.providers.base import Changes, WebhookReader
from sealwax.schedules import schedule_sweeps
from sealwax.settings import Settings, SettingsError, load_settings
from sealwax.stores.base import Journal, StoreError
from sealwax.stores.journals import open_forwarder_journal
from sealwax.stores.registry import SqliteRegistry, open_registry
from sealwax.stores.sweep_base import SweepStore
from sealwax.stores.sweeps import open_sweeps
from sealwax.telemetry import runtime
from workflows.account import AccountWorkflow
from workflows.envelope import EnvelopeWorkflow
from workflows.punctual import PunctualRunner
from workflows.sweep import SweepWorkflow

GRACEFUL_S = 10
STICKY_TIMEOUT = timedelta(seconds=1)
"""How long a task waits for the worker that has the workflow cached; a killed worker costs this."""

WORKFLOWS = [EnvelopeWorkflow, AccountWorkflow, SweepWorkflow]
DECIDING = ("workflows", "sealwax")
"""Where the code is that a history depends on."""

SANDBOX = PunctualRunner(
    SandboxedWorkflowRunner(
        SandboxRestrictions.default.with_passthrough_modules("sealwax", "activities")
    )
)


def build_worker(
    client: Client,
    settings: Settings,
    activities: EnvelopeActivities,
    looks: AccountActivities,
    sweeps: SweepActivities,
) -> Worker:
    """A worker for the settings' task queue; the tests run the same one."""
    return Worker(
        client,
        task_queue=settings.temporal.task_queue,
        workflows=WORKFLOWS,
        activities=[
            activities.register,
            activities.create,
            activities.find_created,
            activities.bind,
            activities.mutate,
            activities.read,
            activities.archive,
            activities.close,
            activities.open_view,
            activities.revoke_view,
            activities.ask_bridge,
            looks.look_quota,
            sweeps.sweep_page,
            sweeps.advance_watermark,
            sweeps.ask_silent,
            sweeps.end_sweep,
        ],
        workflow_runner=SANDBOX,
        build_id=build_id(),
        max_concurrent_workflow_tasks=20,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        graceful_shutdown_timeout=timedelta(seconds=GRACEFUL_S),
    )


@cache
def build_id() -> str:
    """The code that decides about histories, in a word: Temporal keeps it beside each task.

    The SDK's own reads the code of every module there is, for which a worker starts half a second
    later.
    """
    digest, folder = hashlib.sha256(), Path(__file__).parent
    for file in sorted(f for part in DECIDING for f in (folder / part).rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
    return f"sealwax-{digest.hexdigest()[:16]}"


def build_sweeps(
    settings: Settings,
    accounts: ConfiguredAccounts,
    registry: SqliteRegistry,
    store: SweepStore,
    hearing: Hearing,
) -> SweepActivities:
    """The activities of sweeps over these stores."""
    return SweepActivities(
        Tools(
            accounts=accounts,
            registry=registry,
            open_envelopes=registry,
            store=store,
            hearing=hearing,
            changes=providers.changes,
            poll_every_s=lambda account: settings.limits(account).poll_every_s,
            settings=settings.sweep,
        )
    )


def build_hearing(settings: Settings) -> JournalHearing:
    """What came by webhook, of the journal that the settings mean."""

    async def opening() -> Journal:
        return await open_forwarder_journal(settings.storage, settings.keyring())

    def dialect(name: str) -> tuple[WebhookReader, Changes]:
        return providers.webhook_reader(name), providers.changes(name)

    return JournalHearing(opening, dialect)


def sweeps_file(settings: Settings) -> Path:
    """Where the memory of sweeps stands."""
    return settings.storage.folder / "sweeps.db"


async def run(settings: Settings, announce: Path | None) -> None:
    """Work until a signal says to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    keyring = settings.keyring()
    client = await connect(settings.temporal, keyring, runtime(settings.telemetry))
    await register_search_attributes(client)
    registry = open_registry(settings.storage.registry)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(registry.close)
        accounts = await closing.enter_async_context(ConfiguredAccounts(settings))
        activities = EnvelopeActivities(
            accounts=accounts,
            registry=registry,
            blobs=BlobStore(settings.storage.blobs, keyring),
            timing=settings.timing,
            rules=settings.sessions.rules(),
            return_origins=settings.sessions.return_origins,
        )
        store = open_sweeps(sweeps_file(settings))
        closing.push_async_callback(store.close)
        hearing = build_hearing(settings)
        closing.push_async_callback(hearing.close)
        looks = AccountActivities(
            store=accounts.ledger.store,
            quota_of=accounts.quota_of,
            every_s=settings.telemetry.quota_every_s,
            sweeps=store,
            late_after_s=settings.sweep.late_after_s,
        )
        sweeps = build_sweeps(settings, accounts, registry, store, hearing)
        queue = settings.temporal.task_queue
        await start_accounts(client, settings.accounts, queue)
        await schedule_sweeps(client, settings.accounts, queue, settings.sweep)
        async with build_worker(client, settings, activities, looks, sweeps):
            settle_in()
            if announce is not None:
                _announce(announce)
            await stop.wait()


def _announce(path: Path) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"pid": os.getpid(), "url": ""}))
    draft.replace(path)


def main() -> int:
    """Parse the command line, run, and say in one line what went wrong, if anything did."""
    parser = argparse.ArgumentParser(prog="worker.py", description="Sealwax's Temporal worker.")
    parser.add_argument("--config", type=Path, help="settings file (else SEALWAX_CONFIG)")
    parser.add_argument("--announce", type=Path, help="file to write once the worker polls")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # It would write every address that is asked, and a signing session's address is a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(run(load_settings(given.config), given.announce))
    except (SettingsError, ConnectionFailed, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    leave(main())
