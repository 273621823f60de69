"""Keep-alive pings: an HTTP GET of `pingUrl` every `pingFrequency` while a signer is there.

"The intent is for the client to reset its session timer when the request is received"; the answer
is ignored (SPEC recipientViewRequest.pingUrl). When the first ping comes is unverified: here, one
interval after the opening.
"""

from __future__ import annotations

import asyncio
import contextlib

import httpx

from simulator.sessions import Session, Sessions

_TIMEOUT_S = 5.0


class Pinger:
    """One task per open session with a ping URL."""

    def __init__(self, sessions: Sessions, client: httpx.AsyncClient) -> None:
        self._sessions = sessions
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, session: Session) -> None:
        """Ping for this session until it ends."""
        if session.view.ping_url:
            task = asyncio.get_running_loop().create_task(self._run(session))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop all pings."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, session: Session) -> None:
        while True:
            await asyncio.sleep(session.view.ping_s * self._sessions.rules.clock)
            self._sessions.sweep()
            if session.ended is not None:
                return
            if not session.present or session.pings_blocked:
                continue
            session.pings += 1
            with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
                await self._client.get(session.view.ping_url, timeout=_TIMEOUT_S)
