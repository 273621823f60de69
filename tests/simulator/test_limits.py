"""The limits as clients meet them: headers, refusals, polling, the second tenant, the ledger."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from simulator.endpoint import DroppedConnection
from tests.simulator.desk import ACCOUNT, BASE, KEY, USER, Desk, person
from tests.simulator.program import ROOT, running, user_token

LIMITS = f"/simulator/accounts/{ACCOUNT}/limits"


class Clock:
    """A monotonic clock that tests turn."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class LimitedDesk(Desk):
    """A desk at the very start of an hour, with limits and a clock to turn."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(clock=self.clock)
        now_s = self.service.limits.now_s()
        self.clock.now_s += (now_s // 3600 + 1) * 3600 - now_s + 0.001

    async def limit(self, **rules: Any) -> dict[str, Any]:
        """Switch the account's limits on, with these rules."""
        answer = await self.http.patch(LIMITS, json={"on": True, **rules})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    async def used(self, **span: float) -> dict[str, Any]:
        """What happened to the account's calls."""
        params = {"from" if name == "start" else "to": at for name, at in span.items()}
        answer = await self.http.get(LIMITS, params=params)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[LimitedDesk]:
    """A simulator whose clock stands still; all its answers must be declared."""
    opened = LimitedDesk()
    async with opened:
        yield opened
        assert opened.problems == []


def burst_left(answer: httpx.Response) -> int:
    return int(answer.headers["x-burstlimit-remaining"])


async def test_limits_are_off_until_they_are_switched_on(desk: LimitedDesk) -> None:
    """600 calls in one instant pass, and answers carry generous headers."""
    for _ in range(600):
        answer = await desk.call("GET", "/connect")
        assert answer.is_success
    assert answer.headers["x-ratelimit-remaining"] == "2999"
    assert "x-ratelimit-reset" not in answer.headers
    assert (await desk.ledger())["limits"] == []


