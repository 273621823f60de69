"""Asking an envelope's workflow, and getting the answer through whatever happens on the way.

What may end a request, for a caller to tell apart::

    Refusal                  the law says no; nothing was changed (sealwax.definition)
      MutationRefused        ... when the mutation's turn came
        Conflict             ... because others changed what the caller had read
    ClientError
      MutationRejected       the provider says no
      UnknownEnvelope        no workflow has this account and key
      UnknownAccountQuota    no worker has shown this account's quota yet
      EnvelopeAborted        an operator ended the workflow before the envelope was closed
      TemporalRefused        the server says no, and asking again will not help
      NoAnswerYet            time is up; the request may still take effect: ask again with its id

A mutation is sent under its operation id until there is an answer, so that a lost connection, a
restarted server or a workflow that continued as a new run costs time and never a second effect.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import uuid4

from temporalio.client import (
    RPCTimeoutOrCancelledError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from sealwax import keys
from sealwax.definition import Refusal, RefusalCode
from sealwax.envelope import mutation_digest
from sealwax.memory import same_request
from sealwax.merge import FieldChange
from sealwax.messages import (
    ERROR_REFUSAL,
    ERROR_REPLAYED_TOO_FAR,
    MESSAGE_BYTES_MAX,
    QUERY_ANSWER,
    UPDATE_RESULT,
    UPDATE_SUBMIT,
    AskResult,
    MutationResult,
    Submit,
)

HOLD_S = 20.0
"""How long one update may be held open for its result; the contract's most."""

NEAR_HEAD = 2
"""Up to this place in the queue a caller may hold one of the workflow's ten update slots."""

HOLDS_MAX = 3
"""How often; a run takes 2,000 updates in its life, and what takes a minute may take a day."""

CALL_TIMEOUT_S = 30.0
QUERY_TIMEOUT_S = 4.0
"""A query that meets a workflow in the middle of updates is now and then never answered."""

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
POLL_MIN_S = 0.1
POLL_MAX_S = 2.0
POLL_PER_PLACE_S = 0.05

_LASTING = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
        RPCStatusCode.OUT_OF_RANGE,
    }
)

_RESULT_OR_NONE: Any = MutationResult | None

# What the server itself fails an update with, and why asking again is right. The second happens
# under load to workers that do handle the update (Temporal server 1.32, seen).
_PASSING = {
    "AcceptedUpdateCompletedWorkflow": "the workflow continued as a new run",
    "UnprocessedUpdate": "the worker's answer to the server did not hold this request",
}

T = TypeVar("T")


class ClientError(Exception):
    """A request without the answer that was hoped for. One line that says what to do."""


class UnknownEnvelope(ClientError):
    """No workflow has this account and business key."""


class UnknownAccountQuota(ClientError):
    """No workflow shows this account's quota."""


class EnvelopeAborted(ClientError):
    """The workflow was ended from outside before the envelope was closed."""


class TemporalRefused(ClientError):
    """The Temporal server refuses the call; asking again will not help."""


class NoAnswerYet(ClientError, TimeoutError):
    """Time is up. ``operation_id``: ask again with it; "" where nothing was asked to change."""

    def __init__(self, message: str, operation_id: str = "") -> None:
        super().__init__(message)
        self.operation_id = operation_id


class MutationRejected(ClientError):
    """The provider said no. ``code`` is its error code, ``result`` the whole answer."""

    def __init__(self, result: MutationResult) -> None:
        super().__init__(f"the provider refused: {result.code}: {result.message}")
        self.result = result
        self.code = result.code


class MutationRefused(Refusal):
    """The law said no when the mutation's turn came; ``result`` is the whole answer."""

    def __init__(self, result: MutationResult) -> None:
        super().__init__(_code(result.code), result.message)
        self.result = result


class Conflict(MutationRefused):
    """Others changed the envelope since the revision that the request named.

    Nothing was changed by it. ``changed`` lists their changes, ``overlaps`` marks what both
    touched, with both values; long ones are cut short. ``revision`` is the one that stands;
    ``correlation_id`` names the conflict in logs, and is the same each time it is told.
    """

    def __init__(self, result: MutationResult) -> None:
        super().__init__(result)
        self.revision = result.revision
        conflict = result.conflict
        self.correlation_id = conflict.correlation_id if conflict else ""
        self.changed: tuple[FieldChange, ...] = conflict.changed if conflict else ()


def refusal_of(result: MutationResult) -> MutationRefused:
    """The error for an answer that is a refusal."""
    conflict = result.code == RefusalCode.CONFLICT
    return Conflict(result) if conflict else MutationRefused(result)


class Lost(Exception):
    """No answer came, for a reason that passes; ``str(lost)`` names it."""


class Gone(Exception):
    """The workflow has ended: it takes no more updates."""


