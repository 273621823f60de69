"""Bridges by themselves: what keeping costs beside verifying, and what a slow disk makes of it.

All are measured in the same run, one after the other and again, so that what else goes on at the
machine meets all of them.
"""

from __future__ import annotations

import os
import secrets
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.ingest import shim
from benchmarks.ingest.load import Job, Sent
from benchmarks.ingest.payloads import invented
from benchmarks.ingest.samples import latencies_ms, per_second, ratio, spread
from benchmarks.ingest.sampling import cpu_s
from benchmarks.ingest.sender import send
from demo import stage
from demo.stack import Program, Stack
from demo.stage import CHECKOUT

ENVELOPES = 300
SLOW_FSYNC_MS = 5
PREPARED_PER_S = 8_000
NULL_PREPARED = 40_000
SURGE_PER_S = 2_000.0
VERIFY, KEEP, SLOW = "verify only", "keeping", "keeping, slow disk"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Rounds of the closed loop, seconds of each, and seconds of the slow disk's surge."""

    rounds: int = 5
    closed_s: float = 2.5
    surge_s: float = 4.0


class Listeners:
    """One bridge of each kind, for one account whose envelopes nobody knows."""

    def __init__(self, stack: Stack, folder: Path, seed: int) -> None:
        self._stack = stack
        self._folder = folder
        self._seed = seed
        self._tenant = stage.new_tenant(stage.ACCOUNT)
        self._targets = tuple(invented(ENVELOPES, seed))
        self._urls: dict[str, str] = {}
        self._pids: dict[str, int] = {}
        self._first = 0

    async def start(self) -> None:
        """Start them all; the one with the slow disk only where there is a C compiler."""
        await self._start(VERIFY, "benchmarks.ingest.verify_only", {})
        await self._start(KEEP, "bridge", {})
        library = shim.build(self._folder)
        if library is not None:
            slow = shim.environment(library, fsync_delay_ms=SLOW_FSYNC_MS)
            await self._start(SLOW, "bridge", slow)

    async def measured(self, lengths: Lengths) -> dict[str, Any]:
        """Requests per second of each in a closed loop, and their ratios, round by round.

        ``kept``: webhooks that stand in each journal afterwards. ``cpu_us_per_event``: processor
        time of each listener, which a busy machine changes least.
        """
        rates: dict[str, list[float]] = {name: [] for name in self._urls}
        spent: dict[str, list[float]] = {name: [] for name in self._urls}
        for number in range(lengths.rounds):
            # Each goes first as often as the others, and on the heels of each.
            names = list(self._urls) if number % 2 == 0 else list(reversed(self._urls))
            for name in names:
                before_s = cpu_s(self._pids[name])
                sent = await self._send(
                    name, closed_s=lengths.closed_s, prepared=int(PREPARED_PER_S * lengths.closed_s)
                )
                acked = sum(at is not None for at in sent.acked)
                rates[name].append(per_second(sent))
                spent[name].append(1e6 * (cpu_s(self._pids[name]) - before_s) / max(1, acked))
        found: dict[str, Any] = {
            "ratio_to_verify_only": ratio(rates[KEEP], rates[VERIFY]),
            "ratio_with_slow_disk": None,
            "ack_ms_slow_disk": None,
            "cpu_us_per_event": {name: round(median(got)) for name, got in spent.items()},
            "closed_loop_per_second": {n: [round(r) for r in got] for n, got in rates.items()},
        }
        if SLOW in self._urls:
            found["ratio_with_slow_disk"] = ratio(rates[SLOW], rates[VERIFY])
            sent = await self._send(SLOW, phases=((SURGE_PER_S, lengths.surge_s),), patience_s=20.0)
            found["ack_ms_slow_disk"] = spread(latencies_ms(sent))
        found["kept"] = {name: await self._kept(name) for name in self._urls}
        return found

    async def _kept(self, name: str) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answer = await client.get(f"{self._urls[name]}/counts")
        return int(answer.raise_for_status().json()["accepted"])

    async def _start(self, name: str, module: str, env: Mapping[str, str]) -> None:
        folder = self._folder / name.replace(" ", "-").replace(",", "")
        settings = stage.write_settings(
            folder,
            self._tenant,
            simulator="http://127.0.0.1:1",
            temporal="127.0.0.1:1",
            bridge_port=0,
            codec=stage.Codec(1),
            ui_url="http://127.0.0.1:1",
        )
        program = Program(
            name=folder.name,
            argv=(sys.executable, "-m", module, "--no-forwarder"),
            env={**stage.bridge_program(settings).env, **env},
        )
        running = await self._stack.start(program)
        self._urls[name], self._pids[name] = running.url or "", running.pid

    async def _send(self, name: str, **how: Any) -> Sent:
        job = Job(
            url=self._urls[name],
            path=f"/webhooks/{stage.ACCOUNT}",
            account_id=self._tenant.account_id,
            key=self._tenant.hmac_key,
            targets=self._targets,
            seed=self._seed,
            first=self._first,
            **how,
        )
        sent = await send(job, self._folder / "load")
        # Nobody gets an event twice: a repetition is another path through the journal.
        self._first += max(len(sent.due), job.prepared)
        return sent


@asynccontextmanager
async def listeners(folder: Path, seed: int) -> AsyncIterator[Listeners]:
    """One bridge of each kind, running. Raises ``ProgramFailed``."""
    async with Stack(folder / "logs") as stack:
        made = Listeners(stack, folder, seed)
        await made.start()
        yield made


async def load_program(folder: Path, seed: int) -> dict[str, Any]:
    """What the load program itself can do, against a server that does nothing."""
    async with Stack(folder / "logs") as stack:
        argv = (sys.executable, "-m", "benchmarks.ingest.null")
        null = await stack.start(Program(name="null", argv=argv, env=_ENV))
        targets = tuple(invented(ENVELOPES, seed))
        whole: dict[str, Any] = {"url": null.url or "", "path": f"/webhooks/{stage.ACCOUNT}"}
        whole |= {"account_id": str(uuid.UUID(int=seed)), "key": secrets.token_urlsafe(32)}
        whole |= {"targets": targets, "seed": seed, "first": 0}
        closed = await send(
            Job(**whole, closed_s=3.0, prepared=NULL_PREPARED),
            folder / "load",
        )
        surge = await send(Job(**whole, phases=((SURGE_PER_S, 2.0),)), folder / "load")
    return {
        "per_second": round(per_second(closed)),
        "ack_ms": spread(latencies_ms(surge)),
        "cpu_us_per_event": round(1e6 * surge.cpu_s / len(surge.due)),
    }


_ENV = {"PYTHONPATH": os.pathsep.join((str(CHECKOUT), os.environ.get("PYTHONPATH", "")))}
