"""What the bridge hears of signing sessions, on its way to their workflows.

Pings come every minute from each open page, so they are gathered: a session's first goes at once,
then at most one signal leaves per window, with the latest ping. A return goes at once.

Both are kept in memory and tried again until the server has them or the program ends. They are not
journaled as webhooks are, because nothing depends on one of them: a lost return is replaced by the
fact of what the signer did or by silence, a lost ping by the next one. What must not happen is that
pings are lost unnoticed and a live session counts as silent; so while anything is ``stuck`` the
bridge does not say that it is up.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from bridge.sink import SessionSink, SinkUnavailable, Undeliverable, WorkflowGone
from sealwax.messages import Ping, Return, SessionSigns
from sealwax.session import NOT_LEFT
from sealwax.stores.base import BEAT_EVERY_S, BEAT_GAP_S, Registry, StoreError

log = logging.getLogger("sealwax.bridge")

SESSIONS_MAX = 20_000
SIGNALS_AT_ONCE = 32
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 10.0
STOP_GRACE_S = 3.0

SessionName = tuple[str, int]
"""Workflow id and fencing token."""


class TooMany(Exception):
    """More sessions have something undelivered than may have."""


@dataclass(slots=True)
class _Heard:
    """One session. ``ping_at`` and ``event`` are what its workflow has not been told yet."""

    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    ping_at: datetime | None = None
    event: str | None = None
    came_back: bool = False
    opened_again: bool = False
    quiet_until: float = 0.0
    task: asyncio.Task[None] | None = None


class Signs:
    """Takes pings and returns, and signals them. ``window_s``: see the module's text."""

    def __init__(self, sink: SessionSink, window_s: float) -> None:
        self._sink = sink
        self._window_s = window_s
        self._sessions: OrderedDict[SessionName, _Heard] = OrderedDict()
        self._signalling = asyncio.Semaphore(SIGNALS_AT_ONCE)
        self._failing: set[SessionName] = set()
        self._stopping = False
        self._lossy_until = 0.0

    @property
    def stuck(self) -> bool:
        """Whether something was heard that cannot be handed on, or was lost just now."""
        return bool(self._failing) or monotonic() < self._lossy_until

    def pinged(self, name: SessionName, at: datetime) -> None:
        """The provider asked for the session's ping URL. Raises ``TooMany``."""
        heard = self._heard(name)
        heard.ping_at = at if heard.ping_at is None else max(at, heard.ping_at)
        self._stir(name, heard)

    def came_back(self, name: SessionName, event: str) -> None:
        """The signer's browser is at the landing page; only the first time counts.

        A URL that was opened twice is sent back at once, before the signer who opened it first
        comes: that is told, too, and does not stand in the way of the return.

        Raises ``TooMany``.
        """
        heard = self._heard(name)
        if heard.came_back or (event in NOT_LEFT and heard.opened_again):
            return
        heard.came_back, heard.opened_again = event not in NOT_LEFT, True
        heard.event = event
        self._stir(name, heard)

    async def settled(self) -> None:
        """Wait until nothing is on its way; what waits for its window is let go first."""
        self._stopping = True
        tasks = [h.task for h in self._sessions.values() if h.task is not None]
        for heard in self._sessions.values():
            heard.stirred.set()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _heard(self, name: SessionName) -> _Heard:
        heard = self._sessions.get(name)
        if heard is None:
            self._make_room()
            heard = self._sessions[name] = _Heard()
        self._sessions.move_to_end(name)
        return heard

    def _make_room(self) -> None:
        if len(self._sessions) < SESSIONS_MAX:
            return
        idle = next((n for n, h in self._sessions.items() if h.task is None), None)
        if idle is None:
            # Long enough without a heartbeat to be seen as a gap in what the bridge heard.
            self._lossy_until = monotonic() + BEAT_GAP_S + BEAT_EVERY_S
            raise TooMany
        del self._sessions[idle]

    def _stir(self, name: SessionName, heard: _Heard) -> None:
        heard.stirred.set()
        if heard.task is None:
            heard.task = asyncio.create_task(self._deliver(name, heard))

    async def _deliver(self, name: SessionName, heard: _Heard) -> None:
        tries = 0
        try:
            while heard.ping_at is not None or heard.event is not None:
                await self._until_due(heard)
                if await self._told(name, heard):
                    tries = 0
                    self._failing.discard(name)
                    continue
                tries += 1
                self._failing.add(name)
                if self._stopping:
                    return
                await asyncio.sleep(min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** min(tries, 10)))
        finally:
            self._failing.discard(name)
            heard.task = None

    async def _until_due(self, heard: _Heard) -> None:
        """A ping waits for its window; a return, or the program's end, does not."""
        loop = asyncio.get_running_loop()
        while heard.event is None and not self._stopping:
            left_s = heard.quiet_until - loop.time()
            if left_s <= 0:
                return
            heard.stirred.clear()
            try:
                async with asyncio.timeout(left_s):
                    await heard.stirred.wait()
            except TimeoutError:
                return

    async def _told(self, name: SessionName, heard: _Heard) -> bool:
        """Signal what is there; False where it has to be tried again."""
        workflow_id, token = name
        ping_at, event = heard.ping_at, heard.event
        signs = SessionSigns(
            pings=() if ping_at is None else (Ping(token=token, at=ping_at),),
            returns=() if event is None else (Return(token=token, event=event),),
        )
        try:
            async with self._signalling:
                await self._sink.session_signs(workflow_id, signs)
        except SinkUnavailable as error:
            log.warning("session %d of %s: not signalled yet (%s)", token, workflow_id, error)
            return False
        except WorkflowGone:
            log.info("session %d of %s: its workflow is closed", token, workflow_id)
        except Undeliverable as error:
            log.error("session %d of %s: cannot be signalled (%s)", token, workflow_id, error)
        heard.quiet_until = asyncio.get_running_loop().time() + self._window_s
        if heard.ping_at == ping_at:
            heard.ping_at = None
        if heard.event == event:
            heard.event = None
        return True


async def keep_beating(
    registry: Registry,
    fit: Callable[[], bool],
    now: Callable[[], datetime],
    every_s: float = BEAT_EVERY_S,
) -> None:
    """Say every few seconds that this process is up, while ``fit`` says so; until cancelled."""
    process = uuid.uuid4().hex
    while True:
        if fit():
            try:
                await registry.beat(process, now())
            except StoreError as error:
                log.warning("no heartbeat written: %s", error)
        await asyncio.sleep(every_s)
