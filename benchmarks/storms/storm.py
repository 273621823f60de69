"""One storm: the same load on both sides, while programs are killed and answers get lost.

Timing is scaled down so that unknown outcomes settle in seconds: a call has 5 s instead of 150 s,
what it may do later 2 s instead of 15 s, and the provider's sessions live 2 % of their usual time.
All connections between programs pass a proxy (`cutter.py`), which cuts them at random.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.storms import load, weather
from benchmarks.storms.cutter import Cutter
from benchmarks.storms.judge import Harm, judge
from benchmarks.storms.kills import Reaper, Victim
from benchmarks.storms.play import Play
from benchmarks.storms.record import Record
from benchmarks.storms.replays import replayed
from benchmarks.storms.sides import Application, NaiveApplication, SealwaxApplication
from demo import stage, temporal_dev
from demo.control import Control
from demo.ledger import limits_told
from demo.naive.rest import Credentials
from demo.run import start_sealwax, through
from demo.stack import Program, Stack
from sealwax.opening import open_client

SETTLE_S = 120.0
"""An envelope that is not ended or waiting for a person so long after the storm is stuck."""

NAIVE_SETTLE_S = 20.0
"""The naive side has so long from when Sealwax has settled: what it lost does not come back."""

PERSON_S = 20.0
"""Where only envelopes that wait for a person are left, so long is waited whether they go on."""

WEBHOOKS_WITHIN_S = 20.0
TIMING: Mapping[str, float] = {
    "call_deadline_s": 5.0,
    "outcome_settle_s": 2.0,
    "close_settle_s": 1.0,
    "backoff_first_s": 0.2,
    "backoff_max_s": 2.0,
    "attention_retry_s": 4.0,
    "refresh_min_s": 0.5,
}
CLOCK = 0.02
SESSIONS: Mapping[str, float] = {
    "url_life_s": 300 * CLOCK,
    "ping_every_s": 60 * CLOCK,
    "slack_s": 1.5,
    "maximum_s": 60.0,
}
WORKER, BRIDGE, FORWARDER = "worker", "bridge", "forwarder"
SERVER, CONNECTIONS = "server", "connections"
VICTIMS = (
    Victim(stage.WORKER, WORKER, (1.0, 4.0)),
    # The bridge's own forwarder dies with it; the other one shares its work, and dies alone.
    Victim(stage.BRIDGE, BRIDGE, (1.5, 5.0)),
    Victim(stage.FORWARDER, FORWARDER, (1.5, 5.0)),
    Victim(temporal_dev.NAME, SERVER, (4.0, 10.0)),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for: how long, from which seed, and whether there are any harms at all.

    ``folder``: where databases, logs and settings go and stay; None for one that is removed.
    """

    seconds: float = 60.0
    seed: int = 7
    harm: bool = True
    naive: bool = True
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a storm; ``naive`` is None where that side was left out.

    ``limits``: what the provider's limits made of Sealwax's calls, in words.
    """

    envelopes: int
    kills: Mapping[str, int]
    ends: Mapping[str, int]
    faults: int
    ours: Harm
    naive: Harm | None
    settled_s: float
    limits: str = ""


def tell(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


async def run(options: Options, worker: Program | None = None) -> Result:
    """Run a storm. Raises ProgramFailed, TemporalBinaryMissing, ConnectionFailed.

    ``worker`` takes the place of the usual worker program, for tests of this test.
    """
    with contextlib.ExitStack() as closing:
        folder = options.folder
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="sealwax-storm-")
            folder = Path(closing.enter_context(temporary))
        async with Cutter(options.seed) as cutter, Stack(folder / "logs") as stack:
            simulator = await stack.start(_provider(options))
            async with Control(simulator.url or "") as control:
                (_, tenant), places = await start_sealwax(
                    stack, control, folder, SESSIONS, TIMING, CLOCK, cutter.between
                )
                await stack.start(stage.forwarder_program(places.settings))
                if worker is not None:
                    await _exchanged(stack, worker, places.settings)
                client = await open_client(places.settings)
                async with httpx.AsyncClient(timeout=10, trust_env=False) as browser:
                    ours = SealwaxApplication(client, stage.ACCOUNT, browser)
                    provider = await through(cutter.between, control.url)
                    async with _naive_side(control, provider, folder, options) as (naive, naive_id):
                        storm = Storm(stack, control, cutter, options, ours, naive)
                        await storm.blow()
                        result = await storm.judged(tenant.account_id, naive_id)
                        result.ours.add(await replayed(places.settings))
                        return result


class Storm:
    """The load, the kills and the faults of one storm, in a world that is up."""

    def __init__(
        self,
        stack: Stack,
        control: Control,
        cutter: Cutter,
        options: Options,
        ours: Application,
        naive: NaiveApplication | None,
    ) -> None:
        self.lives = load.lives(options.seed, options.seconds)
        self._control = control
        self._cutter = cutter
        self._options = options
        self._naive = naive
        self._weather = weather.Weather(control, options.seed)
        fates = self._weather if options.harm else None
        victims = VICTIMS if options.harm else ()
        self._reaper = Reaper(stack, victims, options.seed, self._heard)
        self._plays = {ours.name: [Play(ours, control, life, fates) for life in self.lives]}
        if naive is not None:
            self._plays[naive.name] = [Play(naive, control, life) for life in self.lives]
        self._ours = ours.name
        self._settled_s = 0.0

    async def blow(self) -> None:
        """The storm, and what it takes to settle afterwards."""
        seconds, harm = self._options.seconds, self._options.harm
        tell(f"seed {self._options.seed}: {len(self.lives)} envelopes, {seconds:g} s")
        tasks = [asyncio.create_task(p.live()) for plays in self._plays.values() for p in plays]
        try:
            await self._control.set_harms({"webhooks": weather.WEBHOOKS})
            if harm:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._reaper.reap(seconds))
                    group.create_task(self._cutter.blow(seconds))
                    group.create_task(self._weather.blow(seconds))
            else:
                await asyncio.sleep(seconds)
            tell(f"the storm is over: {dict(self._reaper.kills)} killed")
            began = time.monotonic()
            ours = tasks[: len(self.lives)]
            await self._settle(ours, self._plays[self._ours], SETTLE_S)
            self._settled_s = time.monotonic() - began
            await self._settle(tasks[len(ours) :], [], NAIVE_SETTLE_S)
            await self._control.flush_webhooks(WEBHOOKS_WITHIN_S)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _settle(
        self, tasks: Sequence[asyncio.Task[None]], plays: Sequence[Play], within_s: float
    ) -> None:
        """Until all plays are over, or time is up; a program that ends is still started again."""
        until = time.monotonic() + within_s
        supervising = asyncio.create_task(self._reaper.supervise(until))
        try:
            waiting_since = time.monotonic()
            while time.monotonic() < until and not all(task.done() for task in tasks):
                if not _only_persons(tasks, plays):
                    waiting_since = time.monotonic()
                elif time.monotonic() - waiting_since > PERSON_S:
                    break
                await asyncio.wait(tasks, timeout=1.0)
        finally:
            supervising.cancel()

    async def judged(self, account_id: str, naive_id: str) -> Result:
        """The figures of both sides."""
        ledger = await self._control.ledger(account_id, calls=True)
        theirs = await self._control.ledger(naive_id, calls=True) if self._naive else None
        return Result(
            envelopes=len(self.lives),
            kills={
                **{victim.name: self._reaper.kills[victim.name] for victim in VICTIMS},
                CONNECTIONS: self._cutter.killed,
            },
            ends=dict(self._reaper.ends),
            faults=weather.struck(ledger),
            ours=judge(self.lives, self._records(self._ours), ledger),
            naive=None
            if theirs is None or self._naive is None
            else judge(self.lives, self._records(self._naive.name), theirs),
            settled_s=self._settled_s,
            limits=limits_told(await self._control.limits(account_id)),
        )

    def _records(self, side: str) -> dict[str, Record]:
        return {play.life.key: play.record for play in self._plays[side]}

    def _heard(self, name: str, up: bool) -> None:
        """The naive application dies with the worker, and its listener with the bridge."""
        if self._naive is None:
            return
        if name == WORKER and not up:
            self._naive.kill()
        if name == BRIDGE:
            self._naive.hears(up)


def _only_persons(tasks: Sequence[asyncio.Task[None]], plays: Sequence[Play]) -> bool:
    """Whether nothing is left to wait for but envelopes that wait for a person."""
    return bool(plays) and all(
        task.done() or bool(play.record.held.attention)
        for task, play in zip(tasks, plays, strict=True)
    )


@contextlib.asynccontextmanager
async def _naive_side(
    control: Control, url: str, folder: Path, options: Options
) -> AsyncIterator[tuple[NaiveApplication | None, str]]:
    if not options.naive:
        yield None, ""
        return
    tenant = stage.new_tenant("naive")
    await stage.admit(control, tenant, "Naive client")
    credentials = Credentials(
        url,
        tenant.account_id,
        tenant.principal.integration_key,
        tenant.principal.user_id,
        tenant.private_key_pem,
    )
    side = NaiveApplication(credentials, tenant.hmac_key, folder / "naive")
    async with side:
        yield side, tenant.account_id


async def _exchanged(stack: Stack, worker: Program, settings: Path) -> None:
    await stack.stop(stage.WORKER)
    env = {**stage.worker_program(settings).env, **worker.env}
    await stack.start(Program(name=stage.WORKER, argv=worker.argv, env=env))


def _provider(options: Options) -> Program:
    policy = "one-per-envelope" if options.harm else "off"
    low, high = weather.PROCESSING_MS
    more = ["--sessions", policy, "--session-clock", str(CLOCK)]
    more += ["--processing-ms", f"{low}:{high}"]
    return stage.simulator_program(options.seed, overlap=options.harm, more=more, scale=CLOCK)
