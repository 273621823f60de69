"""Run the workload against one side: the same steps at the same moments, whichever client it is.

Signers are people: they act at the provider directly, through the simulator's control API, in
routing order, as soon as it is their turn.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from demo import workload
from demo.control import Control
from demo.ledger import Belief
from demo.side import ChangeFailed, Side
from demo.workload import Life, Request

FINAL = ("completed", "declined", "voided", "deleted")

_THINKING_S = (0.05, 0.25)
_SIGNING_WITHIN_S = 60.0


@dataclass(slots=True)
class Run:
    """What one side did: beliefs by business key, changes that its client gave up, by key."""

    beliefs: dict[str, Belief] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    answered: int = 0


class Driver:
    """Lives all envelopes on one side at once.

    `tell(key, text)` hears how each envelope stands; `on_answered(count)` hears after each
    mutation how many have been answered so far.
    """

    def __init__(
        self,
        side: Side,
        control: Control,
        tell: Callable[[str, str], None],
        on_answered: Callable[[int], None] | None = None,
    ) -> None:
        self._side = side
        self._control = control
        self._tell = tell
        self._on_answered = on_answered
        self.run = Run()

    async def live(self, lives: Sequence[Life]) -> Run:
        """From the first job to the last end; what went wrong on one envelope stays there."""
        async with asyncio.TaskGroup() as group:
            for life in lives:
                group.create_task(self._live(life))
        return self.run

    async def _live(self, life: Life) -> None:
        self._tell(life.key, "waiting")
        await asyncio.sleep(life.starts_at_s)
        try:
            await self._phases(life)
        except ChangeFailed as failure:
            self._failed(life, "stopped", failure)
        belief = await self._side.settle(life)
        self.run.beliefs[life.key] = belief
        self._tell(life.key, belief.status)

    async def _phases(self, life: Life) -> None:
        self._tell(life.key, "creating")
        envelope_id = await self._jobs(life)
        await self._requests(life, life.draft, "drafting")
        await self._requests(life, (life.sending,), "sending")
        await self._requests(life, life.in_process, "correcting")
        if life.ending != "voided":
            self._tell(life.key, "signing")
            await self._sign(life, envelope_id)
        self._tell(life.key, "settling")

    async def _jobs(self, life: Life) -> str:
        """The queue delivers the job a second time while the first copy may still be at work."""
        async with asyncio.TaskGroup() as group:
            first = group.create_task(self._job(life, 0.0))
            second = group.create_task(self._job(life, life.redelivered_after_s))
        envelope_id = first.result() or second.result()
        if envelope_id is None:
            raise ChangeFailed("neither copy of the job made the envelope")
        return envelope_id

    async def _job(self, life: Life, after_s: float) -> str | None:
        await asyncio.sleep(after_s)
        try:
            return await self._side.take_job(life)
        except ChangeFailed as failure:
            self._failed(life, "job", failure)
            return None

    async def _requests(self, life: Life, requests: Sequence[Request], phase: str) -> None:
        done = 0

        async def one(request: Request) -> None:
            nonlocal done
            await asyncio.sleep(request.at_s)
            try:
                await self._side.change(life, request.change)
            except ChangeFailed as failure:
                self._failed(life, f"{request.service}, {type(request.change).__name__}", failure)
            done += 1
            self._tell(life.key, f"{phase} {done}/{len(requests)}")
            self.run.answered += 1
            if self._on_answered is not None:
                self._on_answered(self.run.answered)

        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(one(request))

    async def _sign(self, life: Life, envelope_id: str) -> None:
        """Whoever's turn it is opens and signs; the witness declines where that is intended."""
        pace = random.Random(life.key)
        try:
            async with asyncio.timeout(_SIGNING_WITHIN_S):
                while True:
                    truth = await self._control.truth(envelope_id)
                    if truth["status"] in FINAL:
                        return
                    for recipient in truth["recipients"]:
                        if recipient["type"] != "signer" or recipient["status"] not in (
                            "sent",
                            "delivered",
                        ):
                            continue
                        await asyncio.sleep(pace.uniform(*_THINKING_S))
                        await self._act(life, envelope_id, recipient)
                    await asyncio.sleep(_THINKING_S[0])
        except TimeoutError:
            self._failed(life, "signing", ChangeFailed("nobody's turn came"))

    async def _act(self, life: Life, envelope_id: str, recipient: dict[str, str]) -> None:
        number = recipient["recipientId"]
        await self._control.act(envelope_id, number, "open")
        declines = life.ending == "declined" and (
            recipient["email"] == life.party(workload.WITNESS).email
        )
        await self._control.act(envelope_id, number, "decline" if declines else "sign")

    def _failed(self, life: Life, what: str, failure: ChangeFailed) -> None:
        self.run.failures.setdefault(life.key, []).append(f"{what}: {failure}")
