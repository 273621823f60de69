"""Laws of ``[sessions]`` and of the addresses made from the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwax.accounts import ConfiguredAccounts
from sealwax.providers.base import NoSessionUrls
from sealwax.session import RETURN_URL_LENGTH_MAX, SessionRules
from sealwax.session_links import SessionLinks
from sealwax.settings import Settings, SettingsError, load_settings
from tests import keys

GUID = "6f1b2c3d-0000-4000-8000-00000000ac3e"
REAL = "https://demo.docusign.net/restapi"
LOCAL = "http://127.0.0.1:8101/restapi"
ROUTING_TOKEN = "r" * 43


def loaded(folder: Path, text: str, api_base: str = REAL) -> Settings:
    file = folder / "sealwax.toml"
    file.write_text(
        f"""
{text}
{keys.SETTINGS}
[accounts.acme]
provider = "docusign"
account_id = "{GUID}"
api_base = "{api_base}"
oauth_base = "https://account-d.docusign.com"
[accounts.acme.principals.system]
integration_key = "ik"
user_id = "user"
private_key = "file:never-read.pem"
"""
    )
    return load_settings(file)


def test_without_a_table_the_documented_rules_hold_and_nobody_is_sent_away(tmp_path: Path) -> None:
    sessions = loaded(tmp_path, "").sessions
    assert sessions.rules() == SessionRules()
    assert sessions.return_origins == ()


def test_every_rule_can_be_set(tmp_path: Path) -> None:
    sessions = loaded(
        tmp_path,
        """
[sessions]
url_life_s = 200
ping_every_s = 120
slack_s = 10.5
maximum_s = 900
return_ends = false
finish_later_ends = false
revoke_ends = false
close_ends = false
return_origins = ["https://app.example.com", "https://b.example:8443", "http://localhost:3000"]
""",
    ).sessions
    assert sessions.rules() == SessionRules(200, 120, 10.5, 900, False, False, False, False)
    assert len(sessions.return_origins) == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("url_life_s = 0", "sessions.url_life_s"),
        ("slack_s = inf", "sessions.slack_s"),
        ("maximum_s = nan", "sessions.maximum_s"),
        ("ping_every_s = 1201", "sessions.ping_every_s"),
        ("ping_every_s = 59", "ping_every_s must be 60 to 1200"),
        ("return_end = true", "did you mean return_ends"),
        ('return_origins = ["https://app.example.com/"]', "scheme and host alone"),
        ('return_origins = ["https://App.example.com"]', "scheme and host alone"),
        ('return_origins = ["https://u@app.example.com"]', "scheme and host alone"),
        ('return_origins = ["https://*.example.com"]', "scheme and host alone"),
        ('return_origins = ["app.example.com"]', "scheme and host alone"),
        ('return_origins = ["http://app.example.com"]', "must start with https://"),
        ("return_origins = [\"https://a.example; script-src 'unsafe-inline'\"]", "scheme and host"),
        ('return_origins = ["https://a.example,https://b.example"]', "scheme and host alone"),
        ('return_origins = ["https://[::1"]', "scheme and host alone"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, f"[sessions]\n{line}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_quick_pings_are_for_a_simulator_on_this_machine_alone(tmp_path: Path) -> None:
    """A real provider would ping less often than is believed, and live sessions seem silent."""
    quick = "[sessions]\nping_every_s = 0.5"
    assert loaded(tmp_path, quick, LOCAL).sessions.ping_every_s == 0.5
    with pytest.raises(SettingsError, match="60 to 1200"):
        loaded(tmp_path, quick, REAL)


def test_both_addresses_of_a_session_are_recognised_each_for_its_own_purpose(
    tmp_path: Path,
) -> None:
    settings = loaded(tmp_path, '[bridge]\npublic_url = "https://hooks.example.com/sealwax/"')
    done, ping = ConfiguredAccounts(settings).session_urls("acme", ROUTING_TOKEN, 7)
    links = SessionLinks(keys.KEYRING)
    for url, purpose, other in ((done, "done", "ping"), (ping, "ping", "done")):
        head, _, rest = url.partition("/sessions/")
        assert head == "https://hooks.example.com/sealwax"
        account, token, number, mac, last = rest.split("/")
        assert (account, token, number, last) == ("acme", ROUTING_TOKEN, "7", purpose)
        assert links.genuine(mac, "acme", ROUTING_TOKEN, 7, last)  # type: ignore[arg-type]
        assert not links.genuine(mac, "acme", ROUTING_TOKEN, 7, other)  # type: ignore[arg-type]
    assert len(done) < 200


def test_a_return_url_that_the_provider_would_cut_is_refused(tmp_path: Path) -> None:
    """At 470 characters it still goes, at 471 the operator is told what to shorten."""
    usual = loaded(tmp_path, '[bridge]\npublic_url = "https://hooks.example.com"')
    done, _ = ConfiguredAccounts(usual).session_urls("acme", ROUTING_TOKEN, 1)
    room = RETURN_URL_LENGTH_MAX - len(done)

    def made(path_length: int) -> str:
        path = "/" + "p" * (path_length - 1)
        settings = loaded(tmp_path, f'[bridge]\npublic_url = "https://hooks.example.com{path}"')
        return ConfiguredAccounts(settings).session_urls("acme", ROUTING_TOKEN, 1)[0]

    assert len(made(room)) == RETURN_URL_LENGTH_MAX
    with pytest.raises(NoSessionUrls, match=r"471 characters.*shorter public_url"):
        made(room + 1)


def test_without_a_public_url_there_is_nowhere_to_come_back_to(tmp_path: Path) -> None:
    with pytest.raises(NoSessionUrls, match="set public_url under"):
        ConfiguredAccounts(loaded(tmp_path, "")).session_urls("acme", ROUTING_TOKEN, 1)
