"""Which journal the settings mean, for each of those who open one."""

from __future__ import annotations

from sealwax.crypto import Keyring
from sealwax.secret_references import SettingsError
from sealwax.storage_settings import StorageSettings
from sealwax.stores.base import Journal, Retention
from sealwax.stores.journal import open_journal

BRIDGE_TIMEOUT_S = 2.0
_DAY_S = 24 * 3600.0


async def open_bridge_journal(storage: StorageSettings, keyring: Keyring) -> Journal:
    """The journal of a program that takes webhooks in: what it has kept is on disk.

    Where a database is named, it need not be there now. Raises ``StoreUnusable``, and
    ``SettingsError`` where its address cannot be read.
    """
    dsn = _database(storage)
    file = open_journal(storage.journal_file, keyring)
    if dsn is None:
        return file
    # Only who shares a journal between machines has to have the database's driver.
    from sealwax.stores.journal_postgres import open_postgres_journal
    from sealwax.stores.journal_spool import SpooledJournal

    try:
        journal = SpooledJournal(open_postgres_journal(dsn, keyring, BRIDGE_TIMEOUT_S), file)
    except BaseException:
        await file.close()
        raise
    await journal.start()
    return journal


async def open_forwarder_journal(storage: StorageSettings, keyring: Keyring) -> Journal:
    """The journal of a program that marks what became of webhooks, or shows them.

    Where a database is named, it need not be there now. Raises ``StoreUnusable``, and
    ``SettingsError`` where its address cannot be read.
    """
    dsn = _database(storage)
    if dsn is None:
        return open_journal(storage.journal_file, keyring, synced="normal", check_s=0)
    from sealwax.stores.journal_postgres import open_postgres_journal

    return open_postgres_journal(dsn, keyring)


def retention_of(storage: StorageSettings) -> Retention:
    """How long the journal keeps what waits for nothing, see ``Journal.prune``."""
    return Retention(storage.journal_keep_days * _DAY_S, storage.journal_max_bytes)


def _database(storage: StorageSettings) -> str | None:
    named = storage.journal
    if named is None:
        return None
    named.check_private()
    try:
        import asyncpg  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError(
            "storage.journal: PostgreSQL needs asyncpg; install sealwax[postgres], or take the key"
            " out"
        ) from None
    return named.secret().get_secret_value()
