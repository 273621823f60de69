"""The preloaded library of ``shim.c``: slow disks, and the order of what a program really did.

``build`` compiles it; a program that is started with ``environment(...)`` has every fsync slowed
and tells its calls into a log, which ``calls`` reads.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
SYNCS = frozenset({"fsync", "fdatasync"})
SENDS = frozenset({"write", "writev", "send", "sendmsg"})
RECEIVES = frozenset({"read", "recv", "recvmsg"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a program: of a socket, or of a file whose path ``text`` is.

    Times are nanoseconds of the monotonic clock. ``text`` of a socket is what went over it first,
    at most 24 bytes, everything but letters and digits shown as a dot.
    """

    began_ns: int
    ended_ns: int
    process: int
    thread: int
    name: str
    descriptor: int
    result: int
    text: str


def build(folder: Path) -> Path | None:
    """The library, made in ``folder``; None where there is no C compiler or it cannot."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    made = folder / "shim.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, check=False)
    return made if done.returncode == 0 else None


def environment(
    library: Path, *, fsync_delay_ms: int = 0, log: Path | None = None
) -> dict[str, str]:
    """Variables to start a program with, besides its own."""
    chosen = {"LD_PRELOAD": str(library), "SHIM_FSYNC_DELAY_MS": str(fsync_delay_ms)}
    return {**chosen, "SHIM_LOG": str(log)} if log is not None else chosen


def calls(log: Path) -> Iterator[Call]:
    """What was told into the log, in the order of its lines; a half line at the end is left out."""
    for line in log.read_text(encoding="ascii", errors="replace").splitlines(keepends=True):
        fields = line.rstrip("\n").split("\t", 7)
        if not line.endswith("\n") or len(fields) != 8:
            continue
        began, ended, process, thread, name, descriptor, result, text = fields
        yield Call(
            *(int(began), int(ended), int(process), int(thread)),
            *(name, int(descriptor), int(result), text),
        )
