"""Webhooks at fifty times their usual rate, at a bridge whose worker and Temporal are beside it.

Three parts: 40 events a second and then 2,000; the same with Temporal killed half-way; the same
with the bridge killed at random. What was acknowledged is compared with what workflows took in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from benchmarks.ingest import drain, listeners, parts
from benchmarks.ingest.drain import Drains
from benchmarks.ingest.figures import document, table
from benchmarks.ingest.parts import Part, Parts
from benchmarks.ingest.payloads import Sender
from benchmarks.ingest.samples import rank
from benchmarks.ingest.truth import judge
from benchmarks.ingest.world import world
from benchmarks.storms.__main__ import own_stdout
from benchmarks.storms.storm import tell
from demo.control import ControlRefused
from demo.stack import ProgramFailed
from demo.temporal_dev import TemporalBinaryMissing
from sealwax.answers import ClientError
from sealwax.connection import ConnectionFailed
from sealwax.lifetime import leave

SECONDS, LONG_SECONDS = 20.0, 60.0
LONG_ROUNDS = 7
SECONDS_MIN, SECONDS_MAX, ENVELOPES_MAX = 1.0, 3_600.0, 5_000
RUNS, LONG_RUNS, RUNS_MAX = 1, 3, 100
FAILURES = (
    ProgramFailed,
    TemporalBinaryMissing,
    ConnectionFailed,
    ControlRefused,
    ClientError,
    httpx.HTTPError,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for at the command line. ``seconds``: of the surge; ``runs``: how many."""

    seconds: float = SECONDS
    runs: int = RUNS
    envelopes: int = 120
    seed: int = 7
    long: bool = False

    @property
    def lengths(self) -> parts.Lengths:
        """Of the parts: those with harms are shorter, but in the long run."""
        away, killed = (1.0, 1.0) if self.long else (0.4, 0.3)
        base_s = min(5.0, self.seconds / 2)
        return parts.Lengths(base_s, self.seconds, away * self.seconds, killed * self.seconds)

    @property
    def listening(self) -> listeners.Lengths:
        """Of what listeners are measured by themselves."""
        part = min(1.0, self.seconds / SECONDS)
        whole = listeners.Lengths()
        rounds = LONG_ROUNDS if self.long else whole.rounds if part == 1 else 1
        closed_s, surge_s = (max(0.5, s * part) for s in (whole.closed_s, whole.surge_s))
        return listeners.Lengths(rounds, closed_s, surge_s)

    @property
    def draining(self) -> drain.Sizes:
        """Of the drains."""
        part = min(1.0, self.seconds / SECONDS)
        whole = drain.Sizes()
        return drain.Sizes(
            few=min(whole.few, self.envelopes),
            few_events=int(whole.few_events * part),
            different=max(50, int(whole.different * part)),
            rounds=whole.rounds if part == 1 else 1,
        )


async def run(options: Options, folder: Path) -> dict[str, Any]:
    """The whole; the document. Raises what the programs' starts raise."""
    tell(f"seed {options.seed}: the load program against a server that does nothing")
    load = await listeners.load_program(folder / "null", options.seed)
    tell(f"  {load}\nkeeping beside verifying alone")
    async with listeners.listeners(folder / "listeners", options.seed) as bridges:
        alone = await bridges.measured(options.listening)
    tell(f"  {alone}\nsending {options.envelopes} envelopes")
    async with world(folder / "world", options.envelopes, options.seed) as made:
        running = Parts(made, options.seed)
        done = await _parts(running, options)
        tell("drains")
        drains = Drains(made, options.seed, running.next)
        await drains.begin()
        few_per_s, few, of_few = await drains.few(options.draining)
        tell(f"  {few_per_s:.0f} events a second of few envelopes; judging by the sender's list")
        sender = Sender(made.tenant.account_id, made.targets, options.seed)
        sendings = [(sender, part.sent) for part in done] + [(of_few, sent) for sent in few]
        verdict = await judge(made, sendings)
        journal = await made.counts()
        different = await drains.different(options.draining)
    for line in verdict.why[:10]:
        tell(f"  {line}")
    return {
        **document(done, verdict),
        **alone,
        "drain_per_second": {"few_envelopes": round(few_per_s), **different},
        "load_program": load,
        "journal": journal,
        "envelopes": options.envelopes,
        "seed": options.seed,
        "cores": os.cpu_count(),
    }


async def _parts(running: Parts, options: Options) -> list[Part]:
    done = []
    for number in range(options.runs):
        tell(f"surge {number + 1} of {options.runs}: {options.seconds:g} s")
        done.append(await running.surge(options.lengths))
        told(done[-1])
    for name, part in (("Temporal away", running.away), ("bridge killed", running.killed)):
        tell(name)
        done.append(await part(options.lengths))
        told(done[-1])
    return done


def told(part: Part) -> None:
    """One part in a line, on stderr."""
    p99 = rank(part.surge_ms, 0.99)
    tell(
        f"  {part.acked} of {len(part.sent.due)} acknowledged, p99 {p99:.0f} ms, at most"
        f" {part.backlog} undelivered, drained in {part.drain_s:.1f} s,"
        f" load {part.load_average:.1f}"
    )


def parsed(argv: Sequence[str]) -> tuple[Options, bool]:
    """Options of a run, and whether to print JSON alone on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ingest", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object on stdout, the rest on stderr")
    add("--long", action="store_true", help="60 s of surge, three times, and as long with harms")
    add("--seconds", type=float, help=f"how long a surge is ({SECONDS:g}; --long {LONG_SECONDS:g})")
    add("--runs", type=int, help=f"surges, of which the median counts ({RUNS}; --long {LONG_RUNS})")
    add("--envelopes", type=int, default=120, help="open envelopes that the webhooks are of (120)")
    add("--seed", type=int, help="of when events come and of which envelope; drawn where left out")
    given = parser.parse_args(argv)
    seconds = given.seconds or (LONG_SECONDS if given.long else SECONDS)
    runs = given.runs or (LONG_RUNS if given.long else RUNS)
    if not SECONDS_MIN <= seconds <= SECONDS_MAX or not 1 <= runs <= RUNS_MAX:
        parser.error(
            f"--seconds is from {SECONDS_MIN:g} to {SECONDS_MAX:g}, --runs from 1 to {RUNS_MAX}"
        )
    if not 1 <= given.envelopes <= ENVELOPES_MAX:
        parser.error(f"--envelopes is a number from 1 to {ENVELOPES_MAX}")
    seed = random.SystemRandom().randrange(10_000) if given.seed is None else given.seed
    return Options(seconds, runs, given.envelopes, seed, given.long), given.json


def main(argv: Sequence[str]) -> int:
    """Run; the exit code: 0, 1 where something was lost or doubled, 2 where a program failed."""
    options, as_json = parsed(argv)
    stdout = own_stdout()
    try:
        with tempfile.TemporaryDirectory(prefix="sealwax-ingest-") as folder:
            found = asyncio.run(run(options, Path(folder)))
    except KeyboardInterrupt:
        tell("Stopped.")
        return 130
    except asyncio.CancelledError:
        tell("Stopped.")
        return 143
    except FAILURES as error:
        tell(f"benchmarks.ingest: {error}")
        return 2
    if as_json:
        print(json.dumps(found), file=stdout, flush=True)
    else:
        Console(file=stdout).print(table(found))
    return 1 if found["lost"] or found["double_effects"] else 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
