"""Signing sessions: single-use URLs, what a second session does to the first, ends and pings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.simulator.desk import ACCOUNT, Desk, person
from tests.simulator.signer import (
    RETURN_URL,
    Signers,
    asking,
    embedded,
    event_of,
    signers,
    view_path,
)

PING_URL = "http://127.0.0.1:9/ping?lease=1"


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def timed(clock: Clock) -> AsyncIterator[Desk]:
    """A simulator whose sessions live by `clock`."""
    async with Desk(clock=clock) as opened:
        yield opened
        assert opened.problems == []


async def test_a_second_url_kicks_the_active_signer_and_loses_what_was_typed(desk: Desk) -> None:
    """One per envelope: the harm falls on the first signer and shows at his next action."""
    both = await signers(desk)
    await both.open("1")
    await both.do("1", "type", values={"Note": "half a page"})
    second = await both.url("2")
    assert await both.ledger() == [("1", "kicked", True, True), ("2", None, False, False)]
    thrown_out = await both.do("1", "sign")
    assert thrown_out["event"] == "session_timeout"
    assert thrown_out["returnUrl"] == f"{RETURN_URL}&event=session_timeout"
    assert (await desk.truth(both.envelope))["recipients"][0]["status"] == "delivered"
    await both.do("2", "open", url=second)
    assert (await both.do("2", "sign"))["event"] == "signing_complete"
    ledger = await desk.ledger()
    assert (ledger["kicked"], ledger["input_lost"]) == (1, 1)


async def test_who_typed_nothing_loses_nothing_but_is_kicked(desk: Desk) -> None:
    """Kicked and inputLost are two things; so is text that comes after the kick."""
    both = await signers(desk)
    await both.open("1")
    await both.url("2")
    assert (await both.ledger())[0] == ("1", "kicked", True, False)
    assert (await both.do("1", "type", values={"Note": "late"}))["event"] == "session_timeout"
    assert (await both.ledger())[0] == ("1", "kicked", True, True)


async def test_a_second_url_invalidates_an_unused_one(desk: Desk) -> None:
    """One per envelope: the first URL goes back with ttl_expired, and nobody was kicked."""
    both = await signers(desk)
    first = await both.url("1")
    await both.url("2")
    assert (await both.do("1", "open", url=first))["event"] == "ttl_expired"
    assert (await both.ledger())[0] == ("1", "invalidated", False, False)


async def test_a_refused_request_harms_nobody(desk: Desk) -> None:
    """A request for a recipient out of sequence or unknown leaves the live session alone."""
    both = await signers(desk, embedded("1"), embedded("2", 2))
    await both.open("1")
    path = view_path(both.envelope)
    assert await desk.refused("POST", path, asking("2")) == "RECIPIENT_NOT_IN_SEQUENCE"
    assert await desk.refused("POST", path, asking("9")) == "UNKNOWN_ENVELOPE_RECIPIENT"
    assert (await both.do("1", "sign"))["event"] == "signing_complete"


async def test_a_signer_who_walked_away_is_not_kicked(desk: Desk) -> None:
    """Nobody sits there any more: the session is superseded, and no harm is counted."""
    both = await signers(desk)
    await both.open("1")
    await both.do("1", "type")
    await both.do("1", "close-window")
    await both.url("2")
    assert (await both.ledger())[0] == ("1", "superseded", False, False)


@pytest.mark.parametrize("policy", ["off", "one-per-recipient"])
async def test_signers_of_one_envelope_side_by_side(desk: Desk, policy: str) -> None:
    """With the rule off, or per recipient only, several sign at the same time."""
    await desk.harms(sessions=policy)
    both = await signers(desk)
    for one in ("1", "2"):
        await both.open(one)
        await both.do(one, "type")
    for one in ("1", "2"):
        assert (await both.do(one, "sign"))["event"] == "signing_complete"
    ledger = await desk.ledger()
    assert (ledger["kicked"], ledger["input_lost"]) == (0, 0)
    assert (await desk.truth(both.envelope))["status"] == "completed"


@pytest.mark.parametrize(
    ("policy", "first"),
    [
        ("one-per-recipient", ("1", "kicked", True, True)),
        ("off", ("1", None, False, False)),
    ],
)
async def test_the_same_signer_in_two_windows(
    desk: Desk, policy: str, first: tuple[str, str | None, bool, bool]
) -> None:
    """One per recipient: "opened in another browser session. Your signature has been reset"."""
    await desk.harms(sessions=policy)
    both = await signers(desk)
    await both.open("1")
    await both.do("1", "type")
    second = await both.url("1")
    assert (await both.ledger())[0] == ("1", None, False, False)
    await both.do("1", "open", url=second)
    assert (await both.ledger())[0] == first


async def test_a_url_lives_for_five_minutes_and_for_one_use(timed: Desk, clock: Clock) -> None:
    """One second before the end it opens, at the end it does not; a used one opens no more."""
    both = await signers(timed)
    url = await both.url("1")
    clock.now_s += 299
    assert (await both.do("1", "open", url=url))["state"] == "active"
    assert (await both.do("1", "open", url=url))["event"] == "ttl_expired"
    assert (await both.do("1", "sign"))["event"] == "signing_complete"
    late = await both.url("2")
    clock.now_s += 300
    assert (await both.ledger())[1] == ("2", "ttl_expired", False, False)
    assert (await both.do("2", "open", url=late))["event"] == "ttl_expired"


async def test_the_session_clock_scales_life_and_timeout(timed: Desk, clock: Clock) -> None:
    await timed.harms(sessions={"clock": 0.1, "timeout_s": 600})
    both = await signers(timed)
    url = await both.url("1")
    clock.now_s += 31
    assert (await both.do("1", "open", url=url))["event"] == "ttl_expired"
    await both.open("1")
    clock.now_s += 59
    await both.do("1", "type")
    clock.now_s += 59
    assert (await both.do("1", "type"))["state"] == "active"
    clock.now_s += 61
    assert (await both.do("1", "sign"))["event"] == "session_timeout"
    assert (await both.ledger())[1] == ("1", "session_timeout", False, False)


async def test_delete_revokes_an_unopened_url_only(desk: Desk) -> None:
    """204 means that nobody opened the URL and nobody will, also when said twice."""
    both = await signers(desk)
    url = await both.url("1")
    assert (await desk.http.delete(url)).status_code == 204
    assert (await desk.http.delete(url)).status_code == 204
    assert (await both.do("1", "open", url=url))["event"] == "ttl_expired"
    used = await both.url("1")
    await both.do("1", "open", url=used)
    assert (await desk.http.delete(used)).status_code == 409
    assert (await both.do("1", "sign"))["event"] == "signing_complete"
    assert [s[1] for s in await both.ledger()] == ["revoked", "signing_complete"]
    assert (await desk.http.delete(f"{used}x")).status_code == 404


@pytest.mark.parametrize(
    ("action", "event", "status", "heard"),
    [
        ("sign", "signing_complete", "completed", "recipient-completed"),
        ("decline", "decline", "declined", "recipient-declined"),
        ("finish-later", "cancel", "delivered", "recipient-finish-later"),
        ("cancel", "cancel", "delivered", None),
    ],
)
async def test_each_end_has_its_event(
    desk: Desk, action: str, event: str, status: str, heard: str | None
) -> None:
    """The return URL, the recipient's status and the Connect event agree."""
    hook = {"url": "https://app.example.com/hook", "events": [], "eventData": {}}
    hook["events"] = ["recipient-completed", "recipient-declined", "recipient-finish-later"]
    envelope = await desk.create(embedded("1"), embedded("2"), eventNotification=hook)
    both = Signers(desk, envelope)
    await both.open("1")
    left = await both.do("1", action)
    assert (left["event"], event_of(left["returnUrl"])) == (event, event)
    assert (await both.ledger())[0] == ("1", event, False, False)
    assert (await desk.truth(envelope))["recipients"][0]["status"] == status
    await desk.flush()
    assert desk.listener.events == ([heard] if heard else [])


