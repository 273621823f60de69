"""What DocuSign's refusals mean, by error code, and the one step all its conversations share.

The HTTP status alone decides little: limits arrive as 400 (moving to 429), a 200 may carry an
error per item, and one code is seen with several statuses. So the code decides, compared without
regard to case because DocuSign's own texts and real answers differ in it; the status decides only
where no code is known. What one code means can depend on the operation, and on whether an earlier
try of it may have landed.

| class | by code | by status, where no code is known |
|---|---|---|
| transient (``Unavailable``) | | 408, 5xx of a read |
| unknown (``OutcomeUnknown``) | UNSPECIFIED_ERROR; a wrong state, asked again | 408, 5xx |
| rate-limited (``RateLimited``) | the limits' | 429 |
| locked (``Locked``) | EDIT_LOCK_NOT_LOCK_OWNER | |
| authentication (``TokenRefused``) | an invalid token, USER_AUTHENTICATION_FAILED | 401 |
| needs a person (``NeedsPerson``) | consent, permissions, allowance | |
| done | a delete of what is gone | |
| rejected (``ProviderRejected``) | all others | all others |
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from sealwax.providers.base import (
    Answer,
    Conversation,
    Locked,
    NeedsPerson,
    NotSentError,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    RateLimited,
    Request,
    TokenRefused,
    Unavailable,
)
from sealwax.quota_limits import Window

T = TypeVar("T")

_MESSAGE_LENGTH_MAX = 300

# docusign.com docs, "Rules and limits" and "Service protection: new API errors for excessive
# polling and envelope updates": the burst window has no reset header; the same GET of one envelope
# is wanted at most once in 15 minutes. None: the hour's end stands in a header.
_LIMITS: dict[str, Window | None] = {
    "hourly_apiinvocation_limit_exceeded": None,
    "burst_apiinvocation_limit_exceeded": "burst",
    "hourly_apiinvocation_envelope_limit_exceeded": None,
    "burst_apiinvocation_envelope_limit_exceeded": "burst",
    "hourly_envelope_polling_limit_exceeded": "poll",
    "burst_envelope_polling_limit_exceeded": "burst",
}
_TOKEN = frozenset({"authorization_invalid_token", "user_authentication_failed"})
_PERSON = frozenset(
    {
        "consent_required",
        "account_lacks_permissions",
        "account_not_authorized_for_envelope",
        "user_lacks_permissions",
        "envelope_allowance_exceeded",
    }
)
# The first is SPEC's (Lock_PostEnvelopeLock); the others were seen in clients of the API alone.
_LOCKED = frozenset({"edit_lock_not_lock_owner", "edit_lock_envelope_locked", "envelope_locked"})
_AMBIGUOUS = "unspecified_error"
# What a state-guarded call is answered where the envelope is in another state than it needs. For
# a void the code is known; what a second send is answered is not documented.
_WRONG_STATE = frozenset(
    {"envelope_cannot_void_invalid_state", "envelope_invalid_status", "envelope_not_in_folder"}
)
# Refusals that say that what was asked for is so already, by the operation that asked; elsewhere
# the same codes are refusals. That a repeated delete may carry them per item is not documented.
_DONE = frozenset(
    {
        ("Documents_DeleteDocuments", "document_does_not_exist"),
        ("Recipients_DeleteRecipients", "unknown_envelope_recipient"),
    }
)


def refused(request: Request, answer: Answer) -> ProviderError | None:
    """What an answer refuses, or None where it is a success.

    A success whose body cannot be read, or whose items carry errors, is no success.
    """
    if 200 <= answer.status < 300:
        return _refused_inside(request, answer)
    code, message = _code_and_message(answer)
    if _done(request, code) and _items(request) == 1:
        return None
    known = _by_code(code.casefold(), message, request, answer)
    return known if known is not None else _by_status(code, message, request, answer)


def error_code(answer: Answer) -> str | None:
    """The error code of an answer that is no success; None for a success, and where it has none."""
    if 200 <= answer.status < 300:
        return None
    return _code_and_message(answer)[0] or None


def ask(request: Request) -> Conversation[Any]:
    """One step of a conversation: the answer's JSON; raises what the answer refuses."""
    answer = yield request
    refusal = refused(request, answer)
    if refusal is not None:
        raise refusal
    return answer.json()


