"""One life lived against one application: jobs, changes, signers, and the wait for the end.

Callers insist: what has no answer is asked again under its operation id until there is one, or
until the storm's time is over and the play is cut off. What they were told goes into the record.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from benchmarks.storms.load import EMBEDDED, Operation, decision, operations
from benchmarks.storms.record import Answer, Record
from benchmarks.storms.sides import Application, NoAnswerYet
from benchmarks.storms.weather import Weather
from demo import workload
from demo.control import Control, ControlRefused
from demo.standing import stands
from demo.workload import Life
from sealwax.resolving import Choice

FINAL = ("completed", "declined", "voided", "deleted")
AGAIN_S = (0.2, 0.6)
LOOK_EVERY_S = 0.3
TROUBLES_MAX = 20
UNSETTLED_S = 6.0
"""Within this time after it was begun no call is taken for one that did not land: its deadline and
the settle time are longer (`storm.TIMING`)."""

MAIL_AGAIN = "Recipients_PutRecipients"
"""The provider's operation that mails one recipient again."""

T = TypeVar("T")


class Play:
    """One life; ``record`` fills while it is lived.

    ``weather`` is where the fate of what is undecidable is ordered; without it, it has none.
    """

    def __init__(
        self,
        application: Application,
        control: Control,
        life: Life,
        weather: Weather | None = None,
    ) -> None:
        self.life = life
        self._weather = weather
        self.record = Record()
        self._application = application
        self._control = control
        self._pace = random.Random(f"storm-pace:{life.key}")

    async def live(self) -> None:
        """From the first job to the end that the application is sure of."""
        life = self.life
        await asyncio.sleep(life.starts_at_s)
        envelope_id = await self._jobs()
        asked = list(operations(life))
        drafting, correcting = len(life.draft), len(life.in_process)
        await self._ask(asked[:drafting])
        await self._ask(asked[drafting : drafting + 1])
        corrections = asked[len(asked) - correcting :]
        open_ended = [o for o in corrections if o.undecidable and self._weather is not None]
        await self._ask([o for o in corrections if o not in open_ended])
        for operation in open_ended:
            await self._decided(envelope_id, operation)
        if life.ending not in ("voided", "deleted"):
            await self._sign(envelope_id)
        await self._settle()

    async def _jobs(self) -> str:
        """The queue delivers the job twice."""

        async def job(after_s: float) -> str:
            await asyncio.sleep(after_s)
            envelope_id = await self._insist(lambda: self._application.take_job(self.life))
            self.record.jobs += 1
            return envelope_id

        first, _ = await asyncio.gather(job(0.0), job(self.life.redelivered_after_s))
        return first

    async def _ask(self, wanted: Sequence[Operation]) -> None:
        """All of a phase at nearly the same time, some of them twice under one operation id."""
        times = [(o, 0.0) for o in wanted]
        times += [(o, o.again_after_s) for o in wanted if o.again_after_s is not None]
        await asyncio.gather(*(self._asked(o, after_s) for o, after_s in times))

    async def _asked(self, operation: Operation, after_s: float) -> None:
        await asyncio.sleep(operation.request.at_s + after_s)
        answers = self.record.answers.setdefault(operation.operation_id, [])

        async def answered() -> Answer:
            change = operation.request.change
            answer = await self._application.change(self.life, change, operation.operation_id)
            if answer.told == "nothing":
                raise NoAnswerYet(f"{operation.operation_id}: {answer.why}")
            return answer

        answer = await self._insist(answered)
        answers.append(answer)
        if answer.told != "applied":
            self._trouble(f"{operation.operation_id}: {answer.told}: {answer.why}")

    async def _decided(self, envelope_id: str, operation: Operation) -> None:
        """A mail again of which nothing tells whether it went out, and a person who finds out.

        Its request is lost, and before anybody looks for it the provider's history has a line of
        unknown meaning, which may as well be the mail's: a reminder's.
        """
        assert self._weather is not None
        await self._weather.lose(envelope_id, MAIL_AGAIN)
        losing = asyncio.create_task(self._weather.lost(envelope_id))
        asking = asyncio.create_task(self._asked(operation, 0.0))
        try:
            await asyncio.wait((asking, losing), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                lost_at = await losing
                await self._control.remind(envelope_id)
                # Where we were too slow, somebody may have looked before the reminder.
                in_time = time.monotonic() - lost_at < UNSETTLED_S
                self.record.undecidable = "yes" if in_time else "perhaps"
                await self._answered_by_a_person(envelope_id, operation, asking)
            await asking
        finally:
            losing.cancel()
            asking.cancel()

    async def _answered_by_a_person(
        self, envelope_id: str, operation: Operation, asking: asyncio.Task[None]
    ) -> None:
        change = operation.request.change
        while not asking.done():
            held = await self._insist(lambda: self._application.look(self.life))
            if "landed" in held.choices:
                truth = await self._control.truth(envelope_id)
                landed = stands(self.life, change, truth)
                choice: Choice = "landed" if landed else decision(self.life)
                await self._insist(partial(self._application.decide, self.life, choice))
                self.record.asked.append(held.attention)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _sign(self, envelope_id: str) -> None:
        """Whoever's turn it is acts, as the ledger says; the witness declines where intended."""
        while True:
            truth = await self._control.truth(envelope_id)
            if truth["status"] in FINAL:
                return
            for person in truth["recipients"]:
                if person["type"] == "signer" and person["status"] in ("sent", "delivered"):
                    await self._act(envelope_id, person)
            await asyncio.sleep(self._pace.uniform(LOOK_EVERY_S / 2, LOOK_EVERY_S))

    async def _act(self, envelope_id: str, person: Mapping[str, Any]) -> None:
        number, life = person["recipientId"], self.life
        if person["email"] == life.party(EMBEDDED).email:
            try:
                await self._sign_in_session(envelope_id, number)
            except (NoAnswerYet, ControlRefused) as error:
                # Kicked out, a spent URL, no answer in time: the signer comes again.
                self._trouble(str(error))
            return
        declines = life.ending == "declined" and (
            person["email"] == life.party(workload.WITNESS).email
        )
        await self._control.act(envelope_id, number, "open")
        await self._control.act(envelope_id, number, "decline" if declines else "sign")

    async def _sign_in_session(self, envelope_id: str, number: str) -> None:
        life, ids = self.life, (envelope_id, number)
        operation_id = f"{life.key}-s{self._pace.randrange(10**9)}"
        url = await self._application.signing_url(life, envelope_id, operation_id)
        left = await self._control.in_session(*ids, "open", url=url)
        if "event" not in left:
            await asyncio.sleep(self._pace.uniform(0.1, 0.5))
            left = await self._control.in_session(*ids, "sign", session=left["session"])
        if "returnUrl" in left:
            await self._insist(lambda: self._application.came_back(left["returnUrl"]))

    async def _settle(self) -> None:
        """Until the application takes the envelope for ended."""
        while not self.record.held.ended:
            try:
                self.record.held = await self._application.look(self.life)
            except NoAnswerYet as nothing:
                self._trouble(str(nothing))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except NoAnswerYet as nothing:
                self._trouble(str(nothing))
                await asyncio.sleep(self._pace.uniform(*AGAIN_S))

    def _trouble(self, text: str) -> None:
        if len(self.record.troubles) < TROUBLES_MAX:
            self.record.troubles.append(text)
