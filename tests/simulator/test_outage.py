"""The provider as a whole is away; and searches that lag behind creates."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from simulator.endpoint import DroppedConnection
from simulator.faults import LOOKUP_LAG_MAX_S, Harms
from tests.simulator.desk import BASE, Desk, definition
from tests.simulator.program import running, user_token

MARKER = {"textCustomFields": [{"name": "marker", "value": "m-1", "show": "false"}]}
EVERYTHING = {"from_date": "2020-01-01T00:00:00Z"}


async def test_an_outage_answers_all_calls_until_it_is_switched_off(desk: Desk) -> None:
    """Reads, writes and the token endpoint fail without effect; the control API stays."""
    envelope = await desk.create()
    await desk.harms(outage={"mode": "error", "status": 503, "retry_after_s": 3})
    for method, path, body in (
        ("GET", f"/envelopes/{envelope}", None),
        ("POST", "/envelopes", definition()),
    ):
        answer = await desk.call(method, path, body)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert (await desk.http.post("/oauth/token")).status_code == 503
    assert (await desk.http.get("/oauth/userinfo")).status_code == 503
    await desk.harms(outage=None)
    await desk.ok("GET", f"/envelopes/{envelope}")
    assert (await desk.http.post("/oauth/token")).status_code == 400
    ledger = await desk.ledger()
    assert ledger["fault_counts"] == {"outage_error": {"struck": 2, "committed": 0}}
    assert len(ledger["envelopes"]) == 1


async def test_an_outage_may_drop_connections(desk: Desk) -> None:
    await desk.harms(outage={"mode": "drop"})
    with pytest.raises(DroppedConnection):
        await desk.create()
    with pytest.raises(DroppedConnection):
        await desk.http.post("/oauth/token")
    await desk.harms(outage=None)
    await desk.create()


async def test_a_timed_outage_ends_by_itself(desk: Desk) -> None:
    await desk.harms(outage={"for_s": 1_000})
    outage = desk.service.harms.outage
    assert outage is not None
    assert 990 < outage.left_s <= 1_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.faults.time.monotonic", lambda: outage.until_s)
        await desk.create()
        assert (await desk.http.get("/simulator/harms")).json()["outage"] is None


@pytest.mark.server
def test_a_refusing_provider_does_not_listen_and_comes_back() -> None:
    """New connections are refused at the port itself, calls on old ones get no answer."""
    with running("--overlap", "off") as (url, _), httpx.Client(base_url=url, timeout=10) as http:
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        body = {"outage": {"mode": "refuse", "for_s": 0.5}}
        http.patch("/simulator/harms", json=body).raise_for_status()
        refused = 0
        while True:
            try:
                httpx.get(f"{url}/simulator/health", timeout=10).raise_for_status()
                break
            except httpx.TransportError as error:
                # One that was in the backlog when the port was closed is reset, not refused.
                refused += isinstance(error, httpx.ConnectError)
        assert refused > 0
        answer = http.post(f"{BASE}/envelopes", json=definition(), headers=headers)
        assert answer.status_code == 201


@pytest.mark.parametrize(
    "raw",
    [
        {"outage": "now"},
        {"outage": {"mode": "storm"}},
        {"outage": {"mode": "refuse"}},
        {"outage": {"mode": "refuse", "for_s": 3600}},
        {"outage": {"for_s": 0}},
        {"outage": {"status": 404}},
        {"outage": {"status": [503]}},
        {"outage": {"for_s": 10**400}},
        {"outage": {"retry_after_s": "soon"}},
        {"outage": {"until": 5}},
        {"lookup_lag_s": -1},
        {"lookup_lag_s": [2, 1]},
        {"lookup_lag_s": LOOKUP_LAG_MAX_S + 1},
        {"lookup_lag_s": "long"},
        {"lookup_lag_s": True},
        {"lookup_lag_s": 10**400},
        {"late_max_s": 0},
    ],
)
async def test_a_bad_switch_is_named_and_changes_nothing(desk: Desk, raw: dict[str, Any]) -> None:
    before = (await desk.http.get("/simulator/harms")).json()
    answer = await desk.http.patch("/simulator/harms", json={"overlap": True, **raw})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "BAD_PLAN")
    assert "\n" not in answer.json()["message"]
    assert (await desk.http.get("/simulator/harms")).json() == before


async def test_searches_lag_behind_a_create_and_reads_do_not(desk: Desk) -> None:
    """Neither transaction id, custom field, id nor time finds what is too young."""
    await desk.harms(lookup_lag_s=30)
    envelope = await desk.create(transactionId="t-1", customFields=MARKER)
    searches = (
        {"transaction_ids": "t-1"},
        {**EVERYTHING, "custom_field": "marker=m-1"},
        {"envelope_ids": envelope},
        EVERYTHING,
    )
    for query in searches:
        assert (await desk.ok("GET", "/envelopes", query=query))["envelopes"] == []
    statuses = await desk.ok("PUT", "/envelopes/status", {}, query={"envelope_ids": envelope})
    assert statuses["envelopes"] == []
    assert (await desk.ok("GET", f"/envelopes/{envelope}"))["envelopeId"] == envelope
    desk.service.ledger.envelopes[envelope].created -= timedelta(seconds=30)
    for query in searches:
        [found] = (await desk.ok("GET", "/envelopes", query=query))["envelopes"]
        assert found["envelopeId"] == envelope


def test_the_lag_of_each_envelope_is_a_matter_of_the_seed() -> None:
    def lags(seed: int) -> list[float]:
        harms = Harms()
        harms.patch({"seed": seed, "lookup_lag_s": [1, 5]})
        return [harms.listed_after_s(number) for number in range(20)]

    assert lags(1) == lags(1) != lags(2)
    assert all(1 <= s <= 5 for s in lags(1))


async def test_a_second_create_with_one_transaction_id_is_a_second_envelope(desk: Desk) -> None:
    """Nothing is merged, and a look-up lists both."""
    both = [await desk.create(transactionId="t-1") for _ in range(2)]
    found = await desk.ok("GET", "/envelopes", query={"transaction_ids": "t-1"})
    assert [e["envelopeId"] for e in found["envelopes"]] == both
    assert [s["envelopeId"] for s in found["envelopeTransactionStatuses"]] == both
