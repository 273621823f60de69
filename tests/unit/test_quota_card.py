"""What people see of an account's quota: the figures of the ledger, and since when they are old."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwax import keys, views
from sealwax.definition import Refusal
from sealwax.messages import QuotaSnapshot
from sealwax.quota_reports import Counters, QuotaView
from sealwax.settings import SettingsError, load_settings
from sealwax.telemetry import runtime
from sealwax.telemetry_settings import TelemetrySettings
from tests.unit.test_settings import GOOD, write

AT = datetime(2026, 11, 21, 9, 59, 30, tzinfo=UTC)
VIEW = QuotaView(
    burst_limit=500,
    burst_used=37,
    burst_margin=3,
    hour_limit=3_000,
    hour_used=1_200,
    reset_in_s=30.0,
    waiting=(1, 0, 8, 2),
    holders=4,
    counters=Counters(granted=1_300, unused=20, taken_back=5, refusals=6, foreign=9, breaches=1),
)


def test_the_card_shows_both_windows_and_who_waits_by_class():
    """Used, left, the reset's time, the learned margin, and each class with its waiting calls."""
    card = views.quota_card(views.quota_snapshot("acme", VIEW, AT))

    assert "- burst: **37** of 500 used, 460 left, 3 kept free for calls of others" in card
    hour = "- hour: **1200** of 3000 used, 1800 left, whole again at 2026-11-21 10:00:00 UTC"
    assert hour in card
    assert "in 4 workers" in card
    for line in ("interactive: 1", "mutation: 0", "bulk: 8", "background: 2"):
        assert f"- {line}\n" in card


def test_the_card_shows_what_was_ever_refused_foreign_or_breached():
    """Totals are of the ledger's life; permits that were never used are no calls."""
    card = views.quota_card(views.quota_snapshot("acme", VIEW, AT))

    assert "- calls granted: 1275" in card
    assert "- refused by the provider for their number: 6" in card
    assert "- calls of others, seen in the provider's figures: 9" in card
    assert "- breaches, by workers that were stopped for too long: 1" in card


def test_nothing_is_left_of_a_window_that_others_have_overdrawn():
    """What others used is counted as used; less than nothing is never left."""
    shown = views.quota_snapshot("acme", replace(VIEW, burst_used=510), AT)

    assert shown.burst is not None
    assert (shown.burst.used, shown.burst.left) == (510, 0)


def test_a_card_without_a_look_says_so_and_shows_no_figures():
    """Before the first look there are no zeros that could be taken for figures."""
    card = views.quota_card(QuotaSnapshot(account="acme"))

    assert "Nobody has looked" in card
    assert "**Windows**" not in card


def test_old_figures_are_marked_as_old_and_stay():
    """While the ledger cannot be read, the last figures stand under the reason and its time."""
    shown = views.quota_snapshot("acme", VIEW, AT)
    told = {"problem": "the `quota` ledger\nis away", "problem_since": AT + timedelta(minutes=1)}
    card = views.quota_card(shown.model_copy(update=told))

    assert "**Not read since 2026-11-21 10:00:30 UTC:** the 'quota' ledger is away" in card
    assert "**37** of 500 used" in card


def test_a_snapshot_survives_json():
    """What the workflow carries over to its next run is what it had."""
    shown = views.quota_snapshot("acme", VIEW, AT)

    assert QuotaSnapshot.model_validate_json(shown.model_dump_json()) == shown


def test_an_account_workflow_s_id_is_no_envelope_s():
    """Who parses ids of envelopes refuses it; a name that is none makes no id."""
    name = keys.account_workflow_id("acme")

    assert name == "account/acme"
    with pytest.raises(ValueError, match="not the id of an envelope"):
        keys.account_and_key(name)
    with pytest.raises(Refusal, match="lower case"):
        keys.account_workflow_id("Acme/17")


@pytest.mark.parametrize(
    "address", ["9464", "localhost:9464", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "::1"]
)
def test_an_address_for_metrics_that_is_none_is_refused(tmp_path: Path, address: str):
    """One line that names the key and an example, before anything starts."""
    table = f'[telemetry]\nprometheus = "{address}"\n'
    with pytest.raises(SettingsError, match=r"telemetry\.prometheus: must be an IP address and"):
        load_settings(write(tmp_path, table + GOOD))


def test_metrics_are_off_unless_asked_for(tmp_path: Path):
    """Nothing listens by default; a look costs what the README says: one a minute."""
    settings = load_settings(write(tmp_path, GOOD)).telemetry

    assert (settings.prometheus, settings.quota_every_s) == ("", 60.0)
    assert runtime(settings) is None


def test_looks_cannot_be_set_to_storm(tmp_path: Path):
    """Each look is two actions of Temporal: less than a second between them is refused."""
    with pytest.raises(SettingsError, match=r"telemetry\.quota_every_s"):
        load_settings(write(tmp_path, "[telemetry]\nquota_every_s = 0.1\n" + GOOD))


def test_a_taken_port_for_metrics_is_said_with_what_to_do():
    """Two workers of one machine need two ports: the second is told so."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(SettingsError, match="SEALWAX_TELEMETRY__PROMETHEUS"):
            runtime(TelemetrySettings(prometheus=address))
