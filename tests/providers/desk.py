"""One envelope in the making, and the simulator's record of it in the terms of a definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sealwax.calls import Mutate
from sealwax.definition import Definition, Recipient, RecipientKind, Tab, TabKind
from sealwax.facts import EnvelopeStatus
from sealwax.mutations import (
    Mutation,
    SendEnvelope,
)
from sealwax.observations import Observation
from sealwax.providers.http import HttpProvider
from tests.providers.samples import (
    DEFINITION,
    NUMBERS,
    change,
    contents,
    document,
    new_envelope,
)
from tests.providers.simulated import Stage

CREATED, SENT = EnvelopeStatus.CREATED, EnvelopeStatus.SENT
ANNEX = document(2, "annex.pdf", "Annex")
ED = Recipient("dee", "Ed Elm", "ed@example.com", 9, kind=RecipientKind.CARBON_COPY)
ED_TOO = replace(ED, recipient_id="ed")
TWO_DOCUMENTS = replace(DEFINITION, documents=(*DEFINITION.documents, ANNEX))
TEXT = Tab(TabKind.TEXT, "rent", document_id=1, x=5, value="900")
CHECKBOX = Tab(TabKind.CHECKBOX, "pets", document_id=1, value="true")


class Desk:
    """One envelope in the making: remembers its definition between mutations."""

    def __init__(self, stage: Stage, provider: HttpProvider, envelope_id: str) -> None:
        self.stage, self.provider, self.envelope_id = stage, provider, envelope_id
        self.definition: Definition = DEFINITION
        self.status = CREATED
        self.last: Mutate | None = None

    @staticmethod
    async def draft(stage: Stage) -> Desk:
        provider = await stage.provider()
        applied = await provider.create(new_envelope())
        return Desk(stage, provider, applied.provider_envelope_id)

    @staticmethod
    async def sent(stage: Stage) -> Desk:
        desk = await Desk.draft(stage)
        await desk.make(SendEnvelope())
        return desk

    async def make(self, mutation: Mutation, *texts: str) -> Any:
        call = change(mutation, self.status, self.definition)
        applied = await self.provider.mutate(
            self.envelope_id, call, contents(*texts) if texts else {}
        )
        self.definition, self.last = call.after, call
        if isinstance(mutation, SendEnvelope):
            self.status = SENT
        return applied

    async def read(self, with_tabs: bool = True) -> Observation:
        return await self.provider.read(self.envelope_id, with_tabs)

    async def truth(self) -> Any:
        return await self.stage.truth(self.envelope_id)


def definition_of(truth: Any) -> Any:
    """The simulator's record in the terms of a definition."""
    return {
        "subject": truth["emailSubject"],
        "message": truth["emailBlurb"],
        "documents": {int(d["documentId"]): (d["name"], d["sha256"]) for d in truth["documents"]},
        "recipients": {
            r["recipientId"]: (
                r["name"],
                r["email"],
                r["routingOrder"],
                r["clientUserId"] or "",
                {(t["tabLabel"], str(t.get("xPosition"))) for t in r["tabs"]},
            )
            for r in truth["recipients"]
        },
    }


def wanted(definition: Definition) -> Any:
    return {
        "subject": definition.subject,
        "message": definition.message,
        "documents": {d.document_id: (d.name, d.blob.digest) for d in definition.documents},
        "recipients": {
            NUMBERS[r.recipient_id]: (
                r.name,
                r.email,
                r.routing_order,
                r.client_user_id,
                {(t.label, str(t.x)) for t in r.tabs},
            )
            for r in definition.recipients
        },
    }
