"""Run a program that cannot outlive its owner: `python -I -S leash.py OWNER_PID PROGRAM ARG...`.

The process becomes PROGRAM by exec, so its pid is the one that the owner started. Beside it stands
a watcher that sleeps until either process ends; if the owner goes first, even by SIGKILL, the
watcher kills the program's whole process group. It waits on process handles (pidfd on Linux, kqueue
elsewhere) and therefore works for owners that start programs from any thread, where Linux's
parent-death signal is tied to the starting thread. Standard library only, no imports of ours:
it runs before the program and has to start in milliseconds.
"""

import contextlib
import os
import select
import signal
import sys


def main(argv: list[str]) -> None:
    """Leave a watcher behind and become the program; 64 on bad arguments, 69 without an owner."""
    if len(argv) < 2 or not argv[0].isdecimal():
        sys.exit(_complain("usage: leash.py OWNER_PID PROGRAM [ARG...]", 64))
    owner_pid, program = int(argv[0]), argv[1:]
    if os.getppid() != owner_pid:
        sys.exit(_complain(f"process {owner_pid} is not the owner of this one: not started", 69))
    if os.getpgrp() != os.getpid():
        os.setsid()
    _leave_watcher(owner_pid, os.getpid())
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.exit(_complain(f"cannot run {program[0]}: {error.strerror}", 127))


def _complain(line: str, code: int) -> int:
    print(f"leash: {line}", file=sys.stderr)
    return code


def _leave_watcher(owner_pid: int, program_pid: int) -> None:
    """Fork twice, so that the program never sees a child that it did not start itself."""
    ready_read, ready_write = os.pipe()
    child_pid = os.fork()
    if child_pid == 0:
        os.setsid()
        if os.fork() == 0:
            _watch(owner_pid, program_pid, ready_write)
        os._exit(0)
    os.waitpid(child_pid, 0)
    os.close(ready_write)
    watching = os.read(ready_read, 1)
    os.close(ready_read)
    if not watching:
        sys.exit(_complain("the watcher could not start: not started", 70))


def _watch(owner_pid: int, program_pid: int, ready_write: int) -> None:
    # SIGINT and SIGTERM of a terminal or of a group are for others: only the two ends count.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for inherited in (0, 1, 2):
        os.dup2(null, inherited)
    wait = _wait_pidfd if hasattr(os, "pidfd_open") else _wait_kqueue
    try:
        owner_ended = wait(owner_pid, program_pid, ready_write)
    except ProcessLookupError:
        owner_ended = True
    if owner_ended:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program_pid, signal.SIGKILL)
    os._exit(0)


def _only_keep(*kept: int) -> None:
    """Close what the owner left open: a held pipe looks like a living program to its reader."""
    low = 3
    for descriptor in sorted(kept):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, max(low, min(os.sysconf("SC_OPEN_MAX"), 65_536)))


def _wait_pidfd(owner_pid: int, program_pid: int, ready_write: int) -> bool:
    owner, program = os.pidfd_open(owner_pid), os.pidfd_open(program_pid)
    _only_keep(owner, program, ready_write)
    os.write(ready_write, b"1")
    os.close(ready_write)
    ended, _, _ = select.select([owner, program], [], [])
    return owner in ended


def _wait_kqueue(owner_pid: int, program_pid: int, ready_write: int) -> bool:
    queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
    _only_keep(queue.fileno(), ready_write)
    changes = [
        select.kevent(  # type: ignore[attr-defined,unused-ignore]
            pid,
            select.KQ_FILTER_PROC,  # type: ignore[attr-defined,unused-ignore]
            select.KQ_EV_ADD,  # type: ignore[attr-defined,unused-ignore]
            select.KQ_NOTE_EXIT,  # type: ignore[attr-defined,unused-ignore]
        )
        for pid in (owner_pid, program_pid)
    ]
    queue.control(changes, 0)
    os.write(ready_write, b"1")
    os.close(ready_write)
    ended = [event.ident for event in queue.control(None, 2)]
    return owner_pid in ended


if __name__ == "__main__":
    main(sys.argv[1:])
