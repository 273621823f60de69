"""The machine: an envelope, something that happened, and the time, into an envelope and effects.

``advance`` is total. First the event is absorbed, then what to do next is decided from the state
alone, never from the event: so it does not matter which event brought the state about, and a
restart in any state goes on where it was. At most one call is in flight; that is the one-writer
law, and it orders our reads among our writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sealwax import keys
from sealwax.calls import (
    Applied,
    Archive,
    Archived,
    Bind,
    Call,
    Close,
    Create,
    Done,
    FindCreated,
    Found,
    Mutate,
    NotSent,
    Observed,
    Outcome,
    Read,
    Registered,
    Rejected,
    Unknown,
)
from sealwax.definition import Definition, Refusal
from sealwax.envelope import (
    CREATE_OPERATION,
    EVENT_KEYS_MAX,
    HELD_EVENTS_MAX,
    SEND_OPERATION,
    TIMELINE_LENGTH_MAX,
    Answer,
    AnswerState,
    Entry,
    Envelope,
    Order,
    Pending,
    Timing,
    UnknownOutcome,
    mutation_digest,
    recipient_statuses,
    unplaced,
)
from sealwax.facts import RESTORED, EnvelopeStatus, Fact, ProviderEvent
from sealwax.mutations import (
    CreateEnvelope,
    Mutation,
    Projection,
    RemoveRecipients,
    SendEnvelope,
    project,
)
from sealwax.observations import REPEATABLE, Observation, landed
