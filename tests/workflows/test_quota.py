"""Whole lives inside a strict provider's limits: no refusal, people before batches.

The simulator counts every call in strict windows, a twentieth as long as the usual ones and with
room for 40 calls; its own log says what was refused, and when each call arrived.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from demo.stack import Program, Stack
from sealwax import messages
from sealwax.accounts import WAITING_MAX
from sealwax.definition import Recipient
from sealwax.envelope import CREATE_OPERATION
from sealwax.handle import EnvelopeHandle
from tests import programs, rig

SCALE, BURST = 0.05, 40
WINDOW_S = 30 * SCALE
STRICT: Mapping[str, float] = {
    **rig.GENEROUS,
    "scale": SCALE,
    "burst_calls": BURST,
    "hour_calls": 100_000,
    "transit_s": 4,
    "interactive_reserve": 0.1,
}
BRIDGE_PORT = 9
ENVELOPES = 60
BURST_SUBJECT = "One of sixty"
SIGNER = Recipient("ana", "Ana", "ana@example.com", client_user_id="ana")


@asynccontextmanager
async def strict(
    env: WorkflowEnvironment, folder: Path, **rules: Any
) -> AsyncIterator[tuple[rig.Rig, Stack]]:
    """A rig without a worker, whose account has strict limits at a simulator of its own."""
    async with Stack(folder / "logs") as stack:
        url = await programs.start_simulator(stack, "--overlap", "off")
        # Nobody lands at the bridge here; its address alone is needed.
        running = rig.running(
            env.client, url, folder, work=False, quota=STRICT, bridge_port=BRIDGE_PORT
        )
        async with running as house:
            limits = {"on": True, "scale": SCALE, "burst": BURST, "hour": None, **rules}
            path = f"{url}/simulator/accounts/{house.desk.account_id}/limits"
            (await house.desk.http.patch(path, json=limits)).raise_for_status()
            yield house, stack


async def made_of(house: rig.Rig) -> dict[str, Any]:
    """What was made of the account's limits, by the simulator's own log."""
    path = f"{house.desk.url}/simulator/accounts/{house.desk.account_id}/limits"
    return dict((await house.desk.http.get(path)).json())


def worker(name: str, settings: Path) -> Program:
    """One of several workers, as an operator starts them."""
    return Program(name=name, argv=(sys.executable, "worker.py", "--config", str(settings)))


async def burst(house: rig.Rig, *, bulk: bool = False) -> None:
    """All envelopes at once, until each of them is sent."""
    for _ in range(ENVELOPES):
        await house.create(subject=BURST_SUBJECT, bulk=bulk)
    async with asyncio.timeout(90):
        while await sent(house) < ENVELOPES:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def sent(house: rig.Rig) -> int:
    """How many of them are out for signing, as the provider holds them."""
    made = await house.desk.envelopes()
    return sum(e["status"] == "sent" and e["emailSubject"] == BURST_SUBJECT for e in made)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_burst_of_envelopes_never_meets_a_refusal(
    dev_env: WorkflowEnvironment, tmp_path: Path, workers: int
):
    """Through one worker process or two, which share the account's budget by their ledger: three
    windows' worth of calls, none refused, and no window ever held more than it may."""
    async with strict(dev_env, tmp_path) as (house, stack):
        for number in range(workers):
            await stack.start(worker(f"worker-{number}", tmp_path / "sealwax.toml"))
        await burst(house)
        made = await made_of(house)
    assert made["clients"]["refused"] == {}
    assert made["clients"]["accepted"] >= 2 * ENVELOPES
    assert made["windows"]["burst"]["peak"] <= BURST


