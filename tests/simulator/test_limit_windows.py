"""The windows against a brute-force model: never too many, never refused while there is room.

Times are multiples of 1/4 s and lengths are whole, so that all sums are exact.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.limit_rules import LimitRules, TenantRules
from simulator.limit_usage import Usage, most_aligned
from simulator.limits import AccountLimits, Arrival, Limits
from simulator.tenant import Tenant

START_S = 36_000.0
# The burst window is 30 s, the hour 3,600 s: numbers small enough to be reached in few calls.
RULES = LimitRules(
    on=True,
    burst=4,
    hour=9,
    envelope_reads_burst=2,
    envelope_reads_hour=4,
    envelope_writes_burst=1,
    envelope_writes_hour=3,
    polling="off",
)
GAPS_S = st.one_of(
    st.integers(0, 160).map(lambda quarters: quarters / 4), st.sampled_from([30.0, 60.0, 900.0])
)
CALLS = st.tuples(GAPS_S, st.sampled_from(["", "e1", "e2"]), st.booleans())

Counted = Callable[[float, float], bool]


def arrival(envelope: str = "", read: bool = True, path: str = "/x") -> Arrival:
    return Arrival("Envelopes_GetEnvelope", envelope, path, read)


def sliding(length_s: float) -> Counted:
    """Whether an earlier call is still in a sliding window of this length."""
    return lambda then_s, now_s: now_s - length_s < then_s


def same_hour(then_s: float, now_s: float) -> bool:
    return then_s // 3600 == now_s // 3600


def model_refuses(
    accepted: list[tuple[float, str, bool]], now_s: float, envelope: str, read: bool
) -> str:
    """The kind of the first window that is full, counted anew over all accepted calls."""

    def full(limit: int, counted: Counted, of_envelope: bool) -> bool:
        held = [
            at_s
            for at_s, name, was_read in accepted
            if counted(at_s, now_s) and (not of_envelope or (name, was_read) == (envelope, read))
        ]
        return len(held) >= limit

    if full(9, same_hour, False):
        return "hour"
    if full(4, sliding(30), False):
        return "burst"
    if not envelope:
        return ""
    what = "reads" if read else "writes"
    if full(4 if read else 3, sliding(3600), True):
        return f"envelope_{what}_hour"
    if full(2 if read else 1, sliding(30), True):
        return f"envelope_{what}_burst"
    return ""


@given(st.lists(CALLS, max_size=60))
def test_a_call_is_refused_exactly_when_a_window_has_no_room(
    calls: list[tuple[float, str, bool]],
) -> None:
    """For any arrivals: the verdict is that of a count over all accepted calls; refused ones take
    no room."""
    limits = AccountLimits("a", RULES, START_S)
    accepted: list[tuple[float, str, bool]] = []
    now_s = START_S
    for gap_s, envelope, read in calls:
        now_s += gap_s
        expected = model_refuses(accepted, now_s, envelope, read)
        assert limits.arrive(arrival(envelope, read), now_s).kind == expected
        if not expected:
            accepted.append((now_s, envelope, read))


@given(st.lists(GAPS_S, max_size=80), st.integers(0, 3))
def test_no_real_window_ever_holds_more_than_the_limit(gaps: list[float], seed: int) -> None:
    """With a tenant that takes up to all of it: any 30 s and any hour of the clock are within the
    limits, clients and tenant together, and what is in the log is what was told as accepted."""
    rules = replace(RULES, tenant=TenantRules((0.0, 1.0), seed=seed))
    limits = AccountLimits("a", rules, START_S)
    now_s, told = START_S, 0
    for gap_s in gaps:
        now_s += gap_s
        told += not limits.arrive(arrival(), now_s).kind
    accepted = list(limits.usage.accepted)
    assert accepted == sorted(accepted)
    for end_s in accepted:
        assert sum(end_s - 30 < at_s <= end_s for at_s in accepted) <= 4
        assert sum(same_hour(at_s, end_s) for at_s in accepted) <= 9
    clients, tenant = limits.usage.clients.accepted, limits.usage.tenant.accepted
    assert told == len(clients)
    assert sorted([*clients, *tenant]) == accepted


@given(
    st.lists(GAPS_S, max_size=30),
    st.integers(1, 6),
    st.integers(0, 400),
    st.integers(0, 600),
)
def test_most_is_what_an_endless_demand_would_have_got(
    gaps: list[float], limit: int, from_quarters: int, length_quarters: int
) -> None:
    """`most` of an interval equals what a strict server lets through of a caller who asks at every
    instant, given the calls before the interval; and nobody ever got more."""
    rules = LimitRules(on=True, burst=limit, hour=None)
    limits = AccountLimits("a", rules, START_S)
    now_s = START_S
    for gap_s in gaps:
        now_s += gap_s
        limits.arrive(arrival(), now_s)
    start_s = START_S + from_quarters / 4
    end_s = start_s + length_quarters / 4
    held = [t for t in limits.usage.accepted if t < start_s]
    got = 0
    for quarter in range(length_quarters):
        at_s = start_s + quarter / 4
        while sum(at_s - 30 < t for t in held) < limit:
            held.append(at_s)
            got += 1
    most = limits.usage.most_sliding(limit, 30, start_s, end_s)
    assert most == got
    assert sum(start_s <= t < end_s for t in limits.usage.accepted) <= most


@given(
    st.lists(st.integers(0, 40_000), max_size=30), st.integers(0, 40_000), st.integers(0, 30_000)
)
def test_the_most_of_hours_is_each_hour_s_limit_less_what_was_used_before(
    offsets: list[int], start: int, length: int
) -> None:
    log = array("d", sorted(START_S + o for o in offsets))
    start_s, end_s = START_S + start, START_S + start + length
    hours = {int(s) // 3600 for s in range(int(start_s), int(end_s))}
    used = sum(same_hour(t, start_s) and t < start_s for t in log)
    expected = len(hours) * 50 - (used if hours else 0)
    assert most_aligned(50, 3600, log, start_s, end_s) == expected


def test_an_evenly_paced_caller_uses_all_of_a_window_in_its_steady_state() -> None:
    """Utilisation is 1 there, over any interval after the first window; of half the pace it is
    half, less the room that such a caller left at the interval's start."""
    shown = {}
    for pace in (1, 2):
        limits = AccountLimits("a", LimitRules(on=True, burst=120, hour=None), START_S)
        for step in range(0, 1200, pace):
            assert not limits.arrive(arrival(), START_S + step / 4).kind
        truth = limits.truth(START_S + 60, START_S + 247, START_S + 300)
        assert truth["clients"]["accepted"] == 748 / pace
        shown[pace] = truth["windows"]["burst"]
    assert (shown[1]["most"], shown[1]["utilisation"]) == (748, 1.0)
    assert 0.45 < shown[2]["utilisation"] < 0.5


