"""Laws of the registry: one business key, one row; one envelope, one workflow; through crashes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import sqlite3
import string
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio

from sealwax import keys
from sealwax.stores import sqlite
from sealwax.stores.base import (
    BoundElsewhere,
    EnvelopeName,
    NotRegistered,
    Registry,
    RegistryConflict,
    RegistryRow,
    StoreUnusable,
)
from sealwax.stores.registry import SqliteRegistry, open_registry


@pytest_asyncio.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    store = open_registry(tmp_path / "registry.db")
    yield store
    await store.close()


async def put(registry: Registry, key: str, account: str = "acme") -> RegistryRow:
    return await registry.register(
        account=account,
        business_key_digest=keys.business_key_digest(account, key),
        workflow_id=keys.workflow_id(account, key),
        provider="docusign",
    )


async def test_registering_again_gives_the_same_row_and_token(registry: Registry) -> None:
    first = await put(registry, "order-1")
    assert await put(registry, "order-1") == first
    assert (first.provider_envelope_id, first.final_status) == ("", "")
    assert await registry.by_token(first.routing_token) == first
    digest = keys.business_key_digest("acme", "order-1")
    assert await registry.by_business_key("acme", digest) == first


async def test_tokens_are_long_random_and_fit_an_address(registry: Registry) -> None:
    tokens = {(await put(registry, f"order-{i}")).routing_token for i in range(50)}
    assert len(tokens) == 50
    for token in tokens:
        assert len(token) >= 43  # 256 bits in base64
        assert set(token) <= set(string.ascii_letters + string.digits + "-_")


async def test_a_workflow_is_bound_once_and_an_envelope_to_one_workflow(
    registry: Registry,
) -> None:
    row = await put(registry, "order-1")
    other = await put(registry, "order-2")
    bound = await registry.bind(row.workflow_id, "env-1")
    assert bound.provider_envelope_id == "env-1"
    assert await registry.bind(row.workflow_id, "env-1") == bound
    with pytest.raises(BoundElsewhere, match="env-1"):
        await registry.bind(row.workflow_id, "env-2")
    with pytest.raises(BoundElsewhere, match="order-1"):
        await registry.bind(other.workflow_id, "env-1")
    with pytest.raises(BoundElsewhere):
        await registry.bind(other.workflow_id, "")
    assert await registry.by_envelope("acme", "env-1") == bound
    assert await registry.by_envelope("acme", "env-2") is None
    assert await registry.by_token(other.routing_token) == other


async def test_the_same_envelope_id_in_another_account_is_another_envelope(
    registry: Registry,
) -> None:
    ours, theirs = await put(registry, "order-1"), await put(registry, "order-1", "globex")
    await registry.bind(ours.workflow_id, "env-1")
    await registry.bind(theirs.workflow_id, "env-1")
    found = await registry.by_envelope("globex", "env-1")
    assert found is not None
    assert found.workflow_id == theirs.workflow_id


async def test_the_final_status_is_kept_and_may_be_corrected(registry: Registry) -> None:
    row = await put(registry, "order-1")
    assert (await registry.finish(row.workflow_id, "voided")).final_status == "voided"
    assert (await registry.finish(row.workflow_id, "completed")).final_status == "completed"
    assert (await put(registry, "order-1")).final_status == "completed"


async def test_what_was_never_registered_cannot_be_bound_or_finished(registry: Registry) -> None:
    with pytest.raises(NotRegistered, match="register it first"):
        await registry.bind("envelope/acme/order-9", "env-9")
    with pytest.raises(NotRegistered):
        await registry.finish("envelope/acme/order-9", "voided")
    assert await registry.by_token("") is None
    assert await registry.by_envelope("acme", "") is None


async def test_a_business_key_never_names_two_workflows(registry: Registry) -> None:
    row = await put(registry, "order-1")
    digest = keys.business_key_digest("acme", "order-1")
    for workflow_id, key_digest, provider in (
        ("envelope/acme/other", digest, "docusign"),
        (row.workflow_id, "another digest", "docusign"),
        (row.workflow_id, digest, "another"),
    ):
        with pytest.raises(RegistryConflict):
            await registry.register(
                account="acme",
                business_key_digest=key_digest,
                workflow_id=workflow_id,
                provider=provider,
            )
    assert await registry.by_business_key("acme", digest) == row


async def test_a_row_keeps_the_order_that_it_was_made_for(registry: Registry) -> None:
    """Whoever asks with another order sees the first one's digest."""
    asked = {
        "account": "acme",
        "business_key_digest": keys.business_key_digest("acme", "order-1"),
        "workflow_id": keys.workflow_id("acme", "order-1"),
        "provider": "docusign",
    }
    first = await registry.register(**asked, run_id="run-1", order_digest="the first")
    second = await registry.register(**asked, run_id="run-2", order_digest="another")
    assert first == second
    assert (second.run_id, second.order_digest) == ("run-1", "the first")


