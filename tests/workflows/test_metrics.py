"""The worker tells of each account's quota, on the card and as metrics, as the provider has it."""

from __future__ import annotations

import re
from pathlib import Path

from temporalio.runtime import BUFFERED_METRIC_KIND_COUNTER, MetricBuffer, Runtime, TelemetryConfig
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

from activities.accounts import AccountActivities, LookQuota
from demo.stack import Stack
from demo.temporal_dev import free_port
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import Ask, Close, Counters, Seen, Want
from sealwax.stores.quota_sqlite import open_quota
from tests import programs, rig

SAMPLE = re.compile(r"(?m)^(sealwax_\w+)\{([^}]*)\} (\S+)$")


def samples(text: str) -> dict[str, float]:
    """Our metrics of one account by name and label, such as ``sealwax_quota_used hour``."""
    found = {}
    for name, labels, value in SAMPLE.findall(text):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert told["account"] == rig.ACCOUNT
        key = " ".join(filter(None, (name, told.get("window"), told.get("class"))))
        found[key] = float(value)
    return found


async def test_the_figures_are_the_provider_s_own(
    dev_env: WorkflowEnvironment, simulator_url: str, tmp_path: Path
) -> None:
    """After an envelope's calls the hour's count is the simulator's, asked for and as a metric."""
    address = f"127.0.0.1:{free_port()}"
    async with Stack(tmp_path) as stack:
        async with rig.running(dev_env.client, simulator_url, tmp_path, work=False) as house:
            settings = tmp_path / "sealwax.toml"
            settings.write_text(settings.read_text() + f'[telemetry]\nprometheus = "{address}"\n')
            await programs.start_worker(stack, settings)
            envelope = await house.create()
            await envelope.wait("sent", timeout_s=30)
            before = len((await house.desk.ledger(calls=True))["calls"])
            shown = await house.client.quota(rig.ACCOUNT, refresh=True)
            told = samples((await house.desk.http.get(f"http://{address}/metrics")).text)
            after = len((await house.desk.ledger(calls=True))["calls"])

            assert shown.hour is not None
            assert 0 < before <= shown.hour.used <= after
            assert told["sealwax_quota_used hour"] == shown.hour.used
            assert told["sealwax_quota_left hour"] == shown.hour.left
            assert told["sealwax_quota_waiting interactive"] == 0
            assert told["sealwax_quota_refusals"] == 0


async def test_a_counter_grows_by_what_happened_since_the_look_before(tmp_path: Path) -> None:
    """Whichever worker looks: each refusal is added once, and the first look adds no old ones."""
    store = open_quota(tmp_path / "quota.db")
    buffer = MetricBuffer(10_000)
    environment = ActivityEnvironment()
    environment.metric_meter = Runtime(telemetry=TelemetryConfig(metrics=buffer)).metric_meter
    activities = AccountActivities(
        store=store, quota_of=lambda name: (name, Limits()), every_s=60.0
    )

    async def looked(known: Counters | None) -> tuple[Counters, int]:
        look = LookQuota(account="acme", known=known)
        view = (await environment.run(activities.look_quota, look)).view
        assert view is not None
        added = [
            int(update.value)
            for update in buffer.retrieve_updates()
            if update.metric.kind == BUFFERED_METRIC_KIND_COUNTER
            and update.metric.name == "sealwax_quota_refusals"
        ]
        return view.counters, sum(added)

    async def refused(turn: int) -> None:
        told = await store.exchange("acme", Limits(), Ask("one", turn, wants=(Want(Klass.BULK),)))
        refusal = Seen(refusal="envelope_burst")
        close = Close(turn, "answered", told.now, told.now, seen=refusal)
        await store.exchange("acme", Limits(), Ask("one", turn + 1, turn, closes=(close,)))

    await refused(1)
    first, added_first = await looked(None)
    await refused(3)
    await refused(5)
    second, added_second = await looked(first)
    third, added_third = await looked(second)
    await store.close()

    assert (first.refusals, second.refusals, third.refusals) == (1, 3, 3)
    assert (added_first, added_second, added_third) == (0, 2, 0)
