"""How a program of the bridge listens: one socket, uvicorn without its signals, an announcement."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from bridge.guard import Guard, places
from bridge.programs import write_announcement

GRACEFUL_S = 5
BACKLOG = 2048

log = logging.getLogger("sealwax.bridge")


class CannotListen(Exception):
    """The address cannot be listened on. One line that says what to do."""


class Server(uvicorn.Server):
    """Serves ``app``, says when it listens, and leaves signals to the program around it.

    At most ``connections_max`` are open at a time, and fewer where the system gives fewer files.
    ``refused`` counts what never became a request. Nothing of a request is logged: paths hold
    tokens, and whoever sends nonsense could fill the disk with it.
    """

    def __init__(
        self,
        app: Any,
        connections_max: int,
        listening: Callable[[], None],
        refused: Counter[str] | None = None,
    ) -> None:
        self._guard = Guard(places(connections_max), Counter() if refused is None else refused)
        self._guarding: asyncio.Task[None] | None = None
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            http=self._guard.protocol(),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            # Nothing here reads the client's address or needs the time in answers.
            date_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACEFUL_S,
        )
        super().__init__(config)
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: uvicorn would raise the signal again when it has stopped, before we have."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._guarding = asyncio.create_task(self._guard.run())
        self._listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what is under way end, as long as it is given."""
        await super().shutdown(sockets)
        if self._guarding is not None:
            self._guarding.cancel()


def listen(host: str, port: int, table: str) -> socket.socket:
    """A listening socket; ``table`` of the settings names it. Raises ``CannotListen``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise CannotListen(
            f"cannot listen on {host} port {port} ({reason});"
            f" set another host or port under [{table}]"
        ) from error
    # Answers leave as head and body, and the event loop sets this only on sockets of its own
    # making: without it the body of a kept-alive connection waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def announced(file: Path | None, host: str, listener: socket.socket) -> None:
    """Log the address, and write ``{url, pid}`` into ``file``, all of it at once."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    shown = f"[{reachable}]" if ":" in reachable else reachable
    url = f"http://{shown}:{listener.getsockname()[1]}"
    log.info("listening at %s", url)
    write_announcement(file, {"url": url})
