"""The sweep: one envelope's whole life, once for each point at which its worker can die.

The first life is lived without a death and tells the points there are. Then every point gets a life
of its own: a worker kills itself there by SIGKILL, and another one takes over. Further lives are
lived with a new run of the workflow forced as soon as its history has so many events, for every
number from the fewest upwards, which puts the change of runs at every point of the life. The two
are crossed: with the shortest runs there are, so short that a change of runs is next to every
point, a worker dies at every point of such a life, the change itself among them. Lives run side by
side, each on a task queue of its own; workers are forked from one process that has imported
everything, since starting Python for each would take most of the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx

from benchmarks.storms import doomed
from benchmarks.storms.judge import Harm, judge
from benchmarks.storms.play import Play
from benchmarks.storms.record import Record
from benchmarks.storms.replays import replayed
from benchmarks.storms.sides import SealwaxApplication
from benchmarks.storms.storm import CLOCK, SESSIONS
from demo import stage, workload
from demo.control import Control
from demo.run import start_sealwax
from demo.stack import Stack
from demo.workload import Life, Request
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient
from sealwax.connection import connect
from sealwax.settings import load_settings

TIMING = {
    "call_deadline_s": 3.0,
    "outcome_settle_s": 1.0,
    "close_settle_s": 0.3,
    "backoff_first_s": 0.1,
    "backoff_max_s": 0.5,
    "attention_retry_s": 2.0,
    "refresh_min_s": 0.2,
}
LIFE_WITHIN_S = 240.0
"""A life that is not over after so long is stuck. It takes ten seconds on a machine of its own, and
many times that where sixteen lives share two busy cores."""

SIDE_BY_SIDE = 16
RUN_EVENTS_FROM, RUN_EVENTS_TO = 5, 45
"""The lengths of history at which a new run is forced; the longest is about half a life's."""

CROSSED = (5, 6, 8)
"""The lengths at which workers die as well. A run is over after its second or third task with
each of them, but not at the same places."""

_NUMBER_OF_LIVES = 2_000
_AT_FIRST_USE = ("anyio._backends._asyncio",)
"""What each worker would import with its first call."""


@dataclass(frozen=True, slots=True)
class Point:
    """One life: where its worker dies ("" nowhere), and how long the history of a run may be."""

    name: str = ""
    history_events_max: int = 0

    def __str__(self) -> str:
        run = f"a new run after {self.history_events_max} events" if self.history_events_max else ""
        return ", ".join(filter(None, (self.name, run)))


@dataclass(slots=True)
class Swept:
    """What came of a sweep: the points that were reached, those that were not, and the harm."""

    reached: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    harm: Harm = field(default_factory=Harm)
    seconds: float = 0.0


def life(seed: int, number: int) -> Life:
    """A whole life: created, changed, sent, corrected, signed in a session and by mail."""
    made = workload.make(seed, _NUMBER_OF_LIVES)
    lives = [held for held in made if held.ending == "completed"]
    held = lives[number]
    return replace(
        held,
        key=f"sweep-{seed}-{number}",
        starts_at_s=0.0,
        redelivered_after_s=0.05,
        draft=_paced(r for r in held.draft if isinstance(r.change, _DRAFTING)),
        in_process=_paced(held.in_process),
    )


_DRAFTING = (workload.AddDocument, workload.PlaceFields, workload.Reorder)


def _paced(requests: Iterable[Request]) -> tuple[Request, ...]:
    return tuple(replace(r, at_s=0.1 * number) for number, r in enumerate(requests))


