"""A wire between Sealwax and the provider that remembers the secrets which passed over it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import uvicorn

_BEARER = re.compile(rb"(?i)^bearer (.+)$")
_ASSERTION = re.compile(rb"assertion=([^&]+)")
_TOKEN = re.compile(rb'"access_token"\s*:\s*"([^"]+)"')
_HOP_BY_HOP = {b"content-length", b"connection", b"transfer-encoding", b"keep-alive"}


@dataclass(frozen=True)
class View:
    """One signing URL that was asked for, with the two addresses that the provider was told."""

    url: str
    return_url: str
    ping_url: str

    def secrets(self) -> dict[str, str]:
        """The addresses, and of each the part that nobody can guess."""
        path = urlsplit(self.url).path
        return {
            "signing URL": self.url,
            "signing URL's session": path.rpartition("/")[2],
            "signing URL's token": parse_qs(urlsplit(self.url).query)["slt"][0],
            "landing URL": self.return_url,
            "landing URL's MAC": self.return_url.split("/")[-2],
            "ping URL": self.ping_url,
            "ping URL's MAC": self.ping_url.split("/")[-2],
        }


class Recorder:
    """Passes every request on to ``target``; keeps tokens, assertions and what belongs to signing
    URLs. An ASGI application.
    """

    def __init__(self, target: str) -> None:
        self.secrets: set[str] = set()
        self.views: list[View] = []
        self._http = httpx.AsyncClient(base_url=target, timeout=60, trust_env=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass one request on."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        for name, value in scope["headers"]:
            if name == b"authorization" and (found := _BEARER.match(value)):
                self.secrets.add(found[1].decode())
        self.secrets |= {found.decode() for found in _ASSERTION.findall(body)}
        url = scope["raw_path"].decode()
        if scope["query_string"]:
            url += "?" + scope["query_string"].decode()
        headers = [(n, v) for n, v in scope["headers"] if n not in _HOP_BY_HOP]
        answer = await self._http.request(scope["method"], url, content=body, headers=headers)
        self.secrets |= {found.decode() for found in _TOKEN.findall(answer.content)}
        if url.endswith("/views/recipient") and answer.is_success:
            asked = json.loads(body)
            made = answer.json()["url"]
            self.views.append(View(made, asked["returnUrl"], asked["pingUrl"]))
        kept = [
            (n.lower(), v)
            for n, v in answer.headers.raw
            if n.lower() not in _HOP_BY_HOP | {b"content-encoding"}
        ]
        kept.append((b"content-length", str(len(answer.content)).encode()))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
        await send({"type": "http.response.body", "body": answer.content})

    async def close(self) -> None:
        """Let go of the provider."""
        await self._http.aclose()


def server_of(recorder: Recorder, port: int) -> uvicorn.Server:
    """A server for it in this process; it is ready when ``started`` is true."""
    config = uvicorn.Config(
        recorder, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off"
    )
    return uvicorn.Server(config)
