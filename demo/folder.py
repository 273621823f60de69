"""The folder of a run: the demonstration's own, emptied before it, and one run's at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_MARK = ".sealwax-demo"


class BadFolder(Exception):
    """The folder cannot be had; one line that says what to do."""


@contextlib.contextmanager
def own_folder(folder: Path, *, emptied: bool = True) -> Iterator[Path]:
    """The folder, absolute, locked as long as the block runs; `emptied` but for a mark before.

    Raises BadFolder where it holds what no run of the demonstration wrote, where another run
    uses it, or where it cannot be made.
    """
    folder = folder.absolute()
    _check(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / _MARK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise BadFolder(f"{folder} cannot be used ({error.strerror}); name another") from None
    try:
        _lock(descriptor, folder)
        for path in folder.iterdir() if emptied else ():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _MARK:
                path.unlink()
        yield folder
    finally:
        os.close(descriptor)


def _check(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BadFolder(f"{folder} is no folder; name another with --folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise BadFolder(
            f"{folder} holds files that are not the demo's; name an empty or new folder"
        )


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadFolder(
            f"another demo runs in {folder}; let it end, or name another folder with --folder"
        ) from None
