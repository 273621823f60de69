"""The naive session client is competent: its harm is the provider's rule, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from demo import stage
from demo.control import Control
from demo.naive.rest import Credentials, Rejected, Rest
from demo.naive.sessions import AGAIN, NaiveSessions, Signer
from tests.simulator.desk import definition
from tests.simulator.program import running
from tests.simulator.signer import embedded

pytestmark = pytest.mark.server

RETURN_URL = "https://app.example.com/signed"


@dataclass
class Team:
    """A team's client with an account at a simulator, and what plays its users' browsers."""

    url: str
    account_id: str
    sessions: NaiveSessions
    rest: Rest
    control: Control
    browser: httpx.AsyncClient

    async def envelope(self, *signers: dict[str, Any]) -> str:
        """Send an envelope to these signers."""
        return str(
            (await self.rest.call("POST", "/envelopes", body=definition(*signers)))["envelopeId"]
        )

    async def do(self, envelope: str, recipient_id: str, action: str, **body: Any) -> Any:
        """What a signer's browser does."""
        path = f"/simulator/envelopes/{envelope}/recipients/{recipient_id}/session/{action}"
        answer = await self.browser.post(self.url + path, json=body)
        return answer.raise_for_status().json()


@asynccontextmanager
async def team(**harms: Any) -> AsyncIterator[Team]:
    """A team with an account at a fresh simulator."""
    with running("--overlap", "off") as (url, _):
        async with Control(url) as control, httpx.AsyncClient(trust_env=False) as browser:
            if harms:
                await control.set_harms(harms)
            tenant = stage.new_tenant("naive")
            await stage.admit(control, tenant, "Naive client")
            credentials = Credentials(
                url,
                tenant.account_id,
                tenant.principal.integration_key,
                tenant.principal.user_id,
                tenant.private_key_pem,
            )
            async with NaiveSessions(credentials, RETURN_URL) as sessions, Rest(credentials) as own:
                yield Team(url, tenant.account_id, sessions, own, control, browser)


def person_of(recipient: dict[str, Any]) -> Signer:
    """The application's record of a recipient."""
    return Signer(
        recipient["recipientId"],
        recipient["clientUserId"],
        recipient["name"],
        recipient["email"],
    )


async def tries(side: Team, envelope: str, signer: Signer, typed: asyncio.Event) -> str:
    """One visit of a user, who signs once `typed` is set; the event that it ends with."""
    visit = await side.sessions.visit(envelope, signer)
    left = await side.do(envelope, signer.recipient_id, "open", url=visit.url)
    if "event" not in left:
        left = await side.do(envelope, signer.recipient_id, "type")
    await typed.wait()
    if "event" not in left:
        left = await side.do(envelope, signer.recipient_id, "sign")
    state = parse_qs(urlsplit(left["returnUrl"]).query)["state"][0]
    assert side.sessions.came_back(state) == visit
    assert side.sessions.came_back(state) is None
    return str(left["event"])


@pytest.mark.parametrize(("policy", "harmed"), [("off", 0), ("one-per-envelope", 2)])
async def test_its_harm_comes_from_the_rule_alone(policy: str, harmed: int):
    """Each user comes while the one before is typing: with the rule off all of them sign at once.

    With it, everybody but the last is kicked, loses what was typed, and has to come again.
    """
    async with team(sessions=policy) as side:
        people = [embedded(number) for number in "123"]
        envelope = await side.envelope(*people)
        typed = asyncio.Event()
        visits = []
        for person in people:
            visits.append(asyncio.ensure_future(tries(side, envelope, person_of(person), typed)))
            await typing(side, len(visits))
        typed.set()
        events = await asyncio.gather(*visits)
        ledger = await side.control.ledger(side.account_id)
        assert (ledger["kicked"], ledger["input_lost"]) == (harmed, harmed)
        assert events == ["session_timeout"] * harmed + ["signing_complete"] * (3 - harmed)
        for person, event in zip(people, events, strict=True):
            if event in AGAIN:
                assert await tries(side, envelope, person_of(person), typed) == "signing_complete"
        assert (await side.control.truth(envelope))["status"] == "completed"


async def typing(side: Team, count: int) -> None:
    """Wait until so many sessions have something typed, by the ledger."""
    async with asyncio.timeout(10):
        while True:
            sessions = (await side.control.ledger(side.account_id))["sessions"]
            if sum(s["typed"] > 0 for s in sessions) >= count:
                return


async def test_a_signer_out_of_turn_waits_and_others_are_refused():
    """Routing is waited for, a wrong recipient is an error at once."""
    async with team(sessions="off") as side:
        first, second = embedded("1"), embedded("2", 2)
        envelope = await side.envelope(first, second)
        with pytest.raises(Rejected, match="RECIPIENT_NOT_IN_SEQUENCE"):
            await side.sessions.visit(envelope, person_of(second), turn_within_s=0)
        with pytest.raises(Rejected, match="UNKNOWN_ENVELOPE_RECIPIENT"):
            await side.sessions.visit(envelope, person_of(embedded("9")))
        waiting = asyncio.ensure_future(side.sessions.visit(envelope, person_of(second)))
        visit = await side.sessions.visit(envelope, person_of(first))
        await side.do(envelope, "1", "open", url=visit.url)
        await side.do(envelope, "1", "sign")
        assert (await waiting).signer == person_of(second)


async def test_a_lost_answer_is_asked_for_again():
    """The first request took effect, its answer was lost: the second URL is the one that works."""
    lost = {"operation": "Views_PostEnvelopeRecipientView", "mode": "commit_then_drop"}
    async with team(lost_answers=[lost]) as side:
        envelope = await side.envelope(embedded("1"))
        visit = await side.sessions.visit(envelope, person_of(embedded("1")))
        assert "event" not in await side.do(envelope, "1", "open", url=visit.url)
        ends = [s["end"] for s in (await side.control.ledger(side.account_id))["sessions"]]
        assert ends == ["invalidated", None]


async def test_a_forged_return_belongs_to_nobody():
    nowhere = Credentials("http://127.0.0.1:9", "a", "k", "u", "")
    async with NaiveSessions(nowhere, RETURN_URL) as sessions:
        assert sessions.came_back("guessed") is None
