"""What a caller hears for each way in which a request can go wrong, and what is asked again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from sealwax.answers import (
    Asking,
    EnvelopeAborted,
    NoAnswerYet,
    TemporalRefused,
    UnknownEnvelope,
)
from sealwax.definition import Refusal, RefusalCode
from sealwax.messages import ERROR_REFUSAL, UPDATE_RESULT, UPDATE_SUBMIT, MutationResult, Submit
from sealwax.mutations import SendEnvelope

ASKED = Submit(operation_id="op-1", mutation=SendEnvelope())
APPLIED = MutationResult(operation_id="op-1", state="applied", sequence=1, revision=1)
WAITING = APPLIED.model_copy(update={"state": "waiting", "revision": 0})


def rpc(status: RPCStatusCode, text: str = "") -> RPCError:
    """An error of the server."""
    return RPCError(text, status, b"")


def failed(kind: str, *details: Any) -> WorkflowUpdateFailedError:
    """An update that failed with an application error of this type."""
    return WorkflowUpdateFailedError(ApplicationError("why", *details, type=kind))


class Scripted:
    """A workflow handle that answers by a script, and keeps what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str]] = []

    def _next(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def execute_update(self, name: str, request: Any, *, id: str, **_: Any) -> Any:
        self.asked.append((name, request.operation_id, id))
        return self._next()

    async def query(self, name: str, operation_id: str, **_: Any) -> Any:
        self.asked.append((name, operation_id, ""))
        return self._next()


async def result_of(handle: Any, timeout_s: float | None = 20) -> MutationResult:
    """The result that a caller gets from a scripted workflow."""
    return await Asking(handle, ASKED, timeout_s).result()


PASSING: dict[str, Callable[[], Exception]] = {
    "connection lost": lambda: rpc(RPCStatusCode.UNAVAILABLE, "tcp connect error"),
    "slots taken": lambda: rpc(RPCStatusCode.RESOURCE_EXHAUSTED, "in-flight updates"),
    "deadline": lambda: rpc(RPCStatusCode.DEADLINE_EXCEEDED),
    "no worker": lambda: rpc(RPCStatusCode.FAILED_PRECONDITION, "no poller seen"),
    "closing run": lambda: rpc(
        RPCStatusCode.NOT_FOUND, "workflow update was aborted by closing workflow"
    ),
    "new run": lambda: rpc(RPCStatusCode.NOT_FOUND, 'update "u1" not found'),
    "cut by a new run": lambda: failed("AcceptedUpdateCompletedWorkflow"),
    "not processed": lambda: failed("UnprocessedUpdate"),
}


@pytest.mark.parametrize("failure", PASSING)
async def test_what_passes_is_asked_again_under_the_same_ids(failure: str) -> None:
    """The same operation id and update id, so that a lost answer never means a second effect."""
    handle = Scripted(PASSING[failure](), PASSING[failure](), APPLIED)
    assert await result_of(handle) == APPLIED
    assert len(handle.asked) == 3
    assert len(set(handle.asked)) == 1


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (rpc(RPCStatusCode.NOT_FOUND, "workflow not found for ID: envelope/a/b"), UnknownEnvelope),
        (rpc(RPCStatusCode.NOT_FOUND, "Namespace nowhere is not found."), TemporalRefused),
        (rpc(RPCStatusCode.PERMISSION_DENIED, "no"), TemporalRefused),
        (rpc(RPCStatusCode.INVALID_ARGUMENT, "Blob data size exceeds limit."), TemporalRefused),
        (
            rpc(RPCStatusCode.FAILED_PRECONDITION, "Workflow execution closed before WFT"),
            EnvelopeAborted,
        ),
        (failed("SomethingElse"), TemporalRefused),
    ],
)
async def test_what_lasts_is_told_at_once(failure: Exception, error: type[Exception]) -> None:
    """One call, one typed error of one line."""
    handle = Scripted(failure)
    with pytest.raises(error) as caught:
        await result_of(handle)
    assert len(str(caught.value).splitlines()) == 1
    assert len(handle.asked) == 1


@pytest.mark.parametrize(
    ("said", "code"),
    [("illegal_in_status", RefusalCode.ILLEGAL_IN_STATUS), ("of_tomorrow", RefusalCode.BAD_INPUT)],
)
async def test_a_refusal_keeps_its_code(said: str, code: RefusalCode) -> None:
    """Codes of a newer workflow, unknown here, still arrive as refusals."""
    with pytest.raises(Refusal) as caught:
        await result_of(Scripted(failed(ERROR_REFUSAL, said)))
    assert caught.value.code is code


async def test_far_from_the_head_no_slot_is_held() -> None:
    """A ticket far back is looked up by queries; near the head an update may wait."""
    far = WAITING.model_copy(update={"position": 40})
    handle = Scripted(far, far, WAITING, APPLIED)
    assert await result_of(handle) == APPLIED
    assert [name for name, _, _ in handle.asked] == [
        UPDATE_SUBMIT,
        "answer",
        "answer",
        UPDATE_RESULT,
    ]


async def test_a_stuck_head_does_not_eat_the_runs_updates() -> None:
    """After a few held updates only queries ask on."""
    handle = Scripted(*[WAITING] * 8, APPLIED)
    assert await result_of(handle) == APPLIED
    names = [name for name, _, _ in handle.asked]
    assert names.count(UPDATE_RESULT) == 3
    assert names[-1] == "answer"


async def test_a_forgotten_ticket_is_asked_for_anew() -> None:
    """A workflow that no longer knows the operation gets it again, under its id."""
    gone = WorkflowQueryFailedError("unknown operation")
    far = WAITING.model_copy(update={"position": 40})
    handle = Scripted(far, gone, APPLIED)
    assert await result_of(handle) == APPLIED
    assert [name for name, _, _ in handle.asked] == [UPDATE_SUBMIT, "answer", UPDATE_SUBMIT]


async def test_patience_ends_when_it_was_said_to() -> None:
    """Nothing is asked after the deadline, and the operation id is named."""
    handle = Scripted(*[rpc(RPCStatusCode.UNAVAILABLE, "away")] * 50)
    with pytest.raises(NoAnswerYet, match=r"away.*op-1"):
        await result_of(handle, timeout_s=0.5)
    assert 1 < len(handle.asked) < 10