class Sweep:
    """Lives side by side in one world, each within ``within_s``; ``broken``: see ``Fate``."""

    def __init__(
        self,
        control: Control,
        account_id: str,
        settings: Path,
        seed: int,
        *,
        broken: str = "",
        within_s: float = LIFE_WITHIN_S,
    ) -> None:
        self._within_s = within_s
        self._control = control
        self._account_id = account_id
        self._settings = settings
        self._seed = seed
        self._broken = broken
        self._folder = settings.parent / "sweep"
        self._folder.mkdir(exist_ok=True)
        self._lives: list[Life] = []
        self._records: dict[str, Record] = {}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["benchmarks.storms.doomed", *_AT_FIRST_USE])

    async def points(self) -> list[Point]:
        """Every point of a life, found by living one without a death."""
        names = await self._rehearsed(0)
        forced = range(RUN_EVENTS_FROM, RUN_EVENTS_TO + 1)
        return [*map(Point, names), *(Point("", length) for length in forced)]

    async def crossed(self, most: int | None = None, seed: int = 0) -> list[Point]:
        """Every point of lives in short runs; with ``most`` so many, of one length, both drawn."""
        draw = random.Random(f"sweep-crossed:{seed}")
        lengths = CROSSED if most is None else (draw.choice(CROSSED),)
        names = await asyncio.gather(*(self._rehearsed(length) for length in lengths))
        points = [
            Point(name, length)
            for length, held in zip(lengths, names, strict=True)
            for name in held
        ]
        return points if most is None else draw.sample(points, min(most, len(points)))

    async def _rehearsed(self, history_events_max: int) -> list[str]:
        """The points of a life without a death, in runs of that length (0: in one)."""
        trace = self._folder / f"rehearsal-{history_events_max}.trace"
        await self._live(Point("", history_events_max), trace)
        return trace.read_text("utf-8").split()

    async def run(
        self, points: Sequence[Point], replays: int | None = None, seed: int = 0
    ) -> Swept:
        """A life for each point; judged by the ledger at the end.

        ``replays``: at most so many runs, drawn by ``seed``, are replayed afterwards; None: all.
        """
        began, swept = time.monotonic(), Swept()
        places = asyncio.Semaphore(SIDE_BY_SIDE)

        async def one(number: int, point: Point) -> None:
            async with places:
                reached = await self._live(point, self._folder / f"{number}.trace")
            (swept.reached if reached else swept.missed).append(str(point))

        async with asyncio.TaskGroup() as group:
            for number, point in enumerate(points):
                group.create_task(one(number, point))
        await self._control.flush_webhooks(10)
        ledger = await self._control.ledger(self._account_id)
        swept.harm = judge(self._lives, self._records, ledger)
        swept.harm.add(await replayed(self._settings, replays, seed))
        swept.seconds = time.monotonic() - began
        return swept

    async def _live(self, point: Point, trace: Path) -> bool:
        """One life; whether its point was reached."""
        number = len(self._lives)
        held = life(self._seed, number)
        self._lives.append(held)
        fate = doomed.Fate(
            self._settings,
            f"sweep-{self._seed}-{number}",
            self._folder / f"{number}.log",
            trace,
            point.name,
            point.history_events_max,
            self._broken,
        )
        async with self._application(fate.task_queue) as application:
            play = Play(application, self._control, held)
            self._records[held.key] = play.record
            living = asyncio.create_task(play.live())
            worker = self._started(fate)
            try:
                async with asyncio.timeout(self._within_s):
                    await _first(living, worker)
                    died = not worker.is_alive()
                    if died and not living.done():
                        worker = self._started(replace(fate, point=""))
                    await living
            except TimeoutError:
                died = bool(point.name) and point.name in trace.read_text("utf-8").split()
            finally:
                living.cancel()
                worker.kill()
        if not point.name:
            return True
        return died

    def _started(self, fate: doomed.Fate) -> BaseProcess:
        process = self._context.Process(target=doomed.work, args=(fate,), daemon=True)
        process.start()
        return process

    @contextlib.asynccontextmanager
    async def _application(self, task_queue: str) -> AsyncIterator[SealwaxApplication]:
        settings = load_settings(self._settings)
        keyring = settings.keyring()
        client = EnvelopeClient(
            await connect(settings.temporal, keyring),
            blobs=BlobStore(settings.storage.blobs, keyring),
            task_queue=task_queue,
        )
        async with httpx.AsyncClient(timeout=10, trust_env=False) as browser:
            yield SealwaxApplication(client, stage.ACCOUNT, browser)


async def _first(living: asyncio.Task[None], worker: BaseProcess) -> None:
    """Until the life is over or its worker has ended."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(worker.sentinel, ended.set)
    ending = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({living, ending}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(worker.sentinel)
        ending.cancel()


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    seed: int,
    *,
    broken: str = "",
    within_s: float = LIFE_WITHIN_S,
    processing_ms: tuple[int, int] = (20, 60),
) -> AsyncIterator[Sweep]:
    """Everything but a worker, in ``folder``, and a sweep in it. Raises what the starts raise.

    ``processing_ms``: how long the provider takes between reading and storing an envelope.
    """
    async with Stack(folder / "logs") as stack:
        more = ["--sessions", "one-per-envelope", "--session-clock", str(CLOCK)]
        more += ["--processing-ms", "{}:{}".format(*processing_ms)]
        more += ["--webhook-plan", "delay=0:50,duplicate=0.3"]
        simulator = await stack.start(
            stage.simulator_program(seed, overlap=True, more=more, scale=CLOCK)
        )
        async with Control(simulator.url or "") as control:
            (_, tenant), places = await start_sealwax(
                stack, control, folder, SESSIONS, TIMING, CLOCK
            )
            await stack.stop(stage.WORKER)
            account_id, settings = tenant.account_id, places.settings
            yield Sweep(control, account_id, settings, seed, broken=broken, within_s=within_s)


def told(swept: Swept) -> None:
    """A sweep in a few lines, on stderr."""
    for line in swept.harm.why:
        print(f"  {line}", file=sys.stderr)
    print(
        f"sweep: {len(swept.reached)} points, {len(swept.missed)} not reached"
        f" {swept.missed[:5]}, {swept.seconds:.0f} s, harm {swept.harm.total}",
        file=sys.stderr,
        flush=True,
    )
