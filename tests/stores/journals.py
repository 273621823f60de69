"""What the journals' tests share: webhooks, and places where journals are."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from demo.postgres_server import PostgresServer
from sealwax.stores.base import EnvelopeName, Journal, RefusedWebhook, Webhook
from sealwax.stores.journal import SqliteJournal, open_journal
from sealwax.stores.journal_postgres import PostgresJournal, open_postgres_journal
from tests.keys import KEYRING

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
A, B, C = (EnvelopeName("acme", f"env-{name}") for name in "abc")
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def webhook(key: str, envelope: str = "env-a", **changes: object) -> Webhook:
    row = Webhook(
        account="acme",
        provider="docusign",
        token="token",
        event_key=key,
        event_name="envelope-sent",
        provider_envelope_id=envelope,
        headers=(("content-type", "application/json"), ("x-docusign-signature-1", "c2ln")),
        body=b'{"raw": "\xc3\xa9\r\n"}',
        received_at=NOW,
    )
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


async def keys_of(journal: Journal, envelope: EnvelopeName) -> list[str]:
    return [row.webhook.event_key for row in await journal.undelivered(envelope, 0, 1000)]


async def claimable(journal: Journal, now: datetime, limit: int) -> tuple[EnvelopeName, ...]:
    """What could be claimed."""
    found = await journal.claim("somebody who looks", now, 60, limit)
    await journal.release("somebody who looks", found)
    return found


def refused(account: str, status: int, body: bytes = b"{}") -> RefusedWebhook:
    return RefusedWebhook(
        account=account,
        status=status,
        reason="signature",
        headers=(("content-type", "application/json"),),
        body=body,
        size_bytes=len(body),
        received_at=NOW,
    )


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so, for nobody tells."""
    async with asyncio.timeout(20):
        while not await true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def all_refused(journal: Journal, count: float) -> None:
    """Wait until so many refused deliveries are kept, for nobody waits for that otherwise."""

    async def kept() -> bool:
        return len(await journal.refused(None, 9_999)) >= count

    await until(kept)


class JournalPlace:
    """Where one journal is. All that was opened is closed at the end."""

    def __init__(self) -> None:
        self._closing: list[Journal] = []

    async def open(self) -> Journal:
        raise NotImplementedError

    async def close(self) -> None:
        for journal in self._closing:
            await journal.close()


class FilePlace(JournalPlace):
    """A file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    async def open(self) -> SqliteJournal:
        journal = open_journal(self.path, KEYRING)
        self._closing.append(journal)
        return journal


class ServerPlace(JournalPlace):
    """The tables of a real server's database."""

    def __init__(self, server: PostgresServer) -> None:
        super().__init__()
        self.server = server

    async def open(self) -> PostgresJournal:
        journal = open_postgres_journal(self.server.dsn, KEYRING)
        self._closing.append(journal)
        return journal

    async def empty(self) -> None:
        """Make the tables where they are not there, and empty them."""
        journal = await self.open()
        await journal.ready()
        await self.run(
            "TRUNCATE sealwax_webhook, sealwax_webhook_past, sealwax_claim, sealwax_forwarder,"
            " sealwax_refused, sealwax_journal_tally RESTART IDENTITY"
        )

    async def run(self, text: str) -> None:
        connection = await asyncpg.connect(self.server.dsn)
        await connection.execute(text)
        await connection.close()


def acknowledged_before_kill_9(program: str, path: Path) -> set[str]:
    """What a program printed, a line for each append that returned, until it was killed."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert process.stdout is not None
    acknowledged = {process.stdout.readline().strip() for _ in range(200)}
    process.kill()
    acknowledged |= set(process.stdout.read().split("\n")[:-1])
    process.wait()
    process.stdout.close()
    assert "" not in acknowledged
    return acknowledged
