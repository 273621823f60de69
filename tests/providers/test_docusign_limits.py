"""Laws of reading DocuSign's limits: figures from headers, refusals from codes."""

from __future__ import annotations

import pytest

from sealwax.providers.docusign_limits import seen
from sealwax.quota_reports import Seen

S = 1_000_000

# Names and the form of the values: SPEC Documents_GetDocument, description.
HEADERS = {
    "x-ratelimit-limit": "1000",
    "x-ratelimit-remaining": "994",
    "x-ratelimit-reset": "1767261600",
    "x-burstlimit-limit": "500",
    "x-burstlimit-remaining": "499",
    "date": "Thu, 01 Jan 2026 09:30:00 GMT",
}


def test_all_figures_are_read_and_the_reset_is_measured_by_the_answers_own_date() -> None:
    """The date says no more than the second, so the reset lies within one."""
    assert seen(HEADERS, None) == Seen(500, 499, 1000, 994, (1799 * S, 1800 * S), None)


def test_a_small_reset_is_a_delay() -> None:
    """Below a billion it is no moment since 1970."""
    assert seen({"x-ratelimit-reset": "90"}, None).reset_in == (89 * S, 90 * S)


@pytest.mark.parametrize(
    ("code", "refusal"),
    [
        ("HOURLY_APIINVOCATION_LIMIT_EXCEEDED", "hour"),
        ("BURST_APIINVOCATION_LIMIT_EXCEEDED", "burst"),
        ("Hourly_APIInvocation_Envelope_Limit_Exceeded", "envelope_hour"),
        ("Burst_APIInvocation_Envelope_Limit_Exceeded", "envelope_burst"),
        ("HOURLY_ENVELOPE_POLLING_LIMIT_EXCEEDED", "envelope_hour"),
        ("Burst_Envelope_Polling_Limit_Exceeded", "envelope_burst"),
        ("ENVELOPE_DOES_NOT_EXIST", None),
        (None, None),
    ],
)
def test_a_refusal_is_known_by_its_code_in_any_case(code: str | None, refusal: str | None) -> None:
    """Both spellings are seen in the wild."""
    assert seen({}, code).refusal == refusal


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x-burstlimit-remaining", "-1"),
        ("x-burstlimit-remaining", "many"),
        ("x-burstlimit-limit", "0"),
        ("x-ratelimit-limit", "9" * 40),
        ("x-ratelimit-reset", "soon"),
        ("x-ratelimit-reset", "nan"),
        ("x-ratelimit-reset", "1767261600"),
    ],
)
def test_what_cannot_be_read_says_nothing(name: str, text: str) -> None:
    """A strange header never stops a call; a moment without a date is no moment."""
    assert seen({name: text}, None) == Seen()
