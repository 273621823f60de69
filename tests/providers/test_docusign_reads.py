"""Reads yield facts and a picture; lists are paged to their end; finding adopts no stranger."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sealwax.calls import FindCreated
from sealwax.definition import TabKind
from sealwax.facts import RESTORED, EnvelopeStatus, Fact, Facts
from sealwax.providers.docusign import PAGE_SIZE, DocuSignAdapter
from sealwax.providers.docusign_shapes import envelope_facts, parse_time
from tests.openapi import OpenApi
from tests.providers.conversations import answer, drive, problems
from tests.providers.samples import SINCE

ADAPTER = DocuSignAdapter()
PAYLOADS = Path(__file__).parents[1] / "data" / "payloads"


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / name).read_text())


def test_a_real_read_yields_its_facts() -> None:
    """The captured GET of a sent envelope: status, subject and the time it was sent."""
    shown = payload("rest-GET-envelope-200-2025-08-31.json")
    assert OpenApi.load().check_response("GET", "/v2.1/accounts/a/envelopes/e", 200, shown) == []
    seen = drive(ADAPTER.read(shown["envelopeId"], False), answer(shown)).result
    assert seen is not None
    assert seen.status is EnvelopeStatus.SENT
    assert seen.facts == (Fact("sent", at=datetime(2025, 8, 31, 22, 1, 23, 977000, UTC)),)
    assert seen.subject == "Test Document for Response Capture"


def test_a_real_completed_envelope_shows_documents_and_incarnations() -> None:
    """The certificate is no document; each recipient's facts name its guid."""
    shown = payload("sim-envelope-completed-full-2022-09-22.json")["data"]["envelopeSummary"]
    driven = drive(ADAPTER.read(shown["envelopeId"], True), answer(shown))
    assert driven.requests[0].query["include"] == "recipients,documents,custom_fields,tabs"
    seen = driven.result
    assert seen is not None
    assert seen.status is EnvelopeStatus.COMPLETED
    assert seen.documents == {1: "1661781086_CE TEMPLATE 01.pdf"}
    person = seen.recipient("98969862")
    assert person is not None
    assert person.incarnation == "4cf8e55c-b611-4ab5-bddd-9bc640bfc911"
    assert person.tabs == frozenset()
    facts = Facts().joined(seen.facts)
    assert facts.of_recipient("98969862", [person.incarnation]) == {
        "sent",
        "delivered",
        "completed",
    }
    assert facts.time_of("completed", "98969862") == parse_time("2022-09-22T15:22:52.92Z")


def test_a_read_without_tabs_says_nothing_of_them() -> None:
    """None where they were not asked for; kinds and labels where they were."""
    tabs = {"signHereTabs": [{"tabLabel": "here", "tabId": "t"}]}
    shown = {"status": "sent", "recipients": {"signers": [{"recipientId": "1", "tabs": tabs}]}}
    without = drive(ADAPTER.read("e", False), answer(shown)).result
    given = drive(ADAPTER.read("e", True), answer(shown)).result
    assert without is not None
    assert given is not None
    assert without.recipients[0].tabs is None
    assert given.recipients[0].tabs == frozenset({(TabKind.SIGN_HERE, "here")})


@pytest.mark.parametrize(
    ("envelope", "status", "facts"),
    [
        ({"status": "Sent"}, "sent", {("sent", "")}),
        ({"status": "processing"}, "new", set()),
        ({"status": "correct", "sentDateTime": "2026-01-01T00:00:00Z"}, "sent", {("sent", "")}),
        ({"status": None}, "new", set()),
        ({"status": "deleted"}, "deleted", {("deleted", "")}),
        (
            {"status": "created", "deletedDateTime": "2026-01-01T00:00:00Z"},
            "deleted",
            {("created", ""), ("deleted", "2026-01-01T00:00:00Z")},
        ),
        (
            {"status": "sent", "deletedDateTime": "T"},
            "sent",
            {("sent", ""), ("deleted", "T"), (RESTORED, "T")},
        ),
        (
            {"status": "voided", "deletedDateTime": "T"},
            "voided",
            {("voided", ""), ("deleted", "T")},
        ),
        (
            {"status": "sent", "deliveredDateTime": "2026-01-01T00:00:00Z"},
            "sent",
            {("sent", "")},
        ),
    ],
)
def test_a_status_is_read_in_the_provider_s_words(
    envelope: dict[str, Any], status: str, facts: set[tuple[str, str]]
) -> None:
    """Case does not matter, unknown words yield no fact, and a time left behind is no fact."""
    assert {(f.status, f.mark) for f in envelope_facts(envelope)} == facts
    seen = drive(ADAPTER.read("e", False), answer(envelope)).result
    assert seen is not None
    assert seen.status == status
    assert seen.provider_envelope_id == "e"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2022-09-22T15:22:53.4580747Z", datetime(2022, 9, 22, 15, 22, 53, 458074, UTC)),
        ("2022-09-22T15:22:53", datetime(2022, 9, 22, 15, 22, 53, 0, UTC)),
        ("", None),
        ("yesterday", None),
        (None, None),
        (7, None),
    ],
)
def test_times_have_up_to_seven_fraction_digits(text: Any, time: datetime | None) -> None:
    """What cannot be read is no time; what is read is aware of its zone."""
    assert parse_time(text) == time


