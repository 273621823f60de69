"""A refusal's class follows from its code; the HTTP status decides only where no code is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwax.facts import EnvelopeStatus
from sealwax.mutations import AddRecipients, DiscardDraft, Mutation, SendEnvelope, VoidEnvelope
from sealwax.providers.base import (
    Locked,
    NeedsPerson,
    NotSentError,
    OutcomeUnknown,
    ProviderRejected,
    RateLimited,
    Request,
    TokenRefused,
    Unavailable,
    is_outage,
)
from sealwax.providers.docusign import DocuSignAdapter
from tests.providers.conversations import answer, drive
from tests.providers.samples import DEE, change

READ = Request("Envelopes_GetEnvelope", "GET", "/envelopes/e")
WRITE = Request("Envelopes_PutEnvelope", "PUT", "/envelopes/e", purpose="write", mutating=True)
DOWNLOAD = Request("Documents_GetDocument", "GET", "/x", purpose="download")


def refused(request: Request, status: int, body: Any, headers: Any = None) -> Any:
    return DocuSignAdapter().refused(request, answer(body, status, headers))


def error(code: str) -> dict[str, str]:
    return {"errorCode": code, "message": "said"}


@pytest.mark.parametrize("request_", [READ, WRITE])
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("HOURLY_APIINVOCATION_LIMIT_EXCEEDED", RateLimited),
        ("Burst_APIInvocation_Envelope_Limit_Exceeded", RateLimited),
        ("Hourly_Envelope_Polling_Limit_Exceeded", RateLimited),
        ("AUTHORIZATION_INVALID_TOKEN", TokenRefused),
        ("USER_AUTHENTICATION_FAILED", TokenRefused),
        ("USER_LACKS_PERMISSIONS", NeedsPerson),
        ("ENVELOPE_ALLOWANCE_EXCEEDED", NeedsPerson),
        ("EDIT_LOCK_NOT_LOCK_OWNER", Locked),
    ],
)
def test_a_known_code_decides_whatever_the_status(
    request_: Request, status: int, code: str, kind: type[Exception]
) -> None:
    """Limits come as 400 and are moving to 429; the exact statuses are not published."""
    assert type(refused(request_, status, error(code))) is kind
    assert type(refused(request_, status, error(code.lower()))) is kind


@pytest.mark.parametrize("code", ["ENVELOPE_CANNOT_VOID_INVALID_STATE", "ENVELOPE_INVALID_STATUS"])
def test_a_wrong_state_is_a_rejection_with_its_code(code: str) -> None:
    """The caller looks at the envelope then; nothing is retried."""
    refusal = refused(WRITE, 400, error(code))
    assert type(refusal) is ProviderRejected
    assert refusal.code == code


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_a_server_error_leaves_a_mutation_unknown_and_a_read_undone(status: int) -> None:
    """Whether a failing server has carried out a change cannot be seen from its answer."""
    assert type(refused(WRITE, status, b"<html>gateway")) is OutcomeUnknown
    again = refused(READ, status, b"<html>gateway", {"retry-after": "7"})
    assert type(again) is Unavailable
    assert again.retry_after_s == 7
    assert is_outage(again)
    assert is_outage(refused(WRITE, status, b""))


def test_an_unspecified_error_is_ambiguous_for_a_mutation_only() -> None:
    """UNSPECIFIED_ERROR says nothing of what was done."""
    assert type(refused(WRITE, 400, error("UNSPECIFIED_ERROR"))) is OutcomeUnknown
    assert type(refused(READ, 400, error("UNSPECIFIED_ERROR"))) is ProviderRejected


def test_a_limit_says_how_long_to_wait() -> None:
    """Retry-After where it is there; else which window has to pass, where no header tells."""
    burst = error("BURST_APIINVOCATION_LIMIT_EXCEEDED")
    hourly = error("HOURLY_APIINVOCATION_LIMIT_EXCEEDED")
    polling = error("HOURLY_ENVELOPE_POLLING_LIMIT_EXCEEDED")
    assert refused(WRITE, 400, burst).window == "burst"
    assert refused(READ, 400, polling).window == "poll"
    assert refused(WRITE, 400, hourly).window is None
    assert refused(WRITE, 400, burst, {"retry-after": "4"}).retry_after_s == 4
    assert refused(WRITE, 400, hourly).retry_after_s is None
    assert refused(WRITE, 429, b"").retry_after_s is None
    assert type(refused(WRITE, 429, b"")) is RateLimited


def test_an_answer_without_a_code_is_classed_by_its_status() -> None:
    """A proxy's page has no errorCode."""
    assert type(refused(WRITE, 401, b"no")) is TokenRefused
    assert refused(WRITE, 404, b"no").code == "HTTP_404"
    assert "base URI" in str(refused(WRITE, 302, b""))


