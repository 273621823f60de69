"""How every SQLite file of ours is opened.

SQLite before 3.51.3 can corrupt a write-ahead log when two connections write and checkpoint at
once (https://sqlite.org/wal.html#walresetbug), and distributions still ship such versions. So the
library that comes with apsw is used, and an older one is refused.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from sealwax.stores.base import StoreUnusable

SQLITE_MIN = (3, 51, 3)
BUSY_TIMEOUT_MS = 10_000
AUTOCHECKPOINT_PAGES = 1000


def check_engine(version: str) -> None:
    """Raise ``StoreUnusable`` for an SQLite that is not safe with several writers."""
    if tuple(int(part) for part in version.split(".")[:3]) < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        raise StoreUnusable(
            f"SQLite {version} can corrupt a file that several programs write; install an apsw that"
            f" bundles {wanted} or newer (pip install --upgrade --only-binary :all: apsw)"
        )


def open_writer(path: Path, schema: str, application_id: int) -> apsw.Connection:
    """Open a file for reading and writing; make it, with ``schema``, where it is not there.

    Every commit is on disk when it returns (WAL, synchronous=FULL). Raises ``StoreUnusable``
    where the engine is too old, or the file is another program's or cannot be opened.
    """
    check_engine(apsw.sqlite_lib_version())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = apsw.Connection(str(path))
        try:
            _prepare(connection, schema, application_id, path)
        except BaseException:
            connection.close()
            raise
    except (apsw.Error, OSError) as error:
        raise StoreUnusable(f"{path} cannot be opened as a store: {error}") from error
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Open a file that a writer has made, for reading only. Raises ``StoreUnusable``."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise StoreUnusable(f"{path} cannot be opened for reading: {error}") from error
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def _prepare(connection: apsw.Connection, schema: str, application_id: int, path: Path) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # Both as of one moment: another program may be making the file.
    connection.execute("BEGIN")
    found = connection.pragma("application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
    connection.execute("COMMIT")
    if found != application_id and (found or tables):
        raise StoreUnusable(f"{path} is not a store of this kind; name another folder")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.wal_autocheckpoint(AUTOCHECKPOINT_PAGES)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(schema)
        connection.pragma("application_id", application_id)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
