"""How fast a full journal is emptied, beside how fast the server takes signals at all.

The journal is filled while no forwarder runs, then one is started. ``few``: many events of few
envelopes, whose workflows are worked on meanwhile. ``different``: one event each of many, to
workflows that nobody works on, so that what is measured is forwarder and server; the server's own
rate is that of a bare loop of the same signals to the same workflows. Both are measured in turns,
and compared with what the machine gave in the same turn. Medians count.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from benchmarks.ingest.load import Job, Sent
from benchmarks.ingest.payloads import Sender, invented
from benchmarks.ingest.samples import ratio
from benchmarks.ingest.sender import send
from benchmarks.ingest.world import World
from demo import stage
from demo.stack import Program, ProgramFailed
from sealwax.keys import business_key_digest, workflow_id
from sealwax.messages import SIGNAL_EVENTS, WORKFLOW, EventBatch
from sealwax.providers.registry import webhook_reader
from sealwax.stores.registry import open_registry

FORWARDER = "forwarder"
NOBODY = "nobody-works-here"
AT_ONCE = (48, 96)
START_AT_ONCE = 32
CONNECTIONS = 64
FILL_S = 60.0
LOOK_S = 0.1
DRAIN_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many envelopes have how many events in all; how many have one each; both in each of how
    many rounds."""

    few: int = 20
    few_events: int = 10_000
    different: int = 2_000
    rounds: int = 5


class Drains:
    """Drains of one world, whose bridge is exchanged for one without a forwarder."""

    def __init__(self, world: World, seed: int, first: int) -> None:
        self._world = world
        self._seed = seed
        self._next = first

    async def begin(self) -> None:
        """Exchange the bridge. Raises ``ProgramFailed``."""
        await self._world.stack.stop(stage.BRIDGE)
        whole = stage.bridge_program(self._world.settings_file)
        await self._world.stack.start(replace(whole, argv=(*whole.argv, "--no-forwarder")))

    async def few(self, sizes: Sizes) -> tuple[float, list[Sent], Sender]:
        """Events per second, and what was sent by whom."""
        targets = self._world.targets[: sizes.few]
        filled, drained = [], []
        for _ in range(sizes.rounds):
            job = replace(self._job(sizes.few_events), targets=targets)
            filled.append(await self._fill(job))
            drained.append(await self._drained(sizes.few_events))
        sender = Sender(self._world.tenant.account_id, targets, self._seed)
        return median(drained), filled, sender

    async def different(self, sizes: Sizes) -> dict[str, Any]:
        """Events per second, the server's own signals per second, and the rounds' ratio of the two.

        The server's own rate is the better one of a round's bare loops.
        """
        envelopes = invented(sizes.different, self._seed)
        workflows = await self._idle([about.envelope_id for about in envelopes])
        jobs = replace(self._job(1), targets=tuple(envelopes))
        event = webhook_reader("docusign").read_webhook(
            Sender(jobs.account_id, envelopes, self._seed).body(0)
        )
        batch = EventBatch(events=(event,))
        bare, drained = [], []
        for _ in range(sizes.rounds):
            bare.append([await self._signalled(workflows, batch, at_once) for at_once in AT_ONCE])
            turn = replace(jobs, first=self._next, in_turn=True, prepared=len(envelopes))
            await self._fill(turn)
            drained.append(await self._drained(len(envelopes)))
        server = list(map(max, bare))
        return {
            "all_different": round(median(drained)),
            "server_signals": round(median(server)),
            "ratio_to_server": ratio(drained, server),
        }

    def _job(self, prepared: int) -> Job:
        return self._world.job(
            seed=self._seed,
            first=self._next,
            closed_s=FILL_S,
            prepared=prepared,
            connections=CONNECTIONS,
        )

    async def _fill(self, job: Job) -> Sent:
        sent = await send(job, self._world.folder / "load")
        self._next += job.prepared
        if None in sent.acked:
            raise ProgramFailed(f"the journal was not filled: {sent.statuses}")
        return sent

    async def _drained(self, count: int) -> float:
        """Start a forwarder and stop it when all is gone; events per second while it works."""
        settings = self._world.settings_file
        program = Program(
            name=FORWARDER,
            argv=(sys.executable, "-m", "bridge.forwarder"),
            env=stage.bridge_program(settings).env,
        )
        await self._world.stack.start(program)
        began = time.monotonic()
        looks = [(began, count)]
        while looks[-1][1] and looks[-1][0] - began < DRAIN_WITHIN_S:
            await asyncio.sleep(LOOK_S)
            looks.append((time.monotonic(), await self._pending()))
        await self._world.stack.stop(FORWARDER)
        if left := looks[-1][1]:
            raise ProgramFailed(f"{left} of {count} webhooks were not drained")
        # Neither before the first nor after the last of them it was at work all the time.
        working = [look for look in looks if 0 < look[1] < count]
        (first_s, first), *_, (last_s, last) = working if len(working) > 1 else looks
        return (first - last) / (last_s - first_s)

    async def _pending(self) -> int:
        return int((await self._world.counts())["pending"])

    async def _idle(self, envelope_ids: Sequence[str]) -> list[str]:
        """Workflows that take signals and are never worked on, bound to these envelopes."""
        world, narrow = self._world, asyncio.Semaphore(START_AT_ONCE)
        registry = open_registry(world.settings.storage.registry)

        async def one(number: int, envelope_id: str) -> str:
            key = f"idle-{number}"
            workflow = workflow_id(stage.ACCOUNT, key)
            async with narrow:
                await world.temporal.start_workflow(WORKFLOW, id=workflow, task_queue=NOBODY)
                await registry.register(
                    account=stage.ACCOUNT,
                    business_key_digest=business_key_digest(stage.ACCOUNT, key),
                    workflow_id=workflow,
                    provider="docusign",
                )
                await registry.bind(workflow, envelope_id)
            return workflow

        try:
            return await asyncio.gather(*itertools.starmap(one, enumerate(envelope_ids)))
        finally:
            await registry.close()

    async def _signalled(self, workflows: Sequence[str], batch: EventBatch, at_once: int) -> float:
        """Signals per second of a bare loop, each workflow once."""
        left = iter(workflows)

        async def some() -> None:
            for workflow in left:
                handle = self._world.temporal.get_workflow_handle(workflow)
                await handle.signal(SIGNAL_EVENTS, batch)

        began = time.monotonic()
        await asyncio.gather(*(some() for _ in range(at_once)))
        return len(workflows) / (time.monotonic() - began)