def listed(count: int, start: int, total: int) -> Any:
    envelopes = [
        {"envelopeId": f"e-{i}", "status": "sent", "statusChangedDateTime": "2026-01-01T00:00:00Z"}
        for i in range(start, start + count)
    ]
    return answer({"envelopes": envelopes, "totalSetSize": str(total)})


def test_changes_are_read_page_by_page_to_the_end() -> None:
    """Every envelope once, with a key that tells its state from another's."""
    driven = drive(ADAPTER.changes(SINCE), listed(PAGE_SIZE, 0, 130), listed(30, PAGE_SIZE, 130))
    assert all(r.query["order_by"] == "created" for r in driven.requests)
    assert [r.query["start_position"] for r in driven.requests] == ["0", str(PAGE_SIZE)]
    assert driven.requests[0].query["from_date"] == "2026-01-01T00:00:00.000Z"
    events = driven.result
    assert events is not None
    assert len({e.event_key for e in events}) == 130
    assert events[0].facts == (Fact("sent"),)


def test_no_changes_are_one_request() -> None:
    """An empty page ends the list, with or without a total."""
    assert drive(ADAPTER.changes(SINCE), answer({"totalSetSize": "0"})).result == ()
    assert drive(ADAPTER.changes(SINCE), answer({"envelopes": None})).result == ()
    # A total that is never reached does not make the list endless.
    assert drive(ADAPTER.changes(SINCE), listed(1, 0, 9), listed(0, 1, 9)).result != ()


def fields(value: str) -> dict[str, Any]:
    return {"textCustomFields": [{"name": "sealwax", "value": value}]}


def test_finding_joins_both_searches_and_leaves_out_the_bin_and_strangers() -> None:
    """By transaction id and by marker; several may have been made; a stranger is never adopted."""
    by_transaction = {
        "envelopeTransactionStatuses": [
            {"transactionId": "t-1", "envelopeId": "e-1", "status": "created"},
            {"transactionId": "t-9", "envelopeId": "e-9", "status": "created"},
            {"transactionId": "t-1", "errorDetails": {"errorCode": "X"}},
        ],
        "envelopes": [{"envelopeId": "e-2", "transactionId": "t-2", "status": "sent"}],
    }
    by_marker = {
        "envelopes": [
            {"envelopeId": "e-1", "status": "created", "customFields": fields("m")},
            {"envelopeId": "e-3", "status": "created", "customFields": fields("m")},
            {"envelopeId": "e-4", "status": "Deleted", "customFields": fields("m")},
            {"envelopeId": "e-5", "status": "created", "customFields": fields("other")},
            {"envelopeId": "e-6", "status": "created"},
        ]
    }
    call = FindCreated(("t-1", "t-2"), "m", SINCE)
    driven = drive(ADAPTER.find_created(call), answer(by_transaction), answer(by_marker))
    assert driven.result == ("e-1", "e-2", "e-3")
    assert driven.requests[0].query["transaction_ids"] == "t-1,t-2"
    assert driven.requests[1].query["custom_field"] == "sealwax=m"


def test_what_one_search_shows_in_the_bin_is_not_found_by_the_other() -> None:
    """A discarded orphan does not come back."""
    seen = {"transactionId": "t", "envelopeId": "e", "status": "created"}
    binned = {"envelopeId": "e", "status": "deleted", "customFields": fields("m")}
    driven = drive(
        ADAPTER.find_created(FindCreated(("t",), "m", SINCE)),
        answer({"envelopeTransactionStatuses": [seen]}),
        answer({"envelopes": [binned]}),
    )
    assert driven.result == ()


def test_downloads_leave_the_certificate_out_of_the_documents() -> None:
    """``combined`` without it, ``certificate`` alone, nothing else."""
    combined = ADAPTER.download("e", "combined")
    assert (combined.path, combined.query) == (
        "/envelopes/e/documents/combined",
        {"certificate": "false"},
    )
    assert problems(combined) == problems(ADAPTER.download("e", "certificate")) == []
    with pytest.raises(ValueError, match="combined or certificate"):
        ADAPTER.download("e", "archive")
