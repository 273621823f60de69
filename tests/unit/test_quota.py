"""Laws of the quota ledger, one at a time: when a slot serves again, who goes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwax import quota
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import (
    Ask,
    Clock,
    Close,
    Denied,
    Ending,
    Grant,
    QuotaView,
    Refusal,
    Seen,
    Told,
    Want,
)
from sealwax.quota_windows import Purpose

S = 1_000_000
BEGIN = 1_800_000_000 * S
"""A full hour of the wall clock, with every test's ledger begun at it."""

TWO = Limits(
    burst_calls=2, hour_calls=100, interactive_reserve=0, away_calls=0, away_calls_per_hour=0
)
NOW = Want(Klass.INTERACTIVE)
PATIENT = Want(Klass.INTERACTIVE, patience=3_600 * S)
BULK = Want(Klass.BULK)


class Ledger:
    """One account's rows and a clock that the test sets; ``at``: seconds since the beginning."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.at = 0.0
        self.epoch = "boot"
        self.rows: dict[str, str | None] = {}
        self.turns: dict[str, int] = {}
        self.known: dict[str, int] = {}

    @property
    def clock(self) -> Clock:
        now = BEGIN + round(self.at * S)
        return Clock(self.epoch, now, now)

    def ask(self, *wants: Want, holder: str = "a", closes: tuple[Close, ...] = ()) -> Told:
        self.turns[holder] = self.turns.get(holder, 0) + 1
        return self.repeat(*wants, holder=holder, closes=closes)

    def repeat(self, *wants: Want, holder: str = "a", closes: tuple[Close, ...] = ()) -> Told:
        ask = Ask(holder, self.turns[holder], self.known.get(holder, 0), closes, wants)
        told = self.unheard(ask)
        numbers = [d.number for d in told.decisions if isinstance(d, Grant)]
        self.known[holder] = max([self.known.get(holder, 0), *numbers])
        return told

    def unheard(self, ask: Ask) -> Told:
        rows = {name: self.rows.get(name) for name in (quota.ACCOUNT, *ask.envelopes())}
        kept, told = quota.exchange(self.limits, self.clock, rows, ask)
        self.rows.update({name: row.text for name, row in kept.items()})
        return told

    def granted(self, *wants: Want, holder: str = "a") -> int:
        """How many of these calls may start now."""
        told = self.ask(*wants, holder=holder)
        return sum(isinstance(d, Grant) and d.start == told.now for d in told.decisions)

    def one(self, want: Want = NOW, holder: str = "a") -> Grant:
        (decision,) = self.ask(want, holder=holder).decisions
        assert isinstance(decision, Grant)
        return decision

    def close(
        self, grant: Grant, ending: Ending = "answered", *, seen: Seen | None = None,
        want: Want = NOW, late: bool = False, holder: str = "a",
    ) -> Told:  # fmt: skip
        done = self.clock.now
        close = Close(
            grant.number, ending, grant.start, done, want.envelope, want.purpose, want.operation,
            late, seen,
        )  # fmt: skip
        return self.ask(holder=holder, closes=(close,))

    def keep_alive(self, until: float, holder: str = "a") -> None:
        while self.at < until:
            self.at = min(until, self.at + 1.0)
            self.ask(holder=holder)

    def view(self) -> QuotaView:
        return quota.look(self.limits, self.clock, self.rows[quota.ACCOUNT])

    def free_at(self, until: float = 200.0) -> float:
        """When, to a tenth of a second, both slots may serve again."""
        while self.view().burst_used:
            self.at = round(self.at + 0.1, 1)
            assert self.at < until
        return self.at


def test_an_answered_call_holds_its_slot_for_a_window_after_its_completion() -> None:
    """Not after its grant, since it may have arrived as late as its answer came."""
    ledger = Ledger(TWO)
    grant = ledger.one()
    ledger.keep_alive(20)
    ledger.close(grant)
    assert ledger.free_at() == pytest.approx(50.1)


def test_a_call_without_an_answer_holds_its_slot_for_deadline_transit_and_window() -> None:
    """It may arrive until the transit bound after it was given up."""
    ledger = Ledger(TWO)
    grant = ledger.one()
    ledger.keep_alive(20)
    ledger.close(grant, "lost")
    assert ledger.free_at() == pytest.approx(52.1)
    assert ledger.view().counters.lost == 1


def test_permits_of_a_dead_holder_come_back_after_life_transit_and_window() -> None:
    """A killed worker leaks nothing, whether it had sent or not."""
    ledger = Ledger(TWO)
    assert ledger.granted(NOW, NOW) == 2
    assert ledger.granted(NOW, holder="b") == 0
    assert ledger.free_at() == pytest.approx(1.5 + 2 + 30 + 0.1)
    ledger.ask(holder="b")
    assert ledger.view().counters.expired == 2


def test_a_living_holder_keeps_its_slot_for_as_long_as_its_call_takes() -> None:
    """A long download is no dead holder, as long as its process is heard of."""
    ledger = Ledger(TWO)
    ledger.one()
    ledger.keep_alive(100)
    assert ledger.view().burst_used == 1
    assert ledger.view().counters.expired == 0


def test_an_unused_permit_is_free_at_once() -> None:
    """What was never sent was never counted, in burst and hour."""
    ledger = Ledger(TWO)
    grant = ledger.one()
    ledger.close(grant, "unused")
    view = ledger.view()
    assert (view.burst_used, view.hour_used, view.counters.unused) == (0, 0, 1)


def test_a_report_that_is_repeated_counts_once() -> None:
    """The store may have kept a report although its answer was lost."""
    ledger = Ledger(TWO)
    first, second = ledger.one(), ledger.one()
    closes = tuple(Close(g.number, "answered", g.start, g.start) for g in (first, second))
    ledger.ask(closes=closes)
    before = ledger.view()
    ledger.repeat(closes=closes)
    assert ledger.view() == before
    assert before.counters.breaches == 0


def test_permits_whose_answer_was_lost_are_taken_back_with_the_next_report() -> None:
    """The holder never heard of them, so it never used them."""
    ledger = Ledger(TWO)
    ledger.unheard(Ask("a", 1, 0, wants=(NOW, NOW)))
    assert ledger.view().burst_used == 2
    ledger.unheard(Ask("a", 1, 0))
    view = ledger.view()
    assert (view.burst_used, view.hour_used, view.counters.taken_back) == (0, 0, 2)


def test_a_holder_that_was_stopped_past_its_permits_life_is_found() -> None:
    """What it held was given up for dead; its call is counted anew, and the breach is told."""
    ledger = Ledger(TWO)
    grant = ledger.one()
    ledger.at = 40.0
    assert ledger.granted(NOW, NOW, holder="b") == 2
    told = ledger.close(grant, late=True)
    assert told.breaches == 1
    view = ledger.view()
    assert (view.burst_used, view.counters.breaches) == (3, 1)
    assert ledger.granted(NOW) == 0


def test_a_call_that_outlasts_a_store_outage_is_counted_anew_without_a_breach() -> None:
    """Nobody could be heard of; the process itself was never stopped."""
    ledger = Ledger(TWO)
    grant = ledger.one()
    ledger.at = 10.0
    ledger.ask(holder="b")
    assert ledger.close(grant).breaches == 0
    assert ledger.free_at() == pytest.approx(40.1)


def test_after_a_boot_every_slot_that_was_taken_is_taken_for_one_window_more() -> None:
    """The clock began anew; all that was under way had ended by then."""
    ledger = Ledger(TWO)
    ledger.one()
    ledger.epoch, ledger.at = "next boot", -BEGIN / S + 5
    assert ledger.granted(NOW, NOW, holder="b") == 1
    ledger.at = -BEGIN / S + 31.5
    assert ledger.granted(NOW, NOW, holder="b") == 0
    ledger.at = -BEGIN / S + 32.1
    assert ledger.granted(NOW, NOW, holder="b") == 1


def test_a_clock_that_is_put_back_frees_nothing_early() -> None:
    """The ledger's time stands still until the clock has caught up."""
    ledger = Ledger(TWO)
    ledger.at = 100.0
    grant = ledger.one()
    ledger.close(grant)
    ledger.at = 50.0
    assert ledger.ask().now == BEGIN + 100 * S
    ledger.at = 129.9
    ledger.ask()
    assert ledger.view().burst_used == 1


