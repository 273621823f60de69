"""The workload is one description: seeded, large enough, and free of conflicts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from demo import workload
from demo.workload import Life


def test_same_seed_gives_the_same_lives():
    """A seed names one workload; another seed names another."""
    assert workload.make(7, 20) == workload.make(7, 20)
    assert workload.make(7, 20) != workload.make(8, 20)


@pytest.mark.parametrize("envelopes", [14, 20, 40])
def test_at_least_a_hundred_mutations(envelopes: int):
    """From 14 envelopes on, at least 100 mutations are requested."""
    lives = workload.make(7, envelopes)
    assert sum(len(list(life.requests())) for life in lives) >= 100


def test_every_way_to_end_is_there():
    """Of 20 envelopes most are completed, one is voided, one declined."""
    endings = Counter(life.ending for life in workload.make(7, 20))
    assert endings == {"completed": 18, "voided": 1, "declined": 1}


@pytest.mark.parametrize("life", workload.make(3, 12), ids=lambda life: life.key)
def test_concurrent_changes_do_not_conflict(life: Life):
    """In whatever order a phase's changes come, the same envelope is intended at the end."""
    for number in range(10):
        order = random.Random(number)
        draft = tuple(order.sample(life.draft, len(life.draft)))
        in_process = tuple(order.sample(life.in_process, len(life.in_process)))
        shuffled = replace(life, draft=draft, in_process=in_process)
        assert workload.intended(shuffled) == workload.intended(life)


def test_every_change_leaves_a_mark_of_its_own():
    """Without any one change something else is intended, so that a lost one can be seen."""
    for life in workload.make(5, 12):
        whole = workload.intended(life)
        for phase in ("draft", "in_process"):
            requests = getattr(life, phase)
            for left_out in requests:
                if isinstance(left_out.change, workload.Void):
                    continue
                rest = tuple(r for r in requests if r is not left_out)
                fewer: dict[str, Any] = {phase: rest}
                assert workload.intended(replace(life, **fewer)) != whole


def test_addresses_are_unique_in_a_workload():
    """No e-mail address stands on two envelopes: the buyer's tells the business key."""
    lives = workload.make(7, 40)
    emails = [email for life in lives for email in workload.intended(life).parties]
    assert len(set(emails)) == len(emails)


def test_services_act_at_nearly_the_same_time_and_jobs_come_twice():
    """Changes of a phase are apart by less than seconds; the second copy of a job comes after."""
    for life in workload.make(7, 20):
        times = [request.at_s for request in life.draft]
        assert max(times) - min(times) < 3.0
        assert 0 < life.redelivered_after_s < 1


def test_no_envelope_is_no_workload():
    """A workload has at least one envelope."""
    with pytest.raises(ValueError, match="at least one"):
        workload.make(7, 0)
