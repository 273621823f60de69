"""Kill everything everywhere under load, and count what it cost at the provider."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig

from benchmarks.storms import sweep
from benchmarks.storms.judge import Harm
from benchmarks.storms.storm import Options, Result, run, tell
from demo.stack import ProgramFailed
from demo.temporal_dev import TemporalBinaryMissing
from sealwax.connection import ConnectionFailed
from sealwax.lifetime import leave

SECONDS_MAX = 86_400
SEEDS_MAX = 1_000


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """What is asked for at the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.storms", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="how long each storm blows (60)")
    add("--seed", type=int, help="seed of the first storm; drawn and printed where left out")
    add("--storms", type=int, default=1, help="how many storms, each with the next seed (1)")
    add("--sweep", action="store_true", help="afterwards, kill a worker at every point of a life")
    add("--harm", choices=("on", "off"), default="on", help="kills, faults and overlap (on)")
    add("--naive", choices=("on", "off"), default="on", help="the naive client beside it (on)")
    add("--folder", type=Path, help="keep databases and logs there, each storm in its own folder")
    add("--json", action="store_true", help="one JSON object on stdout, the rest on stderr")
    given = parser.parse_args(argv)
    if not 0 < given.seconds <= SECONDS_MAX or not 1 <= given.storms <= SEEDS_MAX:
        parser.error(
            f"--seconds is above 0 and at most {SECONDS_MAX}, --storms from 1 to {SEEDS_MAX}"
        )
    return given


async def run_all(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """All storms, one after the other, and the sweep; the document."""
    options = Options(given.seconds, seed, given.harm == "on", given.naive == "on")
    results = []
    for number in range(given.storms):
        folder = None if given.folder is None else given.folder / f"storm-{seed + number}"
        result = await run(replace(options, seed=seed + number, folder=folder))
        told(result)
        results.append(result)
    swept = await run_sweep(given.folder, seed) if given.sweep else None
    return document(results, swept, seed)


async def run_sweep(folder: Path | None, seed: int) -> sweep.Swept:
    """The whole sweep, in a world of its own. Raises what the programs' starts raise."""
    with contextlib.ExitStack() as closing:
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="sealwax-sweep-")
            folder = Path(closing.enter_context(temporary))
        async with sweep.world(folder / f"sweep-{seed}", seed) as sweeping:
            points = await sweeping.points() + await sweeping.crossed()
            tell(f"sweep: {len(points)} points of one life")
            swept = await sweeping.run(points)
    sweep.told(swept)
    return swept


def told(result: Result) -> None:
    """One storm in a few lines, on stderr."""
    for line in result.ours.why:
        tell(f"  Sealwax: {line}")
    for line in [] if result.naive is None else result.naive.why[:3]:
        tell(f"  naive, for example: {line}")
    tell(
        f"  {result.envelopes} envelopes, kills {dict(result.kills)}, {result.faults} faults,"
        f" programs that ended by themselves {dict(result.ends)};"
        f" settled in {result.settled_s:.0f} s;"
        f" harm {result.ours.total}, naive {result.naive.total if result.naive else '-'}"
    )
    tell(f"  Sealwax at the provider: {result.limits}")


def document(results: Sequence[Result], swept: sweep.Swept | None, seed: int) -> dict[str, Any]:
    """What `--json` prints: sums over all storms and the sweep.

    ``envelopes``: those of the storms; every point of the sweep is one more. ``kills``: those of
    the storms, too. ``undecidable``: so many envelopes the faults made such that a person has to be
    asked; what ``needs_attention`` has above it is harm. ``naive`` has the figures of that side,
    which lives the storms alone.
    """
    ours, theirs = Harm(), Harm()
    for result in results:
        ours.add(result.ours)
        if result.naive is not None:
            theirs.add(result.naive)
    if swept is not None:
        ours.add(swept.harm)
    names = results[0].kills.keys() if results else ()
    found = {
        "envelopes": sum(r.envelopes for r in results),
        "kills": {name: sum(r.kills[name] for r in results) for name in names},
        "faults": sum(r.faults for r in results),
        "sweep_points": None if swept is None else len(swept.reached),
        **ours.figures(),
        "undecidable": ours.undecidable,
        "seed": seed,
    }
    if all(result.naive is not None for result in results):
        found["naive"] = theirs.figures()
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """The document as a table, for a person."""
    naive = found.get("naive", {})
    kills = ", ".join(f"{name} {count}" for name, count in found["kills"].items())
    points = found["sweep_points"]
    return [
        f"{found['envelopes']} envelopes, {found['faults']} faults of the provider;"
        f" killed: {kills}; first seed {found['seed']}"
        + ("" if points is None else f"; swept {points} points of one life"),
        f"{'':<22}{'naive':>7}{'Sealwax':>10}",
        *(
            f"{name.replace('_', ' '):<22}{naive.get(name, '-'):>7}{found[name]:>10}"
            for name in Harm().figures()
        ),
    ]


def own_stdout() -> TextIO:
    """The real stdout, for the document alone; all else that is written there goes to stderr.

    The Temporal SDK writes its log to stdout, and a client whose server is killed has much to say.
    """
    logging = LoggingConfig(filter="ERROR")
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=logging)))
    sys.stdout.flush()
    real = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return real


def main(argv: Sequence[str]) -> int:
    """Run; the exit code: 0, 1 where Sealwax did harm, 2 where a program did not start."""
    given = parsed(argv)
    stdout = own_stdout()
    seed = random.SystemRandom().randrange(10_000) if given.seed is None else given.seed
    try:
        found = asyncio.run(run_all(given, seed))
    except KeyboardInterrupt:
        tell("Stopped.")
        return 130
    except asyncio.CancelledError:
        tell("Stopped.")
        return 143
    except (ProgramFailed, TemporalBinaryMissing, ConnectionFailed) as error:
        tell(f"benchmarks.storms: {error}")
        return 2
    print(json.dumps(found) if given.json else "\n".join(lines(found)), file=stdout, flush=True)
    figures = {name: found[name] for name in Harm().figures()}
    return 1 if Harm(**figures, undecidable=found["undecidable"]).total else 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
