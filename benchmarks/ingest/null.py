"""A server that answers every request at once and does nothing: what the load program can do."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Null(asyncio.Protocol):
    """One connection: a request is read to its end and answered."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._read += data
        head_end = self._read.find(b"\r\n\r\n")
        if head_end < 0 or self._transport is None:
            return
        length = self._read.lower().rfind(b"content-length:", 0, head_end)
        end = self._read.find(b"\r", length)
        if len(self._read) >= head_end + 4 + int(self._read[length + 15 : end]):
            self._read.clear()
            self._transport.write(ANSWER)


async def run(announce: Path) -> None:
    """Serve until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(Null, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    draft = announce.with_suffix(".tmp")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    draft.replace(announce)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--announce", type=Path, required=True)
    uvloop.run(run(parser.parse_args().announce))
