"""One table: how long each activity may take and what Temporal may do about a dead worker.

A mutating activity has one attempt: if its worker dies, nobody knows whether it took effect, and
the envelope law looks before it does anything again. The others may be run again at once.
"""

from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import RetryPolicy

HEARTBEAT_TIMEOUT = timedelta(seconds=5)
"""A worker that is killed is noticed within this time (the activities beat every second)."""

GRACE = timedelta(seconds=10)
"""How much longer than the call's own deadline Temporal waits, so that the call ends first."""

ONCE = RetryPolicy(maximum_attempts=1)
AGAIN = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)


@dataclass(frozen=True)
class Policy:
    """One activity's deadline and retries.

    ``deadline_s`` None means the call deadline of the envelope's own timing.
    """

    retries: RetryPolicy
    deadline_s: float | None = None


POLICIES: dict[str, Policy] = {
    "register": Policy(AGAIN, 30.0),
    "create": Policy(ONCE),
    "find_created": Policy(AGAIN, 60.0),
    "bin": Policy(AGAIN, 60.0),
    "bind": Policy(AGAIN, 30.0),
    "mutate": Policy(ONCE),
    "read": Policy(AGAIN, 60.0),
    "archive": Policy(AGAIN, 300.0),
    "close": Policy(AGAIN, 30.0),
    "open_view": Policy(AGAIN, 30.0),
    "revoke_view": Policy(AGAIN, 30.0),
    "ask_bridge": Policy(AGAIN, 30.0),
}
"""By the kind of the call."""

LOOK_QUOTA = Policy(RetryPolicy(initial_interval=timedelta(seconds=10)), 15.0)
"""A look at the quota ledger, which answers at once or says that it is away."""

SWEEP = Policy(AGAIN, 120.0)
"""One part of a sweep, which may be run again; nothing hurries."""
