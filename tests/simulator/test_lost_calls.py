"""Calls that time out, are carried out late, fail at a gateway, or meet dead tokens and locks."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from simulator.endpoint import DroppedConnection
from simulator.faults import Harms
from simulator.plans import FAILING, LOCK_CODES, MODES, TOKEN_CODES, Target
from tests.simulator.desk import BASE, Desk, definition
from tests.simulator.program import running, user_token

CREATE = "Envelopes_PostEnvelopes"
UPDATE = "Envelopes_PutEnvelope"
SILENT = [("commit_then_hang", 1), ("hang_before_commit", 0)]


async def plan(desk: Desk, **given: Any) -> None:
    await desk.harms(lost_answers=[given])


async def settle(desk: Desk) -> None:
    answer = await desk.http.post("/simulator/faults/settle", json={"timeout_s": 10})
    assert answer.json() == {"pending": 0}


async def fault(desk: Desk) -> dict[str, Any]:
    [only] = (await desk.ledger())["faults"]
    return dict(only)


@pytest.mark.parametrize(
    ("mode", "envelopes"), [("commit_then_hang", 1), ("hang_before_commit", 0)]
)
async def test_a_silent_call_ends_with_its_client_alone(
    desk: Desk, mode: str, envelopes: int
) -> None:
    """The connection stays open without an answer, with or without an effect."""
    await plan(desk, operation="create", mode=mode)
    waiting = asyncio.create_task(desk.create())
    await desk.struck()
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ledger = await desk.ledger()
    assert len(ledger["envelopes"]) == envelopes
    assert ledger["fault_counts"] == {mode: {"struck": 1, "committed": envelopes}}
    assert [c["answered"] for c in ledger["calls"]] == [False]


@pytest.mark.server
def test_over_a_socket_a_silent_call_runs_into_the_clients_timeout_and_late_ones_go_on() -> None:
    """A client that gave up does not stop what the provider has begun."""
    with running("--overlap", "off") as (url, _), httpx.Client(base_url=url, timeout=10) as http:
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        for mode, then in (("commit_then_hang", None), ("commit_late", "hang")):
            plans = [{"operation": "create", "mode": mode, "then": then}]
            if then:
                plans[0]["late_s"] = "0.4"
            http.patch("/simulator/harms", json={"lost_answers": plans}).raise_for_status()
            with pytest.raises(httpx.ReadTimeout):
                http.post(f"{BASE}/envelopes", json=definition(), headers=headers, timeout=0.2)
        pending = http.post("/simulator/faults/settle", json={"timeout_s": 10}).json()["pending"]
        ledger = http.get("/simulator/ledger").json()
    assert pending == 0
    assert [f["committed"] for f in ledger["faults"]] == [True, True]
    assert len(ledger["envelopes"]) == 2


async def test_a_late_commit_takes_effect_after_the_client_has_got_nothing(desk: Desk) -> None:
    await plan(desk, operation="create", mode="commit_late", late_s=0.05)
    with pytest.raises(DroppedConnection):
        await desk.create(transactionId="t")
    assert desk.service.ledger.envelopes == {}
    assert desk.service.ledger.faults[0].committed is None
    await settle(desk)
    struck = await fault(desk)
    assert (struck["committed"], struck["lateS"], struck["status"]) == (True, 0.05, 201)
    assert struck["settled"] > struck["at"]
    found = await desk.ok("GET", "/envelopes", query={"transaction_ids": "t"})
    assert [e["envelopeId"] for e in found["envelopes"]] == [struck["envelopeId"]]


async def test_a_late_commit_is_judged_by_the_state_that_it_meets(desk: Desk) -> None:
    """A void that comes late finds the envelope voided already, and changes nothing."""
    envelope = await desk.create()
    await plan(desk, operation="update", mode="commit_late", late_s=0.05)
    void = {"status": "voided", "voidedReason": "late"}
    with pytest.raises(DroppedConnection):
        await desk.call("PUT", f"/envelopes/{envelope}", void)
    await desk.ok("PUT", f"/envelopes/{envelope}", {**void, "voidedReason": "in time"})
    await settle(desk)
    struck = await fault(desk)
    assert (struck["committed"], struck["status"]) == (False, 400)
    assert (await desk.truth(envelope))["voidedReason"] == "in time"


async def test_how_late_is_bounded_and_a_matter_of_the_seed(desk: Desk) -> None:
    refused = await desk.http.patch(
        "/simulator/harms",
        json={
            "late_max_s": 2,
            "lost_answers": [{"operation": "*", "mode": "commit_late", "late_s": [1, 3]}],
        },
    )
    assert refused.json()["message"] == "late_s is seconds, or [min, max] of them, from 0 to 2"

    def late(seed: int) -> list[float]:
        harms = Harms()
        raw = {"operation": "*", "mode": "commit_late", "late_s": [1, 3], "rate": 1}
        harms.patch({"seed": seed, "lost_answers": [raw]})
        return [harms.late_s(harms.lost_answers[0]) for _ in range(20)]

    assert late(1) == late(1) != late(2)
    assert all(1 <= s <= 3 for s in late(1))


@pytest.mark.parametrize("mode", list(FAILING))
@pytest.mark.parametrize(("status", "retry_after_s"), [(500, None), (502, None), (503, 7)])
async def test_server_errors_tell_nothing_about_the_effect(
    desk: Desk, mode: str, status: int, retry_after_s: int | None
) -> None:
    """The same answer before and after the commit; only the ledger knows."""
    await plan(desk, operation="create", mode=mode, status=status, retry_after_s=retry_after_s)
    answer = await desk.call("POST", "/envelopes", definition())
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == (None if retry_after_s is None else "7")
    assert answer.headers["content-type"].startswith(
        "application/json" if status == 500 else "text/html"
    )
    committed = mode == "error_after_commit"
    ledger = await desk.ledger()
    assert (len(ledger["envelopes"]), ledger["faults"][0]["committed"]) == (committed, committed)


@pytest.mark.parametrize("code", TOKEN_CODES)
async def test_a_token_may_be_refused_once_in_the_middle(desk: Desk, code: str) -> None:
    envelope = await desk.create()
    await plan(desk, operation="*", mode="unauthorized", code=code)
    answer = await desk.call("PUT", f"/envelopes/{envelope}", {"status": "voided"})
    assert (answer.status_code, answer.json()["errorCode"]) == (401, code)
    await desk.ok("GET", f"/envelopes/{envelope}")
    assert (await desk.truth(envelope))["status"] == "sent"


async def test_a_revoked_token_stays_dead_and_a_new_one_lives(desk: Desk) -> None:
    envelope = await desk.create()
    await plan(desk, operation="reads", mode="revoke_token")
    for _ in range(2):
        code = await desk.refused("GET", f"/envelopes/{envelope}")
        assert code == "AUTHORIZATION_INVALID_TOKEN"
    desk.token = await desk.register("integration-1", "user-1", "acc-1")
    await desk.ok("GET", f"/envelopes/{envelope}")


@pytest.mark.parametrize("code", LOCK_CODES)
async def test_a_lock_refuses_writes_of_its_envelope_alone(desk: Desk, code: str) -> None:
    """Reads, creates, signing URLs and other envelopes are not touched by a plan for one."""
    held, free = await desk.create(), await desk.create()
    await plan(desk, operation="*", mode="locked", code=code, envelope=held, times=99)
    await desk.ok("GET", f"/envelopes/{held}")
    await desk.create()
    void = {"status": "voided", "voidedReason": "x"}
    await desk.ok("PUT", f"/envelopes/{free}", void)
    assert await desk.refused("PUT", f"/envelopes/{held}", void) == code
    assert (await desk.truth(held))["status"] == "sent"
    await desk.harms(lost_answers=[])
    await desk.ok("PUT", f"/envelopes/{held}", void)


async def test_a_plan_for_writes_spares_reads_and_the_reverse(desk: Desk) -> None:
    envelope = await desk.create()
    await plan(desk, operation="writes", mode="error_before_commit", times=9)
    await desk.ok("GET", f"/envelopes/{envelope}")
    await desk.ok("PUT", "/envelopes/status", {}, query={"envelope_ids": envelope})
    assert (await desk.call("PUT", f"/envelopes/{envelope}", {})).status_code == 503
    await plan(desk, operation="reads", mode="error_before_commit", times=9)
    await desk.ok("PUT", f"/envelopes/{envelope}", {})
    assert (await desk.call("GET", f"/envelopes/{envelope}")).status_code == 503


async def test_the_view_counts_what_each_plan_saw_and_struck(desk: Desk) -> None:
    await plan(desk, operation="create", mode="error_before_commit", nth=2)
    for _ in range(3):
        await desk.call("POST", "/envelopes", definition())
    [view] = (await desk.http.get("/simulator/harms")).json()["lost_answers"]
    assert (view["seen"], view["struck"]) == (3, 1)


def test_every_mode_can_be_drawn_from_a_seed() -> None:
    """The same seed strikes the same calls, whatever the mode; another seed strikes others."""

    def struck(mode: str, seed: int) -> list[bool]:
        harms = Harms()
        plans = [{"operation": "writes", "mode": mode, "rate": 0.3}]
        harms.patch({"seed": seed, "lost_answers": plans})
        return [harms.strike(Target(UPDATE, True, "e")) is not None for _ in range(200)]

    for mode in MODES:
        assert struck(mode, 1) == struck(mode, 1) != struck(mode, 2)
        assert 30 < sum(struck(mode, 1)) < 90
