"""Plans of what goes wrong with a call: lost, late, failing and refused answers.

What the provider is known to do is cited at its mode; the rest is chosen harm: things that any
service behind load balancers does now and then, and that no page of the provider rules out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Span = tuple[float, float]

# Timed-out creates that nevertheless made an envelope are reported by clients of the real API
# (docusign-esign-node-client #238, docusign_elixir #22).
LOSING = {
    "commit_then_drop": "takes effect; the connection is closed without an answer",
    "drop_before_commit": "no effect; the connection is closed without an answer",
    "commit_then_hang": "takes effect; the connection stays open and silent",
    "hang_before_commit": "no effect; the connection stays open and silent",
    "commit_late": "dropped or silent (`then`); begun and carried out `late_s` seconds later",
    "slow": "takes effect; the answer comes `delay_ms` later",
}
# Chosen harms: operations declare 400 alone (SPEC), gateways answer with their own pages.
FAILING = {
    "error_before_commit": "no effect; answered with `status` (500, 502, 503 or 504)",
    "error_after_commit": "takes effect; answered with `status`",
}
REFUSING = {
    "unauthorized": "no effect; 401 with `code`, the token stays good",
    "revoke_token": "no effect; 401, and so for every later call with this token",
    "locked": "no effect; 400 with `code`, as if another user held the envelope's edit lock",
}
MODES = {**LOSING, **FAILING, **REFUSING}
COMMITS = frozenset(
    {"commit_then_drop", "commit_then_hang", "commit_late", "slow", "error_after_commit"}
)

# docusign.com docs, common errors; HTTP 401 for both is unverified.
TOKEN_CODES = ("AUTHORIZATION_INVALID_TOKEN", "USER_AUTHENTICATION_FAILED")
# The first as SPEC Lock_PostEnvelopeLock words it; the others are named in clients' code alone.
LOCK_CODES = (
    "EDIT_LOCK_NOT_LOCK_OWNER",
    "EDIT_LOCK_ENVELOPE_LOCKED",
    "EDIT_LOCK_INVALID_STATE_FOR_LOCK",
)
STATUSES = (500, 502, 503, 504)

OPERATION_ALIASES = {
    "create": "Envelopes_PostEnvelopes",
    "update": "Envelopes_PutEnvelope",
    "recipients": "Recipients_PutRecipients",
    "add-recipients": "Recipients_PostRecipients",
    "documents": "Documents_PutDocuments",
    "tabs": "Recipients_PostRecipientTabs",
    "notification": "Notification_PutEnvelopesEnvelopeIdNotification",
    "custom-fields": "CustomFields_PutCustomFields",
    "lookup": "Envelopes_GetEnvelopes",
    "read": "Envelopes_GetEnvelope",
    "*": "*",
    "writes": "writes",
    "reads": "reads",
}

# Which numbers and words belong to which modes; all others are refused there.
_OPTIONS = {
    "late_s": ("commit_late",),
    "then": ("commit_late",),
    "status": tuple(FAILING),
    "retry_after_s": tuple(FAILING),
    "code": ("unauthorized", "locked"),
}
_FIELDS = {"operation", "mode", "times", "nth", "rate", "envelope", "delay_ms", "seen", "struck"}


class BadPlan(ValueError):
    """A harm was configured wrongly; the text says what to do."""


@dataclass(frozen=True)
class Target:
    """The call that a plan may strike."""

    operation: str
    writes: bool
    envelope_id: str = ""


@dataclass
class LostAnswers:
    """One plan of an operation (`*`: of every one; `writes`, `reads`: of every such one).

    It strikes the next `times` calls, or the `nth` one, or each with probability `rate`; `times`
    bounds a rate. With `envelope` only calls of that envelope count. `seen` counts the calls that
    it might have struck, `struck` those that it did. `locked` never strikes reads, creates and
    views, which no lock refuses.
    """

    operation: str
    mode: str
    times: int | None = None
    nth: int | None = None
    rate: float | None = None
    envelope: str | None = None
    delay_ms: int = 0
    late_s: Span | None = None
    then: str | None = None
    status: int | None = None
    retry_after_s: int | None = None
    code: str | None = None
    seen: int = 0
    struck: int = 0

    @property
    def commits(self) -> bool:
        """True when the call is carried out, sooner or later."""
        return self.mode in COMMITS

    @property
    def silent(self) -> bool:
        """True when the connection stays open without an answer."""
        return "hang" in (self.then, *self.mode.split("_"))

    def fits(self, target: Target) -> bool:
        """True when the plan may strike this call."""
        if self.mode == "locked" and not (target.writes and target.envelope_id):
            return False
        if self.envelope is not None and self.envelope.lower() != target.envelope_id.lower():
            return False
        if self.operation in ("writes", "reads"):
            return target.writes == (self.operation == "writes")
        return self.operation in ("*", target.operation)

    @staticmethod
    def parse(raw: Any, late_max_s: float) -> LostAnswers:
        """From the control API's JSON; `late_max_s` bounds `late_s`. Raises BadPlan."""
        operation = raw.get("operation") if isinstance(raw, dict) else None
        if not isinstance(operation, str):
            raise BadPlan("a lost_answers plan is an object with an operation, such as create")
        if unknown := raw.keys() - _FIELDS - _OPTIONS.keys():
            raise BadPlan(f"a lost_answers plan has no {sorted(unknown)[0]!r}")
        mode = raw.get("mode", "commit_then_drop")
        if not isinstance(mode, str) or mode not in MODES:
            raise BadPlan(f"mode {mode!r} is not one of {', '.join(MODES)}")
        for name, modes in _OPTIONS.items():
            if raw.get(name) is not None and mode not in modes:
                raise BadPlan(f"{name} belongs to {' and '.join(modes)}, not to {mode}")
        plan = LostAnswers(
            OPERATION_ALIASES.get(operation, operation),
            mode,
            _whole(raw, "times"),
            _whole(raw, "nth"),
            _rate(raw),
            envelope=None if raw.get("envelope") is None else str(raw["envelope"]),
            delay_ms=_whole(raw, "delay_ms") or 0,
        )
        if plan.times is None and plan.nth is None and plan.rate is None:
            plan.times = 1
        plan._take_options(raw, late_max_s)
        return plan

    def _take_options(self, raw: dict[str, Any], late_max_s: float) -> None:
        if self.mode == "commit_late":
            self.late_s = span_s(raw.get("late_s", 1.0), late_max_s, "late_s")
            self.then = _one_of(raw, "then", ("drop", "hang"))
        elif self.mode in FAILING:
            self.status = _whole(raw, "status") or 503
            if self.status not in STATUSES:
                raise BadPlan(f"status is one of {', '.join(map(str, STATUSES))}")
            self.retry_after_s = _whole(raw, "retry_after_s")
        elif self.mode == "unauthorized":
            self.code = _one_of(raw, "code", TOKEN_CODES)
        elif self.mode == "locked":
            self.code = _one_of(raw, "code", LOCK_CODES)

    def view(self) -> dict[str, Any]:
        """JSON form with what is left of it."""
        return {k: v for k, v in self.__dict__.items() if v is not None}


