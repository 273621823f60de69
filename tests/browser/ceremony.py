"""Ana and Ben, who sign one envelope in one routing order, each with a field to fill in; and the
two applications that send their browsers to the provider: one asks Sealwax, the other does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvicorn
from playwright.async_api import Page, expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from demo.contracts.render import TITLES
from demo.naive.listener import QuietServer
from demo.naive.sessions import NaiveSessions, Signer
from demo.orchestrated import contract_file
from sealwax.client import EnvelopeClient
from sealwax.definition import Recipient, Tab, TabKind
from sealwax.handle import EnvelopeHandle

PEOPLE = [
    Recipient("ana", "Ana Lund", "ana@example.com", 1, client_user_id="a"),
    Recipient("ben", "Ben Okafor", "ben@example.com", 1, client_user_id="b"),
]
FIELD = "Place and date"
CONTRACT = sorted(TITLES)[0]


async def draft(
    client: EnvelopeClient, account: str, key: str, people: Sequence[Recipient]
) -> EnvelopeHandle:
    """An envelope of the contract, not sent yet."""
    return await client.create(
        account=account,
        key=key,
        subject=TITLES[CONTRACT],
        documents=[contract_file(CONTRACT)],
        recipients=people,
        send=False,
    )


async def sent(client: EnvelopeClient, account: str, key: str) -> EnvelopeHandle:
    """The envelope, out for signing."""
    envelope = await draft(client, account, key, PEOPLE)
    await envelope.wait("created", timeout_s=30)
    for height, person in enumerate(PEOPLE):
        y = 500 + 60 * height
        tabs = [
            Tab(TabKind.TEXT, FIELD, 1, x=72, y=y),
            Tab(TabKind.SIGN_HERE, "signature", 1, x=300, y=y),
        ]
        await envelope.set_tabs(person.recipient_id, tabs)
    await envelope.send()
    await envelope.wait("sent", timeout_s=30)
    return envelope


async def fills_in(window: Page, text: str) -> None:
    """Type into the signing page, until the provider has it."""
    await window.get_by_label(FIELD).press_sequentially(text)
    await expect(window.get_by_role("status")).to_have_text("Saved in this session")


@asynccontextmanager
async def naive_application(
    sessions: NaiveSessions, envelope_id: str, port: int
) -> AsyncIterator[None]:
    """Whoever opens ``/sign/NUMBER`` gets a signing URL at once; all come back to ``/thanks``."""

    async def sign(request: Request) -> Response:
        number = int(request.path_params["number"])
        person = PEOPLE[number - 1]
        signer = Signer(str(number), person.client_user_id, person.name, person.email)
        visit = await sessions.visit(envelope_id, signer)
        return RedirectResponse(visit.url, 303)

    async def thanks(request: Request) -> Response:
        return HTMLResponse(f"<h1>Back with {request.query_params['event']}</h1>")

    app = Starlette(routes=[Route("/sign/{number}", sign), Route("/thanks", thanks)])
    config = uvicorn.Config(app, port=port, log_level="critical", lifespan="off")
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while True:
                if server.started or serving.done():
                    break
                await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await serving
