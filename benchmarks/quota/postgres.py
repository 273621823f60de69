"""A PostgreSQL for the benchmark, as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from demo.postgres_server import PostgresServer


@dataclass(frozen=True)
class Database:
    """A running server of our own."""

    server: PostgresServer

    @property
    def dsn(self) -> str:
        """Its address."""
        return self.server.dsn


@asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """A server that lives as long as the block."""
    server = await asyncio.to_thread(PostgresServer)
    try:
        yield Database(server)
    finally:
        await asyncio.to_thread(server.close)
