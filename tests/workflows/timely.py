"""Workflows whose commands tell the time of the task in which they were made."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

SOON = timedelta(milliseconds=1)
NOBODY = "nobody"
"""A task queue without workers: a call to it is made and never carried out."""


@workflow.defn
class Grace:
    """A signal gives a short grace; an update that comes after it makes a call."""

    def __init__(self) -> None:
        self._until: datetime | None = None

    @workflow.run
    async def run(self) -> None:
        """Until the test is over."""
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def give(self) -> None:
        """No command comes of it."""
        self._until = workflow.now() + SOON

    @workflow.update
    async def ask(self) -> bool:
        """Whether the grace was over; a call was made then, before this answer."""
        late = self._until is not None and workflow.now() > self._until
        if late:
            _call("late")
        return late


@workflow.defn
class Stamp:
    """Each signal makes a call with the task's time in its name."""

    def __init__(self) -> None:
        self._heard = 0
        self._made = 0

    @workflow.run
    async def run(self) -> None:
        """Until the test is over."""
        while True:
            await workflow.wait_condition(lambda: self._heard > self._made)
            self._made += 1
            _call(workflow.now().isoformat())

    @workflow.signal
    def hear(self) -> None:
        """One call more."""
        self._heard += 1

    @workflow.query
    def heard(self) -> int:
        """How many."""
        return self._heard


def _call(name: str) -> None:
    workflow.start_activity(name, task_queue=NOBODY, schedule_to_close_timeout=timedelta(minutes=5))
