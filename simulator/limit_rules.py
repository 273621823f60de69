"""Which limits hold for an account: the provider's published numbers, and chosen ones.

Published (docusign.com docs, "Resource limits" and "Rules and limits"): all apps of an account
share 3,000 calls an hour, refreshed at the top of the hour, and a burst of 500 calls in 30 s, 200
in developer accounts. Limits of one envelope exist since 2022 with unpublished thresholds: reads
and writes apart, in 30 s and in an hour (blog, "Service protection: new API errors for excessive
polling and envelope updates"). The same GET of one envelope is wanted at most once in 15 minutes
(blog, "From the trenches: troubleshooting DocuSign Connect").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from simulator.plans import BadPlan, Span

BURST_S = 30.0
HOUR_S = 3600.0
POLLING_S = 900.0
PRODUCTION_BURST = 500
DEVELOPER_BURST = 200
# docs, user info endpoint, as clients of the API cite it (unverified).
USERINFO_HOUR = 25_000

POLLING = ("flag", "refuse", "off")
SPELLINGS = ("documented", "upper", "mixed")
STATUSES = (400, 429)
COUNT_MAX = 1_000_000
SCALE_MAX = 1_000.0


@dataclass(frozen=True)
class TenantRules:
    """Another program on the same account, which eats a random part of its budget.

    `share`: the span of which a new part is drawn every `every_s` seconds (scaled like the
    windows): the part of the calls that the account's tightest window lets through in the long
    run. Within it calls come at random times. A chosen harm; that all apps of an account share
    its limits is published.
    """

    share: Span = (0.0, 0.6)
    every_s: float = BURST_S
    seed: int = 0

    @staticmethod
    def parse(raw: Any) -> TenantRules | None:
        """From JSON, None for null; raises BadPlan."""
        if raw is None:
            return None
        if not isinstance(raw, dict):
            raise BadPlan("tenant is null, or an object such as {share: [0, 0.6], seed: 1}")
        if unknown := raw.keys() - {"share", "every_s", "seed"}:
            raise BadPlan(f"tenant has no {sorted(unknown)[0]!r}")
        share = _part(raw.get("share", [0.0, 0.6]))
        every_s = _above_zero(raw.get("every_s", BURST_S), HOUR_S, "tenant: every_s")
        seed = raw.get("seed", 0)
        if type(seed) is not int:
            raise BadPlan("tenant: seed is an integer")
        return TenantRules(share, every_s, seed)

    def view(self) -> dict[str, Any]:
        """JSON form."""
        return {"share": list(self.share), "every_s": self.every_s, "seed": self.seed}


@dataclass(frozen=True)
class LimitRules:
    """The limits of one account; None stands for no such limit.

    `scale` multiplies every window's length: 0.1 makes 30 s 3, the hour 360 s and 15 minutes 90 s.
    `burst`, `hour`: see the module. `envelope_*`: unpublished, so these numbers are guesses.
    `polling`: what a same GET of one envelope within 15 minutes comes to. The provider does not
    refuse it but holds it against an app at its review (its rules page, as quoted by others), so
    `flag` is the default; `refuse` answers it with the polling limit's code.
    `status`: 400 is what was seen; 429 is what the provider moves to. `spelling`: of error codes,
    which are documented in upper case for accounts and in mixed case for envelopes, and were seen
    in upper case for both.
    """

    on: bool = False
    scale: float = 1.0
    burst: int | None = PRODUCTION_BURST
    hour: int | None = 3000
    envelope_reads_burst: int | None = 30
    envelope_reads_hour: int | None = 300
    envelope_writes_burst: int | None = 30
    envelope_writes_hour: int | None = 300
    polling: str = POLLING[0]
    status: int = STATUSES[0]
    spelling: str = SPELLINGS[0]
    tenant: TenantRules | None = None

    @property
    def burst_s(self) -> float:
        """Length of the burst windows in seconds, scaled."""
        return BURST_S * self.scale

    @property
    def hour_s(self) -> float:
        """Length of the hour in seconds, scaled."""
        return HOUR_S * self.scale

    @property
    def polling_s(self) -> float:
        """Least time between two same GETs of one envelope in seconds, scaled."""
        return POLLING_S * self.scale

    @property
    def rate(self) -> float:
        """Calls per second that the account's tightest window lets through in the long run."""
        rates = []
        if self.burst is not None:
            rates.append(self.burst / self.burst_s)
        if self.hour is not None:
            rates.append(self.hour / self.hour_s)
        return min(rates, default=0.0)

    @property
    def of_envelopes(self) -> tuple[object, ...]:
        """Everything that the windows of single envelopes depend on."""
        return (
            self.on,
            self.scale,
            self.envelope_reads_burst,
            self.envelope_reads_hour,
            self.envelope_writes_burst,
            self.envelope_writes_hour,
        )

    def patched(self, raw: dict[str, Any]) -> LimitRules:
        """These rules with some changed; raises BadPlan."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if unknown := raw.keys() - values.keys():
            raise BadPlan(f"limits have no {sorted(unknown)[0]!r}: use {', '.join(values)}")
        values.update({name: _READ[name](given, name) for name, given in raw.items()})
        rules = LimitRules(**values)
        if rules.tenant is not None and rules.rate == 0:
            raise BadPlan("tenant: without burst and hour there is no budget to take a part of")
        return rules

    def view(self) -> dict[str, Any]:
        """JSON form."""
        tenant = None if self.tenant is None else self.tenant.view()
        return {**self.__dict__, "tenant": tenant}


def _part(raw: Any) -> Span:
    low, high = raw if isinstance(raw, list | tuple) and len(raw) == 2 else (raw, raw)
    try:
        span = (float(low), float(high))
    except (TypeError, ValueError, OverflowError):
        span = (-1.0, -1.0)
    if not 0 <= span[0] <= span[1] <= 1:
        raise BadPlan(f"tenant: share is a part, or [min, max] of it, from 0 to 1, not {raw!r}")
    return span


def _above_zero(raw: Any, most: float, what: str) -> float:
    number = raw if isinstance(raw, int | float) and not isinstance(raw, bool) else -1
    if not 0 < number <= most:
        raise BadPlan(f"{what} is a number above 0 and at most {most:g}, not {raw!r}")
    return float(number)


def _switch(raw: Any, name: str) -> bool:
    if not isinstance(raw, bool):
        raise BadPlan(f"limits: {name} is true or false")
    return raw


def _count(raw: Any, name: str) -> int | None:
    if raw is not None and not (type(raw) is int and 1 <= raw <= COUNT_MAX):
        raise BadPlan(f"limits: {name} is null, or a whole number from 1 to {COUNT_MAX}")
    return raw


def _one_of(allowed: tuple[object, ...]) -> Callable[[Any, str], Any]:
    def read(raw: Any, name: str) -> Any:
        if isinstance(raw, bool) or raw not in allowed:
            raise BadPlan(f"limits: {name} is one of {', '.join(map(str, allowed))}, not {raw!r}")
        return raw

    return read


_READ: dict[str, Callable[[Any, str], Any]] = {
    "on": _switch,
    "scale": lambda raw, name: _above_zero(raw, SCALE_MAX, f"limits: {name}"),
    "burst": _count,
    "hour": _count,
    "envelope_reads_burst": _count,
    "envelope_reads_hour": _count,
    "envelope_writes_burst": _count,
    "envelope_writes_hour": _count,
    "polling": _one_of(POLLING),
    "status": _one_of(STATUSES),
    "spelling": _one_of(SPELLINGS),
    "tenant": lambda raw, _: TenantRules.parse(raw),
}


def from_option(text: str) -> dict[str, Any]:
    """Raw rules from `on,scale=0.1,hour=none,tenant=0:0.6`; {} for none. Raises BadPlan.

    Whoever gives any rule wants limits, so they are on.
    """
    raw: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals and key != "on":
            raise BadPlan(f"limits {part!r}: use on, or KEY=VALUE such as scale=0.1")
        raw["on"] = True
        if key == "tenant":
            low, colon, high = value.partition(":")
            raw[key] = None if value == "none" else {"share": [low, high if colon else low]}
        elif equals:
            raw[key] = _value(value)
    return raw


def _value(text: str) -> object:
    words: dict[str, object] = {"none": None, "true": True, "false": False}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