def test_the_tenant_s_calls_are_a_matter_of_seed_and_clock_alone() -> None:
    """The same calls however often somebody looks; other ones for another seed or account."""
    rules = LimitRules(on=True, tenant=TenantRules((0.1, 0.6), seed=1))

    def calls(its: LimitRules, account: str, looks: int) -> list[float]:
        tenant = Tenant(its, account, START_S)
        return [t for k in range(1, looks + 1) for t in tenant.due(START_S + 600 * k / looks)]

    seen = calls(rules, "a", 1)
    assert seen == calls(rules, "a", 97)
    assert seen != calls(rules, "b", 1)
    assert seen != calls(replace(rules, tenant=TenantRules((0.1, 0.6), seed=2)), "a", 1)


def test_the_tenant_takes_its_part_of_the_tightest_window() -> None:
    """In the long run a share of 30 % is 30 % of what burst or hour lets through, whichever is
    less, under any scale; a share of nothing is no call."""
    for rules in (
        LimitRules(burst=500, hour=None),
        LimitRules(burst=500, hour=3000),
        LimitRules(burst=500, hour=None, scale=0.1),
    ):
        eats = replace(rules, on=True, tenant=TenantRules((0.3, 0.3), seed=5))
        limits = AccountLimits("a", eats, START_S)
        for look in range(12):
            limits.catch_up(START_S + (look + 1) * 900 * rules.scale)
        end_s = START_S + 3 * 3600 * rules.scale
        taken = limits.truth(START_S, end_s, end_s)["tenant"]["accepted"]
        assert 0.9 < taken / (0.3 * rules.rate * (end_s - START_S)) < 1.1
    nothing = replace(rules, on=True, tenant=TenantRules((0.0, 0.0)))
    assert list(Tenant(nothing, "a", START_S).due(START_S + 3600)) == []


