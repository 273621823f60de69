"""Plans of how Connect messages travel: late, twice, out of order, in bursts, badly signed, never.

Latency of 10-15 s is reported (docusign_rest #133); repeats are normal operation (SPEC
ConnectPublish_PutConnectRetryByEnvelope); no order across events is promised anywhere; after a
pause all that waited goes at once (docusign.com docs, pause a configuration). A message that is
never sent is a chosen harm: without acknowledgement nothing is retried, and what a listener missed
is lost (SPEC connectCustomConfiguration.requiresAcknowledgement).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulator.plans import BadPlan

_ENVELOPE_EVENTS = (
    "created sent resent delivered completed declined voided corrected purge deleted discard"
)
_RECIPIENT_EVENTS = (
    "sent resent delivered completed declined authenticationfailed autoresponded reassign "
    "delegate finish-later"
)
EVENTS = frozenset(
    [f"envelope-{e}" for e in _ENVELOPE_EVENTS.split(" ")]
    + [f"recipient-{e}" for e in _RECIPIENT_EVENTS.split(" ")]
)
_PATTERNS = EVENTS | {"*", "envelope-*", "recipient-*"}

SHARES = {
    "withhold": "never sent, to nobody; listed in the ledger of truth",
    "late": "sent after a further delay of late_ms",
    "reorder": "sent after the envelope's next message, or reorder_ms later where none follows",
    "repeat": "sent again with retryCount + 1 after it was answered with 2xx",
    "wrong_signature": "signed at the first try with a key that nobody has",
    "retired_signature": "signed at the first try with keys that were removed from the account",
}
"""What happens to a share of the messages."""

_SPANS = ("delay_ms", "late_ms")
_WHOLE = ("retry_ms", "max_tries", "reorder_ms", "gather_ms")

Shares = Mapping[str, float]
"""By event, ``envelope-*``, ``recipient-*`` or ``*`` for all: a share from 0 to 1. The most exact
name counts."""


@dataclass
class WebhookPlan:
    """How messages travel; those of an envelope are drawn by its number and the event's alone.

    Every message waits for a time within `delay_ms`; `duplicate_rate` of them come twice.
    `gather_ms`: messages leave together, every so many milliseconds. For the shares see `SHARES`.
    """

    delay_ms: tuple[int, int] = (0, 0)
    duplicate_rate: float = 0.0
    paused: bool = False
    retry_ms: int = 200
    max_tries: int = 8
    timeout_s: float = 5.0
    seed: int | None = None
    late_ms: tuple[int, int] = (1_000, 3_000)
    reorder_ms: int = 1_000
    gather_ms: int = 0
    withhold: Shares = field(default_factory=dict)
    late: Shares = field(default_factory=dict)
    reorder: Shares = field(default_factory=dict)
    repeat: Shares = field(default_factory=dict)
    wrong_signature: Shares = field(default_factory=dict)
    retired_signature: Shares = field(default_factory=dict)

    def patched(self, raw: Any) -> WebhookPlan:
        """This plan with the control API's JSON applied; raises BadPlan."""
        if not isinstance(raw, dict):
            raise BadPlan("webhooks is an object")
        if unknown := raw.keys() - self.__dict__.keys():
            raise BadPlan(f"webhooks has no {sorted(unknown)[0]!r}")
        values = {**self.__dict__, **raw}
        for key in _SPANS:
            values[key] = span_ms(values[key])
        for key in SHARES:
            values[key] = _shares(values[key], key)
        for key in _WHOLE:
            values[key] = _whole(values[key], key)
        values["duplicate_rate"] = _share(values["duplicate_rate"], "duplicate_rate")
        values["timeout_s"] = _number(values["timeout_s"], "timeout_s")
        values["paused"] = bool(values["paused"])
        if values["seed"] is not None:
            values["seed"] = _whole(values["seed"], "seed", least=None)
        if values["max_tries"] < 1 or values["timeout_s"] <= 0:
            raise BadPlan("webhooks: max_tries is 1 or more, timeout_s above 0")
        return WebhookPlan(**values)

    def view(self) -> dict[str, Any]:
        """JSON form."""
        shown: dict[str, Any] = {k: list(getattr(self, k)) for k in _SPANS}
        return {**self.__dict__, **shown, **{k: dict(getattr(self, k)) for k in SHARES}}


@dataclass(frozen=True)
class Fate:
    """What becomes of one message, but for its delays. ``signature``: of the first try."""

    withheld: bool = False
    late_s: float = 0.0
    held_back: bool = False
    repeated: bool = False
    signature: Literal["", "wrong", "retired"] = ""


