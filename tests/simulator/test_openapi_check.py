"""The definition check accepts real payloads and can fail."""

from __future__ import annotations

from typing import Any

import pytest

from tests.openapi import OpenApi

ENVELOPES = "/restapi/v2.1/accounts/a/envelopes"


def test_a_request_of_declared_keys_passes() -> None:
    body = {
        "emailSubject": "Lease",
        "status": "created",
        "recipients": {"signers": [{"recipientId": "1", "tabs": {"signHereTabs": [{}]}}]},
        "eventNotifications": [{"url": "https://x", "events": ["envelope-sent"]}],
    }
    assert OpenApi.load().check_request("POST", ENVELOPES, {"cdse_mode": "x"}, body) == []


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("POST", ENVELOPES, {}, {"emailSubjekt": "Lease"}),
        ("POST", ENVELOPES, {}, {"recipients": {"signers": [{"routing_order": "1"}]}}),
        ("POST", ENVELOPES, {}, {"recipients": {"signers": {"recipientId": "1"}}}),
        ("POST", ENVELOPES, {}, {"emailSubject": 7}),
        ("POST", ENVELOPES, {}, {"eventNotifications": [{"evnts": []}]}),
        ("GET", ENVELOPES, {"fromdate": "2026-01-01"}, None),
        ("GET", ENVELOPES + "?transaction_id=1", {}, None),
        ("DELETE", ENVELOPES + "/e", {}, None),
        ("PUT", "/restapi/v2.1/accounts/a/envelope/e", {}, {}),
        ("DELETE", ENVELOPES + "/e/recipients/1", {}, {"signers": []}),
    ],
)
def test_a_misspelt_request_is_reported(
    method: str, path: str, query: dict[str, str], body: Any
) -> None:
    assert len(OpenApi.load().check_request(method, path, query, body)) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (201, {"envelopeID": "e"}),
        (200, {"envelopeId": "e"}),
        (400, {"error": "x"}),
        (201, {"status": ["sent"]}),
    ],
)
def test_a_misspelt_answer_is_reported(status: int, body: Any) -> None:
    assert len(OpenApi.load().check_response("POST", ENVELOPES, status, body)) == 1


def test_real_answers_pass_with_their_nulls_and_listed_exceptions() -> None:
    """A key set captured from the real API, null and undeclared `uSigState` included."""
    body = {"envelopeId": "e", "anySigner": None, "uSigState": "esign", "sender": {"ipAddress": ""}}
    assert OpenApi.load().check_response("GET", ENVELOPES + "/e", 200, body) == []
    assert OpenApi.load().check_response("GET", ENVELOPES + "/e", 200, {"uSigStat": ""}) != []


def test_the_prefix_is_optional() -> None:
    path = ENVELOPES.removeprefix("/restapi")
    assert OpenApi.load().check_request("GET", path, {"from_date": "x"}, None) == []