def test_a_tenant_that_nobody_looked_at_for_long_is_caught_up_with_at_once() -> None:
    """After a month only what the windows may still remember is made up for, and they are then as
    full as the tenant's share makes them."""
    rules = LimitRules(on=True, hour=None, scale=0.1, tenant=TenantRules((0.5, 0.5)))
    limits = AccountLimits("a", rules, START_S)
    now_s = START_S + 30 * 86_400
    limits.catch_up(now_s)
    assert 20_000 < len(limits.usage.accepted) < 40_000
    assert 200 < limits.truth(None, None, now_s)["windows"]["burst"]["used"] < 300


def test_new_rules_do_not_forget_the_calls_of_old_ones() -> None:
    """Smaller limits refuse until enough calls have left the window; larger ones make room."""
    limits = AccountLimits("a", LimitRules(on=True, burst=10, hour=12), START_S)
    for second in range(10):
        assert not limits.arrive(arrival(), START_S + second).kind
    limits.apply(LimitRules(on=True, burst=3, hour=12), START_S + 10)
    for second, kind in ((36, "burst"), (37, ""), (37, "burst"), (38, "")):
        assert limits.arrive(arrival(), START_S + second).kind == kind
    assert limits.usage.most_sliding(3, 30, START_S + 10, START_S + 38) == 1
    assert limits.arrive(arrival(), START_S + 100).kind == "hour"
    limits.apply(LimitRules(on=True, burst=3, hour=13), START_S + 100)
    assert [limits.arrive(arrival(), START_S + 100).kind for _ in range(2)] == ["", "hour"]


@settings(max_examples=60)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(0, 200))
def test_the_peak_is_the_most_that_any_window_held(moments: list[int], start: int) -> None:
    """However calls lie: what a brute-force count of every window within the interval gives; a
    call exactly one window old is out."""
    usage = Usage()
    usage.accepted.extend(sorted(map(float, moments)))
    within = [m for m in moments if m >= start]
    most = max((sum(end - 30 < m <= end for m in within) for end in within), default=0)
    assert usage.peak(30.0, float(start), 1000.0) == most


def test_what_is_over_is_forgotten() -> None:
    """Envelopes that were called once leave nothing behind: memory follows what windows hold."""
    limits = AccountLimits("a", LimitRules(on=True, burst=None, hour=None), START_S)
    for number in range(20_000):
        call = arrival(f"e{number}", path=f"/e{number}")
        assert not limits.arrive(call, START_S + number * 60).kind
    assert limits.remembered < 3_000


def test_the_clock_of_the_limits_never_goes_back() -> None:
    """Where the clock steps back, time stands still: no call leaves a window early or twice."""
    moments = iter([100.0, 100.0, 90.0, 129.0, 80.0, 130.0])
    limits = Limits(LimitRules(on=True, burst=1, hour=None), lambda: next(moments))
    kinds = [limits.arrive("a", arrival()).kind for _ in range(4)]
    assert kinds == ["", "burst", "burst", ""]
