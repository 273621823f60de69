"""Where events go: signals to envelope workflows, and what can come of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from temporalio.client import Client, WorkflowQueryFailedError, WorkflowQueryRejectedError
from temporalio.service import RPCError, RPCStatusCode

from sealwax.connection import ConnectionFailed
from sealwax.messages import (
    QUERY_LANDING,
    SIGNAL_EVENTS,
    SIGNAL_SESSION,
    EventBatch,
    Landing,
    Message,
    SessionSigns,
)

SIGNAL_TIMEOUT_S = 10.0
LANDING_TIMEOUT_S = 3.0

_FOR_GOOD = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


class WorkflowGone(Exception):
    """No open workflow has that id: it is closed, or was never started."""


class SinkUnavailable(Exception):
    """The signal may or may not have arrived; it is to be sent again."""


class Undeliverable(Exception):
    """The server refuses this signal, and would again."""


class SignalSink(Protocol):
    """Takes events to a workflow. Signalling the same events twice must be harmless."""

    async def signal(self, workflow_id: str, batch: EventBatch) -> None:
        """Return when the server has it for good.

        Raises ``WorkflowGone``, ``SinkUnavailable`` or ``Undeliverable``.
        """
        ...


class SessionSink(Protocol):
    """Takes to a workflow what was heard of its sessions, and asks where a signer goes on to.

    Both raise ``WorkflowGone``, ``SinkUnavailable`` or ``Undeliverable``.
    """

    async def session_signs(self, workflow_id: str, signs: SessionSigns) -> None:
        """Return when the server has it for good. Telling the same twice must be harmless."""
        ...

    async def landing(self, workflow_id: str, token: int) -> str:
        """The application's URL of the session with this fencing token; "" if there is none."""
        ...


class TemporalSink:
    """The sink that is a Temporal server, connected to when it is first needed.

    So the bridge takes webhooks while Temporal is away, from its start on.
    """

    def __init__(self, connect: Callable[[], Awaitable[Client]]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def signal(self, workflow_id: str, batch: EventBatch) -> None:
        """See ``SignalSink.signal``."""
        await self._signal(workflow_id, SIGNAL_EVENTS, batch)

    async def session_signs(self, workflow_id: str, signs: SessionSigns) -> None:
        """See ``SessionSink.session_signs``."""
        await self._signal(workflow_id, SIGNAL_SESSION, signs)

    async def landing(self, workflow_id: str, token: int) -> str:
        """See ``SessionSink.landing``. Nobody is kept waiting for a worker that is away."""
        try:
            async with asyncio.timeout(LANDING_TIMEOUT_S):
                client = await self._connected()
                answer: Landing = await client.get_workflow_handle(workflow_id).query(
                    QUERY_LANDING,
                    token,
                    result_type=Landing,
                    rpc_timeout=timedelta(seconds=LANDING_TIMEOUT_S),
                )
        except TimeoutError as error:
            raise SinkUnavailable("no worker answered in time") from error
        except RPCError as error:
            raise _named(error, workflow_id) from error
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise Undeliverable(f"the query failed: {error}") from error
        return answer.return_url

    async def _signal(self, workflow_id: str, name: str, message: Message) -> None:
        client = await self._connected()
        handle = client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(name, message, rpc_timeout=timedelta(seconds=SIGNAL_TIMEOUT_S))
        except RPCError as error:
            raise _named(error, workflow_id) from error

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                try:
                    self._client = await self._connect()
                except ConnectionFailed as error:
                    raise SinkUnavailable(str(error)) from error
            return self._client


def _named(error: RPCError, workflow_id: str) -> Exception:
    # A namespace that is not there (yet) is "not found" too, and no reason to give up.
    if error.status is RPCStatusCode.NOT_FOUND and "namespace" not in str(error).lower():
        return WorkflowGone(workflow_id)
    said = f"{error.status.name}: {error.message}"
    return Undeliverable(said) if error.status in _FOR_GOOD else SinkUnavailable(said)
