"""The two applications in a storm: one asks Sealwax, one asks the provider itself.

The naive one is competent: it looks before it creates, renews tokens, retries with backoff,
checks signatures, and its queue delivers again what a killed process had not acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx

from benchmarks.storms.load import EMBEDDED
from benchmarks.storms.record import Answer, Held
from demo import workload
from demo.naive import client as naive
from demo.naive.listener import Event
from demo.naive.rest import Credentials, NoAnswer, Rejected
from demo.naive.rows import FINAL
from demo.naive.sessions import NaiveSessions, Signer
from demo.orchestrated import contract_file, recipient, requested
from demo.side import ChangeFailed
from demo.workload import Change, Life, Party
from sealwax.answers import ClientError
from sealwax.client import EnvelopeClient, MutationRefused, MutationRejected
from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.handle import EnvelopeHandle
from sealwax.messages import MutationResult, Snapshot
from sealwax.mutations import ChangeMessage, Mutation, UpdateRecipient
from sealwax.resolving import Choice

THANKS = "http://127.0.0.1:9/thanks"
SESSION_WITHIN_S = 30.0
_NUMBER = "2"

T = TypeVar("T")


class NoAnswerYet(Exception):
    """The application has no answer; its caller asks again. The message says why."""


class Application(Protocol):
    """One side, as the callers of a storm see it. Nothing here gives up by itself."""

    name: str

    async def take_job(self, life: Life) -> str:
        """Make the draft; the provider's envelope id. Raises NoAnswerYet."""
        ...

    async def change(self, life: Life, change: Change, operation_id: str) -> Answer:
        """Make a change. An answer that says nothing is one, too."""
        ...

    async def signing_url(self, life: Life, envelope_id: str, operation_id: str) -> str:
        """A signing URL for the embedded signer. Raises NoAnswerYet."""
        ...

    async def came_back(self, return_url: str) -> None:
        """The signer's browser is sent to this address. Raises NoAnswerYet."""
        ...

    async def look(self, life: Life) -> Held:
        """How it sees the envelope now. Raises NoAnswerYet."""
        ...

    async def decide(self, life: Life, choice: Choice) -> None:
        """A person answers what it asks, which may be over already. Raises NoAnswerYet."""
        ...


class SealwaxApplication:
    """An application that uses ``EnvelopeClient``, and nothing else of Sealwax."""

    name = "Sealwax"

    def __init__(self, client: EnvelopeClient, account: str, browser: httpx.AsyncClient) -> None:
        self._client = client
        self._account = account
        self._browser = browser

    async def take_job(self, life: Life) -> str:
        """See ``Application``."""
        try:
            envelope = await self._client.create(
                account=self._account,
                key=life.key,
                subject=life.subject,
                message=life.message,
                documents=[contract_file(life.contract)],
                recipients=[_recipient(party) for party in life.parties],
                send=False,
                timeout_s=None,
            )
            return (await envelope.wait("created")).provider_envelope_id
        except (Refusal, ClientError) as error:
            raise NoAnswerYet(f"job: {type(error).__name__}: {error}") from error

    async def change(self, life: Life, change: Change, operation_id: str) -> Answer:
        """See ``Application``."""
        envelope = self._client.envelope(self._account, life.key)
        try:
            result = await self._requested(envelope, change, operation_id)
        except (MutationRefused, MutationRejected) as error:
            said = error.result
            mark = f"{said.revision}/{said.sequence}"
            return Answer("refused" if said.state == "refused" else "rejected", mark, str(error))
        except Refusal as error:
            return Answer("refused", error.code, str(error))
        except ClientError as error:
            return Answer("nothing", why=f"{type(error).__name__}: {error}")
        return Answer("applied", f"{result.revision}/{result.sequence}")

    async def _requested(
        self, envelope: EnvelopeHandle, change: Change, operation_id: str
    ) -> MutationResult:
        """Texts and names are edited as people do, by what they see; others' changes are merged."""
        match change:
            case workload.ChangeMessage(message):
                mutation: Mutation = ChangeMessage(message=message)
            case workload.Rename(role, name):
                mutation = UpdateRecipient(role, name=name)
            case _:
                return await requested(envelope, change, operation_id)
        result = await envelope.edit(lambda _: mutation, operation_id)
        assert result is not None, "an edit that changes something has a result"
        return result

    async def signing_url(self, life: Life, envelope_id: str, operation_id: str) -> str:
        """See ``Application``."""
        envelope = self._client.envelope(self._account, life.key)
        try:
            ticket = await envelope.open_session(
                EMBEDDED, THANKS, operation_id=operation_id, timeout_s=SESSION_WITHIN_S
            )
        except (Refusal, ClientError) as error:
            raise NoAnswerYet(f"session: {type(error).__name__}: {error}") from error
        return ticket.url

    async def came_back(self, return_url: str) -> None:
        """See ``Application``."""
        try:
            (await self._browser.get(return_url)).raise_for_status()
        except httpx.HTTPError as error:
            raise NoAnswerYet(f"landing: {type(error).__name__}") from error

    async def look(self, life: Life) -> Held:
        """See ``Application``."""
        envelope = self._client.envelope(self._account, life.key)
        try:
            return _held(await envelope.status())
        except (Refusal, ClientError) as error:
            raise NoAnswerYet(f"look: {type(error).__name__}: {error}") from error

    async def decide(self, life: Life, choice: Choice) -> None:
        """See ``Application``."""
        envelope = self._client.envelope(self._account, life.key)
        try:
            await envelope.resolve(choice)
        except Refusal as refusal:
            # An answer that was heard and whose confirmation was not is asked for in vain.
            if refusal.code is not RefusalCode.NOTHING_TO_DECIDE:
                raise
        except ClientError as error:
            raise NoAnswerYet(f"decision: {type(error).__name__}: {error}") from error