def fate_of(
    plan: WebhookPlan, seed: int, envelope_number: int, event_number: int, event: str
) -> Fate:
    """The fate of an event's messages, to whomever they go; depends on its arguments alone."""

    def falls(action: str) -> bool:
        share = _share_of(getattr(plan, action), event)
        return random.Random(f"{place}:{action}").random() < share

    place = f"{seed}:webhook:{envelope_number}:{event_number}"
    wrong, retired = falls("wrong_signature"), falls("retired_signature")
    late_s = random.Random(f"{place}:late_ms").uniform(*plan.late_ms) / 1000
    return Fate(
        withheld=falls("withhold"),
        late_s=late_s if falls("late") else 0.0,
        held_back=falls("reorder"),
        repeated=falls("repeat"),
        signature="wrong" if wrong else "retired" if retired else "",
    )


def plan_delays(
    plan: WebhookPlan, seed: int, envelope_number: int, event_number: int, index: int
) -> list[float]:
    """Delays in seconds of the copies of one message; depends on its arguments alone."""
    dice = random.Random(f"{seed}:webhook:{envelope_number}:{event_number}:{index}")
    low, high = plan.delay_ms
    delays = [dice.uniform(low, high) / 1000]
    if dice.random() < plan.duplicate_rate:
        delays.append(dice.uniform(low, high) / 1000)
    return delays


def from_option(text: str) -> dict[str, object]:
    """The control API's JSON of ``--webhook-plan KEY=VALUE,...``; raises BadPlan."""
    names = {
        "duplicate": "duplicate_rate",
        "retry": "retry_ms",
        "tries": "max_tries",
        "timeout": "timeout_s",
        "seed": "seed",
        "gather": "gather_ms",
        "reorder-ms": "reorder_ms",
    }
    plan: dict[str, object] = {}
    shares: dict[str, dict[str, str]] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        action, _, event = key.partition("@")
        action = action.replace("-", "_")
        if not equals:
            raise BadPlan(f"webhook plan {part!r}: write KEY=VALUE")
        if key in ("delay", "late-ms"):
            plan["delay_ms" if key == "delay" else "late_ms"] = span_option(value)
        elif key in names:
            plan[names[key]] = value
        elif action in SHARES:
            shares.setdefault(action, {})[event or "*"] = value
        else:
            known = ", ".join(["delay", "late-ms", *names, *(s.replace("_", "-") for s in SHARES)])
            raise BadPlan(f"webhook plan {part!r}: KEY is one of {known}")
    return {**plan, **shares}


def span_option(text: str) -> list[int]:
    """``MIN:MAX`` of an option, in milliseconds; raises BadPlan."""
    low, colon, high = text.partition(":")
    try:
        return [int(low), int(high if colon else low)]
    except ValueError:
        raise BadPlan(f"{text!r} is not MIN:MAX in milliseconds") from None


def span_ms(raw: Any) -> tuple[int, int]:
    """A span of milliseconds; raises BadPlan."""
    match raw:
        case [int(low), int(high)] if 0 <= low <= high:
            return low, high
    raise BadPlan(f"{raw!r} is not a span of milliseconds: give [min, max] with 0 <= min <= max")


def _share_of(shares: Shares, event: str) -> float:
    kind = event.partition("-")[0]
    return next((shares[p] for p in (event, f"{kind}-*", "*") if p in shares), 0.0)


def _shares(raw: Any, key: str) -> dict[str, float]:
    given = raw if isinstance(raw, Mapping) else {"*": raw}
    if unknown := given.keys() - _PATTERNS:
        raise BadPlan(
            f"webhooks: {key} has {sorted(map(str, unknown))[0]!r}, which is no Connect event;"
            " use one, or envelope-*, recipient-*, *"
        )
    return {event: _share(share, key) for event, share in given.items()}


def _share(raw: Any, key: str) -> float:
    share = _number(raw, key)
    if not 0 <= share <= 1:
        raise BadPlan(f"webhooks: {key} is a share from 0 to 1, not {raw!r}")
    return share


def _number(raw: Any, key: str) -> float:
    try:
        number = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadPlan(f"webhooks: {key} is a number, not {raw!r}")
    return number


def _whole(raw: Any, key: str, least: int | None = 0) -> int:
    number = _number(raw, key)
    if number != int(number) or (least is not None and number < least):
        raise BadPlan(f"webhooks: {key} is a whole number, not {raw!r}")
    return int(number)
