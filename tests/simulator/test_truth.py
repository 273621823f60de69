"""The ledger of truth as a judge reads it: effects, repeats, mails, duplicates, drafts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from simulator.endpoint import DroppedConnection
from tests.simulator.desk import ACCOUNT, Desk, definition, person

RESEND = {"resend_envelope": "true"}


def marked(value: str) -> dict[str, Any]:
    return {"textCustomFields": [{"name": "marker", "value": value, "show": "false"}]}


async def whole(desk: Desk, **query: str) -> dict[str, Any]:
    answer = await desk.http.get("/simulator/truth", params={"account": ACCOUNT, **query})
    body: dict[str, Any] = answer.json()
    return body


async def lose(desk: Desk, mode: str = "commit_then_drop", **more: Any) -> None:
    await desk.harms(lost_answers=[{"operation": "writes", "mode": mode, **more}])


async def mails(desk: Desk, envelope: str) -> list[tuple[str, str]]:
    """Who was mailed and why, in order."""
    return [(m["recipientId"], m["why"]) for m in (await desk.truth(envelope))["mails"]]


async def test_a_blind_retry_of_a_create_is_a_duplicate_and_a_repeat(desk: Desk) -> None:
    """Told by transaction id, by the marker where it is named, and by the same request."""
    body = definition(transactionId="t-1", customFields=marked("m-1"), status="created")
    await lose(desk)
    with pytest.raises(DroppedConnection):
        await desk.call("POST", "/envelopes", body)
    second = (await desk.ok("POST", "/envelopes", body))["envelopeId"]
    other = await desk.create(transactionId="t-2", customFields=marked("m-2"))
    truth = await whole(desk, marker="marker")
    first = truth["envelopes"][0]["envelopeId"]
    shared = [{"envelopeId": e, "status": "created"} for e in (first, second)]
    assert truth["duplicates"] == [
        {"by": "transactionId", "value": "t-1", "envelopes": shared},
        {"by": "marker", "value": "m-1", "envelopes": shared},
    ]
    [repeated] = truth["repeated_creates"]
    assert set(repeated["envelopeIds"]) == {first, second}
    assert (repeated["effective"], repeated["blind"]) == (2, 1)
    assert truth["drafts_left"] == [first, second]
    assert other not in truth["drafts_left"]
    assert [d["by"] for d in (await whole(desk))["duplicates"]] == ["transactionId"]


async def test_repeating_what_only_sets_a_value_has_no_second_effect(desk: Desk) -> None:
    """A repeat is counted, but not as effective; the same wish spelt in another order is it."""
    envelope = await desk.create(status="created")
    await lose(desk)
    body = {"emailSubject": "A", "emailBlurb": "B"}
    with pytest.raises(DroppedConnection):
        await desk.call("PUT", f"/envelopes/{envelope}", body)
    await desk.ok("PUT", f"/envelopes/{envelope}", dict(reversed(body.items())))
    truth = await desk.truth(envelope)
    [repeat] = truth["repeats"]
    assert (len(repeat["writes"]), repeat["effective"], repeat["blind"]) == (2, 1, 0)
    assert [e["changed"] for e in truth["effects"]] == [True, True, False]


async def test_a_resend_repeated_blindly_mails_twice_and_is_told_so(desk: Desk) -> None:
    envelope = await desk.create()
    await lose(desk)
    with pytest.raises(DroppedConnection):
        await desk.call("PUT", f"/envelopes/{envelope}", {}, query=RESEND)
    await desk.ok("PUT", f"/envelopes/{envelope}", {}, query=RESEND)
    truth = await whole(desk)
    assert (truth["repeats"], truth["blind_repeats"]) == (1, 1)
    [told] = truth["envelopes"]
    assert told["mailCounts"] == {"1": {"sent": 1, "resent": 2}}
    assert truth["mail_counts"] == {"sent": 1, "resent": 2}
    create, *resends = told["effects"]
    assert [m["writeId"] for m in told["mails"]] == [e["id"] for e in (create, *resends)]
    assert [e["mails"] for e in resends] == [1, 1]
    assert [e["answered"] for e in resends] == [False, True]
    audit = await desk.ok("GET", f"/envelopes/{envelope}/audit_events")
    said = [{f["name"]: f["value"] for f in e["eventFields"]} for e in audit["auditEvents"]]
    mails = [e for e in said if e["Message"] == "mail to recipient 1: resent"]
    assert [e["Action"] for e in mails] == ["Resent", "Resent"]


async def test_wanting_the_same_twice_after_an_answer_is_not_blind(desk: Desk) -> None:
    envelope = await desk.create()
    for _ in range(2):
        await desk.ok("PUT", f"/envelopes/{envelope}", {}, query=RESEND)
    [repeat] = (await desk.truth(envelope))["repeats"]
    assert (repeat["effective"], repeat["blind"]) == (2, 0)


async def test_a_late_commit_makes_a_double_effect_of_the_retry_before_it(desk: Desk) -> None:
    """The retry came first into effect, and still is the blind one: it arrived second."""
    envelope = await desk.create()
    await lose(desk, "commit_late", late_s=0.05)
    path, body = f"/envelopes/{envelope}/custom_fields", marked("m")
    with pytest.raises(DroppedConnection):
        await desk.call("POST", path, body)
    await desk.ok("POST", path, body)
    await desk.http.post("/simulator/faults/settle", json={"timeout_s": 10})
    truth = await whole(desk)
    [repeat] = truth["envelopes"][0]["repeats"]
    assert (repeat["effective"], repeat["blind"]) == (2, 1)
    assert len((await desk.ok("GET", path))["textCustomFields"]) == 2


async def test_mails_are_counted_per_recipient_with_their_reason(desk: Desk) -> None:
    """Sent in turn, resent to one, corrected by an e-mail address, reminded; signers cause some."""
    envelope = await desk.create(
        person("1"), person("2", order=2), notification={"reminders": {"reminderEnabled": "true"}}
    )
    path = f"/envelopes/{envelope}"
    await desk.ok("PUT", f"{path}/recipients", {"signers": [{"recipientId": "1"}]}, query=RESEND)
    same = {"signers": [{"recipientId": "1", "email": "signer1@example.com"}]}
    await desk.ok("PUT", f"{path}/recipients", same)
    await desk.ok("PUT", f"{path}/recipients", {"signers": [{"recipientId": "2", "note": "n"}]})
    await desk.act(envelope, "1", "sign")
    reminded = await desk.http.post(f"/simulator/envelopes/{envelope}/remind")
    assert reminded.json() == {"status": "delivered"}
    assert await mails(desk, envelope) == [
        ("1", "sent"),
        ("1", "resent"),
        ("1", "corrected"),
        ("2", "sent"),
        ("2", "reminder"),
    ]
    caused = [m["writeId"] for m in (await desk.truth(envelope))["mails"]]
    assert [w is None for w in caused] == [False, False, False, True, True]


async def test_reminders_come_only_where_they_are_enabled(desk: Desk) -> None:
    """Setting them sends no mail (SPEC Notification_Put...); switching them off stops them."""
    envelope = await desk.create()
    path = f"/envelopes/{envelope}/notification"
    off = await desk.http.post(f"/simulator/envelopes/{envelope}/remind")
    assert (off.status_code, off.json()["errorCode"]) == (409, "REMINDERS_OFF")
    reminders = {"reminderEnabled": "true", "reminderDelay": "2", "reminderFrequency": "3"}
    await desk.ok("PUT", path, {"useAccountDefaults": "false", "reminders": reminders})
    assert (await desk.ok("GET", path))["reminders"] == reminders
    assert await mails(desk, envelope) == [("1", "sent")]
    await desk.http.post(f"/simulator/envelopes/{envelope}/remind")
    assert await mails(desk, envelope) == [("1", "sent"), ("1", "reminder")]


async def test_an_expired_envelope_is_voided_with_its_reason(desk: Desk) -> None:
    envelope = await desk.create()
    answer = await desk.http.post(f"/simulator/envelopes/{envelope}/expire")
    assert answer.json() == {"status": "voided"}
    read = await desk.ok("GET", f"/envelopes/{envelope}")
    assert (read["status"], read["voidedReason"]) == ("voided", "The envelope has expired.")
    again = await desk.http.post(f"/simulator/envelopes/{envelope}/expire")
    assert again.status_code == 409


async def test_hidden_text_fields_are_added_set_and_removed_by_name_or_id(desk: Desk) -> None:
    """A second POST of one name adds a second field; PUT and DELETE take the first of a name."""
    envelope = await desk.create(customFields=marked("m-1"))
    path = f"/envelopes/{envelope}/custom_fields"
    field = {"name": "region", "value": "west", "show": "false"}
    await desk.ok("POST", path, {"textCustomFields": [field]})
    [_, added] = (await desk.ok("GET", path))["textCustomFields"]
    assert added == {**field, "fieldId": added["fieldId"], "required": "false"}
    await desk.ok("PUT", path, {"textCustomFields": [{**field, "value": "east"}]})
    assert (await desk.truth(envelope))["customFields"] == {"marker": "m-1", "region": "east"}
    await desk.ok("DELETE", path, {"textCustomFields": [{"fieldId": added["fieldId"]}]})
    assert (await desk.truth(envelope))["customFields"] == {"marker": "m-1"}
    missing = await desk.ok("DELETE", path, {"textCustomFields": [{"fieldId": "1"}]})
    assert missing["textCustomFields"][0]["errorDetails"]["errorCode"]
    assert await mails(desk, envelope) == [("1", "sent")]


async def test_hundreds_of_envelopes_and_thousands_of_writes_stay_quick(desk: Desk) -> None:
    """The cost of a call does not grow with the number of envelopes, nor that of a truth fast."""
    many = [await desk.create(transactionId=f"t-{n}") for n in range(300)]
    started = time.perf_counter()
    for n in range(300):
        body = {"emailSubject": f"S{n}"}
        await desk.ok("PUT", f"/envelopes/{many[n]}", body, query={"advanced_update": "true"})
    per_write_s = (time.perf_counter() - started) / 300
    started = time.perf_counter()
    truth = await whole(desk)
    assert len(truth["envelopes"]) == 300
    assert per_write_s < 0.1
    assert time.perf_counter() - started < 2