async def test_every_answer_tells_what_is_left(desk: LimitedDesk) -> None:
    """Success and refusal alike carry limit, rest and the hour's end in seconds since 1970."""
    await desk.limit(burst=200)
    envelope = await desk.create()
    answers = [
        await desk.call("GET", f"/envelopes/{envelope}"),
        await desk.call("PUT", f"/envelopes/{envelope}", {"status": "nonsense"}),
        await desk.call("GET", f"/envelopes/{envelope}/documents/1"),
        await desk.call("GET", "/envelopes/none"),
    ]
    assert [a.is_success for a in answers] == [True, False, True, False]
    end_s = math.ceil((desk.service.limits.now_s() // 3600 + 1) * 3600)
    for number, answer in enumerate(answers, 2):
        assert answer.headers["x-burstlimit-limit"] == "200"
        assert burst_left(answer) == 200 - number
        assert answer.headers["x-ratelimit-limit"] == "3000"
        assert answer.headers["x-ratelimit-remaining"] == str(3000 - number)
        assert answer.headers["x-ratelimit-reset"] == str(end_s)
        assert "x-burstlimit-reset" not in answer.headers


async def test_the_burst_window_slides(desk: LimitedDesk) -> None:
    """A call makes room 30 s after its arrival, not earlier; refused ones have taken none."""
    await desk.limit(burst=3)
    for _ in range(3):
        await desk.ok("GET", "/connect")
        desk.clock.now_s += 10
    desk.clock.now_s -= 0.5
    for _ in range(5):
        assert await desk.refused("GET", "/connect") == "BURST_APIINVOCATION_LIMIT_EXCEEDED"
    desk.clock.now_s += 0.5
    assert burst_left(await desk.call("GET", "/connect")) == 0
    assert await desk.refused("GET", "/connect") == "BURST_APIINVOCATION_LIMIT_EXCEEDED"


async def test_the_hour_ends_at_the_top_of_the_hour(desk: LimitedDesk) -> None:
    """All of its calls may be made in its last minute, and all again in the next hour's first."""
    await desk.limit(hour=5, burst=None)
    desk.clock.now_s += 3590
    for _ in range(5):
        answer = await desk.call("GET", "/connect")
        assert answer.is_success
    assert "x-burstlimit-limit" not in answer.headers
    assert await desk.refused("GET", "/connect") == "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"
    desk.clock.now_s += 10
    for _ in range(5):
        await desk.ok("GET", "/connect")
    assert await desk.refused("GET", "/connect") == "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"


@pytest.mark.parametrize("status", [400, 429])
@pytest.mark.parametrize(
    ("rules", "kind", "documented", "mixed"),
    [
        (
            {"hour": 1},
            "hour",
            "HOURLY_APIINVOCATION_LIMIT_EXCEEDED",
            "Hourly_APIInvocation_Limit_Exceeded",
        ),
        (
            {"burst": 1},
            "burst",
            "BURST_APIINVOCATION_LIMIT_EXCEEDED",
            "Burst_APIInvocation_Limit_Exceeded",
        ),
        (
            {"envelope_reads_hour": 1},
            "envelope_reads_hour",
            "Hourly_Envelope_Polling_Limit_Exceeded",
            "Hourly_Envelope_Polling_Limit_Exceeded",
        ),
        (
            {"envelope_reads_burst": 1},
            "envelope_reads_burst",
            "Burst_Envelope_Polling_Limit_Exceeded",
            "Burst_Envelope_Polling_Limit_Exceeded",
        ),
    ],
)
async def test_refusals_come_in_each_spelling_with_each_status(
    desk: LimitedDesk, rules: dict[str, int], kind: str, documented: str, mixed: str, status: int
) -> None:
    """The code is as documented, in upper case, or in mixed case; 400 unless 429 is asked for."""
    envelope = await desk.create()
    await desk.limit(**rules)
    await desk.ok("GET", f"/envelopes/{envelope}")
    assert (await desk.call("GET", f"/envelopes/{envelope}")).status_code == 400
    for spelling, code in (
        ("documented", documented),
        ("upper", documented.upper()),
        ("mixed", mixed),
    ):
        await desk.limit(status=status, spelling=spelling)
        answer = await desk.http.get(
            f"{BASE}/envelopes/{envelope}", headers={"Authorization": f"Bearer {desk.token}"}
        )
        assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert (await desk.used())["clients"]["refused"] == {kind: 4}


async def test_reads_and_writes_of_an_envelope_are_limited_apart_with_all_its_parts(
    desk: LimitedDesk,
) -> None:
    """Recipients and documents count with their envelope; other envelopes and searches do not."""
    envelope, other = await desk.create(), await desk.create()
    await desk.limit(envelope_reads_burst=3, envelope_writes_burst=2, polling="off")
    for part in ("", "/recipients", "/documents"):
        await desk.ok("GET", f"/envelopes/{envelope}{part}")
    code = await desk.refused("GET", f"/envelopes/{envelope}/custom_fields")
    assert code == "Burst_Envelope_Polling_Limit_Exceeded"
    await desk.ok("PUT", f"/envelopes/{envelope}/recipients", {"signers": [person("1")]})
    await desk.ok("PUT", f"/envelopes/{envelope}", {}, query={"resend_envelope": "true"})
    code = await desk.refused("PUT", f"/envelopes/{envelope}/notification", {})
    assert code == "Burst_APIInvocation_Envelope_Limit_Exceeded"
    await desk.ok("GET", f"/envelopes/{other}")
    await desk.ok("GET", "/envelopes", query={"envelope_ids": envelope})
    desk.clock.now_s += 30
    await desk.ok("GET", f"/envelopes/{envelope}")
    await desk.ok("PUT", f"/envelopes/{envelope}/recipients", {"signers": [person("1")]})


async def test_a_refused_call_has_no_effect_and_is_in_the_ledger(desk: LimitedDesk) -> None:
    """A void past the limit voids nothing; the log of calls says which limit refused it, and no
    plan for lost answers is used up by it."""
    envelope = await desk.create()
    await desk.limit(burst=1)
    await desk.ok("GET", "/connect")
    await desk.harms(lost_answers=[{"operation": "update", "times": 1}])
    void = {"status": "voided", "voidedReason": "wrong price"}
    await desk.refused("PUT", f"/envelopes/{envelope}", void)
    assert (await desk.truth(envelope))["status"] == "sent"
    ledger = await desk.ledger()
    assert ledger["faults"] == []
    last = ledger["calls"][-1]
    assert (last["limit"], last["status"], last["userId"]) == ("burst", 400, USER)
    assert [c["limit"] for c in ledger["calls"][:-1]] == [None, None]
    desk.clock.now_s += 30
    with pytest.raises(DroppedConnection):
        await desk.call("PUT", f"/envelopes/{envelope}", void)


async def test_a_call_counts_from_its_arrival_whatever_becomes_of_it(desk: LimitedDesk) -> None:
    """Lost answers and gateways' errors are counted; they are calls that have arrived."""
    await desk.limit(burst=3)
    await desk.harms(
        lost_answers=[
            {"operation": "create", "mode": "drop_before_commit"},
            {"operation": "read", "mode": "error_before_commit", "status": 503},
        ]
    )
    with pytest.raises(DroppedConnection):
        await desk.create()
    answer = await desk.call("GET", "/envelopes/none")
    assert (answer.status_code, "x-burstlimit-limit" in answer.headers) == (503, False)
    assert burst_left(await desk.call("GET", "/connect")) == 0
    await desk.refused("GET", "/connect")


async def test_a_call_is_counted_before_its_body_has_come(desk: LimitedDesk) -> None:
    """A slow upload holds its place from when it arrived, not from when it was read."""
    await desk.limit(burst=5)
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        reading.set()
        await go_on.wait()
        yield b"{}"

    async def upload() -> httpx.Response:
        headers = {"Authorization": f"Bearer {desk.token}"}
        return await desk.http.post(f"{BASE}/envelopes", content=slowly(), headers=headers)

    task = asyncio.create_task(upload())
    await reading.wait()
    before = (await desk.used())["clients"]["accepted"]
    go_on.set()
    await task
    assert before == 1
    assert (await desk.used())["clients"]["accepted"] == 1


async def test_what_belongs_to_no_account_counts_for_none(desk: LimitedDesk) -> None:
    """Tokens, user info, an outage, and calls without a right to the account take no room."""
    await desk.limit(burst=1)
    stranger = await desk.register("key-9", "user-9", "acc-9")
    for token in ("nonsense", stranger):
        refused = await desk.call("GET", "/connect", token=token)
        assert refused.status_code in (401, 403)
        assert burst_left(refused) == 1
    await desk.http.post("/oauth/token")
    info = await desk.http.get("/oauth/userinfo", headers={"Authorization": f"Bearer {desk.token}"})
    assert info.is_success
    await desk.harms(outage={"mode": "error"})
    assert (await desk.call("GET", "/connect")).status_code == 503
    await desk.harms(outage=None)
    await desk.ok("GET", "/connect")


async def test_user_info_has_a_limit_of_its_own_per_user(desk: LimitedDesk) -> None:
    """25,000 an hour; another user has an own count."""
    await desk.http.patch("/simulator/limits", json={"on": True})
    limits = desk.service.limits
    assert [limits.userinfo_refused(USER) for _ in range(25_000)] == [None] * 25_000
    headers = {"Authorization": f"Bearer {desk.token}"}
    answer = await desk.http.get("/oauth/userinfo", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errorCode"] == "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"
    assert limits.userinfo_refused("somebody else") is None
    desk.clock.now_s += 3600
    assert (await desk.http.get("/oauth/userinfo", headers=headers)).is_success


async def test_two_accounts_never_disturb_each_other(desk: LimitedDesk) -> None:
    """Rules and windows are an account's own; the rules for all hold where it has none."""
    both = await desk.register(KEY, USER, ACCOUNT, "acc-2")
    await desk.http.patch("/simulator/limits", json={"on": True, "burst": 2})
    await desk.limit(burst=1)
    await desk.ok("GET", "/connect", token=both)
    await desk.refused("GET", "/connect", token=both)
    headers = {"Authorization": f"Bearer {both}"}
    codes = [
        (await desk.http.get("/restapi/v2.1/accounts/acc-2/connect", headers=headers)).status_code
        for _ in range(3)
    ]
    assert codes == [200, 200, 400]
    shown = (await desk.http.get("/simulator/limits")).json()
    assert [(a["accountId"], a["rules"]["burst"]) for a in shown["accounts"]] == [
        (ACCOUNT, 1),
        ("acc-2", 2),
    ]


async def test_a_same_get_of_one_envelope_within_15_minutes_is_flagged(desk: LimitedDesk) -> None:
    """By its operation, with the time since the last one; other parts, other envelopes, writes and
    searches are no polling; after 15 minutes it is none either."""
    envelope, other = await desk.create(), await desk.create()
    await desk.limit()
    for path in (envelope, f"{envelope}/recipients", other):
        await desk.ok("GET", f"/envelopes/{path}")
    for _ in range(2):
        await desk.ok("GET", "/envelopes", query={"envelope_ids": envelope})
        await desk.ok("PUT", "/envelopes/status", {}, query={"envelope_ids": envelope})
    assert (await desk.used())["polling"]["breaches"] == 0
    desk.clock.now_s += 899
    await desk.ok("GET", f"/envelopes/{envelope}", query={"include": "recipients"})
    desk.clock.now_s += 900
    await desk.ok("GET", f"/envelopes/{envelope}")
    polling = (await desk.used())["polling"]
    assert polling["by_operation"] == {"Envelopes_GetEnvelope": 1}
    [breach] = polling["listed"]
    assert (breach["envelopeId"], breach["gap_s"]) == (envelope, 899)
    assert (await desk.used(start=breach["at"] + 1))["polling"]["breaches"] == 0


async def test_polling_may_be_refused(desk: LimitedDesk) -> None:
    """By switch: then the 15 minutes run from the last read that was answered."""
    envelope = await desk.create()
    await desk.limit(polling="refuse", scale=0.1)
    await desk.ok("GET", f"/envelopes/{envelope}")
    for _ in range(3):
        desk.clock.now_s += 22.5
        code = await desk.refused("GET", f"/envelopes/{envelope}")
        assert code == "Hourly_Envelope_Polling_Limit_Exceeded"
    desk.clock.now_s += 22.5
    await desk.ok("GET", f"/envelopes/{envelope}")
    used = await desk.used()
    assert used["polling"]["breaches"] == used["clients"]["refused"]["polling"] == 3


async def test_one_factor_scales_all_windows(desk: LimitedDesk) -> None:
    """A tenth: 3 s, 360 s from multiples of 360 s, and the limits' numbers stay."""
    shown = await desk.limit(burst=2, hour=5, scale=0.1)
    assert (shown["burst"], shown["hour"], shown["scale"]) == (2, 5, 0.1)
    for expected in ("", "", "BURST"):
        answer = await desk.call("GET", "/connect")
        assert answer.json().get("errorCode", "").startswith(expected)
    assert int(answer.headers["x-ratelimit-reset"]) % 360 == 0
    for _ in range(3):
        desk.clock.now_s += 3
        await desk.ok("GET", "/connect")
    desk.clock.now_s += 3
    assert await desk.refused("GET", "/connect") == "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"
    desk.clock.now_s += 348
    await desk.ok("GET", "/connect")


async def test_a_tenant_takes_room_that_clients_see_gone(desk: LimitedDesk) -> None:
    """Its calls are counted apart and are in no log of clients' calls; headers tell of them, and
    what is left of the window without it is what clients are measured by."""
    await desk.limit(burst=100, hour=None, tenant={"share": 0.5, "seed": 3})
    desk.clock.now_s += 60
    answer = await desk.call("GET", "/connect")
    assert 25 < burst_left(answer) < 75
    accepted = 1
    while (await desk.call("GET", "/connect")).is_success:
        accepted += 1
    used = await desk.used(start=desk.service.limits.now_s() - 1)
    assert used["clients"] == {
        "accepted": accepted,
        "refused": {"burst": 1},
        "refused_total": 1,
    }
    assert used["windows"]["burst"]["utilisation"] == 1.0
    assert used["windows"]["burst"]["left_by_tenant"] == accepted
    assert (await desk.ledger())["calls_total"] == accepted + 1
    assert (await desk.used())["tenant"]["share"] == 0.5
    full = await desk.used()
    assert 70 < full["tenant"]["accepted"] < 130


async def test_a_tenant_is_refused_like_anybody(desk: LimitedDesk) -> None:
    """When clients have taken all, its calls are refused, and counted as its own."""
    await desk.limit(burst=20, hour=None, tenant={"share": 1})
    for _ in range(20):
        await desk.call("GET", "/connect")
    desk.clock.now_s += 29
    used = await desk.used()
    assert used["tenant"]["accepted"] == used["clients"]["refused_total"] == 0
    assert used["tenant"]["refused"]["burst"] > 5


async def test_one_call_tells_what_was_made_of_an_interval(desk: LimitedDesk) -> None:
    """Accepted, refused and utilisation from one moment to another, for each window."""
    await desk.limit(burst=10, hour=40)
    for _ in range(12):
        await desk.call("GET", "/connect")
        desk.clock.now_s += 3
    start_s = desk.service.limits.now_s()
    for _ in range(15):
        await desk.call("GET", "/connect")
        desk.clock.now_s += 3
    await desk.call("GET", "/connect")
    await desk.call("GET", "/connect")
    used = await desk.used(start=start_s, end=start_s + 45)
    assert used["clients"]["accepted"] == 15
    assert used["windows"]["burst"]["utilisation"] == 1.0
    assert used["windows"]["hour"]["most"] == 40 - 12
    assert used["windows"]["hour"]["utilisation"] == pytest.approx(15 / 28, abs=1e-6)
    later = await desk.used(start=start_s + 45)
    assert later["from"] == start_s + 45
    assert later["clients"] == {"accepted": 1, "refused": {"burst": 1}, "refused_total": 1}
    assert (await desk.ledger())["limits"][0]["accountId"] == ACCOUNT


@pytest.mark.parametrize(
    "raw",
    [
        {"burts": 5},
        {"on": 1},
        {"burst": 0},
        {"burst": True},
        {"burst": 2.5},
        {"hour": "many"},
        {"scale": 0},
        {"scale": "0.1"},
        {"scale": 10**400},
        {"status": 503},
        {"status": [400]},
        {"spelling": "lower"},
        {"polling": "never"},
        {"polling": {}},
        {"tenant": 0.5},
        {"tenant": {"share": 2}},
        {"tenant": {"share": [0.5, 0.1]}},
        {"tenant": {"share": "half"}},
        {"tenant": {"every_s": 0}},
        {"tenant": {"seed": "x"}},
        {"tenant": {"shares": 1}},
        {"tenant": {}, "burst": None, "hour": None},
    ],
)
async def test_a_bad_rule_is_named_and_changes_nothing(
    desk: LimitedDesk, raw: dict[str, Any]
) -> None:
    for path in (LIMITS, "/simulator/limits"):
        before = (await desk.http.get(path)).json()["rules"]
        answer = await desk.http.patch(path, json={"envelope_reads_hour": 7, **raw})
        assert (answer.status_code, answer.json()["errorCode"]) == (400, "BAD_PLAN")
        assert "\n" not in answer.json()["message"]
        assert (await desk.http.get(path)).json()["rules"] == before


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e12", "2026-11-21"])
async def test_a_bad_moment_is_refused(desk: LimitedDesk, text: str) -> None:
    answer = await desk.http.get(LIMITS, params={"from": text})
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "BAD_CONTROL_CALL")


@pytest.mark.server
def test_the_program_takes_limits_as_an_option() -> None:
    """Over a real socket: the window holds its number, and the report agrees with the answers."""
    chosen = "scale=0.1,burst=20,hour=none,status=429,tenant=0.2"
    with running("--limits", chosen) as (url, _), httpx.Client(base_url=url) as http:
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        codes = [http.get(f"{BASE}/connect", headers=headers).status_code for _ in range(25)]
        used = http.get("/simulator/accounts/acc-1/limits").json()
        assert used["rules"]["tenant"]["share"] == [0.2, 0.2]
        assert used["windows"]["burst"]["length_s"] == 3.0
        assert used["clients"]["refused"] == {"burst": codes.count(429)}
        assert used["clients"]["accepted"] == codes.count(200) <= 20


@pytest.mark.parametrize(
    "text", ["off", "scale=", "burst=0", "tenant=0.5:0.1", "status=500", "windows=3", "=3"]
)
def test_a_bad_option_is_one_line_and_status_2(text: str) -> None:
    command = [sys.executable, "-m", "simulator", "--limits", text]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