def test_a_patient_call_is_told_when_its_slot_serves_again() -> None:
    """The permit is given at once, for the moment at which the slot is free."""
    ledger = Ledger(TWO)
    for _ in range(2):
        ledger.close(ledger.one())
    assert ledger.one(PATIENT).start == BEGIN + 30 * S + 1
    (impatient,) = ledger.ask(NOW).decisions
    assert isinstance(impatient, Denied)
    assert impatient.cause == "burst"
    assert impatient.retry == BEGIN + 30 * S + 1


def test_bulk_leaves_the_reserve_and_interactive_takes_it() -> None:
    """Two of a hundred slots are for people alone."""
    ledger = Ledger(replace(TWO, burst_calls=100, interactive_reserve=0.02, hour_calls=9_000))
    assert ledger.granted(*[Want(Klass.MUTATION)] * 100) == 98
    assert ledger.granted(*[BULK] * 10) == 0
    assert ledger.granted(*[NOW] * 10) == 2


def test_bulk_waits_while_another_process_has_people_waiting() -> None:
    """What more urgent calls could not get is noted, and left to them, while they live."""
    ledger = Ledger(replace(TWO, burst_calls=10, hour_calls=9_000))
    mutation = Want(Klass.MUTATION)
    grants = [d for d in ledger.ask(*[mutation] * 15).decisions if isinstance(d, Grant)]
    assert ledger.view().waiting == (0, 5, 0, 0)
    closes = tuple(Close(g.number, "unused", g.start, g.start) for g in grants[:4])
    ledger.ask(*[mutation] * 0, closes=closes)
    ledger.ask(*[mutation] * 9)
    assert ledger.granted(*[BULK] * 3, holder="b") == 0
    ledger.at = 2.0
    ledger.ask(holder="b")
    assert ledger.view().waiting == (0, 0, 0, 0)


