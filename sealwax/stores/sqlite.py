"""How every SQLite file of ours is opened.

SQLite 3.7.0 to 3.51.2 can corrupt a write-ahead log when two connections write and checkpoint at
once, except 3.44.6 and 3.50.7, which have the correction (https://sqlite.org/wal.html#walresetbug).
Distributions still ship such versions. So the library that comes with apsw is used, and one that
has the fault is refused.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from sealwax.stores.base import EnvelopeName, StoreUnusable

SQLITE_MIN = (3, 51, 3)
SQLITE_CORRECTED = ((3, 44, 6), (3, 50, 7))
BUSY_TIMEOUT_MS = 10_000
BUSY_TIMEOUT_S = BUSY_TIMEOUT_MS / 1000
BUSY_AGAIN_S = 0.000_5
AUTOCHECKPOINT_PAGES = 1000
RESTART_PAGES = 8 * AUTOCHECKPOINT_PAGES
RESTART_PAGES_OF_OTHERS = 16 * AUTOCHECKPOINT_PAGES
RESTART_WITHIN_S = 0.03
CHECK_STEPS = 10_000


def check_engine(version: str) -> None:
    """Raise ``StoreUnusable`` for an SQLite that is not safe with several writers."""
    found = tuple(int(part) for part in version.split(".")[:3])
    corrected = any(found[:2] == fixed[:2] and found >= fixed for fixed in SQLITE_CORRECTED)
    if found < SQLITE_MIN and not corrected:
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
            _prepared(connection, schema, application_id, path)
        except BaseException:
            connection.close()
            raise
    except apsw.CorruptError as error:
        raise _damaged(path, str(error)) from error
    except (apsw.Error, OSError) as error:
        raise StoreUnusable(f"{path} cannot be opened as a store: {error}") from error
    return connection


def open_folder(path: Path) -> apsw.Connection:
    """Another connection to a file that a writer has made, to fold its log with.

    Raises ``StoreUnusable``.
    """
    try:
        connection = apsw.Connection(str(path))
        # A connection learns that a file has a log with its first look.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.Error as error:
        raise StoreUnusable(f"{path} cannot be opened for folding its log: {error}") from error
    return connection


def open_reader(path: Path) -> apsw.Connection:
    """Open a file that a writer has made, for reading only. Raises ``StoreUnusable``."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise StoreUnusable(f"{path} cannot be opened for reading: {error}") from error
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def rows(
    connection: apsw.Connection, text: str, values: Sequence[Any] | Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """All rows that a statement gives."""
    return connection.execute(text, values).fetchall()


def listed(names: Iterable[EnvelopeName]) -> str:
    """Names as a statement takes them, from ``json_each``: account and envelope of each."""
    return json.dumps([(name.account, name.provider_envelope_id) for name in names])


class Patience:
    """Asks again every ``BUSY_AGAIN_S`` for a file that another process writes, for ``within_s``.

    SQLite's own way waits ever longer, up to 100 ms: two that write a file all the time would keep
    each other from it for many times as long as one transaction lasts.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.within_s = BUSY_TIMEOUT_S
        self._since = 0.0
        connection.set_busy_handler(self._busy)

    def _busy(self, times: int) -> bool:
        now = time.monotonic()
        if times == 0:
            self._since = now
        if now - self._since > self.within_s:
            return False
        time.sleep(random.uniform(0.5, 1.5) * BUSY_AGAIN_S)
        return True


class LogKeeper:
    """Folds a connection's write-ahead log back into the file, beside what is written meanwhile.

    Every ``AUTOCHECKPOINT_PAGES`` as much is folded, through ``folder`` in a thread of its own, as
    can be without holding anybody up: the syncs that this takes are nobody's who waits for a
    commit. Where two processes write all the time, the log would yet never begin anew. So at
    ``restart_pages`` the writer itself folds what little is left, after a commit, and keeps the
    others from writing for as long as that takes, readers for at most ``RESTART_WITHIN_S``.
    Without a ``folder``: only the latter.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        patience: Patience,
        restart_pages: int,
        folder: apsw.Connection | None,
    ) -> None:
        self._connection = connection
        self._patience = patience
        self._restart_pages = restart_pages
        self._folder = folder
        self._pages = 0
        self._folded_at = 0
        self._due: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._folding = self._nearly_folded = False
        self._thread: threading.Thread | None = None
        if folder is not None:
            self._thread = threading.Thread(target=self._fold_all, name="log", daemon=True)
            self._thread.start()
        connection.set_wal_hook(self._committed)

    def after_commit(self) -> None:
        """Fold, or have it done, if it is time; for the thread that writes. What fails is tried
        again: the log keeps all until then."""
        if self._pages < self._folded_at:
            self._folded_at = 0
        if self._nearly_folded:
            self._nearly_folded = False
            self._restart()
        if self._pages - self._folded_at < AUTOCHECKPOINT_PAGES or self._folding:
            return
        self._folded_at = self._pages
        if self._folder is not None:
            self._folding = True
            self._due.put(True)
        elif self._pages >= self._restart_pages:
            self._restart()

    def close(self) -> None:
        """End the thread, and close the connection that it folds through."""
        if self._thread is not None and self._folder is not None:
            self._due.put(False)
            self._thread.join()
            self._folder.close()
            self._thread = None

    def _restart(self) -> None:
        self._patience.within_s = RESTART_WITHIN_S
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            self._folded_at = 0
        except apsw.Error:
            return
        finally:
            self._patience.within_s = BUSY_TIMEOUT_S

    def _fold_all(self) -> None:
        assert self._folder is not None
        while self._due.get():
            restart = self._pages >= self._restart_pages
            with suppress(apsw.Error):
                # What came during the first time is little, and during the second next to nothing.
                for _ in range(2 if restart else 1):
                    self._folder.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._nearly_folded = restart
            self._folding = False

    def _committed(self, connection: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK


def check_whole(connection: apsw.Connection, path: Path, within_s: float) -> bool:
    """Look for damage (``PRAGMA quick_check``) for at most that long; whether it came to the end.

    Raises ``StoreUnusable`` where some is found, with what a person does then.
    """
    until = time.monotonic() + within_s
    connection.set_progress_handler(lambda: time.monotonic() > until, CHECK_STEPS)
    try:
        found = [str(line) for (line,) in connection.execute("PRAGMA quick_check(1)")]
    except apsw.InterruptError:
        return False
    except (apsw.CorruptError, apsw.NotADBError) as error:
        found = [str(error)]
    finally:
        connection.set_progress_handler(None)
    if found != ["ok"]:
        raise _damaged(path, found[0].splitlines()[-1] if found else "unreadable")
    return True


def _damaged(path: Path, what: str) -> StoreUnusable:
    return StoreUnusable(
        f"{path} is damaged ({what}); stop the programs that use it, move {path.name}* to"
        " another folder and start again: a new one is made, sweeps find what came meanwhile,"
        " and `sqlite3 OLD .recover` saves what can still be read of the old one"
    )


def _prepared(connection: apsw.Connection, schema: str, application_id: int, path: Path) -> None:
    """Prepare it, again while others do the same: SQLite does not wait where it changes the mode of
    the log, but says at once that the file is busy."""
    until = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            _prepare(connection, schema, application_id, path)
            return
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(random.uniform(0.5, 1.5) * BUSY_AGAIN_S)


def _prepare(connection: apsw.Connection, schema: str, application_id: int, path: Path) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    # Both as of one moment: another program may be making the file.
    with connection:
        found = connection.pragma("application_id")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]
    if found != application_id and (found or tables):
        raise StoreUnusable(f"{path} is not a store of this kind; name another folder")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    # Else each page that a statement of many rows changes is first copied into a file.
    connection.pragma("temp_store", "memory")
    connection.wal_autocheckpoint(AUTOCHECKPOINT_PAGES)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(schema)
        connection.pragma("application_id", application_id)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
