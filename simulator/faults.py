"""The harms a provider does to its clients, each switchable, each seeded.

A seeded draw depends only on the seed, the kind of draw and its running number, so that the same
seed and the same sequence of calls give the same plan, whatever the timing.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

MODES = ("commit_then_drop", "drop_before_commit", "slow")
OPERATION_ALIASES = {
    "create": "Envelopes_PostEnvelopes",
    "update": "Envelopes_PutEnvelope",
    "recipients": "Recipients_PutRecipients",
    "add-recipients": "Recipients_PostRecipients",
    "documents": "Documents_PutDocuments",
    "tabs": "Recipients_PostRecipientTabs",
    "*": "*",
}


SECONDS_MAX = 1_000_000


class BadPlan(ValueError):
    """A harm was configured wrongly; the text says what to do."""


@dataclass
class LostAnswers:
    """One plan of lost or late answers of an operation (`*`: of every one).

    Timed-out creates that nevertheless made an envelope are reported by clients of the real API
    (docusign-esign-node-client #238, docusign_elixir #22). `commit_then_drop`: the call takes
    effect and the connection is closed without an answer. `drop_before_commit`: closed without
    effect. `slow`: takes effect, the answer comes `delay_ms` later. A plan strikes the next
    `times` calls, or the `nth` one, or each with probability `rate`.
    """

    operation: str
    mode: str
    times: int | None = None
    nth: int | None = None
    rate: float | None = None
    delay_ms: int = 0
    seen: int = 0

    @staticmethod
    def parse(raw: Any) -> LostAnswers:
        """From the control API's JSON; raises BadPlan."""
        operation = raw.get("operation") if isinstance(raw, dict) else None
        if not isinstance(operation, str):
            raise BadPlan("a lost_answers plan is an object with an operation, such as create")
        unknown = raw.keys() - {"operation", "mode", "times", "nth", "rate", "delay_ms", "seen"}
        if unknown:
            raise BadPlan(f"a lost_answers plan has no {sorted(unknown)[0]!r}")
        mode = raw.get("mode", "commit_then_drop")
        if mode not in MODES:
            raise BadPlan(f"mode {mode!r} is not one of {', '.join(MODES)}")
        try:
            plan = LostAnswers(
                OPERATION_ALIASES.get(operation, operation),
                mode,
                None if raw.get("times") is None else int(raw["times"]),
                None if raw.get("nth") is None else int(raw["nth"]),
                None if raw.get("rate") is None else float(raw["rate"]),
                int(raw.get("delay_ms", 0)),
            )
        except (TypeError, ValueError) as error:
            raise BadPlan(f"a number in a lost_answers plan is malformed: {error}") from None
        if plan.times is None and plan.nth is None and plan.rate is None:
            plan.times = 1
        if plan.rate is not None and not 0 <= plan.rate <= 1:
            raise BadPlan("rate must be between 0 and 1")
        return plan

    def view(self) -> dict[str, Any]:
        """JSON form with what is left of it."""
        return {k: v for k, v in self.__dict__.items() if v is not None}


@dataclass
class WebhookPlan:
    """How Connect messages travel: late by a random time, some twice, hence out of order.

    Latency of 10-15 s is reported (docusign_rest #133); repeats are normal operation (SPEC
    ConnectPublish_PutConnectRetryByEnvelope); no order across events is promised anywhere.
    """

    delay_ms: tuple[int, int] = (0, 0)
    duplicate_rate: float = 0.0
    paused: bool = False
    retry_ms: int = 200
    max_tries: int = 8
    timeout_s: float = 5.0
    seed: int | None = None


POLICIES = ("one-per-envelope", "one-per-recipient", "off")


@dataclass(frozen=True)
class SessionRules:
    """How signing sessions live, and what a second one does to the first.

    `policy` one-per-envelope: a new view request invalidates an unused URL of the envelope and
    kicks an active signer, whose input is lost. This is the rule of docusign.com's blog, "From
    the trenches: Concurrency issues" (Multiple Signing Sessions); no reference page states it, so
    it is a policy here and can be switched. one-per-recipient: opening a second session resets
    the first of the same recipient ("This envelope was opened in another browser session. Your
    signature has been reset", support.docusign.com, link scanning services). off: sessions live
    side by side.

    `url_life_s`: 300, "expires after 5 minutes" (docusign.com docs, envelope views, create
    recipient). `timeout_s`: idle seconds until `session_timeout` (an account's Signer Session
    Timeout option, SPEC recipientViewRequest.returnUrl; its default of 1,200 is our choice).
    `clock` scales these two and the ping interval: 0.05 makes 300 seconds 15.
    """

    policy: str = "one-per-envelope"
    clock: float = 1.0
    url_life_s: float = 300.0
    timeout_s: float = 1200.0

    def patched(self, raw: Any) -> SessionRules:
        """These rules with a policy's name, or an object of fields, applied; raises BadPlan."""
        given = {"policy": raw} if isinstance(raw, str) else raw
        if not isinstance(given, dict):
            raise BadPlan(f"sessions is one of {', '.join(POLICIES)}, or an object of rules")
        values = {**self.__dict__}
        if unknown := given.keys() - values.keys():
            raise BadPlan(f"sessions has no {sorted(unknown)[0]!r}")
        values.update(given)
        if values["policy"] not in POLICIES:
            raise BadPlan(f"sessions {values['policy']!r} is not one of {', '.join(POLICIES)}")
        for key in ("clock", "url_life_s", "timeout_s"):
            values[key] = _above_zero(values[key], f"sessions: {key}")
        return SessionRules(**values)


@dataclass
class Harms:
    """All switches. `overlap`: see `Ledger`; processing time is drawn per write."""

    overlap: bool = True
    processing_ms: tuple[int, int] = (5, 40)
    seed: int = 0
    webhooks: WebhookPlan = field(default_factory=WebhookPlan)
    lost_answers: list[LostAnswers] = field(default_factory=list)
    sessions: SessionRules = field(default_factory=SessionRules)
    _drawn: Counter[str] = field(default_factory=Counter)

    def reseed(self, seed: int) -> None:
        """Start all seeded draws anew."""
        self.seed = seed
        self._drawn.clear()

    def draw(self, kind: str) -> random.Random:
        """The next seeded generator of a kind."""
        self._drawn[kind] += 1
        return random.Random(f"{self.seed}:{kind}:{self._drawn[kind]}")

    def processing_s(self) -> float:
        """Seconds that the next write takes; 0 with the overlap harm off."""
        if not self.overlap:
            return 0.0
        low, high = self.processing_ms
        return self.draw("processing").uniform(low, high) / 1000

    def strike(self, operation: str) -> LostAnswers | None:
        """The plan that strikes this call, if any."""
        for plan in self.lost_answers:
            if plan.operation not in ("*", operation):
                continue
            plan.seen += 1
            if plan.nth is not None:
                if plan.seen == plan.nth:
                    return plan
            elif plan.times is not None and plan.times <= 0:
                continue
            elif plan.rate is None or self.draw(f"lost:{plan.operation}").random() < plan.rate:
                if plan.times is not None:
                    plan.times -= 1
                return plan
        return None

    def patch(self, raw: dict[str, Any]) -> None:
        """Apply the control API's JSON; raises BadPlan and then changes nothing."""
        known = {"overlap", "processing_ms", "webhooks", "lost_answers", "seed", "sessions"}
        known.add("revoke_tokens")
        if unknown := raw.keys() - known:
            raise BadPlan(f"there is no harm {sorted(unknown)[0]!r}")
        span = _span(raw["processing_ms"]) if "processing_ms" in raw else self.processing_ms
        plans = self.lost_answers
        if "lost_answers" in raw:
            if not isinstance(raw["lost_answers"], list):
                raise BadPlan("lost_answers is a list of plans")
            plans = [LostAnswers.parse(p) for p in raw["lost_answers"]]
        webhooks = _webhooks(self.webhooks, raw.get("webhooks", {}))
        sessions = self.sessions.patched(raw.get("sessions", {}))
        if not isinstance(raw.get("overlap", True), bool):
            raise BadPlan("overlap is true or false")
        if not isinstance(raw.get("seed", 0), int):
            raise BadPlan("seed is an integer")
        self.overlap = raw.get("overlap", self.overlap)
        self.processing_ms, self.lost_answers, self.webhooks = span, plans, webhooks
        self.sessions = sessions
        if "seed" in raw:
            self.reseed(raw["seed"])

    def view(self) -> dict[str, Any]:
        """JSON form of all switches."""
        webhooks = {**self.webhooks.__dict__, "delay_ms": list(self.webhooks.delay_ms)}
        return {
            "overlap": self.overlap,
            "processing_ms": list(self.processing_ms),
            "seed": self.seed,
            "webhooks": webhooks,
            "lost_answers": [p.view() for p in self.lost_answers],
            "sessions": {**self.sessions.__dict__},
        }


def _above_zero(raw: Any, what: str) -> float:
    try:
        number = float("nan") if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0 < number <= SECONDS_MAX:
        raise BadPlan(f"{what} is a number above 0 and at most {SECONDS_MAX}, not {raw!r}")
    return number


def _span(raw: Any) -> tuple[int, int]:
    match raw:
        case [int(low), int(high)] if 0 <= low <= high:
            return low, high
    raise BadPlan(f"{raw!r} is not a span of milliseconds: give [min, max] with 0 <= min <= max")


def _webhooks(current: WebhookPlan, raw: Any) -> WebhookPlan:
    if not isinstance(raw, dict):
        raise BadPlan("webhooks is an object")
    if unknown := raw.keys() - current.__dict__.keys():
        raise BadPlan(f"webhooks has no {sorted(unknown)[0]!r}")
    values = {**current.__dict__, **raw}
    if "delay_ms" in raw:
        values["delay_ms"] = _span(raw["delay_ms"])
    try:
        plan = WebhookPlan(
            values["delay_ms"],
            float(values["duplicate_rate"]),
            bool(values["paused"]),
            int(values["retry_ms"]),
            int(values["max_tries"]),
            float(values["timeout_s"]),
            None if values["seed"] is None else int(values["seed"]),
        )
    except (TypeError, ValueError):
        raise BadPlan("a number of webhooks is malformed") from None
    if not 0 <= plan.duplicate_rate <= 1 or plan.max_tries < 1 or plan.timeout_s <= 0:
        raise BadPlan("webhooks: duplicate_rate is 0 to 1, max_tries 1 or more, timeout_s above 0")
    return plan
