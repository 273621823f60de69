"""Journals of both engines for the tests of this folder; the database server is a real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from demo.postgres_server import PostgresServer
from sealwax.stores.base import Journal
from tests.stores.journals import FilePlace, JournalPlace, ServerPlace


@pytest.fixture(scope="session")
def journal_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest_asyncio.fixture
async def server_place(journal_server: PostgresServer) -> AsyncIterator[ServerPlace]:
    """An empty journal in the database."""
    place = ServerPlace(journal_server)
    await place.empty()
    yield place
    await place.close()


@pytest_asyncio.fixture(params=["sqlite", "postgres"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JournalPlace]:
    """Where a journal is, that several may open."""
    here: JournalPlace
    if request.param == "sqlite":
        here = FilePlace(tmp_path / "journal.db")
    else:
        here = ServerPlace(request.getfixturevalue("journal_server"))
        await here.empty()
    yield here
    await here.close()


@pytest_asyncio.fixture
async def journal(place: JournalPlace) -> Journal:
    """An open, empty journal."""
    return await place.open()
