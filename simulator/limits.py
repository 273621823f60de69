"""The provider's limits: strict windows per account and envelope, counted when calls arrive.

Whether the burst window slides is not published for accounts (it is for envelopes); a strict
sliding one, which refuses most, is simulated. Chosen, since no page says: a refused call takes no
room in any window; calls during an outage or without a token for the account are not counted; the
windows are asked in the order of `CODES`; the hour of an envelope slides.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from simulator.errors import ProviderError
from simulator.limit_rules import HOUR_S, USERINFO_HOUR, LimitRules
from simulator.limit_usage import Breach, Usage, count
from simulator.tenant import Tenant

# By kind of refusal: the code as documented, and in the other letter case. docusign.com docs,
# common errors (accounts); blog, "Service protection" (envelopes). That a breach of the 15-minute
# rule would have the hourly polling limit's code is a guess.
CODES = {
    "hour": ("HOURLY_APIINVOCATION_LIMIT_EXCEEDED", "Hourly_APIInvocation_Limit_Exceeded"),
    "burst": ("BURST_APIINVOCATION_LIMIT_EXCEEDED", "Burst_APIInvocation_Limit_Exceeded"),
    "envelope_writes_hour": ("Hourly_APIInvocation_Envelope_Limit_Exceeded",) * 2,
    "envelope_writes_burst": ("Burst_APIInvocation_Envelope_Limit_Exceeded",) * 2,
    "envelope_reads_hour": ("Hourly_Envelope_Polling_Limit_Exceeded",) * 2,
    "envelope_reads_burst": ("Burst_Envelope_Polling_Limit_Exceeded",) * 2,
    "polling": ("Hourly_Envelope_Polling_Limit_Exceeded",) * 2,
}
# What answers say while no limits are simulated.
UNLIMITED = {
    "X-RateLimit-Limit": "3000",
    "X-RateLimit-Remaining": "2999",
    "X-BurstLimit-Limit": "500",
    "X-BurstLimit-Remaining": "499",
}
FORGET_FROM = 1_000


def epoch_clock(monotonic: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """Seconds since 1970 that no change of the wall clock moves."""
    offset_s = time.time() - monotonic()
    return lambda: offset_s + monotonic()


class Sliding:
    """At most `limit` calls in any `length_s` seconds; what is exactly that old is out."""

    __slots__ = ("_length_s", "_limit", "_times")

    def __init__(self, limit: int, length_s: float, past: Iterable[float] = ()) -> None:
        self._limit, self._length_s = limit, length_s
        self._times = deque(past)

    def used(self, now_s: float) -> int:
        """How many calls it holds now."""
        held, old_s = self._times, now_s - self._length_s
        while held and held[0] <= old_s:
            held.popleft()
        return len(held)

    def full(self, now_s: float) -> bool:
        """True when one more would be too many."""
        return self.used(now_s) >= self._limit

    def add(self, now_s: float) -> None:
        """Count a call."""
        self._times.append(now_s)


class Aligned:
    """At most `limit` calls from one multiple of `length_s` (since 1970) to the next."""

    __slots__ = ("_index", "_length_s", "_limit", "_used")

    def __init__(self, limit: int, length_s: float) -> None:
        self._limit, self._length_s = limit, length_s
        self._index, self._used = -1, 0

    def begun_s(self, now_s: float) -> float:
        """When the window of now began."""
        return now_s // self._length_s * self._length_s

    def reset_s(self, now_s: float) -> float:
        """When the window of now ends."""
        return (now_s // self._length_s + 1) * self._length_s

    def used(self, now_s: float) -> int:
        """How many calls it holds now."""
        index = int(now_s // self._length_s)
        if index != self._index:
            self._index, self._used = index, 0
        return self._used

    def full(self, now_s: float) -> bool:
        """True when one more would be too many."""
        return self.used(now_s) >= self._limit

    def add(self, now_s: float, calls: int = 1) -> None:
        """Count calls."""
        self._used = self.used(now_s) + calls


Window = Sliding | Aligned


@dataclass(frozen=True)
class Arrival:
    """What the limits look at in a call; `read` for GETs, which are counted apart."""

    operation_id: str
    envelope_id: str
    path: str
    read: bool


@dataclass(frozen=True)
class Verdict:
    """What the limits say of a call: the kind of its refusal ("" for none), and the headers."""

    kind: str
    error: ProviderError | None
    headers: dict[str, str]


PASSED = Verdict("", None, UNLIMITED)


class AccountLimits:
    """The windows of one account, with the log of what they let through."""

    def __init__(self, account_id: str, rules: LimitRules, now_s: float) -> None:
        self.account_id = account_id
        self.usage = Usage()
        self.rules = LimitRules()
        self.since_s = now_s
        self._tenant: Tenant | None = None
        self._burst: Sliding | None = None
        self._hour: Aligned | None = None
        self._envelopes: dict[tuple[str, bool], list[tuple[str, Sliding]]] = {}
        self._read_at: dict[str, float] = {}
        self._forget_at = FORGET_FROM
        self.apply(rules, now_s)

    def apply(self, rules: LimitRules, now_s: float) -> None:
        """Take new rules. The account's windows remember; an envelope's do where it can be."""
        old, self.rules = self.rules, rules
        if rules == old:
            return
        if rules.on and not old.on:
            self.since_s = now_s
        if rules.of_envelopes != old.of_envelopes:
            self._envelopes.clear()
        same = (rules.on, rules.tenant, rules.scale, rules.rate)
        if same != (old.on, old.tenant, old.scale, old.rate):
            self._tenant = None
            if rules.on and rules.tenant is not None:
                self._tenant = Tenant(rules, self.account_id, now_s)
        self._burst = self._hour = None
        if rules.burst is not None:
            past = self.usage.recent(rules.burst_s, now_s)
            self._burst = Sliding(rules.burst, rules.burst_s, past)
        if rules.hour is not None:
            self._hour = Aligned(rules.hour, rules.hour_s)
            begun_s = self._hour.begun_s(now_s)
            self._hour.add(now_s, count(self.usage.accepted, begun_s, math.inf))

    def arrive(self, arrival: Arrival, now_s: float) -> Verdict:
        """Count a call that arrives now, or refuse it."""
        if not self.rules.on:
            return PASSED
        self.catch_up(now_s)
        own = self._of_envelope(arrival)
        kind = self._full(own, now_s)
        if self._polls(arrival, now_s, kind) and not kind and self.rules.polling == "refuse":
            kind = "polling"
        if kind:
            self.usage.clients.refuse(kind, now_s)
            return Verdict(kind, self._error(kind), self.headers(now_s))
        self._take(now_s)
        self.usage.clients.accepted.append(now_s)
        for _, window in own:
            window.add(now_s)
        if arrival.read and arrival.envelope_id:
            self._read_at[arrival.path.lower()] = now_s
        if self.remembered > self._forget_at:
            self._forget(now_s)
        return Verdict("", None, self.headers(now_s))

    def catch_up(self, now_s: float) -> None:
        """Make the calls of the tenant that are due."""
        if self._tenant is None:
            return
        for at_s in self._tenant.due(now_s):
            if kind := self._full([], at_s):
                self.usage.tenant.refuse(kind, at_s)
            else:
                self._take(at_s)
                self.usage.tenant.accepted.append(at_s)

    def headers(self, now_s: float) -> dict[str, str]:
        """The headers of an answer, as things stand (docusign.com docs, resource limits).

        `X-RateLimit-Reset` is in seconds since 1970, rounded up; there is none for the burst.
        """
        if not self.rules.on:
            return UNLIMITED
        headers = {}
        if self._hour is not None and self.rules.hour is not None:
            left = max(0, self.rules.hour - self._hour.used(now_s))
            headers["X-RateLimit-Reset"] = str(math.ceil(self._hour.reset_s(now_s)))
            headers["X-RateLimit-Limit"] = str(self.rules.hour)
            headers["X-RateLimit-Remaining"] = str(left)
        if self._burst is not None and self.rules.burst is not None:
            left = max(0, self.rules.burst - self._burst.used(now_s))
            headers["X-BurstLimit-Limit"] = str(self.rules.burst)
            headers["X-BurstLimit-Remaining"] = str(left)
        return headers

    def truth(self, start_s: float | None, end_s: float | None, now_s: float) -> dict[str, Any]:
        """What happened in an interval, within the time from the limits' start to now."""
        if self.rules.on:
            self.catch_up(now_s)
        start = max(self.since_s, start_s or 0.0)
        # A call at this very instant belongs to what happened until now.
        end = min(math.inf if end_s is None else end_s, math.nextafter(now_s, math.inf))
        usage = self.usage
        tenant = usage.tenant.truth(start, end)
        tenant["share"] = None if self._tenant is None else round(self._tenant.share, 6)
        return {
            "accountId": self.account_id,
            "now": now_s,
            "from": start,
            "to": end,
            "rules": self.rules.view(),
            "clients": usage.clients.truth(start, end),
            "tenant": tenant,
            "windows": self._windows(start, end, now_s),
            "polling": usage.polling(start, end),
        }

    def _windows(self, start_s: float, end_s: float, now_s: float) -> dict[str, Any]:
        rules, usage = self.rules, self.usage
        shown: dict[str, Any] = {}
        if self._burst is not None and rules.burst is not None:
            most = usage.most_sliding(rules.burst, rules.burst_s, start_s, end_s)
            shown["burst"] = {
                "limit": rules.burst,
                "length_s": rules.burst_s,
                "used": self._burst.used(now_s),
                "peak": usage.peak(rules.burst_s, start_s, end_s),
                **usage.utilisation(most, start_s, end_s),
            }
        if self._hour is not None and rules.hour is not None:
            most = usage.most_aligned(rules.hour, rules.hour_s, start_s, end_s)
            shown["hour"] = {
                "limit": rules.hour,
                "length_s": rules.hour_s,
                "used": self._hour.used(now_s),
                "reset": self._hour.reset_s(now_s),
                **usage.utilisation(most, start_s, end_s),
            }
        return shown

    def _of_envelope(self, arrival: Arrival) -> list[tuple[str, Sliding]]:
        """The windows of a call's envelope; an envelope's parts count with it (blog, as above)."""
        if not arrival.envelope_id:
            return []
        key = (arrival.envelope_id.lower(), arrival.read)
        if (known := self._envelopes.get(key)) is not None:
            return known
        rules = self.rules
        limits = {
            "reads_hour": (rules.envelope_reads_hour, rules.hour_s),
            "reads_burst": (rules.envelope_reads_burst, rules.burst_s),
            "writes_hour": (rules.envelope_writes_hour, rules.hour_s),
            "writes_burst": (rules.envelope_writes_burst, rules.burst_s),
        }
        made = [
            (f"envelope_{name}", Sliding(limit, length_s))
            for name, (limit, length_s) in limits.items()
            if limit is not None and name.startswith("reads" if arrival.read else "writes")
        ]
        self._envelopes[key] = made
        return made

    def _full(self, of_envelope: list[tuple[str, Sliding]], now_s: float) -> str:
        """The kind of the first window without room; "" where all have some."""
        if self._hour is not None and self._hour.full(now_s):
            return "hour"
        if self._burst is not None and self._burst.full(now_s):
            return "burst"
        return next((name for name, window in of_envelope if window.full(now_s)), "")

    def _take(self, at_s: float) -> None:
        for window in (self._hour, self._burst):
            if window is not None:
                window.add(at_s)
        self.usage.accepted.append(at_s)

    def _polls(self, arrival: Arrival, now_s: float, kind: str) -> bool:
        """Note a breach of the 15-minute rule: measured from the last one that was let through."""
        if self.rules.polling == "off" or not (arrival.read and arrival.envelope_id):
            return False
        last_s = self._read_at.get(arrival.path.lower())
        if last_s is None or now_s - last_s >= self.rules.polling_s:
            return False
        refused = bool(kind) or self.rules.polling == "refuse"
        self.usage.breach(
            Breach(
                now_s,
                now_s - last_s,
                arrival.operation_id,
                arrival.envelope_id,
                arrival.path,
                refused,
            )
        )
        return True

    @property
    def remembered(self) -> int:
        """How many envelopes' windows and last reads are kept."""
        return len(self._envelopes) + len(self._read_at)

    def _forget(self, now_s: float) -> None:
        """Drop what is empty, seldom enough to cost little per call."""
        self._envelopes = {
            key: windows
            for key, windows in self._envelopes.items()
            if any(window.used(now_s) for _, window in windows)
        }
        old_s = now_s - self.rules.polling_s
        self._read_at = {k: at_s for k, at_s in self._read_at.items() if at_s > old_s}
        self._forget_at = 2 * self.remembered + FORGET_FROM

    def _error(self, kind: str) -> ProviderError:
        """A refusal as the rules spell it; only the hour's text is known, from a real answer."""
        documented, mixed = CODES[kind]
        code = {"documented": documented, "upper": documented.upper(), "mixed": mixed}
        text = {
            "hour": "The maximum number of hourly API invocations has been exceeded. "
            f"The hourly limit is {self.rules.hour}.",
            "burst": "The maximum number of burst API invocations has been exceeded. "
            f"The burst limit is {self.rules.burst}.",
        }.get(kind, "The maximum number of API invocations of this envelope has been exceeded.")
        return ProviderError(code[self.rules.spelling], text, self.rules.status)