async def test_finish_later_keeps_what_was_typed_and_cancel_does_not(desk: Desk) -> None:
    one = await signers(desk, embedded("1"))
    for action, note in (("finish-later", "kept"), ("cancel", "dropped")):
        await one.open("1")
        await one.do("1", "type", values={"Note": note})
        await one.do("1", action)
    kept = (await desk.truth(one.envelope))["recipients"][0]["values"]
    assert kept == {"Note": "kept"}
    page = await desk.http.get(await one.url("1"))
    assert 'value="kept"' in page.text


async def test_void_ends_a_session_and_is_no_kick(desk: Desk) -> None:
    """Open URLs of a voided envelope are dead; the ledger names who was disturbed, and by what."""
    both = await signers(desk)
    await desk.harms(sessions="off")
    unused = await both.url("2")
    await both.open("1")
    await both.do("1", "type")
    await desk.ok("PUT", f"/envelopes/{both.envelope}?advanced_update=true", {"emailBlurb": "x"})
    void = {"status": "voided", "voidedReason": "typo"}
    await desk.ok("PUT", f"/envelopes/{both.envelope}", void)
    assert (await both.do("1", "sign"))["event"] == "ttl_expired"
    assert (await both.do("2", "open", url=unused))["event"] == "ttl_expired"
    session = (await desk.ledger())["sessions"][1]
    assert (session["end"], session["kicked"], session["inputLost"], session["typed"]) == (
        "envelope_voided",
        False,
        False,
        1,
    )
    assert session["disturbed"] == ["Envelopes_PutEnvelope", "envelope-voided"]


