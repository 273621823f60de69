"""The sender's own list, held against what the workflows took in.

An event is lost that was acknowledged and that no workflow counted. It has a double effect where a
workflow counted more events than different ones reached it. What reached a workflow stands in its
Temporal history. An event's state is visible from the moment on at which the server has completed
the task that took it in: from then on every query and update answers with it. That moment is the
server's own time in the history, of the same machine's clock as the sender's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from benchmarks.ingest.load import Sent
from benchmarks.ingest.payloads import Sender
from benchmarks.ingest.world import World
from demo import stage
from sealwax.keys import workflow_id
from sealwax.messages import SIGNAL_EVENTS, Snapshot
from sealwax.providers.registry import webhook_reader

AT_ONCE = 16
SETTLE_S, LOOK_S = 30.0, 0.5


@dataclass
class Heard:
    """What reached one workflow: how often each event did, and when its state was visible."""

    times: Counter[str] = field(default_factory=Counter)
    visible: dict[str, float] = field(default_factory=dict)
    signals: int = 0


@dataclass
class Verdict:
    """What came of all lists.

    ``unacked_effects``: taken in though the sender never heard so. ``delivered_again``: signalled
    more than once, as after a kill in between. ``diverged``: envelopes whose status or whose
    recipients' is not the provider's. ``keys``: of each list by its first number. ``visible``:
    Unix time by key.
    """

    lost: int = 0
    double_effects: int = 0
    unacked_effects: int = 0
    delivered_again: int = 0
    diverged: int = 0
    signals: int = 0
    keys: dict[int, list[str]] = field(default_factory=dict)
    visible: dict[str, float] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)


def event_keys(sender: Sender, sent: Sent) -> list[str]:
    """The keys under which workflows count what was sent, in its order; of signed bytes alone."""
    reader = webhook_reader("docusign")
    numbers = range(sent.first, sent.first + len(sent.due))
    return [reader.identify(sender.body(number)).event_key for number in numbers]


async def judge(world: World, lists: Sequence[tuple[Sender, Sent]]) -> Verdict:
    """Judge all that was sent to the world's envelopes; each list with the sender that made it."""
    acked: list[set[str]] = [set() for _ in world.targets]
    sent: list[set[str]] = [set() for _ in world.targets]
    verdict = Verdict()
    for sender, part in lists:
        verdict.keys[part.first] = event_keys(sender, part)
        for index, key in enumerate(verdict.keys[part.first]):
            whose, _ = sender.chosen(part.first + index)
            sent[whose].add(key)
            if part.acked[index] is not None:
                acked[whose].add(key)
    ledger = await world.control.ledger(world.tenant.account_id)
    truths = {truth["envelopeId"]: truth for truth in ledger["envelopes"]}
    narrow = asyncio.Semaphore(AT_ONCE)

    async def one(whose: int) -> None:
        key = world.keys[whose]
        async with narrow:
            heard, snapshot = await _settled(world, key, acked[whose])
        weigh(verdict, key, heard, snapshot.events_seen, acked[whose], sent[whose])
        verdict.diverged += _diverged(snapshot, truths[snapshot.provider_envelope_id])

    await asyncio.gather(*(one(whose) for whose in range(len(world.targets))))
    return verdict


async def _settled(world: World, key: str, acked: set[str]) -> tuple[Heard, Snapshot]:
    """What a workflow heard and how it stands, once the two agree or have not for too long.

    Signals that come while a task is under way are in the server's buffer, and not in the history
    yet; what is lost or doubled stays so, however long one looks.
    """
    until = time.monotonic() + SETTLE_S
    while True:
        heard = await heard_by(world.temporal, workflow_id(stage.ACCOUNT, key))
        snapshot = await world.client.envelope(stage.ACCOUNT, key).status()
        agreed = snapshot.events_seen == len(heard.times) and acked <= heard.times.keys()
        if agreed or time.monotonic() > until:
            return heard, snapshot
        await asyncio.sleep(LOOK_S)


def weigh(
    verdict: Verdict, name: str, heard: Heard, counted: int, acked: set[str], sent: set[str]
) -> None:
    """Add one workflow's to the verdict: what reached it, and how many events it counted."""
    reached = heard.times.keys()
    never = len(acked - reached)
    # What reached the workflow and was not counted there is lost as well.
    uncounted = max(0, len(reached) - counted)
    doubled = max(0, counted - len(reached))
    verdict.lost += never + uncounted
    verdict.double_effects += doubled
    verdict.unacked_effects += len((sent - acked) & reached)
    verdict.delivered_again += heard.times.total() - len(reached)
    verdict.signals += heard.signals
    verdict.visible |= heard.visible
    if never or uncounted or doubled:
        verdict.why.append(
            f"{name}: {never} never reached it, {uncounted} were not counted, {doubled} too many"
        )


async def heard_by(temporal: Client, workflow: str) -> Heard:
    """All that was ever signalled to a workflow, over all of its runs."""
    heard = Heard()
    run: str | None = None
    while True:
        handle = temporal.get_workflow_handle(workflow, run_id=run)
        waiting: list[tuple[int, list[str]]] = []
        before = ""
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                started = event.workflow_execution_started_event_attributes
                before = started.continued_execution_run_id
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                keys = await _signalled(temporal, event)
                heard.signals += bool(keys)
                heard.times.update(keys)
                waiting.append((event.event_id, keys))
            elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                done = event.workflow_task_completed_event_attributes
                at = event.event_time.ToDatetime(UTC).timestamp()
                taken = [w for w in waiting if w[0] < done.started_event_id]
                waiting = [w for w in waiting if w[0] > done.started_event_id]
                for key in (key for _, keys in taken for key in keys):
                    # Told twice, it was visible from the first time on.
                    heard.visible[key] = min(at, heard.visible.get(key, at))
        if not before:
            return heard
        run = before


async def _signalled(temporal: Client, event: Any) -> list[str]:
    told = event.workflow_execution_signaled_event_attributes
    if told.signal_name != SIGNAL_EVENTS:
        return []
    payloads = list(told.input.payloads)
    codec = temporal.data_converter.payload_codec
    if codec is not None:
        payloads = await codec.decode(payloads)
    return [one["event_key"] for one in json.loads(payloads[0].data)["events"]]


def _diverged(snapshot: Snapshot, truth: Any) -> bool:
    ours = {r.provider_recipient_id: r.status.value for r in snapshot.recipients}
    theirs = {r["recipientId"]: r["status"] for r in truth["recipients"]}
    return snapshot.status.value != truth["status"] or ours != theirs
