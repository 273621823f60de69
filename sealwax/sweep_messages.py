"""The contract of sweeps: names, what starts one, and how an account's sweeps stand."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from sealwax.messages import Message

WORKFLOW_SWEEP = "sweep"
QUERY_SWEEP = "sweep"

SWEEP_LASTS_AT_MOST = timedelta(hours=6)
"""A sweep that is not done by then has no worker, or waits for a provider that is away; the next
one begins where it did."""


class SweepInput(Message):
    """What starts a sweep of an account; all but the first two are for its own next run.

    ``silent_requests_max``: requests about silent envelopes that it may make.
    """

    account: str
    silent_requests_max: int = 20
    since: datetime | None = None
    position: int = 0
    last_ids: tuple[str, ...] = ()
    as_of: datetime | None = None
    listed: int = 0
    signalled: int = 0


class SweepResult(Message):
    """What a sweep did: envelopes listed, workflows told, silent envelopes asked about."""

    listed: int
    signalled: int
    asked: int


class DriftedChange(Message):
    """A status change whose webhook has not come, and since when a sweep knows of it.

    ``recipient`` is the provider's recipient id, "" where it is the envelope's change.
    """

    provider_envelope_id: str
    status: str
    recipient: str = ""
    found_at: datetime


class SweepSnapshot(Message):
    """An account's sweeps as they stood at ``looked_at`` (None: nobody has looked yet).

    ``watermark``: up to where, in the provider's time, every change is with its workflow.
    ``drift``: status changes that sweeps saw at the provider and whose webhooks have not come,
    not counting ``waiting`` ones, which are not late yet; ``drifted`` shows the oldest.
    ``came_late``: webhooks that a sweep missed and that came afterwards; they are no drift.
    ``strangers``: envelopes made elsewhere, of which ``stranger_ids`` are the latest. ``sweeps``
    to ``asked`` are totals: sweeps made, envelopes listed, workflows told what they lacked, silent
    envelopes asked about. ``problem``: why the last sweep did not come to its end.
    """

    account: str
    looked_at: datetime | None = None
    watermark: datetime | None = None
    swept_at: datetime | None = None
    drift: int = 0
    waiting: int = 0
    drifted: tuple[DriftedChange, ...] = ()
    came_late: int = 0
    strangers: int = 0
    stranger_ids: tuple[str, ...] = Field(default=())
    sweeps: int = 0
    listed: int = 0
    signalled: int = 0
    asked: int = 0
    problem: str = ""
