"""``python -m bridge.codec``: the codec server, through which people read what is encrypted.

The Temporal UI and the ``temporal`` program send it payloads and show what it answers:
``POST /decode`` and ``POST /encode`` with the proto3 JSON of ``temporal.api.common.v1.Payloads``,
answered in the same form (docs.temporal.io, codec server). It is a program of its own, and not a
part of the bridge, because the two face different people: the bridge listens where a provider can
reach it and never decrypts for anybody, this one listens on the loopback and does nothing else.

Who may read is who has the token: as the first part of the path
(``http://127.0.0.1:8788/TOKEN`` as codec endpoint), or as ``Authorization: Bearer TOKEN``. A web
page may ask only from an exact origin of ``[codec] origins``.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from temporalio.api.common.v1 import Payload, Payloads

from bridge.programs import FOR_A_PERSON, CommandLine, log_to_stderr
from bridge.serving import CannotListen, Server, announced, listen
from sealwax.crypto import CryptoError, Keyring
from sealwax.lifetime import leave
from sealwax.payloads import decrypted, encrypted, is_encrypted
from sealwax.settings import Settings, SettingsError, load_settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_BYTES_MAX = 16 * 1024 * 1024
BODY_TIMEOUT_S = 30.0
REQUESTS_AT_ONCE = 64
PREFLIGHT_S = 600


class _Stop(Exception):
    """A request that is not served. ``status`` 0: nobody listens."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class CodecApp:
    """Decrypts and encrypts payloads for whoever has ``token``."""

    def __init__(self, keyring: Keyring, token: str, origins: Sequence[str]) -> None:
        self._keyring = keyring
        self._token = token.encode()
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        headers = {n.decode("latin-1").lower(): v for n, v in scope["headers"]}
        origin = headers.get("origin", b"").decode("latin-1")
        try:
            if origin and origin not in self._origins:
                origin = ""
                raise _Stop(403, "this origin may not ask; add it to origins under [codec]")
            status, body = 200, await self._answer(scope, headers, receive)
        except _Stop as stop:
            status, body = stop.status, json.dumps({"error": stop.reason}).encode()
        if status:
            await _send(send, status if body else 204, body, origin)

    async def _answer(self, scope: Scope, headers: dict[str, bytes], receive: Receive) -> bytes:
        parts = scope["path"].strip("/").split("/")
        if scope["method"] == "OPTIONS":
            # A preflight carries no credentials; it says nothing and reads nothing.
            return b""
        if not self._allowed(parts, headers):
            raise _Stop(401, "no token, or a wrong one; see [codec] in the settings")
        if parts[-1] not in ("decode", "encode"):
            raise _Stop(404, "only /decode and /encode are here")
        if scope["method"] != "POST":
            raise _Stop(405, "only POST is understood")
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _body(receive)
            payloads = Parse(body, Payloads()).payloads
        except TimeoutError:
            raise _Stop(408, "the body did not come in time") from None
        except (ParseError, UnicodeDecodeError, RecursionError):
            raise _Stop(400, "the body is no Payloads message in JSON") from None
        change = self._decoded if parts[-1] == "decode" else self._encoded
        changed = await asyncio.to_thread(lambda: Payloads(payloads=map(change, payloads)))
        return MessageToJson(changed, indent=None).encode()

    def _allowed(self, parts: Sequence[str], headers: dict[str, bytes]) -> bool:
        given = headers.get("authorization", b"")
        by_header = len(parts) == 1 and given[:7].lower() == b"bearer "
        if by_header:
            return hmac.compare_digest(given[7:].strip(), self._token)
        return len(parts) == 2 and hmac.compare_digest(parts[0].encode(), self._token)

    def _decoded(self, payload: Payload) -> Payload:
        if not is_encrypted(payload):
            return payload
        try:
            return decrypted(self._keyring, payload)
        except CryptoError:
            # One that does not open must not hide the others of the page.
            return payload

    def _encoded(self, payload: Payload) -> Payload:
        return encrypted(self._keyring, payload)


async def _body(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Stop(0, "disconnected")
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes > BODY_BYTES_MAX:
            raise _Stop(413, f"more than {BODY_BYTES_MAX} bytes; ask for fewer payloads at once")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _send(send: Send, status: int, body: bytes, origin: str) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"vary", b"origin"),
    ]
    if origin:
        headers += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", b"POST"),
            (b"access-control-allow-headers", b"content-type,x-namespace,authorization"),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-max-age", str(PREFLIGHT_S).encode()),
        ]
    if status in (401, 403, 408, 413):
        # The rest of the body may be unread, so the connection cannot be used again.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def run(settings: Settings, host: str, port: int, announce: Path | None) -> None:
    """Serve until a signal says to stop. Raises ``SettingsError`` and ``CannotListen``."""
    codec = settings.codec
    app = CodecApp(settings.keyring(), codec.secret_token(), codec.origins)
    listener = listen(host, port, "codec")
    server = Server(app, REQUESTS_AT_ONCE, lambda: announced(announce, host, listener))

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.serve([listener])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 0 after a signal, 2 for what a person corrects."""
    parser = CommandLine(
        "codec", "bridge.codec", "Decodes payloads for the Temporal UI and CLI.", "url, pid"
    ).takes_address()
    options = parser.parse_args(arguments)
    log_to_stderr("uvicorn")
    try:
        settings = load_settings(options.config)
        host = options.host or settings.codec.host
        port = settings.codec.port if options.port is None else options.port
        uvloop.run(run(settings, host, port, options.announce))
    except (SettingsError, CannotListen) as error:
        print(f"codec: {error}", file=sys.stderr)
        return FOR_A_PERSON
    return 0


if __name__ == "__main__":
    leave(main())
