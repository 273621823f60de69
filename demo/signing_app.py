"""A small application whose users sign embedded: a link each, a page that waits for one's turn.

It is what a team would write around `EnvelopeClient`: the page asks for a session when it is
opened, shows what it waits for, and sends the browser on when the session is granted. A page that
nobody looks at any more gives its place back.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from demo.naive.listener import QuietServer
from sealwax.answers import ClientError
from sealwax.client import EnvelopeClient, EnvelopeHandle
from sealwax.definition import Refusal
from sealwax.messages import SessionTicket

HOST = "127.0.0.1"
UNSEEN_S = 10.0
REFRESH_S = 1
SEE_OTHER = 303

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">{head}
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title><style>
body{{margin:0;min-height:100vh;display:grid;place-items:center;background:#f4f1ea;color:#2b2620;
font:17px/1.5 system-ui,sans-serif}}main{{box-sizing:border-box;width:100%;max-width:460px;
padding:32px 34px;background:#fff;border-top:4px solid #9c3d2e}}h1{{font-size:25px;line-height:1.25;
margin:0 0 8px}}p{{margin:0;color:#6b6258}}small{{display:block;margin:0 0 14px;color:#9c3d2e;
font-weight:600}}</style></head>
<body><main><small>Your application</small><h1>{title}</h1>{body}</main></body></html>"""
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
}


@dataclass(slots=True)
class Visit:
    """One opened link, and how its request stands."""

    envelope: EnvelopeHandle
    recipient_id: str
    operation_id: str = field(default_factory=lambda: f"visit-{secrets.token_hex(8)}")
    seen_at: float = field(default_factory=time.monotonic)
    why: str = "asking for your session"
    task: asyncio.Task[SessionTicket] | None = None


class SigningApp:
    """The pages. `url` is where the application is reached."""

    def __init__(self, client: EnvelopeClient, account: str, url: str) -> None:
        self._client = client
        self._account = account
        self._url = url
        self._visits: dict[str, Visit] = {}

    def link(self, key: str, recipient_id: str) -> str:
        """Where this signer of an envelope goes to sign."""
        return f"{self._url}/sign/{key}/{recipient_id}"

    def asgi(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/sign/{key}/{recipient}", self._sign),
                Route("/visits/{visit}", self._wait),
                Route("/thanks", self._thanks),
            ]
        )

    async def reap(self) -> None:
        """Give back the places of pages that nobody looks at any more, until cancelled."""
        while True:
            await asyncio.sleep(UNSEEN_S / 4)
            for name, visit in list(self._visits.items()):
                if time.monotonic() - visit.seen_at > UNSEEN_S:
                    await self._forget(name, visit)

    async def close(self) -> None:
        """Give back the places of all that still wait."""
        for name, visit in list(self._visits.items()):
            await self._forget(name, visit)

    async def _forget(self, name: str, visit: Visit) -> None:
        self._visits.pop(name, None)
        if visit.task is not None:
            visit.task.cancel()
            await asyncio.gather(visit.task, return_exceptions=True)
        # Also what was granted meanwhile: no browser ever got its URL.
        with contextlib.suppress(ClientError, Refusal):
            await visit.envelope.close_session(visit.operation_id, timeout_s=5)

    async def _sign(self, request: Request) -> Response:
        try:
            envelope = self._client.envelope(self._account, request.path_params["key"])
        except Refusal as refusal:
            return _page("This link leads nowhere", html.escape(str(refusal)), status=404)
        visit = Visit(envelope, request.path_params["recipient"])
        visit.task = asyncio.create_task(self._granted(visit))
        name = secrets.token_urlsafe(16)
        self._visits[name] = visit
        return RedirectResponse(f"/visits/{name}", SEE_OTHER, headers=_HEADERS)

    async def _granted(self, visit: Visit) -> SessionTicket:
        def seen(ticket: SessionTicket) -> None:
            visit.why = ticket.why

        return await visit.envelope.open_session(
            visit.recipient_id,
            f"{self._url}/thanks",
            operation_id=visit.operation_id,
            seen=seen,
        )

    async def _wait(self, request: Request) -> Response:
        visit = self._visits.get(request.path_params["visit"])
        if visit is None or visit.task is None:
            again = "Open your link again to ask for another session."
            return _page("This session is not waiting any more", again, status=404)
        visit.seen_at = time.monotonic()
        if not visit.task.done():
            why = visit.why[:1].upper() + visit.why[1:]
            body = f"{html.escape(why)}. This page goes on by itself."
            return _page("Your turn comes soon", body, refresh=True)
        del self._visits[request.path_params["visit"]]
        try:
            return RedirectResponse(visit.task.result().url, SEE_OTHER, headers=_HEADERS)
        except (Refusal, ClientError) as error:
            return _page("You cannot sign now", html.escape(str(error)), status=409)

    async def _thanks(self, request: Request) -> Response:
        return _page("Thank you", "You are back in the application.")


@asynccontextmanager
async def serving(client: EnvelopeClient, account: str, port: int) -> AsyncIterator[SigningApp]:
    """The application on a port of this machine, until the block ends."""
    app = SigningApp(client, account, f"http://{HOST}:{port}")
    config = uvicorn.Config(
        app.asgi(),
        host=HOST,
        port=port,
        log_level="critical",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve())
    reaping = asyncio.create_task(app.reap())
    try:
        async with asyncio.timeout(10):
            while not server.started:
                if serving.done():
                    await serving
                await asyncio.sleep(0.01)
        yield app
    finally:
        reaping.cancel()
        await app.close()
        server.should_exit = True
        await serving


def _page(title: str, body: str, *, status: int = 200, refresh: bool = False) -> Response:
    head = f'<meta http-equiv="refresh" content="{REFRESH_S}">' if refresh else ""
    text = _PAGE.format(head=head, title=html.escape(title), body=f"<p>{body}</p>")
    return HTMLResponse(text, status, headers=_HEADERS)
