"""The two applications: one that asks the provider whenever its user clicks, one that asks Sealwax.

Both make the same envelopes. What they share besides is the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx

from benchmarks.signing import NoUrl, Plan, Visit
from demo import stage
from demo.contracts.render import TITLES
from demo.control import Control
from demo.naive.client import document_json
from demo.naive.rest import Credentials, NoAnswer, Rejected, Rest
from demo.naive.sessions import NaiveSessions, Signer
from demo.orchestrated import contract_file
from sealwax.answers import ClientError
from sealwax.client import EnvelopeClient, EnvelopeHandle
from sealwax.definition import Recipient, Refusal

THANKS = "http://127.0.0.1:9/thanks"
CONTRACT = sorted(TITLES)[0]
SUBJECT = "Please sign"
SENT_WITHIN_S = 60.0
GRANTED_WITHIN_S = 90.0


def signer_of(plan: Plan) -> Signer:
    """The application's record of a person."""
    address = f"{plan.person}@example.com"
    return Signer(str(plan.place), f"user-{plan.person}", plan.person, address)


class NaiveApplication:
    """Signing URLs straight from the provider."""

    name = "naive"

    def __init__(self, rest: Rest, sessions: NaiveSessions) -> None:
        self._rest = rest
        self._sessions = sessions

    async def prepare(self, plans: Sequence[Plan]) -> list[Visit]:
        """Send the envelopes; the visits to be made to them."""
        visits = []
        for number in sorted({plan.envelope for plan in plans}):
            mine = [plan for plan in plans if plan.envelope == number]
            made = await self._rest.call("POST", "/envelopes", body=_body(mine))
            visits += [Visit(plan, str(made["envelopeId"]), str(plan.place)) for plan in mine]
        return visits

    async def url(self, visit: Visit) -> str:
        """See `Application`."""
        try:
            made = await self._sessions.visit(visit.envelope_id, signer_of(visit.plan))
        except (Rejected, NoAnswer) as error:
            raise NoUrl(str(error)) from error
        return made.url

    async def came_back(self, return_url: str) -> None:
        """The application's own page; it needs nothing from it here."""


class SealwaxApplication:
    """Signing URLs from Sealwax, which hands them out one by one."""

    name = "sealwax"

    def __init__(self, client: EnvelopeClient, account: str, browser: httpx.AsyncClient) -> None:
        self._client = client
        self._account = account
        self._browser = browser

    async def prepare(self, plans: Sequence[Plan]) -> list[Visit]:
        """Send the envelopes; the visits to be made to them."""
        numbers = sorted({plan.envelope for plan in plans})
        made = await asyncio.gather(
            *(self._sent([plan for plan in plans if plan.envelope == n]) for n in numbers)
        )
        return [visit for visits in made for visit in visits]

    async def _sent(self, plans: Sequence[Plan]) -> list[Visit]:
        people = [signer_of(plan) for plan in plans]
        envelope = await self._client.create(
            account=self._account,
            key=_key(plans[0]),
            subject=SUBJECT,
            documents=[contract_file(CONTRACT)],
            recipients=[
                Recipient(p.name, p.name, p.email, client_user_id=p.client_user_id) for p in people
            ],
        )
        snapshot = await envelope.wait("sent", timeout_s=SENT_WITHIN_S)
        numbers = {r.recipient_id: r.provider_recipient_id for r in snapshot.recipients}
        return [Visit(p, snapshot.provider_envelope_id, numbers[p.person]) for p in plans]

    async def url(self, visit: Visit) -> str:
        """See `Application`."""
        envelope: EnvelopeHandle = self._client.envelope(self._account, _key(visit.plan))
        try:
            ticket = await envelope.open_session(
                visit.plan.person, THANKS, timeout_s=GRANTED_WITHIN_S
            )
        except (Refusal, ClientError) as error:
            raise NoUrl(str(error)) from error
        return ticket.url

    async def came_back(self, return_url: str) -> None:
        """The browser comes to the bridge's landing page."""
        (await self._browser.get(return_url)).raise_for_status()


@asynccontextmanager
async def naive_application(control: Control) -> AsyncIterator[tuple[NaiveApplication, str]]:
    """The naive application with an account of its own, and that account's id."""
    tenant = stage.new_tenant("naive")
    await stage.admit(control, tenant, "Naive client")
    credentials = Credentials(
        control.url,
        tenant.account_id,
        tenant.principal.integration_key,
        tenant.principal.user_id,
        tenant.private_key_pem,
    )
    async with Rest(credentials) as rest, NaiveSessions(credentials, THANKS) as sessions:
        yield NaiveApplication(rest, sessions), tenant.account_id


def _key(plan: Plan) -> str:
    return f"signing-{plan.envelope}"


def _body(plans: Sequence[Plan]) -> dict[str, object]:
    people = [signer_of(plan) for plan in plans]
    return {
        "status": "sent",
        "emailSubject": SUBJECT,
        "documents": [document_json(1, CONTRACT)],
        "recipients": {
            "signers": [
                {
                    "recipientId": person.recipient_id,
                    "clientUserId": person.client_user_id,
                    "name": person.name,
                    "email": person.email,
                    "routingOrder": "1",
                }
                for person in people
            ]
        },
    }
