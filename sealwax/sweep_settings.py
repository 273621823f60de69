"""``[sweep]``: how what never came by webhook is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field
from pydantic_core import PydanticCustomError

from sealwax.settings_types import Part

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SweepSettings(Part):
    """``[sweep]``: for each account a sweep every ``every_s`` seconds; 0 makes none.

    A sweep lists what changed its status since the last one, and once more the ``overlap_s``
    before that, because whether the provider's list shows a change at once is not documented; the
    first one looks ``look_back_s`` back. ``page``: envelopes per request, of which at most
    ``batch`` are named by id, since their ids stand in the address. An envelope of which nothing
    was heard for ``silent_after_s`` is asked about with others, in at most ``silent_requests_max``
    requests of one sweep. A webhook counts as drift once it is ``late_after_s`` late, and no more
    when it comes after all.
    """

    every_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 900.0
    overlap_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 600.0
    look_back_s: Seconds = 86_400.0
    page: Annotated[int, Field(ge=5, le=1000)] = 100
    batch: Annotated[int, Field(ge=1, le=100)] = 50
    silent_after_s: Seconds = 3_600.0
    silent_requests_max: Annotated[int, Field(ge=1)] = 20
    late_after_s: Seconds = 900.0


def check_sweep(sweep: SweepSettings, polls: Iterable[tuple[str, float]]) -> None:
    """Raise ``PydanticCustomError`` for times that cannot be.

    ``polls``: each account's name, and the least time between two looks at one envelope that
    nobody asked for (``quota_limits.Limits.poll_every_s``).
    """
    if 0 < sweep.every_s < 1:
        raise PydanticCustomError(
            "sweep", "sweep.every_s must be 0 (no sweeps) or at least 1; correct it", {}
        )
    for name, poll_every_s in polls:
        if sweep.silent_after_s < poll_every_s:
            raise PydanticCustomError(
                "sweep",
                "sweep.silent_after_s must be at least {least} for account {name}, which may not"
                " ask more often (quota.poll_every_s); set more",
                {"least": f"{poll_every_s:g}", "name": name},
            )
