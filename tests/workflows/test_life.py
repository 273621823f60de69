"""An envelope's life through the real server, judged by the simulator's ledger."""

from __future__ import annotations

import asyncio

from sealwax.definition import Recipient
from sealwax.mutations import ChangeMessage
from tests.rig import Rig


async def test_an_envelope_is_sent_once_signed_and_closed(house: Rig):
    """Created as a draft, sent, signed, confirmed by a read, archived, closed."""
    envelope = await house.create()
    await envelope.wait("sent", timeout_s=20)
    (made,) = await house.desk.envelopes()
    assert made["status"] == "sent"

    await house.desk.acts(made["envelopeId"], "1", "sign")
    # No webhook is connected here, so that only a read can tell: a mutation makes one.
    snapshot = await envelope.status()
    assert snapshot.provider_envelope_id == made["envelopeId"]
