"""The activities of a sweep: nothing is written down before it is told, nothing told twice or to
the wrong ones, nothing asked too often."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from temporalio.exceptions import ApplicationError
from temporalio.runtime import BUFFERED_METRIC_KIND_GAUGE, MetricBuffer, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.sweeps import (
    Advanced,
    PageAsked,
    PageSwept,
    SilentAsked,
    SweepActivities,
    SweepEnded,
    SweepTarget,
    Tools,
    tell_sweep,
)
from sealwax import keys
from sealwax.facts import LISTED, Fact, ProviderEvent
from sealwax.hearing import Heard
from sealwax.messages import EventBatch
from sealwax.providers.base import (
    AccountIdentity,
    Accounts,
    Listing,
    NeedsPerson,
    ProviderError,
    QuotaHeld,
    Unavailable,
)
from sealwax.providers.docusign_changes import ConnectChanges
from sealwax.stores.registry import SqliteRegistry, open_registry
from sealwax.stores.sweep_base import Change
from sealwax.stores.sweeps import SqliteSweeps, open_sweeps
from sealwax.sweep_settings import SweepSettings

ACCOUNT = "acme"
SETTINGS = SweepSettings(page=5, batch=2, late_after_s=0.001)
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def now() -> None:
    """Of each test, not of the import: what is looked at compares with the clock."""
    global NOW
    NOW = datetime.now(UTC)


@dataclass
class Provider:
    """A list of envelopes in the order of their making, which may change between two parts."""

    envelopes: dict[str, tuple[Fact, ...]] = field(default_factory=dict)
    between: list[dict[str, tuple[Fact, ...]]] = field(default_factory=list)
    fails: list[ProviderError] = field(default_factory=list)
    since: list[datetime] = field(default_factory=list)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def listed(self, since: datetime, position: int, count: int) -> Listing:
        if self.fails:
            raise self.fails.pop(0)
        self.since.append(since)
        ids = sorted(self.envelopes)
        part = ids[position : position + count]
        found = Listing(self._events(part), position + len(part) < len(ids), NOW)
        if self.between:
            self.envelopes = self.between.pop(0)
        return found

    async def shown(self, ids: Sequence[str]) -> Listing:
        if self.fails:
            raise self.fails.pop(0)
        self.asked.append(tuple(ids))
        return Listing(self._events([i for i in ids if i in self.envelopes]), as_of=NOW)

    def _events(self, ids: Sequence[str]) -> tuple[ProviderEvent, ...]:
        return tuple(
            ProviderEvent(
                event_key=keys.event_key((i, *(p for f in self.envelopes[i] for p in f.identity))),
                name=LISTED,
                account_id="a",
                provider_envelope_id=i,
                facts=self.envelopes[i],
            )
            for i in ids
        )


@dataclass
class House:
    """A provider, webhooks that came, and a Temporal that takes signals, or does not."""

    registry: SqliteRegistry
    store: SqliteSweeps
    provider_: Provider = field(default_factory=Provider)
    came: dict[str, Heard] = field(default_factory=dict)
    signals: list[tuple[str, ProviderEvent]] = field(default_factory=list)
    refuses: list[RPCStatusCode] = field(default_factory=list)
    workflow_id: str = ""
    settings: SweepSettings = SETTINGS

    def identity(self, account: str) -> AccountIdentity:
        return AccountIdentity("docusign", "a")

    def provider(self, account: str, principal: str, klass: object) -> Provider:
        return self.provider_

    async def of(self, account: str, provider: str, envelope_id: str) -> Heard:
        return self.came.get(envelope_id, Heard())

    async def count(self, account: str, envelope_id: str) -> int:
        return self.came.get(envelope_id, Heard()).webhooks

    async def since(self, account: str, envelope_id: str, moment: datetime) -> datetime | None:
        at = self.came.get(envelope_id, Heard()).last_at
        return at if at is not None and at >= moment else None

    def get_workflow_handle(self, workflow_id: str) -> _Handle:
        return _Handle(self, workflow_id)

    async def ours(self, envelope_id: str, final: str = "") -> str:
        """An envelope that a workflow owns."""
        workflow_id = f"envelope/{ACCOUNT}/k-{envelope_id}"
        digest = keys.business_key_digest(ACCOUNT, f"k-{envelope_id}")
        await self.registry.register(
            account=ACCOUNT,
            business_key_digest=digest,
            workflow_id=workflow_id,
            provider="docusign",
        )
        await self.registry.bind(workflow_id, envelope_id)
        if final:
            await self.registry.finish(workflow_id, final)
        return workflow_id

    async def run(self, name: str, given: object) -> Any:
        """Run an activity as Temporal would."""
        tools = Tools(
            accounts=cast(Accounts, self),
            registry=self.registry,
            open_envelopes=self.registry,
            store=self.store,
            hearing=self,
            changes=lambda _: ConnectChanges(),
            poll_every_s=lambda _: 900.0,
            settings=self.settings,
        )
        environment = ActivityEnvironment(client=cast(Any, self))
        return await environment.run(getattr(SweepActivities(tools), name), given)

    async def page(self, asked: PageAsked | None = None) -> PageSwept:
        swept: PageSwept = await self.run("sweep_page", asked or PageAsked(account=ACCOUNT))
        return swept

    async def silent(self) -> SilentAsked:
        asked: SilentAsked = await self.run("ask_silent", SweepTarget(account=ACCOUNT))
        return asked

    async def end(self) -> None:
        await self.run("end_sweep", SweepEnded(account=ACCOUNT))


@dataclass
class _Handle:
    house: House
    workflow_id: str

    async def signal(self, name: str, batch: EventBatch, rpc_timeout: timedelta) -> None:
        if self.house.refuses:
            raise RPCError("no", self.house.refuses.pop(0), b"")
        self.house.signals += [(self.workflow_id, event) for event in batch.events]


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    registry, store = open_registry(tmp_path / "registry.db"), open_sweeps(tmp_path / "sweeps.db")
    yield House(registry, store)
    await registry.close()
    await store.close()


def at(status: str, recipient: str = "", guid: str = "", ago_s: float = 60) -> Fact:
    return Fact(status, recipient, guid, at=NOW - timedelta(seconds=ago_s))


SENT = (at("created"), at("sent"), at("sent", "1", "g"))
DELIVERED = (*SENT, at("delivered"), at("delivered", "1", "g"))


def heard(*facts: Fact, own: Sequence[Fact] = (), count: int | None = None) -> Heard:
    changes = frozenset(Change(f.status, f.recipient, f.incarnation) for f in own)
    return Heard(facts, changes, len(own) if count is None else count, NOW)


async def test_what_no_webhook_told_is_told_once(house: House):
    """The listed facts go to the workflow; the same list again tells nothing."""
    workflow_id = await house.ours("e1")
    house.provider_.envelopes = {"e1": DELIVERED}
    assert (await house.page()).signalled == 1
    assert (await house.page()).signalled == 0
    ((told, event),) = house.signals
    assert (told, event.facts, event.account_id) == (workflow_id, DELIVERED, "a")


@pytest.mark.parametrize(
    "came",
    [DELIVERED, (*DELIVERED, at("completed"), at("completed", "1", "g"))],
    ids=["all", "more"],
)
async def test_what_webhooks_told_is_not_told_again(house: House, came: tuple[Fact, ...]):
    """Nor what they had gone beyond."""
    await house.ours("e1")
    house.came = {"e1": heard(*came)}
    house.provider_.envelopes = {"e1": DELIVERED}
    assert (await house.page()).signalled == 0
    assert house.signals == []


async def test_a_recipient_s_new_incarnation_is_told(house: House):
    """Statuses alike, but another person stands there."""
    await house.ours("e1")
    house.came = {"e1": heard(*DELIVERED)}
    other = (*DELIVERED[:-1], at("delivered", "1", "another"))
    house.provider_.envelopes = {"e1": other}
    assert (await house.page()).signalled == 1


async def test_nothing_is_remembered_that_was_not_told(house: House):
    """Temporal away in the middle of a part: the part is done again, whole."""
    await house.ours("e1")
    await house.ours("e2")
    house.provider_.envelopes = {"e1": SENT, "e2": SENT}
    house.refuses = [RPCStatusCode.UNAVAILABLE]
    with pytest.raises(ApplicationError) as failed:
        await house.page()
    assert not failed.value.non_retryable
    assert await house.store.envelopes(ACCOUNT, ["e1", "e2"]) == {}
    assert (await house.page()).signalled == 2
    assert {event.provider_envelope_id for _, event in house.signals} == {"e1", "e2"}


async def test_who_has_ended_is_left_alone_and_its_lost_webhooks_count(house: House):
    """By the registry, or because the server says so; drift is counted all the same."""
    await house.ours("e1", final="completed")
    await house.ours("e2")
    house.provider_.envelopes = {"e1": SENT, "e2": SENT}
    house.refuses = [RPCStatusCode.NOT_FOUND]
    await house.page()
    assert house.signals == []
    assert (await house.store.look(ACCOUNT, datetime.now(UTC))).drift == 2 * len(SENT)


async def test_what_was_made_elsewhere_is_counted_and_listed_until_it_is_adopted(house: House):
    """No workflow is started for it."""
    house.provider_.envelopes = {"e1": SENT, "e2": DELIVERED}
    await house.page()
    view = await house.store.look(ACCOUNT, NOW)
    assert (view.strangers, sorted(view.stranger_ids), view.drift) == (2, ["e1", "e2"], 0)
    await house.ours("e2")
    await house.page()
    view = await house.store.look(ACCOUNT, NOW)
    assert (view.strangers, view.stranger_ids) == (1, ("e1",))
    assert [event.provider_envelope_id for _, event in house.signals] == ["e2"]


async def test_drift_is_what_has_no_webhook_of_its_own(house: House):
    """A summary that shows a change is no webhook of it; one that came late takes it out."""
    await house.ours("e1")
    house.provider_.envelopes = {"e1": DELIVERED}
    house.came = {"e1": heard(*DELIVERED, own=[DELIVERED[4]])}
    await house.page()
    await house.end()
    late = datetime.now(UTC)
    missing = {
        (d.change.status, d.change.recipient) for d in await house.store.drift(ACCOUNT, late, 9)
    }
    assert missing == {("created", ""), ("sent", ""), ("sent", "1"), ("delivered", "")}
    house.came = {"e1": heard(*DELIVERED, own=[DELIVERED[4], at("sent"), at("delivered")])}
    await house.end()
    view = await house.store.look(ACCOUNT, datetime.now(UTC))
    assert (view.drift, view.came_late) == (2, 2)


async def test_what_the_journal_forgot_stays_judged_as_it_was(house: House):
    """A webhook that came and was pruned since does not become drift."""
    await house.ours("e1")
    house.provider_.envelopes = {"e1": SENT}
    house.came = {"e1": heard(*SENT, own=SENT)}
    await house.page()
    house.provider_.envelopes = {"e1": DELIVERED}
    house.came = {"e1": heard(own=DELIVERED[3:])}
    await house.page()
    assert (await house.store.look(ACCOUNT, datetime.now(UTC))).drift == 0


async def test_changes_from_before_the_journal_are_not_judged(house: House):
    """A sweep that begins today says nothing of the webhooks of last month."""
    await house.ours("e1")
    house.provider_.envelopes = {"e1": (at("sent", ago_s=30 * 86_400), at("delivered"))}
    await house.page()
    drift = await house.store.drift(ACCOUNT, datetime.now(UTC), 9)
    assert [d.change.status for d in drift] == ["delivered"]


async def test_the_watermark_is_the_provider_s_time_less_the_overlap_and_never_goes_back(
    house: House,
):
    """The first sweep looks back; the next begins where the last one's first part was made."""
    await house.page()
    await house.run("advance_watermark", Advanced(account=ACCOUNT, watermark=NOW))
    await house.run(
        "advance_watermark", Advanced(account=ACCOUNT, watermark=NOW - timedelta(hours=1))
    )
    await house.page()
    first, second = house.provider_.since
    assert abs((NOW - first).total_seconds() - 86_400 - 600) < 60
    assert second == NOW - timedelta(seconds=600)


