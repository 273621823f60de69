"""The harms a provider does to its clients, each switchable, each seeded.

A seeded draw depends only on the seed, the kind of draw and its running number, so that the same
seed and the same sequence of calls give the same plan, whatever the timing.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from simulator.plans import STATUSES, BadPlan, LostAnswers, Span, Target, span_s
from simulator.webhook_plans import WebhookPlan, span_ms

SECONDS_MAX = 1_000_000
LATE_MAX_S = 30.0
LOOKUP_LAG_MAX_S = 60.0
REFUSE_MAX_S = 60.0
OUTAGE_MODES = ("error", "drop", "hang", "refuse")


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


@dataclass(frozen=True)
class Outage:
    """The provider is away: a chosen harm. Calls of the API and of the token endpoint fail.

    Signing pages and webhooks go on, except while the program does not listen.

    `error`: answered with `status`, and Retry-After where `retry_after_s` is given (documented
    nowhere). `drop`: the connection is closed without an answer. `hang`: it stays silent.
    `refuse`: the program stops listening, so that connections are refused; the control API is
    away too, and `for_s` seconds later all is back. Nothing of a call takes effect meanwhile.
    `until_s` is a time of the monotonic clock; None lasts until the switch is set to null.
    """

    mode: str = "error"
    status: int = 503
    retry_after_s: int | None = None
    until_s: float | None = None

    @staticmethod
    def parse(raw: Any) -> Outage | None:
        """From the control API's JSON, None for null; raises BadPlan."""
        if raw is None:
            return None
        if not isinstance(raw, dict):
            raise BadPlan("outage is null, or an object such as {mode: error, for_s: 5}")
        if unknown := raw.keys() - {"mode", "status", "retry_after_s", "for_s"}:
            raise BadPlan(f"outage has no {sorted(unknown)[0]!r}")
        mode, status = raw.get("mode", "error"), raw.get("status", 503)
        if mode not in OUTAGE_MODES:
            raise BadPlan(f"outage: mode {mode!r} is not one of {', '.join(OUTAGE_MODES)}")
        if type(status) is not int or status not in STATUSES:
            raise BadPlan(f"outage: status is one of {', '.join(map(str, STATUSES))}")
        retry_after_s = raw.get("retry_after_s")
        if retry_after_s is not None and not (type(retry_after_s) is int and retry_after_s >= 0):
            raise BadPlan("outage: retry_after_s is a whole number of seconds")
        if raw.get("for_s") is None:
            if mode == "refuse":
                raise BadPlan("outage: refuse needs for_s, since nobody could switch it off")
            return Outage(mode, status, retry_after_s)
        for_s = _above_zero(raw["for_s"], "outage: for_s")
        if mode == "refuse" and for_s > REFUSE_MAX_S:
            raise BadPlan(f"outage: refuse lasts at most {REFUSE_MAX_S:g} s")
        return Outage(mode, status, retry_after_s, time.monotonic() + for_s)

    @property
    def left_s(self) -> float:
        """Seconds until it is over; 0 when it is, infinity when it has no end."""
        return math.inf if self.until_s is None else max(0.0, self.until_s - time.monotonic())

    def view(self) -> dict[str, Any]:
        """JSON form."""
        shape = {"mode": self.mode, "status": self.status, "retry_after_s": self.retry_after_s}
        return {**shape, "left_s": None if self.until_s is None else round(self.left_s, 3)}