def span_s(raw: Any, most_s: float, what: str) -> Span:
    """Seconds as a number or [min, max], from 0 to `most_s`; raises BadPlan."""
    low, high = raw if isinstance(raw, list | tuple) and len(raw) == 2 else (raw, raw)
    try:
        span = (float(low), float(high))
        numbers = not isinstance(low, bool) and not isinstance(high, bool)
    except (TypeError, ValueError, OverflowError):
        numbers = False
    if not numbers or not 0 <= span[0] <= span[1] <= most_s:
        raise BadPlan(f"{what} is seconds, or [min, max] of them, from 0 to {most_s:g}")
    return span


def _whole(raw: dict[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise BadPlan(f"a number in a lost_answers plan is malformed: {key} {value!r}") from None
    if number < 0:
        raise BadPlan(f"{key} must be 0 or more")
    return number


def _rate(raw: dict[str, Any]) -> float | None:
    if raw.get("rate") is None:
        return None
    try:
        rate = float(raw["rate"])
    except (TypeError, ValueError, OverflowError):
        raise BadPlan("a number in a lost_answers plan is malformed: rate") from None
    if not 0 <= rate <= 1:
        raise BadPlan("rate must be between 0 and 1")
    return rate


def _one_of(raw: dict[str, Any], key: str, allowed: tuple[str, ...]) -> str:
    value = raw.get(key, allowed[0])
    if value not in allowed:
        raise BadPlan(f"{key} is one of {', '.join(allowed)}")
    return str(value)
