"""Many embedded signers who all want to sign now: the naive client and Sealwax, one provider.

Both sides live the same seeded plans at a simulator whose session times are scaled and whose
answers take a while, as a provider's do. Every harm is counted in the simulator's ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.session_figures import Figures, count, spread
from benchmarks.session_sides import NaiveApplication, SealwaxApplication, naive_application
from benchmarks.signing import Application, Visit, plans, play
from demo import stage
from demo.control import Control
from demo.guard import guarded
from demo.ledger import limits_told
from demo.run import start_sealwax
from demo.stack import Program, ProgramFailed, Stack
from demo.temporal_dev import TemporalBinaryMissing
from sealwax.connection import ConnectionFailed
from sealwax.lifetime import leave
from sealwax.opening import open_client

CLOCK = 0.02
"""Scale of the provider's session times: 300 s of an unopened URL are 6 s, a minute is 1.2 s."""

ANSWER_MS = 100
"""How long the provider takes for each answer, beside its own work."""

SESSIONS = {
    "url_life_s": 300 * CLOCK,
    "ping_every_s": 60 * CLOCK,
    "slack_s": 1.5,
    "maximum_s": 600.0,
}
ENVELOPES, SIGNERS = 20, 3
LONG_ENVELOPES, LONG_SIGNERS = 60, 5
ENVELOPES_MAX, SIGNERS_MAX = 500, 20
COUNTS = ("wanted", "granted", "stayed", "finished", "kicked", "input_lost")


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for at the command line."""

    envelopes: int = ENVELOPES
    signers: int = SIGNERS
    seed: int = 7
    harm: bool = True


def tell(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


async def run(options: Options) -> dict[str, Any]:
    """Run both sides, one after the other; the document. Raises what the programs' starts raise."""
    with tempfile.TemporaryDirectory(prefix="sealwax-sessions-") as name:
        folder = Path(name)
        async with Stack(folder / "logs") as stack:
            tell("Starting the provider, Temporal, a worker and the bridge ...")
            simulator = await stack.start(_provider(options))
            async with Control(simulator.url or "") as control:
                (_, tenant), places = await start_sealwax(
                    stack, control, folder, SESSIONS, scale=CLOCK
                )
                working = _both(control, options, places.settings, tenant.account_id)
                return await guarded(stack, working, None)


async def _both(control: Control, options: Options, settings: Path, ours_id: str) -> dict[str, Any]:
    wishes = plans(options.seed, options.envelopes, options.signers)
    async with naive_application(control) as (naive, account_id):
        theirs = await _side(control, naive, account_id, await naive.prepare(wishes))
    client = await open_client(settings)
    async with httpx.AsyncClient(timeout=30, trust_env=False) as browser:
        ours = SealwaxApplication(client, stage.ACCOUNT, browser)
        figures = await _side(control, ours, ours_id, await ours.prepare(wishes))
    call_ms = await _provider_call_ms(control)
    return document(figures, theirs, call_ms, options)


async def _side(
    control: Control,
    application: Application,
    account_id: str,
    visits: Sequence[Visit],
) -> Figures:
    """All signers of one side at once, until each is done or gone."""
    began = time.monotonic()
    tell(f"{application.name}: {len(visits)} signers want to sign now")
    playing = [asyncio.create_task(play(control, application, visit)) for visit in visits]
    reporting = asyncio.create_task(_report(application.name, playing))
    try:
        await asyncio.gather(*playing)
    finally:
        reporting.cancel()
    figures = count(visits, await control.ledger(account_id))
    for visit in visits:
        if visit.failure and visit.plan.stays:
            tell(f"{application.name}: {visit.plan.person} ({visit.plan.kind}): {visit.failure}")
    seconds = time.monotonic() - began
    tell(
        f"{application.name}: {figures.finished} of {figures.stayed} finished in {seconds:.0f} s,"
        f" {figures.kicked} kicked, {figures.input_lost} lost what they had typed;"
        f" {limits_told(await control.limits(account_id))}"
    )
    return figures