class NaiveApplication(naive.NaiveSide):
    """The competent naive client of the demonstration, in a process that can be killed.

    ``kill``: every request in work is cut off and its queue delivers it again. ``deaf``: webhooks
    are not accepted, as while its listener is down. Its database survives.
    """

    def __init__(self, credentials: Credentials, hmac_key: str, folder: Path) -> None:
        super().__init__(credentials, hmac_key, folder)
        self._sessions = NaiveSessions(credentials, THANKS)
        self._working: set[asyncio.Task[Any]] = set()
        self._listening = True
        self._answers: dict[str, Answer] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def __aexit__(self, *error: object) -> None:
        await self._sessions.__aexit__(*error)
        await super().__aexit__(*error)

    def kill(self) -> None:
        """Kill the process: what is on its way to the provider stays on its way."""
        for task in self._working:
            task.cancel()
        self._early.clear()

    def hears(self, listening: bool) -> None:
        """Take the listener down, or up again."""
        self._listening = listening

    async def take_job(self, life: Life) -> str:
        """See ``Application``."""
        try:
            return await self._delivered(lambda: super(NaiveApplication, self).take_job(life))
        except ChangeFailed as error:
            raise NoAnswerYet(f"job: {error}") from error

    async def change(  # type: ignore[override]
        self, life: Life, change: Change, operation_id: str
    ) -> Answer:
        """See ``Application``. Its database keeps answers by operation id; the provider cannot."""
        async with self._asking.setdefault(operation_id, asyncio.Lock()):
            if (answer := self._answers.get(operation_id)) is not None:
                return answer
            try:
                await self._delivered(lambda: super(NaiveApplication, self).change(life, change))
            except ChangeFailed as error:
                if not isinstance(error.__cause__, Rejected):
                    return Answer("nothing", why=str(error))
                answer = Answer("rejected", why=str(error))
            else:
                answer = Answer("applied")
            self._answers[operation_id] = answer
            return answer

    async def signing_url(self, life: Life, envelope_id: str, operation_id: str) -> str:
        """See ``Application``."""
        party = workload.intended(life).parties[life.party(EMBEDDED).email]
        signer = Signer(_NUMBER, client_user_id(party), party.name, party.email)
        try:
            return (await self._delivered(lambda: self._sessions.visit(envelope_id, signer))).url
        except (Rejected, NoAnswer) as error:
            raise NoAnswerYet(f"session: {error}") from error

    async def came_back(self, return_url: str) -> None:
        """See ``Application``: its own page needs nothing."""

    async def look(self, life: Life) -> Held:
        """See ``Application``. It reads an envelope whose end it has not heard of."""
        row = self._rows.by_key(life.key)
        if row is None:
            return Held()
        if row.status not in FINAL:
            try:
                await self._move(row.envelope_id, await self._read_status(row.envelope_id))
            except (Rejected, NoAnswer) as error:
                raise NoAnswerYet(f"look: {error}") from error
            row = self._row(row)
        return Held(row.envelope_id, row.status, row.status in FINAL)

    async def decide(self, life: Life, choice: Choice) -> None:
        """See ``Application``: it never asks."""

    async def _delivered(self, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of the work, which begins anew as often as its process is killed."""
        while True:
            task = asyncio.ensure_future(work())
            self._working.add(task)
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                mine = asyncio.current_task()
                if not task.cancelled() or (mine is not None and mine.cancelling()):
                    task.cancel()
                    raise
            finally:
                self._working.discard(task)

    async def _hear(self, event: Event) -> None:
        if not self._listening:
            raise ConnectionRefusedError("the listener is down")
        await super()._hear(event)

    def _draft(self, life: Life) -> dict[str, Any]:
        body = super()._draft(life)
        for signer in body["recipients"]["signers"]:
            if signer["recipientId"] == _NUMBER:
                signer["clientUserId"] = client_user_id(life.party(EMBEDDED))
        return body


def client_user_id(party: Party) -> str:
    """How both applications know an embedded signer."""
    return f"user-{party.role}"


def _recipient(party: Party) -> Recipient:
    made = recipient(party)
    if party.role != EMBEDDED:
        return made
    return replace(made, client_user_id=client_user_id(party))


def _held(snapshot: Snapshot) -> Held:
    return Held(
        snapshot.provider_envelope_id,
        snapshot.status.value,
        snapshot.closed,
        snapshot.attention,
        frozenset() if snapshot.question is None else frozenset(snapshot.question.choices),
        {r.email: (r.name, r.routing_order, r.status.value) for r in snapshot.recipients},
    )
