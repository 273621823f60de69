"""Which journal the settings mean, for each of those who open one."""

from __future__ import annotations

from sealwax.crypto import Keyring
from sealwax.storage_settings import StorageSettings
from sealwax.stores.base import Journal, Retention
from sealwax.stores.journal import open_journal

_DAY_S = 24 * 3600.0


async def open_bridge_journal(storage: StorageSettings, keyring: Keyring) -> Journal:
    """The journal of a program that takes webhooks in: what it has kept is on disk.

    Raises ``StoreUnusable``.
    """
    return open_journal(storage.journal_file, keyring)


async def open_forwarder_journal(storage: StorageSettings, keyring: Keyring) -> Journal:
    """The journal of a program that marks what became of webhooks, or shows them.

    Raises ``StoreUnusable``.
    """
    return open_journal(storage.journal_file, keyring, synced="normal", check_s=0)


def retention_of(storage: StorageSettings) -> Retention:
    """How long the journal keeps what waits for nothing, see ``Journal.prune``."""
    return Retention(storage.journal_keep_days * _DAY_S, storage.journal_max_bytes)
