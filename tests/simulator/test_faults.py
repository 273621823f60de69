"""Lost and late answers, and the switches of all harms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from simulator.endpoint import DroppedConnection
from simulator.faults import Harms
from simulator.plans import BadPlan, Target
from tests.simulator.desk import Desk, definition

CREATE = "Envelopes_PostEnvelopes"


async def test_commit_then_drop_has_its_effect_and_no_answer(desk: Desk) -> None:
    await desk.harms(lost_answers=[{"operation": CREATE, "mode": "commit_then_drop", "times": 1}])
    with pytest.raises(DroppedConnection):
        await desk.create(transactionId="t-1")
    await desk.create()
    ledger = await desk.ledger()
    assert [e["transactionId"] for e in ledger["envelopes"]] == ["t-1", None]
    assert [(w["accepted"], w["answered"]) for w in ledger["writes"]] == [
        (True, False),
        (True, True),
    ]


async def test_drop_before_commit_has_no_effect(desk: Desk) -> None:
    await desk.harms(lost_answers=[{"operation": "create", "mode": "drop_before_commit"}])
    with pytest.raises(DroppedConnection):
        await desk.create()
    ledger = await desk.ledger()
    assert (ledger["envelopes"], ledger["writes"]) == ([], [])
    assert [(c["answered"], c["status"]) for c in ledger["calls"]] == [(False, 0)]


async def test_slow_answers_come_after_the_effect(desk: Desk) -> None:
    """The effect is in the ledger before the answer is out."""
    waited: list[tuple[float, int]] = []

    async def sleep(delay_s: float) -> None:
        waited.append((delay_s, len((await desk.ledger())["envelopes"])))

    plan = {"operation": CREATE, "mode": "slow", "delay_ms": 1500}
    await desk.harms(lost_answers=[plan])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.endpoint.asyncio", SimpleNamespace(sleep=sleep))
        await desk.create()
    assert waited == [(1.5, 1)]


async def test_a_plan_strikes_its_operation_and_number_alone(desk: Desk) -> None:
    envelope = await desk.create()
    plan = {"operation": "Envelopes_GetEnvelope", "nth": 2}
    await desk.harms(lost_answers=[plan])
    await desk.ok("GET", f"/envelopes/{envelope}/recipients")
    await desk.ok("GET", f"/envelopes/{envelope}")
    with pytest.raises(DroppedConnection):
        await desk.ok("GET", f"/envelopes/{envelope}")
    await desk.ok("GET", f"/envelopes/{envelope}")


def test_rates_are_a_matter_of_the_seed() -> None:
    def struck(seed: int) -> list[bool]:
        harms = Harms()
        harms.patch({"seed": seed, "lost_answers": [{"operation": "create", "rate": 0.2}]})
        return [harms.strike(Target(CREATE, True)) is not None for _ in range(500)]

    assert struck(1) == struck(1) != struck(2)
    assert 70 < sum(struck(1)) < 130


@pytest.mark.parametrize(
    "raw",
    [
        {"overlaps": True},
        {"overlap": "yes"},
        {"seed": "x"},
        {"processing_ms": [5]},
        {"processing_ms": [9, 5]},
        {"webhooks": {"delay": [1, 2]}},
        {"webhooks": {"duplicate_rate": 2}},
        {"webhooks": {"max_tries": "many"}},
        {"webhooks": []},
        {"lost_answers": {}},
        {"lost_answers": [{"mode": "slow"}]},
        {"lost_answers": [{"operation": "create", "mode": "sometimes"}]},
        {"lost_answers": [{"operation": "create", "rate": 1.5}]},
        {"lost_answers": [{"operation": "create", "times": "x"}]},
        {"lost_answers": [{"operation": "create", "often": 1}]},
        {"lost_answers": [{"operation": "create", "mode": []}]},
        {"lost_answers": [{"operation": "create", "times": -1}]},
        {"lost_answers": [{"operation": "create", "rate": 10**400}]},
        {"lost_answers": [{"operation": "create", "late_s": 1}]},
        {"lost_answers": [{"operation": "create", "mode": "commit_late", "late_s": 31}]},
        {"lost_answers": [{"operation": "create", "mode": "commit_late", "then": "sing"}]},
        {"lost_answers": [{"operation": "create", "mode": "error_after_commit", "status": 200}]},
        {"lost_answers": [{"operation": "create", "mode": "unauthorized", "code": "X"}]},
        {"lost_answers": [{"operation": "create", "mode": "slow", "code": "X"}]},
    ],
)
async def test_a_bad_switch_is_named_and_changes_nothing(desk: Desk, raw: dict[str, Any]) -> None:
    before = (await desk.http.get("/simulator/harms")).json()
    with pytest.raises(BadPlan):
        Harms().patch(raw)
    answer = await desk.http.patch("/simulator/harms", json={"processing_ms": [1, 2], **raw})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "BAD_PLAN")
    assert (await desk.http.get("/simulator/harms")).json() == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/principals", {"user_id": "u"}, 400),
        ("PUT", "/principals", {"integration_key": "k", "user_id": "u", "accounts": "a"}, 400),
        (
            "PUT",
            "/principals",
            {"integration_key": "k", "user_id": "u", "public_key_pem": "x"},
            400,
        ),
        ("POST", "/tokens", {"integration_key": "k", "user_id": "nobody"}, 404),
        ("DELETE", "/accounts/a/hmac-keys/1", None, 404),
        ("POST", "/accounts/a/hmac-keys", {"key": ""}, 400),
        ("GET", "/envelopes/none", None, 404),
        ("POST", "/envelopes/none/recipients/1/sign", {}, 404),
        ("POST", "/webhooks/flush", {"timeout_s": "soon"}, 400),
    ],
)
async def test_bad_control_calls_are_refused_in_one_line(
    desk: Desk, method: str, path: str, body: Any, status: int
) -> None:
    answer = await desk.http.request(method, f"/simulator{path}", json=body)
    assert answer.status_code == status
    assert "\n" not in answer.json()["message"]


async def test_an_unknown_signer_or_deed_is_404(desk: Desk) -> None:
    envelope = (await desk.ok("POST", "/envelopes", definition()))["envelopeId"]
    assert (await desk.act(envelope, "9", "sign")).status_code == 404
    assert (await desk.act(envelope, "1", "dance")).status_code == 404