@dataclass
class Harms:
    """All switches. `overlap`: see `Ledger`; processing time is drawn per write.

    `late_max_s` bounds how long after its call a late commit may happen. `lookup_lag_s`: searches
    and listings do not show an envelope that is younger than this, drawn per envelope; whether
    the provider's do is documented nowhere (a chosen harm). It is bounded by 60 s.
    """

    overlap: bool = True
    processing_ms: tuple[int, int] = (5, 40)
    seed: int = 0
    webhooks: WebhookPlan = field(default_factory=WebhookPlan)
    lost_answers: list[LostAnswers] = field(default_factory=list)
    sessions: SessionRules = field(default_factory=SessionRules)
    late_max_s: float = LATE_MAX_S
    lookup_lag_s: Span = (0.0, 0.0)
    outage: Outage | None = None
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

    def strike(self, target: Target) -> LostAnswers | None:
        """The plan that strikes this call, if any."""
        for plan in self.lost_answers:
            if plan.fits(target) and self._strikes(plan):
                plan.struck += 1
                return plan
        return None

    def _strikes(self, plan: LostAnswers) -> bool:
        plan.seen += 1
        if plan.nth is not None:
            return plan.seen == plan.nth
        if plan.times is not None and plan.times <= 0:
            return False
        rate = 1.0 if plan.rate is None else plan.rate
        if rate < 1 and self.draw(f"lost:{plan.operation}").random() >= rate:
            return False
        if plan.times is not None:
            plan.times -= 1
        return True

    def late_s(self, plan: LostAnswers) -> float:
        """Seconds after which a struck call of mode `commit_late` takes effect."""
        low, high = plan.late_s or (0.0, 0.0)
        return self.draw("late").uniform(low, high)

    def listed_after_s(self, number: int) -> float:
        """Age in seconds from which searches show the account's envelope of this number."""
        return random.Random(f"{self.seed}:lookup:{number}").uniform(*self.lookup_lag_s)

    def away(self) -> Outage | None:
        """The outage that is now, if any."""
        if self.outage is not None and self.outage.left_s <= 0:
            self.outage = None
        return self.outage

    def patch(self, raw: dict[str, Any]) -> None:
        """Apply the control API's JSON; raises BadPlan and then changes nothing."""
        known = {"overlap", "processing_ms", "webhooks", "lost_answers", "seed", "sessions"}
        known |= {"revoke_tokens", "late_max_s", "lookup_lag_s", "outage"}
        if unknown := raw.keys() - known:
            raise BadPlan(f"there is no harm {sorted(unknown)[0]!r}")
        span = span_ms(raw["processing_ms"]) if "processing_ms" in raw else self.processing_ms
        late_max_s = self.late_max_s
        if "late_max_s" in raw:
            late_max_s = _above_zero(raw["late_max_s"], "late_max_s")
        plans = self.lost_answers
        if "lost_answers" in raw:
            if not isinstance(raw["lost_answers"], list):
                raise BadPlan("lost_answers is a list of plans")
            plans = [LostAnswers.parse(p, late_max_s) for p in raw["lost_answers"]]
        webhooks = self.webhooks.patched(raw.get("webhooks", {}))
        sessions = self.sessions.patched(raw.get("sessions", {}))
        lag = self.lookup_lag_s
        if "lookup_lag_s" in raw:
            lag = span_s(raw["lookup_lag_s"], LOOKUP_LAG_MAX_S, "lookup_lag_s")
        outage = Outage.parse(raw["outage"]) if "outage" in raw else self.outage
        if not isinstance(raw.get("overlap", True), bool):
            raise BadPlan("overlap is true or false")
        if not isinstance(raw.get("seed", 0), int):
            raise BadPlan("seed is an integer")
        self.overlap = raw.get("overlap", self.overlap)
        self.processing_ms, self.lost_answers, self.webhooks = span, plans, webhooks
        self.sessions = sessions
        self.late_max_s, self.lookup_lag_s, self.outage = late_max_s, lag, outage
        if "seed" in raw:
            self.reseed(raw["seed"])

    def view(self) -> dict[str, Any]:
        """JSON form of all switches."""
        return {
            "overlap": self.overlap,
            "processing_ms": list(self.processing_ms),
            "seed": self.seed,
            "webhooks": self.webhooks.view(),
            "lost_answers": [p.view() for p in self.lost_answers],
            "sessions": {**self.sessions.__dict__},
            "late_max_s": self.late_max_s,
            "lookup_lag_s": list(self.lookup_lag_s),
            "outage": None if (outage := self.away()) is None else outage.view(),
        }


def _above_zero(raw: Any, what: str) -> float:
    try:
        number = float("nan") if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0 < number <= SECONDS_MAX:
        raise BadPlan(f"{what} is a number above 0 and at most {SECONDS_MAX}, not {raw!r}")
    return number
