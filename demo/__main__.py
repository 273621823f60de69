"""`python -m demo`: contracts from draft to completed, beside a competent naive client.

Exit codes: 0 when Sealwax lost nothing, doubled nothing and ended every envelope as intended;
1 when it did not, or a program failed; 2 for bad options; 130 after Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from demo.folder import BadFolder
from demo.run import Options, Result, run
from demo.stack import ProgramFailed
from demo.temporal_dev import TemporalBinaryMissing
from sealwax.connection import ConnectionFailed
from sealwax.lifetime import leave

_ENVELOPES_MAX = 200
_DEFAULTS = Options()


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the options, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """One line, status 2."""
        self.exit(2, f"demo: {message} (see --help)\n")


def parsed(argv: Sequence[str]) -> tuple[Options, bool]:
    """Options of a run, and whether to print JSON alone on stdout."""
    parser = Parser(prog="python -m demo", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--seed", type=int, default=_DEFAULTS.seed, help="seed of workload and harms (7)")
    add("--envelopes", type=int, default=_DEFAULTS.envelopes, help="how many (20)")
    add(
        "--overlap",
        choices=("on", "off"),
        default="on",
        help="whether overlapping writes lose updates at the provider (on)",
    )
    add("--folder", type=Path, default=_DEFAULTS.folder, help="for all that it writes (build/demo)")
    add("--keep", action="store_true", help="stay up until Ctrl-C, to look around")
    add("--json", action="store_true", help="the figures as JSON on stdout, the rest on stderr")
    add("--kill-worker", action="store_true", help="SIGKILL the worker in the middle")
    given = parser.parse_args(argv)
    if not 1 <= given.envelopes <= _ENVELOPES_MAX:
        parser.error(f"--envelopes is a number from 1 to {_ENVELOPES_MAX}")
    options = Options(
        seed=given.seed,
        envelopes=given.envelopes,
        overlap=given.overlap == "on",
        folder=given.folder,
        keep=given.keep,
        kill_worker=given.kill_worker,
    )
    return options, given.json


def main(argv: Sequence[str]) -> int:
    """Run; the exit code."""
    options, as_json = parsed(argv)
    console = Console(stderr=as_json)
    try:
        result: Result = asyncio.run(run(options, console))
    except KeyboardInterrupt:
        console.print("Stopped.", highlight=False)
        return 130
    except asyncio.CancelledError:
        console.print("Stopped.", highlight=False)
        return 143
    except BadFolder as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (ProgramFailed, TemporalBinaryMissing, ConnectionFailed) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(result.as_json(options)))
    return 0 if result.harmless else 1


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
