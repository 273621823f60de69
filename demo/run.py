"""One run of the demonstration: start everything, live the workload twice, count, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from demo import report, stage, workload
from demo.control import Control
from demo.drive import Driver, Run
from demo.folder import own_folder
from demo.guard import Killer, guarded
from demo.ledger import Figures, count, missing, with_limits
from demo.naive.client import NaiveSide
from demo.naive.rest import Credentials
from demo.orchestrated import SealwaxSide
from demo.report import NAIVE, SEALWAX, Board
from demo.side import Side
from demo.stack import Stack
from demo.stage import Tenant
from demo.temporal_dev import free_port, start_temporal
from demo.workload import Life, Request
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient
from sealwax.connection import connect
from sealwax.messages import SEARCH_ATTRIBUTES
from sealwax.settings import load_settings

BRIDGE_PORT_PREFERRED = 8787
CODEC_PORT_PREFERRED = 8788

_WEBHOOKS_WITHIN_S = 15.0

Between = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for at the command line."""

    seed: int = 7
    envelopes: int = 20
    overlap: bool = True
    folder: Path = Path("build/demo")
    keep: bool = False
    kill_worker: bool = False

    @property
    def document(self) -> Path:
        """Where the figures go: beside the folder, `build/demo.json`."""
        return self.folder.with_name(f"{self.folder.name}.json")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one side; `missing` holds the changes without effect, by business key."""

    figures: Figures
    run: Run
    missing: dict[str, tuple[Request, ...]]


@dataclass(frozen=True, slots=True)
class Result:
    """Outcomes by side, and how long it all took."""

    outcomes: dict[str, Outcome]
    seconds: float

    @property
    def figures(self) -> dict[str, Figures]:
        """The figures by side."""
        return {name: outcome.figures for name, outcome in self.outcomes.items()}

    @property
    def harmless(self) -> bool:
        """Whether Sealwax lost nothing, doubled nothing and ended everything as intended."""
        return self.outcomes[SEALWAX].figures.harmless

    def as_json(self, options: Options) -> dict[str, object]:
        """The document that `build/demo.json` holds."""
        return {
            **self.figures[SEALWAX].as_json(),
            "naive": self.figures[NAIVE].as_json(),
            "seed": options.seed,
            "seconds": round(self.seconds, 1),
        }


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to look while the stack runs."""

    temporal_ui: str
    simulator: str
    bridge: str
    settings: Path


async def run(options: Options, console: Console) -> Result:
    """Run the demonstration, show its table and write its document.

    Raises BadFolder, and ProgramFailed where a program does not start. No process is left,
    whatever happens.
    """
    began = time.monotonic()
    lives = workload.make(options.seed, options.envelopes)
    with own_folder(options.folder) as folder:
        async with Stack(folder / "logs") as stack:
            board = Board(lives, console)
            board.say("Starting a Temporal server, the provider, a worker and the bridge ...")
            url = await start_simulator(stack, options)
            async with Control(url) as control:
                ours, places = await start_sealwax(stack, control, folder)
                with board:
                    board.say(f"Temporal: {places.temporal_ui}   ledger: {_ledger_url(url)}")
                    outcomes = await _both(stack, control, options, lives, ours, folder, board)
            result = Result(outcomes, time.monotonic() - began)
            _publish(result, options, folder, console)
            _say_where(options, folder, places, console)
            if options.keep:
                console.print("Everything stays up until Ctrl-C.", highlight=False)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
    return result


async def _both(
    stack: Stack,
    control: Control,
    options: Options,
    lives: Sequence[Life],
    ours: tuple[Side, Tenant],
    folder: Path,
    board: Board,
) -> dict[str, Outcome]:
    """Both sides at once, against the same provider; each has an account of its own."""
    side, tenant = ours
    third = sum(1 for life in lives for _ in life.requests()) // 3
    killer = Killer(stack, stage.WORKER, third) if options.kill_worker else None
    async with naive_side(control, folder / "naive") as (naive, naive_tenant):
        drivers = {
            NAIVE: Driver(naive, control, board.tell(NAIVE)),
            SEALWAX: Driver(
                side, control, board.tell(SEALWAX), killer.answered if killer else None
            ),
        }
        runs = await guarded(stack, _live(drivers, lives, killer, board), killer)
        await control.flush_webhooks(_WEBHOOKS_WITHIN_S)
    accounts = {NAIVE: naive_tenant.account_id, SEALWAX: tenant.account_id}
    return {
        name: _outcome(
            lives, await control.ledger(account), await control.limits(account), runs[name]
        )
        for name, account in accounts.items()
    }


def _outcome(
    lives: Sequence[Life], ledger: Mapping[str, Any], limits: Mapping[str, Any], run: Run
) -> Outcome:
    lacking = {life.key: missing(life, ledger, run.beliefs.get(life.key)) for life in lives}
    figures = with_limits(count(lives, ledger, run.beliefs), limits)
    return Outcome(figures, run, {key: held for key, held in lacking.items() if held})


async def _live(
    drivers: Mapping[str, Driver], lives: Sequence[Life], killer: Killer | None, board: Board
) -> dict[str, Run]:
    async with asyncio.TaskGroup() as group:
        living = {name: group.create_task(d.live(lives)) for name, d in drivers.items()}
        if killer is not None:
            pid = await killer.strike()
            board.say(f"The worker was killed (SIGKILL) and started again (process {pid}).")
    return {name: task.result() for name, task in living.items()}