@pytest.mark.parametrize("seed", range(25))
async def test_nobody_slips_past_between_two_parts_of_a_list(house: House, seed: int):
    """Envelopes join and leave the list while it is read: who stands in it throughout is told."""
    dice = random.Random(seed)
    ids = [f"e{n:02}" for n in range(30)]
    for each in ids:
        await house.ours(each)
    throughout = set(dice.sample(ids, 12))
    versions: list[dict[str, tuple[Fact, ...]]] = []
    for _ in range(30):
        there = throughout | {i for i in ids if dice.random() < dice.choice((0.1, 0.5, 0.9))}
        versions.append(dict.fromkeys(sorted(there), SENT))
    house.provider_.envelopes, house.provider_.between = versions[0], versions[1:]
    due: PageAsked | None = PageAsked(account=ACCOUNT)
    parts = 0
    while due is not None:
        due = (await house.page(due)).next
        parts += 1
        assert parts < 200
    assert throughout <= {event.provider_envelope_id for _, event in house.signals}


@pytest.mark.parametrize(
    ("error", "for_good", "delay_s"),
    [
        (NeedsPerson("USER_LACKS_PERMISSIONS", "no"), True, None),
        (QuotaHeld("the hour is full", 30.0), False, 30.0),
        (Unavailable("away"), False, None),
    ],
    ids=["refused", "quota", "away"],
)
async def test_a_failure_says_whether_and_when_it_is_tried_again(
    house: House, error: ProviderError, for_good: bool, delay_s: float | None
):
    """The quota's own time is kept; what needs a person ends the sweep."""
    house.provider_.fails = [error]
    with pytest.raises(ApplicationError) as failed:
        await house.page()
    delay = failed.value.next_retry_delay
    assert failed.value.non_retryable is for_good
    assert (delay.total_seconds() if delay else None) == delay_s


