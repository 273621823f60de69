"""``[sweep]`` is checked before anything starts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from sealwax.sweep_settings import SweepSettings, check_sweep


def test_the_defaults_hold_for_the_provider_s_own_times():
    """Silence is longer than the provider's 15 minutes between two looks."""
    check_sweep(SweepSettings(), [("acme", 900.0)])


def test_asking_more_often_than_the_provider_wants_is_refused():
    """The message says what to set, and for whom."""
    with pytest.raises(PydanticCustomError, match="at least 900 for account acme"):
        check_sweep(SweepSettings(silent_after_s=60), [("other", 30.0), ("acme", 900.0)])


@pytest.mark.parametrize("every_s", [0.5, 0.01])
def test_a_schedule_is_not_asked_for_in_fractions_of_a_second(every_s: float):
    """Nought switches it off."""
    with pytest.raises(PydanticCustomError, match="must be 0"):
        check_sweep(SweepSettings(every_s=every_s), [])
    check_sweep(SweepSettings(every_s=0), [])


@pytest.mark.parametrize(
    "wrong", [{"every_s": -1}, {"page": 0}, {"batch": 101}, {"silent_after_s": 0}, {"evry_s": 1}]
)
def test_values_and_keys_that_cannot_be_are_refused(wrong: dict[str, float]):
    """By pydantic, as in the other tables."""
    with pytest.raises(ValidationError):
        SweepSettings.model_validate(wrong)
