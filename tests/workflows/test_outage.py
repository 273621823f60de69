"""Law 3 in an outage of the provider: nobody storms it, nothing is made twice, all goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from tests import rig

ENVELOPES = 12
OUTAGE_S = 6


async def test_an_outage_costs_probes_and_every_envelope_is_sent_once_after_it(house: rig.Rig):
    """Without the circuit each envelope would ask about once a second, by QUICK's timing."""
    first = await house.create()
    await first.wait("sent", timeout_s=30)
    await house.desk.harm(outage={"mode": "error", "for_s": OUTAGE_S})

    waiting = [await house.create() for _ in range(ENVELOPES)]
    await asyncio.gather(*(envelope.wait("sent", timeout_s=60) for envelope in waiting))

    ledger = await house.desk.ledger(calls=True)
    struck = outages(ledger)
    # In the air at once, up to the opening; then one probe a pause, pauses growing from 0.5 s.
    assert 5 <= len(struck) <= ENVELOPES + 4 + 4, len(struck)
    assert len(ledger["envelopes"]) == ENVELOPES + 1
    assert {e["status"] for e in ledger["envelopes"]} == {"sent"}


def outages(ledger: Any) -> list[Any]:
    """The calls that met the outage, by the simulator's own record."""
    return [call for call in ledger["calls"] if str(call.get("fault", "")).startswith("outage")]