class Limits:
    """The limits of all accounts: rules for all, changed for some."""

    def __init__(self, rules: LimitRules, clock: Callable[[], float]) -> None:
        self.rules = rules
        self._clock = clock
        self._last_s = clock()
        self._accounts: dict[str, AccountLimits] = {}
        self._given: dict[str, dict[str, Any]] = {}
        self._userinfo: dict[str, Aligned] = {}

    def now_s(self) -> float:
        """The clock, which never goes back."""
        self._last_s = max(self._last_s, self._clock())
        return self._last_s

    def account(self, account_id: str) -> AccountLimits:
        """The windows of an account."""
        found = self._accounts.get(account_id)
        if found is None:
            found = self._accounts[account_id] = AccountLimits(account_id, self.rules, self.now_s())
        return found

    def arrive(self, account_id: str, arrival: Arrival) -> Verdict:
        """Count a call that arrives now, or refuse it."""
        return self.account(account_id).arrive(arrival, self.now_s())

    def headers(self, account_id: str) -> dict[str, str]:
        """The headers of an answer to a call that is not counted."""
        now_s = self.now_s()
        found = self._accounts.get(account_id)
        return (found or AccountLimits(account_id, self.rules, now_s)).headers(now_s)

    def patch(self, raw: dict[str, Any], account_id: str | None = None) -> LimitRules:
        """Change the rules of one account or of all; raises BadPlan and then changes nothing.

        What was given for an account itself stays with it.
        """
        now_s = self.now_s()
        if account_id is not None:
            given = {**self._given.get(account_id, {}), **raw}
            rules = self.rules.patched(given)
            account = self.account(account_id)
            self._given[account_id] = given
            self._change(account, rules, now_s)
            return rules
        rules = self.rules.patched(raw)
        changed = {a: rules.patched(self._given.get(a, {})) for a in self._accounts}
        self.rules = rules
        for name, its in changed.items():
            self._change(self._accounts[name], its, now_s)
        return rules

    def _change(self, account: AccountLimits, rules: LimitRules, now_s: float) -> None:
        account.catch_up(now_s)
        account.apply(rules, now_s)

    def truths(self, account_id: str | None) -> list[dict[str, Any]]:
        """Of one account or all, where limits are simulated: what happened since they are."""
        return [
            account.truth(None, None, self.now_s())
            for name, account in self._accounts.items()
            if account.rules.on and account_id in (None, name)
        ]

    def userinfo_refused(self, user_id: str) -> ProviderError | None:
        """Count a GET of /oauth/userinfo, 25,000 an hour for each user (docs; unverified).

        Code and status of the refusal are guesses. No limit of the token endpoint is published,
        and neither counts for any account.
        """
        if not self.rules.on:
            return None
        now_s = self.now_s()
        window = self._userinfo.setdefault(
            user_id, Aligned(USERINFO_HOUR, HOUR_S * self.rules.scale)
        )
        if not window.full(now_s):
            window.add(now_s)
            return None
        text = "The maximum number of hourly user info requests has been exceeded."
        return ProviderError(CODES["hour"][0], text, self.rules.status)