class Patience:
    """How long to insist: a deadline, and a jittered delay that grows with each failure."""

    def __init__(self, timeout_s: float | None) -> None:
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._failures = 0

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; infinite without one, never negative."""
        return float("inf") if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def answered(self) -> None:
        """Something was heard: the next failure is the first again."""
        self._failures = 0

    async def after_failure(self) -> bool:
        """Wait before another try; False where the deadline leaves no time for one."""
        most_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        return await self.pause(random.uniform(most_s / 2, most_s))

    async def pause(self, delay_s: float) -> bool:
        """Wait; False where the deadline passes meanwhile."""
        if delay_s >= self.left_s:
            return False
        await asyncio.sleep(delay_s)
        return True


async def insist(
    ask: Callable[[], Awaitable[T]],
    patience: Patience,
    operation_id: str = "",
    call_timeout_s: float = CALL_TIMEOUT_S,
) -> T:
    """Repeat ``ask`` over failures that pass. Raises ``NoAnswerYet`` when patience ends.

    ``call_timeout_s`` is for the first call; it doubles from call to call, up to 30 s.
    """
    while True:
        try:
            return await call(ask, min(call_timeout_s, patience.left_s))
        except Lost as lost:
            if not await patience.after_failure():
                raise no_answer(lost, operation_id) from lost
            call_timeout_s = min(CALL_TIMEOUT_S, 2 * call_timeout_s)


def no_answer(reason: object, operation_id: str) -> NoAnswerYet:
    """The error for a caller whose time is up."""
    again = f"; ask again with operation id {operation_id}" if operation_id else "; ask again"
    return NoAnswerYet(f"no answer in time ({reason}){again}", operation_id)


async def call(ask: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """One call to Temporal, its errors told apart.

    Raises ``Lost``, ``Gone``, ``UnknownEnvelope``, ``TemporalRefused``, ``Refusal``.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await ask()
    except RPCError as error:
        raise _of_rpc(error) from error
    except WorkflowUpdateFailedError as error:
        raise _of_update(error.cause) from error
    except WorkflowQueryFailedError as error:
        if passes(error):
            raise Lost("the worker was behind; it reads the envelope's history anew") from error
        text = " ".join(error.message.split())
        raise TemporalRefused(f"the workflow could not be read: {text}") from error
    except (RPCTimeoutOrCancelledError, TimeoutError) as error:
        # The SDK says the same for its caller's cancellation, which must go on as such.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise Lost("no worker has answered; is one running?") from error


def passes(error: WorkflowQueryFailedError) -> bool:
    """Whether a query failed for a reason that passes, and not because the workflow says so."""
    return ERROR_REPLAYED_TOO_FAR in error.message


def _of_rpc(error: RPCError) -> Exception:
    text = " ".join(error.message.split())
    if error.status is RPCStatusCode.NOT_FOUND:
        low = text.lower()
        if low.startswith("namespace"):
            return TemporalRefused(f"Temporal: {text}; set `namespace` under [temporal]")
        if "execution already completed" in low:
            return Gone(text)
        if low.startswith(("update ", "workflow update ")):
            return Lost(text)
        return UnknownEnvelope("no envelope has this account and key; create it, or correct them")
    if error.status is RPCStatusCode.FAILED_PRECONDITION and "execution closed before" in text:
        return EnvelopeAborted("the envelope's workflow was ended before it began")
    if error.status in _LASTING:
        return TemporalRefused(f"Temporal refuses the call: {text}{_advice(text)}")
    return Lost(f"{error.status.name}: {text}")


def _advice(text: str) -> str:
    if "search attribute" in text.lower():
        return "; register Sealwax's search attributes with the server first"
    return ""


def _of_update(cause: BaseException) -> Exception:
    if isinstance(cause, ApplicationError) and cause.type == ERROR_REFUSAL:
        code = str(cause.details[0]) if cause.details else ""
        if code == RefusalCode.CONFLICT and len(cause.details) > 1:
            return Conflict(MutationResult.model_validate(cause.details[1]))
        return Refusal(_code(code), cause.message)
    if isinstance(cause, ApplicationError) and cause.type in _PASSING:
        return Lost(_PASSING[cause.type])
    # The SDK wraps what it could not decode; the cause says why, such as a key that is missing.
    first = cause.__cause__ or cause
    return TemporalRefused(f"the workflow failed the request: {' '.join(str(first).split())}")


def _code(text: str) -> RefusalCode:
    try:
        return RefusalCode(text)
    except ValueError:
        return RefusalCode.BAD_INPUT


