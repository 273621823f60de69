"""What a connection may cost before its request is understood: bytes, seconds, and a place.

uvicorn bounds neither the head of a request nor the time that it takes, and counts idle
connections as work. Here a head has ``HEAD_BYTES_MAX`` and ``HEAD_TIMEOUT_S``; whoever does not
read answers has as long; and where all places are taken, the connection that has waited longest
without a whole request makes room.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

HEAD_BYTES_MAX = 64 * 1024
HEAD_TIMEOUT_S = 10.0
LOOK_EVERY_S = 0.5
PIPELINED_MAX = 16
RETRY_AFTER_S = 5
FILES_BESIDE = 128
"""Descriptors that are left for everything but connections."""


class _TooMuch(Exception):
    """A head had more bytes than it may, or more requests wait than may."""


class Guard:
    """The connections of one server. ``refused`` counts, by reason, what never became a request."""

    def __init__(self, connections_max: int, refused: Counter[str]) -> None:
        self.connections_max = connections_max
        self.refused = refused
        self.waiting: dict[GuardedProtocol, float] = {}
        """Connections that owe something, and since when, in the order in which they began."""

    def protocol(self) -> Callable[..., asyncio.Protocol]:
        """What to give uvicorn as its HTTP protocol."""
        return partial(GuardedProtocol, self)

    async def run(self) -> None:
        """End connections that take too long, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.end_overdue(asyncio.get_running_loop().time())

    def end_overdue(self, now_s: float) -> None:
        """End those that have owed something for ``HEAD_TIMEOUT_S``."""
        for connection, since_s in list(self.waiting.items()):
            if now_s - since_s < HEAD_TIMEOUT_S:
                return
            connection.end(408, "head_timeout")

    def make_room(self) -> bool:
        """End the connection that has waited longest; False where none waits."""
        connection = next(iter(self.waiting), None)
        if connection is None:
            return False
        connection.end(503, "connections")
        return True


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1, within bounds."""

    def __init__(self, guard: Guard, **given: Any) -> None:
        super().__init__(**given)
        self._guard = guard
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A place is taken; the request is awaited from now on."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > self._guard.connections_max and not self._guard.make_room():
            self.end(503, "connections")
        else:
            self._owes()

    def connection_lost(self, exc: Exception | None) -> None:
        """The place is free."""
        self._guard.waiting.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, and end the connection where it is too much."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self.end(431, "head")
        elif not self._busy():
            self._owes()

    def on_message_begin(self) -> None:
        """A head begins, somewhere in what is being read."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The head is whole."""
        # What was counted so far leaves out the piece of the wire in which the head began.
        self._head_bytes = len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers)
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _TooMuch
        if len(self.pipeline) >= PIPELINED_MAX:
            raise _TooMuch
        self._in_head = False
        if not self.flow.write_paused:
            self._guard.waiting.pop(self, None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The next request is awaited, unless it is there."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._busy():
            self._owes()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses, or a head that came all at once and is too large."""
        large = self._in_head and self._head_bytes > HEAD_BYTES_MAX
        self.end(431 if large else 400, "head" if large else "malformed")

    def pause_writing(self) -> None:
        """The client does not read its answers."""
        super().pause_writing()
        self._owes()

    def resume_writing(self) -> None:
        """It reads on."""
        self._guard.waiting.pop(self, None)
        super().resume_writing()

    def end(self, status: int, reason: str) -> None:
        """Close, with an answer where one can still be given and is waited for."""
        self._guard.waiting.pop(self, None)
        if self.transport.is_closing():
            return
        self._guard.refused[reason] += 1
        if (self._busy() and self.cycle.response_started) or self.flow.write_paused:
            self.transport.abort()
            return
        # An answer that nobody asked for would be taken for that of the next request.
        if self._in_head or self._busy() or (status != 408 and not self._answered()):
            again = b"retry-after: %d\r\n" % RETRY_AFTER_S if status == 503 else b""
            closing = b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + again + closing)
        self.transport.close()

    def _busy(self) -> bool:
        """Whether a request is being answered."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _answered(self) -> bool:
        """Whether the last request has had its answer."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and cycle.response_complete

    def _owes(self) -> None:
        self._guard.waiting.setdefault(self, self.loop.time())


def places(wanted: int) -> int:
    """How many connections there is room for, up to ``wanted``; the soft limit of files is raised.

    A bridge that cannot accept for want of descriptors could not open its journal either.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + FILES_BESIDE
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(soft - FILES_BESIDE, soft // 2))
