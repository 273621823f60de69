"""Durable, then 2xx: the order of what the program really asked of the system.

A killed process loses nothing that it wrote, so killing it cannot show what a power failure would
take. The preloaded library tells when each fsync began and ended, and when each answer left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest

from benchmarks.ingest import shim
from benchmarks.ingest.shim import RECEIVES, SENDS, SYNCS, Call
from tests.bridge.deliveries import message
from tests.bridge.test_program import Program, write_settings

pytestmark = pytest.mark.server

DELAY_MS = 40
ROUNDS = 5
TOGETHER = 20


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = shim.build(tmp_path_factory.mktemp("shim"))
    if built is None:
        pytest.skip("no C compiler here that makes a library to preload")
    return built


def answered(calls: Iterable[Call], process: int) -> list[tuple[int, int]]:
    """For each 2xx that left the process: when its request had come, and when it left (ns)."""
    come: dict[int, int] = {}
    pairs = []
    for call in calls:
        if call.process != process or call.result <= 0:
            continue
        if call.name in RECEIVES and not call.text.startswith("HTTP"):
            come[call.descriptor] = call.ended_ns
        elif call.name in SENDS and call.text.startswith("HTTP.1.1.2"):
            pairs.append((come[call.descriptor], call.began_ns))
    return pairs


def synced(calls: Iterable[Call], process: int) -> list[tuple[int, int]]:
    """When the journal's log was written to disk: each successful sync's begin and end (ns)."""
    return [
        (call.began_ns, call.ended_ns)
        for call in calls
        if call.process == process
        and call.name in SYNCS
        and call.result == 0
        and call.text.endswith("/journal.db-wal")
    ]


def undurable(answers: list[tuple[int, int]], syncs: list[tuple[int, int]]) -> int:
    """How many answers left without a sync that began after their request and was over."""
    return sum(
        not any(come < began and ended < left for began, ended in syncs) for come, left in answers
    )


async def test_every_2xx_leaves_after_a_sync_that_began_after_its_request(
    tmp_path: Path, library: Path
) -> None:
    """One by one and many together, also where each sync takes long; and no answer is quicker
    than the disk."""
    log = tmp_path / "calls.log"
    program = Program(tmp_path, write_settings(tmp_path))
    program.more = shim.environment(library, fsync_delay_ms=DELAY_MS, log=log)
    await program.start("--no-forwarder")
    assert program.process is not None
    try:
        async with httpx.AsyncClient(timeout=60) as http:
            numbers = iter(range(10_000))
            for _ in range(ROUNDS):
                began = time.monotonic()
                assert await program.post(http, message(n=next(numbers))) == 200
                assert time.monotonic() - began > DELAY_MS / 1000
            for _ in range(ROUNDS):
                bodies = [message(n=next(numbers)) for _ in range(TOGETHER)]
                statuses = await asyncio.gather(*(program.post(http, b) for b in bodies))
                assert statuses == [200] * TOGETHER
    finally:
        program.process.terminate()
        await program.said(program.process)
        await program.process.wait()
    told = list(shim.calls(log))
    answers = answered(told, program.process.pid)
    syncs = synced(told, program.process.pid)
    assert len(answers) == ROUNDS * (1 + TOGETHER)
    assert undurable(answers, syncs) == 0
    # Group commit: those that came together shared their syncs.
    assert len(syncs) < len(answers)


def test_the_law_would_notice_an_answer_that_is_too_early() -> None:
    """A sync that is still under way, or that began before the request, proves nothing."""
    syncs = [(10, 20), (30, 40)]
    assert undurable([(5, 21), (25, 41)], syncs) == 0
    assert undurable([(5, 19)], syncs) == 1
    assert undurable([(15, 29)], syncs) == 1
    assert undurable([(5, 21)], []) == 1