class Asking:
    """One mutation, from asking for it until its result."""

    def __init__(
        self, handle: WorkflowHandle[Any, Any], submit: Submit, timeout_s: float | None
    ) -> None:
        self._handle = handle
        self._submit = submit
        self._patience = Patience(timeout_s)
        self._holds = 0
        self._looks = 0
        size = len(submit.model_dump_json())
        if size > MESSAGE_BYTES_MAX:
            raise Refusal(
                RefusalCode.OVERSIZE,
                f"the request has {size} bytes; at most {MESSAGE_BYTES_MAX} are allowed: split it",
            )

    async def result(self) -> MutationResult:
        """The final result. Raises what the module names; ``waiting`` is never returned."""
        try:
            answer: MutationResult | None = await self._insist(self._submitted)
            while answer is None or answer.state == "waiting":
                answer = await (self._again() if answer is None else self._next(answer))
            return answer
        except Gone:
            return await self._from_the_closed()

    async def _again(self) -> MutationResult:
        # The ticket is not known any more, which a server restored from a copy could bring about.
        if not await self._patience.after_failure():
            raise no_answer("the operation is unknown to the workflow", self._submit.operation_id)
        return await insist(self._submitted, self._patience, self._submit.operation_id)

    async def _next(self, ticket: MutationResult) -> MutationResult | None:
        """Ask again what came of it; None where the workflow does not know the operation."""
        if ticket.position <= NEAR_HEAD and self._holds < HOLDS_MAX and self._hold_s():
            self._holds += 1
            try:
                return await self._insist(self._held)
            except Refusal as refusal:
                if refusal.code is RefusalCode.UNKNOWN_OPERATION:
                    return None
                raise
        # Slower with the length of the queue, and with the time that it does not move.
        delay_s = POLL_MIN_S + POLL_PER_PLACE_S * (ticket.position + self._looks)
        delay_s = min(POLL_MAX_S, delay_s)
        self._looks += 1
        if not await self._patience.pause(random.uniform(delay_s / 2, delay_s)):
            why = ticket.why or f"{ticket.position} before it"
            raise no_answer(why, self._submit.operation_id)
        return await self._insist(self._looked_up, QUERY_TIMEOUT_S)

    async def _insist(
        self, ask: Callable[[], Awaitable[T]], call_timeout_s: float = CALL_TIMEOUT_S
    ) -> T:
        answer = await insist(ask, self._patience, self._submit.operation_id, call_timeout_s)
        self._patience.answered()
        return answer

    def _digest(self) -> str:
        return mutation_digest(self._submit.mutation)

    def _hold_s(self) -> float:
        # Less than a second is not worth a slot, and the answer needs time to come back.
        left_s = self._patience.left_s - 1
        return min(HOLD_S, left_s) if left_s >= 1 else 0.0

    async def _submitted(self) -> MutationResult:
        # The digest in the id: the server repeats the first answer to a known update id without
        # asking the workflow, which must see another body under a used operation id.
        digest = keys.digest((self._submit.operation_id, self._digest()))
        answer: MutationResult = await self._handle.execute_update(
            UPDATE_SUBMIT,
            self._submit.model_copy(update={"wait_s": self._hold_s()}),
            id=f"submit-{digest}",
            result_type=MutationResult,
        )
        return answer

    async def _held(self) -> MutationResult:
        answer: MutationResult = await self._handle.execute_update(
            UPDATE_RESULT,
            AskResult(operation_id=self._submit.operation_id, wait_s=self._hold_s()),
            id=f"result-{uuid4()}",
            result_type=MutationResult,
        )
        return answer

    async def _looked_up(self) -> MutationResult | None:
        return await looked_up(self._handle, self._submit.operation_id)

    async def _from_the_closed(self) -> MutationResult:
        # A closed envelope still knows its answers, and a repeated request gets its own.
        answer = await self._insist(self._looked_up, QUERY_TIMEOUT_S)
        if answer is None or answer.state == "waiting":
            raise Refusal(
                RefusalCode.CLOSED, "the envelope is closed; nothing can be changed any more"
            )
        if not same_request(answer.digest, self._digest()):
            raise Refusal(
                RefusalCode.OPERATION_ID_REUSED,
                f"operation id {answer.operation_id} was used for another request;"
                " give each request its own id",
            )
        return answer


async def answer_to(
    handle: WorkflowHandle[Any, Any], operation_id: str, patience: Patience
) -> MutationResult | None:
    """The answer to an operation of earlier, once there is one; None for an id that is new.

    Raises ``NoAnswerYet``, ``UnknownEnvelope``, ``TemporalRefused``.
    """
    while True:
        answer = await insist(
            lambda: looked_up(handle, operation_id), patience, operation_id, QUERY_TIMEOUT_S
        )
        if answer is None or answer.state != "waiting":
            return answer
        if not await patience.pause(random.uniform(POLL_MIN_S, 2 * POLL_MIN_S)):
            raise no_answer(f"{answer.position} stand before it", operation_id)


async def looked_up(handle: WorkflowHandle[Any, Any], operation_id: str) -> MutationResult | None:
    """How an operation stands, without waiting; None where the workflow does not know it."""
    try:
        answer: MutationResult | None = await handle.query(
            QUERY_ANSWER, operation_id, result_type=_RESULT_OR_NONE
        )
    except WorkflowQueryFailedError as error:
        if passes(error):
            raise
        return None
    return answer