def looked_into(conversation: Conversation[T]) -> Conversation[T]:
    """A conversation that is had again because an earlier try may have taken effect late.

    A refusal for the envelope's state may be that effect: the second void of an envelope that the
    first has voided. So it raises ``OutcomeUnknown``, and the envelope is looked at.
    """
    try:
        return (yield from conversation)
    except ProviderRejected as refusal:
        if refusal.code.casefold() not in _WRONG_STATE:
            raise
        raise OutcomeUnknown(f"{refusal}; perhaps by an earlier try") from refusal


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object inside a JSON value, itself included, outermost first."""
    if isinstance(value, dict):
        yield value
        for child in value.values():
            yield from objects(child)
    elif isinstance(value, list):
        for child in value:
            yield from objects(child)


def retry_after_s(answer: Answer) -> float | None:
    """``Retry-After`` in seconds where the answer has it as a number."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _refused_inside(request: Request, answer: Answer) -> ProviderError | None:
    if request.purpose == "download":
        return None
    body = answer.json()
    if not isinstance(body, dict):
        what = f"{request.operation}: status {answer.status} with a body that is no JSON object"
        return OutcomeUnknown(what) if request.mutating else NotSentError(what)
    if not request.mutating:
        return None
    failures = [f for f in _item_errors(body) if not _done(request, f[0])]
    if not failures:
        return None
    code, message = failures[0]
    more = f" (and {len(failures) - 1} more items)" if len(failures) > 1 else ""
    return _by_code(code.casefold(), message, request, answer) or ProviderRejected(
        code, message + more
    )


def _done(request: Request, code: str) -> bool:
    return (request.operation, code.casefold()) in _DONE


def _items(request: Request) -> int:
    body = request.json if isinstance(request.json, dict) else {}
    return sum(len(items) for items in body.values() if isinstance(items, list))


def _item_errors(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    # SPEC Recipients_PutRecipients: success with recipientUpdateResults[].errorDetails; the same
    # object hangs on documents, tabs and custom fields. "SUCCESS" stands for no error.
    for item in objects(body):
        details = item.get("errorDetails")
        if isinstance(details, dict):
            code = str(details.get("errorCode") or "")
            if code and code.upper() != "SUCCESS":
                yield code, str(details.get("message") or "")[:_MESSAGE_LENGTH_MAX]


def _code_and_message(answer: Answer) -> tuple[str, str]:
    body = answer.json()
    if not isinstance(body, dict):
        return "", ""
    code = str(body.get("errorCode") or body.get("error") or "")
    message = str(body.get("message") or body.get("error_description") or "")
    return code, message[:_MESSAGE_LENGTH_MAX]


def _by_code(code: str, message: str, request: Request, answer: Answer) -> ProviderError | None:
    if code in _LIMITS:
        return RateLimited(f"{code}: {message}", retry_after_s(answer), _LIMITS[code])
    if code in _TOKEN:
        return TokenRefused(f"{code}: {message}")
    if code in _PERSON:
        return NeedsPerson(code.upper(), message)
    if code in _LOCKED:
        return Locked(f"{code}: {message}")
    if code == _AMBIGUOUS and request.mutating:
        return OutcomeUnknown(f"{request.operation}: {code}: {message}")
    return None


def _by_status(code: str, message: str, request: Request, answer: Answer) -> ProviderError:
    status = answer.status
    said = f"{request.operation}: status {status}" + (f", {code}: {message}" if code else "")
    if status == 429:
        return RateLimited(said, retry_after_s(answer))
    if status == 401:
        return TokenRefused(said)
    # 408 is a proxy's word for a request that it gave up on; the service may have had it.
    if status >= 500 or status == 408:
        if request.mutating:
            return OutcomeUnknown(said, outage=True)
        return Unavailable(said, retry_after_s(answer))
    if 300 <= status < 400:
        return ProviderRejected(
            f"HTTP_{status}", "the API redirected; check the account's base URI in your settings"
        )
    return ProviderRejected(code or f"HTTP_{status}", message or "no further word was given")
