"""What a storm asks of both sides: the demonstration's lives, spread over the storm.

Every life is drawn from the seed. No two changes of a life conflict, and each leaves a mark of its
own in the provider's ledger, so that the ledger alone tells what is in effect and what is not. One
signer of each envelope signs in an embedded session, the others act on their mails.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from demo import workload
from demo.workload import Life, Request

EMBEDDED = workload.SELLER
"""The role that signs in an embedded session."""

ENVELOPES_PER_S = 0.5
STARTS_UNTIL = 0.75
"""The last life starts after this part of the storm."""

ASKED_AGAIN_RATE = 0.25
"""So many requests are asked twice, because their callers die, too."""

ENVELOPES_MIN = 4


@dataclass(frozen=True, slots=True)
class Operation:
    """One request with the id under which its caller asks for it, perhaps once more, later."""

    operation_id: str
    request: Request
    again_after_s: float | None


def lives(seed: int, seconds: float) -> tuple[Life, ...]:
    """The lives of a storm, in the order in which they start."""
    count = max(ENVELOPES_MIN, round(seconds * ENVELOPES_PER_S))
    draw = random.Random(f"storm-lives:{seed}")
    starts = sorted(draw.uniform(0, STARTS_UNTIL * seconds) for _ in range(count))
    made = workload.make(seed, count)
    return tuple(
        replace(life, key=f"storm-{seed}-{life.key}", starts_at_s=start)
        for life, start in zip(made, starts, strict=True)
    )


def operations(life: Life) -> Iterator[Operation]:
    """The requests of a life with their operation ids, in the order of its phases."""
    draw = random.Random(f"storm-operations:{life.key}")
    for number, request in enumerate(life.requests()):
        again = draw.random() < ASKED_AGAIN_RATE
        after_s = draw.uniform(0, 2) if again else None
        yield Operation(f"{life.key}-op{number}", request, after_s)
