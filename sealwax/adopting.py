"""How an envelope that was made elsewhere becomes one of ours: by a read instead of a create.

What it is, who is in it and how it stands is taken as the provider shows it. From then on it is
as any other: webhooks, changes, sessions, the archive. Its recipients bear the provider's ids, and
the bytes of its documents stay with the provider until it is completed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sealwax.bookkeeping import told
from sealwax.conflicts import revised
from sealwax.definition import Definition
from sealwax.envelope import Envelope
from sealwax.observations import Observation
from sealwax.seeing import observed


def adopted(state: Envelope, seen: Observation, asked_at: datetime, now: datetime) -> Envelope:
    """The envelope as the first read shows it."""
    before, definition = state, seen.definition or Definition(subject=seen.subject)
    numbers = {r.recipient_id: r.recipient_id for r in definition.recipients}
    state = replace(
        state,
        adopted=True,
        provider_envelope_id=seen.provider_envelope_id,
        definition=definition,
        numbers=numbers,
    )
    state = observed(state, seen, asked_at)
    return told(revised(before, state), now, f"adopted as the provider shows it: {seen.status}")


def not_adopted(state: Envelope, now: datetime, why: str) -> Envelope:
    """There is nothing to adopt, or it is not to be: the workflow ends and changes nothing."""
    state = replace(
        state,
        failed_to_create=True,
        provider_envelope_id="",
        retry_at=None,
        failures={},
        attention="",
        blocked="",
    )
    return told(state, now, f"not adopted: {why}")
