"""Which journal the settings mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwax.secret_references import SettingsError
from sealwax.storage_settings import StorageSettings
from sealwax.stores.base import JournalCounts, StoreUnusable
from sealwax.stores.journal import SqliteJournal
from sealwax.stores.journals import open_bridge_journal, open_forwarder_journal
from tests.keys import KEYRING
from tests.stores.journals import A, ServerPlace, keys_of, until, webhook


async def test_without_a_database_bridge_and_forwarder_share_a_file(tmp_path: Path) -> None:
    """Only the bridge's commits are synced, and only the bridge looks the file through."""
    storage = StorageSettings(folder=tmp_path)
    bridge = await open_bridge_journal(storage, KEYRING)
    forwarder = await open_forwarder_journal(storage, KEYRING)
    assert isinstance(bridge, SqliteJournal)
    assert isinstance(forwarder, SqliteJournal)
    await bridge.append(webhook("k1"))
    assert await keys_of(forwarder, A) == ["k1"]
    assert bridge._connection.pragma("synchronous") == 2
    assert forwarder._connection.pragma("synchronous") == 1
    await forwarder.close()
    await bridge.close()


async def test_with_a_database_named_they_share_that(
    server_place: ServerPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_DSN", server_place.server.dsn)
    storage = StorageSettings.model_validate({"folder": tmp_path, "journal": "env:JOURNAL_DSN"})
    bridge = await open_bridge_journal(storage, KEYRING)
    forwarder = await open_forwarder_journal(storage, KEYRING)
    await bridge.append(webhook("k1"))

    async def there() -> bool:
        return await keys_of(forwarder, A) == ["k1"]

    await until(there)
    assert await forwarder.counts() == JournalCounts(pending=1)
    await forwarder.close()
    await bridge.close()


async def test_an_address_that_is_none_or_not_there_is_said_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = StorageSettings.model_validate({"folder": tmp_path, "journal": "env:JOURNAL_DSN"})
    monkeypatch.delenv("JOURNAL_DSN", raising=False)
    with pytest.raises(SettingsError, match="JOURNAL_DSN"):
        await open_bridge_journal(storage, KEYRING)
    monkeypatch.setenv("JOURNAL_DSN", "mysql://root:hunter2@db")
    for opening in (open_bridge_journal, open_forwarder_journal):
        with pytest.raises(StoreUnusable, match="postgresql://") as raised:
            await opening(storage, KEYRING)
        assert "hunter2" not in str(raised.value)