async def _report(name: str, playing: Sequence[asyncio.Task[None]]) -> None:
    while True:
        await asyncio.sleep(5)
        tell(f"{name}: {sum(task.done() for task in playing)} of {len(playing)} signers are done")


def document(
    ours: Figures, theirs: Figures, call_ms: Sequence[float], options: Options
) -> dict[str, Any]:
    """What `--json` prints: Sealwax's figures, and the naive client's under `naive`.

    `provider_call_ms`: one call for a signing URL with nobody else about; `handover_ratio`: the
    median handover in such calls.
    """
    figures = ours.as_json()
    call = spread(call_ms)
    return {
        **figures,
        "provider_call_ms": call,
        "handover_ratio": round(figures["handover_ms"]["p50"] / call["p50"], 2),
        "naive": theirs.as_json(),
        "envelopes": options.envelopes,
        "signers": options.envelopes * options.signers,
        "seed": options.seed,
        "harm": options.harm,
    }


async def _provider_call_ms(control: Control, calls: int = 10) -> list[float]:
    """How long the provider takes for one signing URL, measured on a quiet envelope."""
    async with naive_application(control) as (naive, _):
        visit = (await naive.prepare(plans(0, 1, 1)))[0]
        return [await _timed(naive, visit) for _ in range(calls)]


async def _timed(naive: NaiveApplication, visit: Visit) -> float:
    began = time.perf_counter()
    await naive.url(visit)
    return 1_000 * (time.perf_counter() - began)


def _provider(options: Options) -> Program:
    policy = "one-per-envelope" if options.harm else "off"
    more = ["--sessions", policy, "--session-clock", str(CLOCK)]
    more += ["--lost-answers", f"*:1:slow:{ANSWER_MS}"]
    return stage.simulator_program(options.seed, overlap=False, more=more, scale=CLOCK)


def parsed(argv: Sequence[str]) -> tuple[Options, bool]:
    """Options of a run, and whether to print JSON alone on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sessions", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--envelopes", type=int, help=f"how many ({ENVELOPES}; with --long {LONG_ENVELOPES})")
    add(
        "--signers", type=int, help=f"embedded signers each ({SIGNERS}; with --long {LONG_SIGNERS})"
    )
    add("--seed", type=int, default=Options().seed, help="seed of what signers do (7)")
    add(
        "--harm",
        choices=("on", "off"),
        default="on",
        help="whether a second session kicks the first at the provider (on)",
    )
    add("--long", action="store_true", help="the full run, several minutes")
    add("--json", action="store_true", help="one JSON object on stdout, the rest on stderr")
    given = parser.parse_args(argv)
    envelopes = given.envelopes or (LONG_ENVELOPES if given.long else ENVELOPES)
    signers = given.signers or (LONG_SIGNERS if given.long else SIGNERS)
    if not 1 <= envelopes <= ENVELOPES_MAX or not 2 <= signers <= SIGNERS_MAX:
        parser.error(
            f"--envelopes is a number from 1 to {ENVELOPES_MAX},"
            f" --signers one from 2 to {SIGNERS_MAX}"
        )
    return Options(envelopes, signers, given.seed, given.harm == "on"), given.json


def lines(found: dict[str, Any]) -> list[str]:
    """The document in words, for a person."""
    naive, hand, call = found["naive"], found["handover_ms"], found["provider_call_ms"]
    return [
        f"{found['wanted']} signers of {found['envelopes']} envelopes wanted to sign at once.",
        f"{'':<22}{'naive':>7}{'Sealwax':>10}",
        *(
            f"{name.replace('_', ' '):<22}{naive[name]:>7}{found[name]:>10}"
            for name in (*COUNTS, "takeovers_alive", "urls")
        ),
        f"handover p50 {hand['p50']:.0f} ms, p99 {hand['p99']:.0f} ms; a call to the provider takes"
        f" {call['p50']:.0f} ms: {found['handover_ratio']:.1f} calls",
    ]


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
    except (ProgramFailed, TemporalBinaryMissing, ConnectionFailed) as error:
        tell(f"benchmarks.sessions: {error}")
        return 1
    if as_json:
        print(json.dumps(found))
    else:
        print("\n".join(lines(found)))
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
