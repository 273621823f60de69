"""Laws of the journal on a disk that is full, read-only, failing or damaged: no lie, and back."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from sealwax.stores import sqlite
from sealwax.stores.base import StoreError, StoreUnusable, WebhookFilter
from sealwax.stores.group_writer import GroupWriter
from sealwax.stores.journal import open_journal
from sealwax.stores.sqlite import check_engine, check_whole, open_reader
from tests.keys import KEYRING
from tests.stores.journals import A, keys_of, webhook


class Disk(apsw.VFS):
    """SQLite's way to the file system, which fails as it is told to."""

    def __init__(self) -> None:
        self.below = apsw.vfs_names()[0]
        self.writing: type[apsw.Error] | None = None
        self.syncing: type[apsw.Error] | None = None
        super().__init__("sealwax-test-disk", self.below, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        super().__init__(disk.below, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self._disk.writing is not None:
            raise self._disk.writing("the test's disk")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        if self._disk.syncing is not None:
            raise self._disk.syncing("the test's disk")
        super().xSync(flags)


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.unregister()


FAULTS = [
    ("writing", apsw.FullError, "disk is full; make room"),
    ("writing", apsw.ReadOnlyError, "disk is read-only; mount it"),
    ("writing", apsw.IOError, "cannot be written: IOError"),
    ("syncing", apsw.FullError, "disk is full"),
    ("syncing", apsw.IOError, "cannot be written: IOError"),
]


@pytest.mark.parametrize(("doing", "fault", "said"), FAULTS)
async def test_nothing_is_acknowledged_that_the_disk_refused_and_it_goes_on_by_itself(
    disk: Disk, tmp_path: Path, doing: str, fault: type[apsw.Error], said: str
) -> None:
    """What was kept stays and can be read meanwhile; what was refused is not there, nor known as
    a repetition when it comes again; marks fail alike; no restart is needed."""
    journal = open_journal(tmp_path / "journal.db", KEYRING)
    kept = await journal.append(webhook("k1"))
    setattr(disk, doing, fault)
    for attempt in ("k2", "k1", "k2"):
        with pytest.raises(StoreError, match=said):
            await journal.append(webhook(attempt))
    with pytest.raises(StoreError, match=said):
        await journal.mark([kept.id], "delivered")
    outcomes = await asyncio.gather(
        *(journal.append(webhook(f"many{i}")) for i in range(50)), return_exceptions=True
    )
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert await keys_of(journal, A) == ["k1"]
    assert (await journal.counts()).kept == 1
    setattr(disk, doing, None)
    assert not (await journal.append(webhook("k2"))).duplicate
    assert await keys_of(journal, A) == ["k1", "k2"]
    assert (await journal.counts()).pending == 2
    await journal.close()
    again = open_journal(tmp_path / "journal.db", KEYRING)
    assert await keys_of(again, A) == ["k1", "k2"]
    await again.close()


async def test_a_full_disk_is_told_to_all_who_wait_at_once(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one after the other: each failing write may take long."""
    journal = open_journal(tmp_path / "journal.db", KEYRING)
    disk.writing = apsw.FullError
    tries = 0
    real = GroupWriter.transaction

    def counted(self: GroupWriter, group: list[Any]) -> list[Any]:
        nonlocal tries
        tries += 1
        return real(self, group)

    monkeypatch.setattr(GroupWriter, "transaction", counted)
    appends = (journal.append(webhook(f"k{i}")) for i in range(300))
    await asyncio.gather(*appends, return_exceptions=True)
    assert tries < 50
    disk.writing = None
    await journal.close()


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, where this user may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_disk_that_is_really_full_refuses_and_takes_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "small", "5m") as folder:
        (folder / "other").write_bytes(bytes(2_000_000))
        journal = open_journal(folder / "journal.db", KEYRING)
        kept: list[str] = []
        refused = why = ""
        for i in range(200):
            try:
                await journal.append(webhook(f"k{i}", body=bytes(50_000)))
                kept.append(f"k{i}")
            except StoreError as error:
                refused, why = f"k{i}", str(error)
                break
        assert kept
        assert "full" in why
        assert await keys_of(journal, A) == kept
        (folder / "other").unlink()
        assert not (await journal.append(webhook(refused))).duplicate
        assert await keys_of(journal, A) == [*kept, refused]
        await journal.close()
        again = open_journal(folder / "journal.db", KEYRING)
        assert await keys_of(again, A) == [*kept, refused]
        await again.close()


async def test_a_disk_that_is_really_remounted_read_only_refuses_until_it_is_not(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "small", "8m") as folder:
        path = folder / "journal.db"
        journal = open_journal(path, KEYRING)
        await journal.append(webhook("k1"))
        # A file that is open for writing keeps a file system from being made read-only.
        await journal.close()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(StoreUnusable, match="cannot be opened"):
            open_journal(path, KEYRING)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        again = open_journal(path, KEYRING)
        await again.append(webhook("k2"))
        assert await keys_of(again, A) == ["k1", "k2"]
        await again.close()


_FILL = """
import asyncio, resource, sys
from pathlib import Path
from sealwax.stores.base import StoreError
from sealwax.stores.journal import open_journal
from tests.keys import KEYRING
from tests.stores.journals import A, keys_of, webhook

async def main():
    journal = open_journal(Path(sys.argv[1]), KEYRING)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
    kept, refused = [], 0
    for i in range(100):
        try:
            await journal.append(webhook(f"k{i}", body=bytes(20_000)))
            kept.append(f"k{i}")
        except StoreError:
            refused += 1
    assert kept and refused, (kept, refused)
    assert await keys_of(journal, A) == kept
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await journal.append(webhook("more"))
    await journal.close()
    print(" ".join(kept + ["more"]))

asyncio.run(main())
"""


async def test_a_file_that_may_not_grow_refuses_and_keeps_what_it_said(tmp_path: Path) -> None:
    """The kernel refuses (``RLIMIT_FSIZE``), as it does where a quota is used up."""
    path = tmp_path / "journal.db"
    root = str(Path(__file__).parents[2])
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FILL, str(path), cwd=root, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    journal = open_journal(path, KEYRING)
    found = [entry.event_key for entry in await journal.find(WebhookFilter(), 0, 1000)]
    await journal.close()
    assert found == said.decode().split()


def filled(path: Path) -> None:
    async def fill() -> None:
        journal = open_journal(path, KEYRING)
        await asyncio.gather(*(journal.append(webhook(f"k{i}")) for i in range(300)))
        await journal.close()

    asyncio.run(fill())


def test_a_damaged_file_is_found_at_the_start_and_a_person_is_told_what_to_do(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    data = bytearray(path.read_bytes())
    page = 4096
    # Some pages from the middle are overwritten, as a bad disk or a stray copy does.
    for number in range(5, len(data) // page, 3):
        data[number * page : number * page + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))
    with pytest.raises(StoreUnusable, match=r"damaged .*move journal\.db\* to another folder"):
        open_journal(path, KEYRING)


def test_a_file_that_is_cut_off_is_no_journal_any_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    filled(path)
    path.write_bytes(path.read_bytes()[: 3 * 4096])
    with pytest.raises(StoreUnusable, match=r"damaged|cannot be opened"):
        open_journal(path, KEYRING)


def test_the_look_for_damage_takes_no_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is looked through in part; the bridge does not wait for the rest."""
    path = tmp_path / "journal.db"
    filled(path)
    monkeypatch.setattr(sqlite, "CHECK_STEPS", 10)
    reader = open_reader(path)
    assert not check_whole(reader, path, within_s=0)
    assert check_whole(reader, path, within_s=60)
    reader.close()


@pytest.mark.parametrize("version", ["3.51.3", "3.52.0", "4.0.0", "3.44.6", "3.50.7", "3.50.9"])
def test_an_engine_that_is_sound_is_used(version: str) -> None:
    check_engine(version)


@pytest.mark.parametrize("version", ["3.7.0", "3.40.1", "3.44.5", "3.45.9", "3.50.6", "3.51.2"])
def test_an_engine_that_corrupts_a_shared_log_is_refused(version: str) -> None:
    """https://sqlite.org/wal.html#walresetbug"""
    with pytest.raises(StoreUnusable, match="apsw"):
        check_engine(version)
