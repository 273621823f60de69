"""Where events go: signals to envelope workflows, and what can come of one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from sealwax.connection import ConnectionFailed
from sealwax.messages import SIGNAL_EVENTS, EventBatch

SIGNAL_TIMEOUT_S = 10.0

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
        client = await self._connected()
        handle = client.get_workflow_handle(workflow_id)
        try:
            await handle.signal(
                SIGNAL_EVENTS, batch, rpc_timeout=timedelta(seconds=SIGNAL_TIMEOUT_S)
            )
        except RPCError as error:
            # A namespace that is not there (yet) is "not found" too, and no reason to give up.
            if error.status is RPCStatusCode.NOT_FOUND and "namespace" not in str(error).lower():
                raise WorkflowGone(workflow_id) from error
            if error.status in _FOR_GOOD:
                raise Undeliverable(f"{error.status.name}: {error.message}") from error
            raise SinkUnavailable(f"{error.status.name}: {error.message}") from error

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                try:
                    self._client = await self._connect()
                except ConnectionFailed as error:
                    raise SinkUnavailable(str(error)) from error
            return self._client