def test_bulk_is_paced_over_the_window_after_a_pause() -> None:
    """A burst would echo: whole windows later its slots would all be free at one moment."""
    ledger = Ledger(replace(TWO, burst_calls=100, hour_calls=90_000))
    told = ledger.ask(*[BULK] * 20)
    starts = [d.start for d in told.decisions if isinstance(d, Grant)]
    assert starts.count(told.now) == quota.pace_tolerance(100)
    ledger.at = 10.0
    assert ledger.granted(*[BULK] * 20) <= quota.pace_tolerance(100) + 1


def test_two_processes_with_bulk_share_what_comes() -> None:
    """While another has bulk waiting, nobody takes all."""
    ledger = Ledger(replace(TWO, burst_calls=300, hour_calls=90_000, ahead_s=2.0, life_s=3.0))
    count = {"a": 0, "b": 0}
    for step in range(80):
        ledger.at = step * 0.25
        for holder in ("a", "b") if step % 3 else ("b", "a"):
            told = ledger.ask(*[BULK] * 50, holder=holder)
            count[holder] += sum(isinstance(d, Grant) for d in told.decisions)
    assert min(count.values()) > 0.3 * sum(count.values())
    assert sum(count.values()) >= 200


def test_the_hour_is_told_by_answers_and_begins_anew_with_its_slack() -> None:
    """Before reset plus slack the new budget is not touched."""
    ledger = Ledger(replace(TWO, burst_calls=50, hour_calls=10))
    grants = [d for d in ledger.ask(*[NOW] * 12).decisions if isinstance(d, Grant)]
    assert len(grants) == 10
    reset_in = (600 * S, 601 * S)
    ledger.close(grants[0], seen=Seen(hour_limit=10, hour_left=0, reset_in=reset_in))
    (denied,) = ledger.ask(NOW).decisions
    assert isinstance(denied, Denied)
    assert denied.cause == "hour"
    assert denied.retry - BEGIN == pytest.approx(601.25 * S, abs=S // 100)
    for grant in grants[1:]:
        ledger.close(grant)
    ledger.at = (denied.retry - BEGIN) / S - 0.1
    assert ledger.granted(NOW) == 0
    ledger.at += 0.2
    assert ledger.granted(*[NOW] * 12) == 10


def test_a_call_near_the_reset_counts_in_both_hours() -> None:
    """It may have arrived on either side."""
    ledger = Ledger(replace(TWO, burst_calls=50, hour_calls=10, hour_slack_s=20.0))
    ledger.at = 3_590.0
    grants = [d for d in ledger.ask(*[NOW] * 4).decisions if isinstance(d, Grant)]
    for grant in grants:
        ledger.close(grant)
    ledger.at = 3_621.0
    assert ledger.granted(*[NOW] * 12) == 6


def test_bulk_leaves_the_hours_expected_people_their_calls_until_its_last_moments() -> None:
    """An estimate of 36 in an hour keeps 36 and twice the root of it."""
    ledger = Ledger(replace(TWO, burst_calls=500, hour_calls=100, urgent_per_hour=36))
    assert ledger.granted(*[NOW] * 52) == 52
    (denied,) = ledger.ask(BULK).decisions
    assert isinstance(denied, Denied)
    assert denied.cause == "hour"
    ledger.at = 3_596.0
    assert ledger.granted(BULK) == 1


def test_what_others_used_is_charged_to_the_burst() -> None:
    """The provider counted more than ours: the rest is somebody else's, for a window."""
    ledger = Ledger(replace(TWO, burst_calls=10))
    ledger.close(ledger.one(), seen=Seen(burst_limit=10, burst_left=3))
    view = ledger.view()
    assert (view.burst_used, view.counters.foreign) == (7, 6)
    assert 0 < ledger.granted(*[NOW] * 10) <= 3
    ledger.at = 60.0
    ledger.ask()
    assert ledger.view().burst_margin == 0


def test_own_calls_are_never_taken_for_others() -> None:
    """Each answer counts no more than what we had out when it came."""
    ledger = Ledger(replace(TWO, burst_calls=10))
    for count in range(1, 11):
        ledger.at += 0.1
        ledger.close(ledger.one(), seen=Seen(burst_limit=10, burst_left=10 - count))
    assert ledger.view().counters.foreign == 0


def test_the_providers_limit_replaces_ours() -> None:
    """A developer account has 200 in 30 s and says so."""
    ledger = Ledger(replace(TWO, burst_calls=500, hour_calls=9_000))
    ledger.close(ledger.one(), seen=Seen(burst_limit=200, burst_left=199, hour_limit=1_000))
    assert (ledger.view().burst_limit, ledger.view().hour_limit) == (200, 1_000)


def test_a_refusal_teaches_a_margin_that_wears_off() -> None:
    """Others use the account faster than answers tell: some slots are left unused for a while."""
    ledger = Ledger(replace(TWO, burst_calls=200, hour_calls=9_000))
    ledger.close(ledger.one(), seen=Seen(refusal="burst"))
    view = ledger.view()
    assert view.burst_margin >= 1
    assert view.burst_used >= 200
    assert view.counters.refusals == 1
    ledger.at = 60.0
    ledger.ask()
    assert ledger.view().burst_margin == 1
    ledger.at = 10_000.0
    ledger.ask()
    assert ledger.view().burst_margin == 0


@pytest.mark.parametrize(
    ("purpose", "times", "until_s"), [("poll", 1, 900), ("read", 20, 30), ("write", 20, 30)]
)
def test_one_envelope_has_limits_of_its_own(purpose: Purpose, times: int, until_s: float) -> None:
    """A poll comes once in a quarter of an hour, also for people; another envelope is free."""
    ledger = Ledger(replace(TWO, burst_calls=500))
    want = replace(NOW, envelope="e1", purpose=purpose, operation="Envelopes_GetEnvelope")
    for _ in range(times):
        grant = ledger.one(want)
        ledger.close(grant, want=want)
    (denied,) = ledger.ask(want).decisions
    assert isinstance(denied, Denied)
    assert (denied.cause, denied.retry) == ("envelope", BEGIN + until_s * S + 1)
    assert ledger.granted(replace(want, envelope="e2")) == 1
    ledger.at = until_s + 0.1
    assert ledger.granted(want) == 1


def test_a_read_that_a_user_asked_for_is_no_poll() -> None:
    """It goes through between two polls of the same operation."""
    ledger = Ledger(replace(TWO, burst_calls=500))
    poll = replace(NOW, envelope="e1", purpose="poll", operation="Envelopes_GetEnvelope")
    ledger.one(poll)
    assert ledger.granted(replace(poll, purpose="read")) == 1
    assert ledger.granted(replace(poll, operation="Recipients_GetRecipients")) == 1


@pytest.mark.parametrize(("refusal", "wait_s"), [("envelope_burst", 30), ("envelope_hour", 3_600)])
def test_an_envelope_whose_call_was_refused_is_left_alone(refusal: Refusal, wait_s: float) -> None:
    """The threshold is unpublished; after a refusal the whole window is waited for."""
    ledger = Ledger(replace(TWO, burst_calls=500))
    want = replace(NOW, envelope="e1", purpose="read")
    ledger.close(ledger.one(want), want=want, seen=Seen(refusal=refusal))
    (denied,) = ledger.ask(want).decisions
    assert isinstance(denied, Denied)
    assert denied.retry == BEGIN + wait_s * S


def test_what_is_set_aside_for_outages_is_never_granted() -> None:
    """A process that is cut off uses it without asking, so nobody else may."""
    ledger = Ledger(replace(TWO, burst_calls=50, workers_max=4, away_calls=2))
    assert ledger.granted(*[NOW] * 60) == 42


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"burst_calls": 0}, "burst_calls"),
        ({"transit_s": -1.0}, "transit_s"),
        ({"hour_s": float("nan")}, "hour_s"),
        ({"interactive_reserve": 0.6}, "interactive_reserve"),
        ({"burst_calls": 5}, "away_calls"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(change: dict[str, Any], key: str) -> None:
    """One line, and the key to correct."""
    with pytest.raises(ValueError, match=key):
        replace(Limits(), **change)


def test_all_windows_are_scaled_together() -> None:
    """500 in 3 s and 3,000 in six minutes keep the proportions of the real thing."""
    scaled = Limits().scaled(10)
    assert (scaled.burst_window_s, scaled.hour_s, scaled.poll_every_s) == (3.0, 360.0, 90.0)
    assert (scaled.burst_calls, scaled.hour_calls) == (500, 3_000)


def test_a_late_report_of_the_hour_before_changes_nothing() -> None:
    """Its answer spoke of a reset that has passed; the new hour's calls stay counted."""
    ledger = Ledger(replace(TWO, burst_calls=50, hour_calls=10, life_s=60.0))
    early, late = ledger.one(), ledger.one()
    reset_in = (600 * S, 601 * S)
    ledger.close(early, seen=Seen(hour_limit=10, reset_in=reset_in))
    ledger.keep_alive(602)
    assert ledger.granted(*[NOW] * 12) == 9
    told = ledger.clock.now
    before = BEGIN + 1 * S
    speaking = Close(
        late.number, "answered", before, before, seen=Seen(reset_in=(599 * S, 600 * S))
    )
    ledger.ask(closes=(speaking,))
    ledger.at += 3.0
    assert ledger.clock.now > told
    assert ledger.granted(*[NOW] * 12) == 0