async def test_who_is_done_may_only_look(desk: Desk) -> None:
    """A URL opened after signing shows a page to read and ends with viewing_complete."""
    both = await signers(desk)
    await both.open("1")
    await both.do("1", "sign")
    await both.open("1")
    assert (await both.do("1", "sign"))["event"] == "viewing_complete"


@pytest.mark.parametrize(
    "wrong",
    [
        {"returnUrl": ""},
        {"returnUrl": 5},
        {"authenticationMethod": None},
        {"authenticationMethod": "Handshake"},
        {"clientUserId": "c" * 101},
        {"recipientId": None},
        {"pingUrl": "ftp://x", "pingFrequency": "60"},
        {"pingUrl": "http://app.example.com/ping", "pingFrequency": "60"},
        {"pingUrl": PING_URL, "pingFrequency": "59"},
        {"pingUrl": PING_URL, "pingFrequency": "1201"},
        {"pingUrl": PING_URL, "pingFrequency": "often"},
    ],
)
async def test_a_malformed_request_is_refused_and_harms_nobody(
    desk: Desk, wrong: dict[str, Any]
) -> None:
    both = await signers(desk)
    await both.open("1")
    body = {**asking("2"), **wrong}
    assert await desk.refused("POST", view_path(both.envelope), body) == "INVALID_REQUEST_BODY"
    assert await both.ledger() == [("1", None, False, False)]


async def test_a_recipient_is_found_by_each_documented_way(desk: Desk) -> None:
    """recipientId, userId, or e-mail and name; always with the clientUserId of an embedded one."""
    envelope = await desk.create(embedded("1"), person("2"))
    path, base = view_path(envelope), {**asking("1"), "recipientId": None}
    for who in (
        {"recipientId": "1"},
        {"userId": "1"},
        {"email": "SIGNER1@example.com", "userName": "Signer 1"},
    ):
        assert (await desk.ok("POST", path, {**base, **who}))["url"]
    for wrong in (
        {"recipientId": "1", "email": "other@example.com"},
        {"recipientId": "1", "userId": "2"},
        {"email": "signer1@example.com", "userName": "Somebody Else"},
        {"recipientId": "1", "clientUserId": "c2"},
        {"recipientId": "2", "clientUserId": None},
    ):
        code = await desk.refused("POST", path, {**base, **wrong})
        assert code == "UNKNOWN_ENVELOPE_RECIPIENT"


async def test_no_url_before_sending_or_after_the_end(desk: Desk) -> None:
    draft = await desk.create(embedded("1"), status="created")
    assert await desk.refused("POST", view_path(draft), asking("1")) == "ENVELOPE_INVALID_STATUS"
    one = await signers(desk, embedded("1"))
    await one.open("1")
    await one.do("1", "sign")
    code = await desk.refused("POST", view_path(one.envelope), asking("1"))
    assert code == "ENVELOPE_INVALID_STATUS"


async def test_a_long_return_url_is_cut(desk: Desk) -> None:
    """Above 470 characters "the user is redirected to a truncated URL"."""
    one = await signers(desk, embedded("1"))
    long = "https://app.example.com/" + "a" * 500
    await one.open("1", returnUrl=long)
    left = await one.do("1", "cancel")
    assert left["returnUrl"] == f"{long[:470]}?event=cancel"