async def start_simulator(stack: Stack, options: Options) -> str:
    """Start the provider; its URL."""
    program = stage.simulator_program(options.seed, overlap=options.overlap)
    running = await stack.start(program)
    if running.url is None:
        raise RuntimeError("the simulator announced no address")
    return running.url


@contextlib.asynccontextmanager
async def naive_side(control: Control, folder: Path) -> AsyncIterator[tuple[NaiveSide, Tenant]]:
    """The naive client with an account of its own; its PDFs go into `folder`."""
    tenant = stage.new_tenant("naive")
    await stage.admit(control, tenant, "Naive client")
    credentials = Credentials(
        control.url,
        tenant.account_id,
        tenant.principal.integration_key,
        tenant.principal.user_id,
        tenant.private_key_pem,
    )
    async with NaiveSide(credentials, tenant.hmac_key, folder) as side:
        yield side, tenant


async def through(between: Between | None, url: str) -> str:
    """A URL that leads where this one does, by another address where there is one between."""
    scheme, _, address = url.partition("://")
    return f"{scheme}://{await between(address)}" if between else url


async def start_sealwax(
    stack: Stack,
    control: Control,
    folder: Path,
    sessions: Mapping[str, float] | None = None,
    timing: Mapping[str, float] = stage.TIMING,
    scale: float = stage.SCALE,
    between: Between | None = None,
) -> tuple[tuple[SealwaxSide, Tenant], Addresses]:
    """Temporal, bridge and worker started in `stack`, and a client of them.

    `sessions`: settings of signing sessions, for a provider whose clock is not the usual one.
    `timing`: how patient envelopes are. `scale`: of the provider's windows, as it has them.
    `between`: gives each address that programs reach each other by another that leads there.
    """
    tenant = stage.new_tenant(stage.ACCOUNT)
    await stage.admit(control, tenant, "Sealwax")
    codec = stage.Codec(free_port(CODEC_PORT_PREFERRED))
    server = await start_temporal(
        stack, search_attributes=SEARCH_ATTRIBUTES, codec_endpoint=codec.endpoint
    )
    bridge_port = free_port(BRIDGE_PORT_PREFERRED, taken=codec.port)
    path = stage.write_settings(
        folder,
        tenant,
        simulator=await through(between, control.url),
        temporal=await between(server.address) if between else server.address,
        bridge_port=bridge_port,
        public_url=await through(between, f"http://127.0.0.1:{bridge_port}"),
        codec=codec,
        ui_url=server.ui_url,
        sessions=sessions,
        timing=timing,
        scale=scale,
    )
    await stack.start(stage.codec_program(path))
    bridge = await stack.start(stage.bridge_program(path))
    await stack.start(stage.worker_program(path))
    settings = load_settings(path)
    keyring = settings.keyring()
    blobs = BlobStore(settings.storage.blobs, keyring)
    client = EnvelopeClient(await connect(settings.temporal, keyring), blobs=blobs)
    side = SealwaxSide(client, stage.ACCOUNT, blobs, folder / "completed")
    return (side, tenant), Addresses(server.ui_url, control.url, bridge.url or "", path)


def _publish(result: Result, options: Options, folder: Path, console: Console) -> None:
    options.document.parent.mkdir(parents=True, exist_ok=True)
    document = json.dumps(result.as_json(options), indent=2)
    options.document.write_text(f"{document}\n", encoding="utf-8")
    table = report.final_table(result.figures, options.seed, overlap=options.overlap)
    report.write_svg(table, folder / "table.svg")
    console.print(table)
    naive, ours = result.outcomes[NAIVE], result.outcomes[SEALWAX]
    if naive.missing:
        key = max(naive.missing, key=lambda key: len(naive.missing[key]))
        console.print(report.example(key, naive.missing[key]), highlight=False)
    for key in sorted(ours.missing.keys() | ours.run.failures.keys()):
        lacking = report.things(ours.missing.get(key, ()))
        reasons = "; ".join(ours.run.failures.get(key, ()))
        line = f"Sealwax, {key}: lacks {lacking or 'nothing'}; {reasons}"
        console.print(line, highlight=False, markup=False)


def _say_where(options: Options, folder: Path, places: Addresses, console: Console) -> None:
    pdfs = len(list((folder / "completed").glob("*.pdf")))
    lines = [
        f"Completed contracts and certificates: {_shown(folder / 'completed')} ({pdfs} PDFs);"
        f" the naive client's: {_shown(folder / 'naive')}",
        f"Figures: {_shown(options.document)}   logs: {_shown(folder / 'logs')}",
    ]
    if options.keep:
        lines += [
            f"Temporal web UI: {places.temporal_ui}",
            f"Provider's ledger: {_ledger_url(places.simulator)}",
            f"Bridge's counts: {places.bridge}/counts",
            "At a terminal: "
            f"SEALWAX_CONFIG={_shown(places.settings)} .venv/bin/python -m sealwax list",
        ]
    else:
        lines.append("To look around in the Temporal web UI afterwards: make demo KEEP=1")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _shown(path: Path) -> Path:
    """A path as a person would type it here."""
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def _ledger_url(simulator: str) -> str:
    return f"{simulator}/simulator/ledger?calls=false"
