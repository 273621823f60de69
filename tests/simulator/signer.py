"""Embedded signers and their signing URLs, for the tests of sessions."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.openapi import OpenApi
from tests.simulator.desk import BASE, Desk, person

RETURN_URL = "https://app.example.com/back?state=7"
NOTE = {"textTabs": [{"tabLabel": "Note", "documentId": "1", "pageNumber": "1"}]}


def embedded(recipient_id: str, order: int = 1, **more: Any) -> dict[str, Any]:
    """A signer with a clientUserId and one text field."""
    return person(recipient_id, order, clientUserId=f"c{recipient_id}", tabs=NOTE, **more)


def asking(recipient_id: str, **more: Any) -> dict[str, Any]:
    """The body of a view request."""
    return {
        "returnUrl": RETURN_URL,
        "authenticationMethod": "None",
        "clientUserId": f"c{recipient_id}",
        "recipientId": recipient_id,
        **more,
    }


def view_path(envelope: str) -> str:
    """The path of view requests, below the account."""
    return f"/envelopes/{envelope}/views/recipient"


def event_of(url: str) -> str:
    """The `event` of a return URL."""
    return parse_qs(urlsplit(url).query)["event"][0]


class Signers:
    """The embedded signers of one envelope, each with a browser without HTML."""

    def __init__(self, desk: Desk, envelope: str) -> None:
        self.desk = desk
        self.envelope = envelope

    async def url(self, recipient_id: str, **more: Any) -> str:
        """Ask for a signing URL; the request must be one that the definitions declare."""
        body, path = asking(recipient_id, **more), view_path(self.envelope)
        assert OpenApi.load().check_request("POST", BASE + path, {}, body) == []
        return str((await self.desk.ok("POST", path, body))["url"])

    async def do(self, recipient_id: str, action: str, **body: Any) -> dict[str, Any]:
        """What `/session/{action}` answers; it must succeed."""
        path = f"/simulator/envelopes/{self.envelope}/recipients/{recipient_id}/session/{action}"
        answer = await self.desk.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def open(self, recipient_id: str, **more: Any) -> dict[str, Any]:
        """Ask for a URL and open it."""
        return await self.do(recipient_id, "open", url=await self.url(recipient_id, **more))

    async def ledger(self) -> list[tuple[str, str | None, bool, bool]]:
        """Recipient, end, kicked and inputLost of each session, by the ledger."""
        return [
            (s["recipientId"], s["end"], s["kicked"], s["inputLost"])
            for s in (await self.desk.ledger())["sessions"]
        ]


async def signers(desk: Desk, *recipients: dict[str, Any]) -> Signers:
    """A sent envelope with these signers (default: two whose turn it is)."""
    return Signers(desk, await desk.create(*(recipients or (embedded("1"), embedded("2")))))
