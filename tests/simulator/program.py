"""Runs `python -m simulator` as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


@contextmanager
def running(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start it on a free port; yields its URL and process, and ends it in any case."""
    command = [sys.executable, "-m", "simulator", "--port", "0", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("simulator listening on http://127.0.0.1:"), first
        yield first.split()[-1], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=10)
        finally:
            process.kill()


def user_token(url: str, account: str = "acc-1") -> str:
    """Register a user and mint a token."""
    who = {"integration_key": "key-1", "user_id": "user-1"}
    body = {**who, "accounts": [account]}
    httpx.put(f"{url}/simulator/principals", json=body).raise_for_status()
    minted = httpx.post(f"{url}/simulator/tokens", json=who).raise_for_status()
    return str(minted.json()["access_token"])