async def pinged(desk: Desk, more: int) -> None:
    """Wait for so many more pings."""
    wanted = len(desk.listener.bodies) + more
    async with asyncio.timeout(5):
        while len(desk.listener.bodies) < wanted:
            desk.listener.arrived.clear()
            await desk.listener.arrived.wait()


async def test_pings_come_while_the_signer_is_there(desk: Desk) -> None:
    """One interval apart until the window closes or the session ends; none that are blocked."""
    long = {"url_life_s": 999_999, "timeout_s": 999_999}
    await desk.harms(sessions={"policy": "off", "clock": 0.0001, **long})
    both = await signers(desk)
    await both.do("2", "ping-block")
    for recipient in ("1", "2"):
        await both.open(recipient, pingUrl=PING_URL, pingFrequency="60")
    await pinged(desk, 3)
    assert {h["host"] for h in desk.listener.headers} == {"127.0.0.1:9"}
    walker, blocked = (await desk.ledger())["sessions"]
    assert walker["pings"] >= 3
    assert (walker["pingsBlocked"], blocked["pings"], blocked["pingsBlocked"]) == (False, 0, True)
    await both.do("1", "close-window")
    silent_from = (await desk.ledger())["sessions"][0]["pings"]
    await both.do("2", "ping-block", blocked=False)
    await pinged(desk, 3)
    walker, other = (await desk.ledger())["sessions"]
    assert walker["pings"] == silent_from
    assert other["pings"] >= 2
    await both.do("2", "sign")
    assert (await desk.ledger())["sessions"][1]["pings"] == other["pings"]


@pytest.mark.parametrize(
    ("action", "body", "status"),
    [
        ("open", {}, 400),
        ("open", {"url": "https://x/y?slt=z"}, 404),
        ("open", {"url": "http://[x"}, 400),
        ("sign", {}, 409),
        ("dance", {}, 404),
        ("ping-block", {"blocked": "yes"}, 400),
    ],
)
async def test_wrong_control_calls(
    desk: Desk, action: str, body: dict[str, Any], status: int
) -> None:
    envelope = await desk.create(embedded("1"))
    path = f"/simulator/envelopes/{envelope}/recipients/1/session/{action}"
    assert (await desk.http.post(path, json=body)).status_code == status


async def test_a_closed_window_and_a_foreign_url_act_no_more(desk: Desk) -> None:
    both = await signers(desk)
    mine = await both.url("1")
    base = f"/simulator/envelopes/{both.envelope}/recipients"
    foreign = await desk.http.post(f"{base}/2/session/open", json={"url": mine})
    assert foreign.status_code == 404
    await both.do("1", "open", url=mine)
    unknown = await desk.http.post(f"{base}/1/session/type", json={"values": {"Nope": "x"}})
    assert unknown.status_code == 400
    await both.do("1", "close-window")
    assert (await desk.http.post(f"{base}/1/session/sign", json={})).status_code == 409


async def test_the_ledger_tells_each_session_without_its_secret(desk: Desk) -> None:
    both = await signers(desk)
    url = await both.url("1")
    body = await desk.http.get("/simulator/ledger", params={"account": ACCOUNT})
    assert url.partition("slt=")[2] not in body.text
    session = body.json()["sessions"][0]
    assert session["state"] == "issued"
    assert session["requested"] is not None
    assert session["opened"] is session["ended"] is session["end"] is None
    other = await desk.http.get("/simulator/ledger", params={"account": "acc-9"})
    assert other.json()["sessions"] == []


async def test_the_rules_can_be_switched_and_bad_ones_are_refused(desk: Desk) -> None:
    """A wrong rule changes nothing and says what is right."""
    assert (await desk.harms(sessions="off"))["sessions"]["policy"] == "off"
    for wrong in ("two", 5, {"clock": 0}, {"clock": "x"}, {"speed": 1}, {"url_life_s": True}):
        answer = await desk.http.patch("/simulator/harms", json={"sessions": wrong})
        assert answer.status_code == 400
        assert answer.json()["message"].startswith("sessions")
    assert (await desk.harms())["sessions"]["policy"] == "off"


async def test_a_removed_recipient_leaves_with_exception(desk: Desk) -> None:
    """What a signer sees whose recipient was deleted meanwhile is unverified: an error."""
    both = await signers(desk)
    await both.open("1")
    await desk.ok("DELETE", f"/envelopes/{both.envelope}/recipients/1")
    answer = await both.do("1", "sign")
    assert answer["event"] == "exception"