async def test_a_file_of_an_earlier_version_is_upgraded(tmp_path: Path) -> None:
    """What stood in it still stands, and says nothing of the order; several may open it at once."""
    path = tmp_path / "registry.db"
    store = open_registry(path)
    row = await put(store, "order-1")
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("ALTER TABLE envelope DROP COLUMN order_digest")
        old.execute("ALTER TABLE envelope DROP COLUMN run_id")
        old.commit()

    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: open_registry(path), range(8)))

    assert [await put(held, "order-1") for held in stores] == [row] * 8
    assert row.order_digest == ""
    for held in stores:
        await held.close()


def _work(path: str, answers: multiprocessing.SimpleQueue[str]) -> None:
    """A process of its own: register, bind and read back the same envelopes as all others."""

    async def run() -> dict[str, str]:
        registry = open_registry(Path(path))
        tokens = {}
        for i in range(25):
            row = await put(registry, f"order-{i}")
            bound = await registry.bind(row.workflow_id, f"env-{i}")
            assert bound.routing_token == row.routing_token
            tokens[row.workflow_id] = row.routing_token
        await registry.close()
        return tokens

    answers.put(json.dumps(asyncio.run(run())))


async def test_several_processes_that_open_and_write_at_once_agree(tmp_path: Path) -> None:
    """Four processes make the same file and the same rows at once: all hold the same tokens."""
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    path = tmp_path / "registry.db"
    processes = [context.Process(target=_work, args=(str(path), answers)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join, 60)
    assert [process.exitcode for process in processes] == [0] * 4
    tokens = [json.loads(answers.get()) for _ in processes]
    assert tokens[1:] == tokens[:1] * 3
    registry = open_registry(path)
    for workflow_id, token in tokens[0].items():
        row = await registry.by_token(token)
        assert row is not None
        assert row.workflow_id == workflow_id
    await registry.close()


async def test_calls_at_once_in_one_process_do_not_mix(registry: Registry) -> None:
    rows = await asyncio.gather(*(put(registry, f"order-{i % 10}") for i in range(60)))
    for i, row in enumerate(rows):
        assert row.workflow_id == f"envelope/acme/order-{i % 10}"
    assert len({row.routing_token for row in rows}) == 10


async def test_every_commit_is_synced_and_the_engine_is_safe(tmp_path: Path) -> None:
    """WAL with synchronous=FULL on this very connection, on an SQLite without the reset bug."""
    registry = open_registry(tmp_path / "registry.db")
    assert isinstance(registry, SqliteRegistry)
    connection = registry._connection
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    await registry.close()


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2", "3.7"])
def test_an_engine_with_the_reset_bug_is_refused(version: str) -> None:
    with pytest.raises(StoreUnusable, match=r"install an apsw"):
        sqlite.check_engine(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0"])
def test_a_safe_engine_is_accepted(version: str) -> None:
    sqlite.check_engine(version)


def test_another_programs_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "registry.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    content = foreign.read_bytes()
    with pytest.raises(StoreUnusable, match="not a store of this kind"):
        open_registry(foreign)
    assert foreign.read_bytes() == content
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to look like one " * 20)
    with pytest.raises(StoreUnusable, match="cannot be opened"):
        open_registry(text)
    with pytest.raises(StoreUnusable):
        open_registry(text / "below" / "registry.db")


async def test_many_are_found_at_once_as_one_by_one(registry: Registry) -> None:
    """What is not there is left out; another account's envelope of that id is another."""
    rows = [await put(registry, f"order-{i}") for i in range(3)]
    await registry.bind(rows[0].workflow_id, "env-0")
    names = [EnvelopeName("acme", "env-0"), EnvelopeName("acme", "x"), EnvelopeName("b", "env-0")]
    found = await registry.located([rows[1].routing_token, "nobody"], names)
    assert found.by_token == {rows[1].routing_token: rows[1]}
    assert found.by_envelope == {names[0]: await registry.by_envelope("acme", "env-0")}
    assert (await registry.located([], [])).by_envelope == {}