@pytest.mark.parametrize("body", [b"", b"<html>", [], "text", b"\xff"])
def test_an_unreadable_success_is_none(body: Any) -> None:
    """A mutation may have landed; a read is to be made again."""
    assert type(refused(WRITE, 200, body)) is OutcomeUnknown
    assert type(refused(READ, 200, body)) is NotSentError
    assert refused(DOWNLOAD, 200, body) is None


def test_error_details_inside_a_read_are_not_the_read_s() -> None:
    """A list of statuses may name an envelope that it could not find."""
    body = {"envelopeTransactionStatuses": [{"errorDetails": error("ENVELOPE_DOES_NOT_EXIST")}]}
    assert refused(READ, 200, body) is None
    assert refused(WRITE, 200, {"errorDetails": {"errorCode": "SUCCESS"}}) is None
    inside = {"envelopeDocuments": [{"errorDetails": error("Hourly_Apiinvocation_Limit_Exceeded")}]}
    assert type(refused(WRITE, 200, inside)) is RateLimited


DELETED = ("Documents_DeleteDocuments", "DOCUMENT_DOES_NOT_EXIST", "documents")
REMOVED = ("Recipients_DeleteRecipients", "UNKNOWN_ENVELOPE_RECIPIENT", "signers")


@pytest.mark.parametrize(("operation", "code", "key"), [DELETED, REMOVED])
def test_a_delete_of_what_is_gone_is_done(operation: str, code: str, key: str) -> None:
    """Per item, or of one item alone; the same code of another operation is a refusal."""
    gone, other = {"errorDetails": error(code)}, {"errorDetails": error("RECIPIENT_UPDATE_FAILED")}
    delete = replace(WRITE, operation=operation, method="DELETE", json={key: [{}, {}]})
    assert refused(delete, 200, {key: [gone, {}]}) is None
    assert refused(delete, 200, {key: [gone, other]}).code == "RECIPIENT_UPDATE_FAILED"
    assert type(refused(delete, 400, error(code))) is ProviderRejected
    assert refused(replace(delete, json={key: [{}]}), 400, error(code)) is None
    assert type(refused(WRITE, 200, {key: [gone]})) is ProviderRejected


@pytest.mark.parametrize(
    ("mutation", "code"),
    [
        (VoidEnvelope("no"), "ENVELOPE_CANNOT_VOID_INVALID_STATE"),
        (SendEnvelope(), "ENVELOPE_INVALID_STATUS"),
        (AddRecipients((DEE,)), "envelope_invalid_status"),
        (DiscardDraft(), "ENVELOPE_NOT_IN_FOLDER"),
    ],
)
def test_a_wrong_state_at_a_second_try_is_looked_into(mutation: Mutation, code: str) -> None:
    """It may be the first try's own effect, late: not refused, unknown. A first try is refused."""
    sent = isinstance(mutation, VoidEnvelope)
    first = change(mutation, EnvelopeStatus.SENT if sent else EnvelopeStatus.CREATED)
    again = replace(first, attempt=2)
    adapter = DocuSignAdapter()
    answers = [answer({}), answer(error(code), 400)]
    reads_first = isinstance(mutation, AddRecipients)
    with pytest.raises(OutcomeUnknown, match="earlier try"):
        drive(adapter.mutate("e", again, {}), *(answers if reads_first else answers[1:]))
    with pytest.raises(ProviderRejected):
        drive(adapter.mutate("e", first, {}), answers[1])
    other = answer(error("INVALID_REQUEST_BODY"), 400)
    with pytest.raises(ProviderRejected):
        drive(adapter.mutate("e", again, {}), *(answers[:1] if reads_first else ()), other)


@pytest.mark.parametrize(
    ("code", "status"),
    [("USER_LACKS_PERMISSIONS", 403), ("BURST_APIINVOCATION_LIMIT_EXCEEDED", 400), ("X", 404)],
)
def test_a_provider_that_refuses_is_not_out(code: str, status: int) -> None:
    """Limits, permissions and refusals are no outage; nor is an ambiguous answer."""
    assert not is_outage(refused(WRITE, status, error(code)))
    assert not is_outage(refused(WRITE, 400, error("UNSPECIFIED_ERROR")))
    assert not is_outage(None)


def test_a_long_message_is_cut() -> None:
    """An error's text stays short enough for history."""
    refusal = refused(WRITE, 400, {"errorCode": "X", "message": "m" * 10_000})
    assert len(str(refusal)) < 400