async def test_a_signer_has_a_page_within_a_second_while_bulk_work_queues(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """Its read, its URL and its answer pass what waits: bulk calls hold neither the reserve nor
    the worker's slots. Nothing is refused meanwhile."""
    async with strict(dev_env, tmp_path) as (house, _), house.worker():
        signed = await house.create(recipients=[SIGNER])
        await signed.wait("sent", timeout_s=20)
        quiet_s = await _page(signed, "quiet")
        queueing = asyncio.create_task(burst(house, bulk=True))
        took_s = []
        for number in range(3):
            await _contended(house)
            took_s.append(await _page(signed, f"s-{number}"))
            assert not queueing.done()
        await queueing
        made = await made_of(house)
    # The best of three, and beside a quiet one: a busy machine is not what is measured.
    assert min(took_s) < 1.0 + quiet_s, (quiet_s, took_s)
    assert made["clients"]["refused"] == {}


async def _page(envelope: EnvelopeHandle, operation_id: str) -> float:
    """How long the signer waits for a page, in seconds."""
    began_s = time.monotonic()
    ticket = await envelope.open_session(
        "ana", "http://localhost/back", operation_id=operation_id, timeout_s=20
    )
    took_s = time.monotonic() - began_s
    await envelope.close_session(operation_id, ticket.token)
    return took_s


async def _contended(house: rig.Rig) -> None:
    """Until bulk calls wait for the account's budget."""
    async with asyncio.timeout(30):
        while (await made_of(house))["windows"]["burst"]["used"] < BURST // 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_refusals_for_another_tenant_s_calls_are_survived(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """Another program takes up to half of the account: all is done, and few calls are refused, by
    far fewer than that program made.
    """
    tenant = {"share": [0.3, 0.5], "seed": 3}
    async with strict(dev_env, tmp_path, tenant=tenant) as (house, _), house.worker():
        await burst(house)
        made = await made_of(house)
    assert made["clients"]["refused_total"] < 0.3 * made["tenant"]["accepted"]


async def test_a_worker_that_is_killed_takes_no_budget_with_it(
    dev_env: WorkflowEnvironment, tmp_path: Path
):
    """SIGKILL in the middle of a burst: another worker finishes it, nothing is refused, and once
    a window is over the ledger holds no call of the dead."""
    async with strict(dev_env, tmp_path) as (house, stack):
        settings = tmp_path / "sealwax.toml"
        await stack.start(worker("first", settings))
        bursting = asyncio.create_task(burst(house))
        await _contended(house)
        await stack.kill("first")
        await stack.start(worker("second", settings))
        await bursting
        made = await made_of(house)
        await stack.stop("second")
        own, limits = house.settings.account(rig.ACCOUNT).ledger, house.settings.limits(rig.ACCOUNT)
        async with asyncio.timeout(10 * WINDOW_S):
            while (await house.ledger.look(own, limits)).burst_used:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert made["clients"]["refused"] == {}


async def test_what_waits_for_the_quota_holds_no_slot(dev_env: WorkflowEnvironment, tmp_path: Path):
    """The account has 20 calls in 30 s: of sixty envelopes few wait in the worker's slots, and the
    others on timers of their own; each says what it waits for, and none needs a person."""
    quota = {**STRICT, "scale": 1, "burst_calls": 20, "away_calls": 0, "away_calls_per_hour": 0}
    async with Stack(tmp_path / "logs") as stack:
        url = await programs.start_simulator(stack, "--overlap", "off", "--limits", "burst=20")
        async with rig.running(dev_env.client, url, tmp_path, quota=quota) as house:
            envelopes = await asyncio.gather(*(house.create(bulk=True) for _ in range(ENVELOPES)))
            async with asyncio.timeout(60):
                while len(whys := await _holding(house, envelopes)) < ENVELOPES // 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
            seen = await asyncio.gather(*(envelope.status() for envelope in envelopes))
    assert all(why.startswith("waits for the account's quota until") for why in whys)
    assert sum(bool(each.in_flight) for each in seen) <= WAITING_MAX + 5
    assert not any(each.attention for each in seen)


async def _holding(house: rig.Rig, envelopes: Sequence[EnvelopeHandle]) -> list[str]:
    """What those creates wait for that are not made, and are not with the worker."""

    async def why(envelope: EnvelopeHandle) -> str:
        if (await envelope.status()).in_flight:
            return ""
        asked = house.temporal.get_workflow_handle(envelope.workflow_id)
        told = await asked.query(
            messages.QUERY_ANSWER, CREATE_OPERATION, result_type=messages.MutationResult
        )
        return str(told.why)

    return [told for told in await asyncio.gather(*map(why, envelopes)) if told]
