"""What DocuSign's answers say of its limits. Pure.

docusign.com docs, "Resource limits": every answer has ``X-RateLimit-Limit``, ``-Remaining`` and
``-Reset`` (the hour's), ``X-BurstLimit-Limit`` and ``-Remaining``; the burst has no reset header.
Refusals are told by their error code, whose spelling varies in case, never by the HTTP status.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from sealwax.quota_reports import Refusal, Seen

# Above this a number in X-RateLimit-Reset is a moment (seconds since 1970), below it a delay.
_EPOCH_MIN_S = 1_000_000_000

_REFUSALS: Mapping[str, Refusal] = {
    "hourly_apiinvocation_limit_exceeded": "hour",
    "burst_apiinvocation_limit_exceeded": "burst",
    "hourly_apiinvocation_envelope_limit_exceeded": "envelope_hour",
    "burst_apiinvocation_envelope_limit_exceeded": "envelope_burst",
    "hourly_envelope_polling_limit_exceeded": "envelope_hour",
    "burst_envelope_polling_limit_exceeded": "envelope_burst",
}


def seen(headers: Mapping[str, str], error_code: str | None) -> Seen:
    """The figures of one answer; what it does not say, or says unreadably, is None.

    ``headers``: names in lower case.
    """
    return Seen(
        burst_limit=_count(headers, "x-burstlimit-limit") or None,
        burst_left=_count(headers, "x-burstlimit-remaining"),
        hour_limit=_count(headers, "x-ratelimit-limit") or None,
        hour_left=_count(headers, "x-ratelimit-remaining"),
        reset_in=_reset_in(headers),
        refusal=_REFUSALS.get((error_code or "").casefold()),
    )


def _count(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None


def _reset_in(headers: Mapping[str, str]) -> tuple[int, int] | None:
    """The bounds of the time from the answer to the reset, in microseconds.

    A moment is measured against the answer's own ``Date``, so that no clock of ours matters; that
    one says no more than the second.
    """
    text = headers.get("x-ratelimit-reset", "").strip()
    try:
        reset_s = float(text)
        if not 0 <= reset_s < 1e11:
            return None
        if reset_s >= _EPOCH_MIN_S:
            reset_s -= parsedate_to_datetime(headers.get("date", "")).timestamp()
    except ValueError:
        return None
    return round((reset_s - 1) * 1_000_000), round(reset_s * 1_000_000)