async def _silent_for(house: House, *ids: str) -> None:
    """They stand in the registry for long."""
    for each in ids:
        workflow_id = await house.ours(each)
        house.registry._connection.execute(
            "UPDATE envelope SET created_at = ? WHERE workflow_id = ?",
            ((NOW - timedelta(days=1)).isoformat(), workflow_id),
        )


async def test_silent_envelopes_are_asked_about_in_batches_and_not_again_soon(house: House):
    """Who was heard of lately, who is new and who has ended is not asked about."""
    await _silent_for(house, "e1", "e2", "e3", "heard")
    await house.ours("new")
    await house.ours("over", final="voided")
    house.came = {"heard": heard(*SENT)}
    house.provider_.envelopes = {"e1": SENT, "e2": SENT, "e3": DELIVERED}
    rounds = [await house.silent()]
    while not rounds[-1].done:
        rounds.append(await house.silent())
    assert house.provider_.asked == [("e1", "e2"), ("e3",)]
    assert sum(r.signalled for r in rounds) == 3
    assert (await house.silent()).asked == 0


async def test_who_could_not_be_asked_is_asked_next(house: House):
    """The provider away: certainly not asked, so as silent as before."""
    await _silent_for(house, "e1")
    house.provider_.envelopes = {"e1": SENT}
    house.provider_.fails = [Unavailable("away")]
    with pytest.raises(ApplicationError):
        await house.silent()
    assert (await house.silent()).asked == 1


async def test_drift_and_watermark_are_metrics(house: House):
    """By account, when a sweep ends."""
    buffer = MetricBuffer(1_000)
    meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    await house.ours("e1")
    house.provider_.envelopes = {"e1": SENT}
    await house.page()
    view = await house.store.look(ACCOUNT, datetime.now(UTC))
    tell_sweep(meter, ACCOUNT, view, {"signalled": 1})
    gauges = {
        u.metric.name: (u.value, dict(u.attributes))
        for u in buffer.retrieve_updates()
        if u.metric.kind == BUFFERED_METRIC_KIND_GAUGE
    }
    value, attributes = gauges["sealwax_drift"]
    assert (value, attributes["account"]) == (3, ACCOUNT)
