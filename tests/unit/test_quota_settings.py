"""Laws of ``[quota]``: the provider's defaults, what one account has otherwise, and no nonsense."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealwax.accounts import open_ledger
from sealwax.quota_limits import Limits
from sealwax.quota_settings import AccountQuota
from sealwax.settings import Settings, SettingsError, load_settings
from sealwax.stores.base import StoreUnusable
from tests import keys

GUID = "6F1B2C3D-0000-4000-8000-00000000AC3E"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("SEALWAX_"):
            monkeypatch.delenv(name)


def loaded(
    folder: Path, quota: str = "", own: str = "", base: str = "demo.docusign.net"
) -> Settings:
    """Settings with these lines under ``[quota]`` and ``[accounts.acme.quota]``."""
    scheme = "http" if base.startswith("127.") else "https"
    file = folder / "sealwax.toml"
    file.write_text(
        f"""{keys.SETTINGS}
[storage]
folder = "data"
[quota]
{quota}
[accounts.acme]
provider = "docusign"
account_id = "{GUID}"
api_base = "{scheme}://{base}/restapi"
oauth_base = "https://account-d.docusign.com"
[accounts.acme.quota]
{own}
[accounts.acme.principals.system]
integration_key = "ik"
user_id = "user"
private_key = "file:acme.pem"
"""
    )
    return load_settings(file)


def test_without_settings_the_provider_s_defaults_hold(tmp_path: Path) -> None:
    assert loaded(tmp_path).limits("acme") == Limits()


def test_an_account_s_own_keys_win_over_those_for_all(tmp_path: Path) -> None:
    """And those over the defaults; each key by itself."""
    settings = loaded(
        tmp_path, "burst_calls = 400\ninteractive_reserve = 0.1", "burst_calls = 200\n"
    )
    assert settings.limits("acme") == Limits(burst_calls=200, interactive_reserve=0.1)


def test_every_key_of_an_account_reaches_its_limits(tmp_path: Path) -> None:
    """No key is taken and then forgotten."""
    for name in AccountQuota.model_fields.keys() - {"scale"}:
        usual = getattr(Limits(), name)
        other = 0.01 if name.endswith("reserve") else type(usual)(usual + 1)
        assert getattr(loaded(tmp_path, own=f"{name} = {other}").limits("acme"), name) == other


def test_windows_are_scaled_together_for_a_simulator_alone(tmp_path: Path) -> None:
    """All of the provider's times, the hour too; a real provider's are as long as they are."""
    scaled = loaded(tmp_path, "scale = 0.1", base="127.0.0.1:8080").limits("acme")
    assert scaled == Limits().scaled(10)
    with pytest.raises(SettingsError, match=r"scale of account acme must be 1.*take it out"):
        loaded(tmp_path, "scale = 0.1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("burst_calls = 0", "quota.burst_calls: input should be greater than 0; correct it"),
        ("hour_calls = -1", "quota.hour_calls: input should be greater than 0; correct it"),
        ("interactive_reserve = 0.9", "quota.interactive_reserve: .*0.5; correct it"),
        ("life_s = inf", "quota.life_s: .*finite.*; correct it"),
        ("burst_call = 10", "did you mean burst_calls?"),
        ("store = 'postgresql://u:p@h/d'", "quota.store: .*env:NAME"),
        (
            "interactive_reserve = 0.4\nmutation_reserve = 0.4",
            "quota of account acme: the reserves take more than half of the burst; lower",
        ),
        ("away_calls = 100", "quota of account acme: the reserves take more than half"),
    ],
)
def test_nonsense_is_refused_in_a_line_that_says_what_to_do(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        loaded(tmp_path, line)
    assert "\n" not in str(refused.value)
    assert "postgresql://u:p" not in str(refused.value)


def test_an_account_has_one_ledger_however_it_is_spelled(tmp_path: Path) -> None:
    """The ledger's name is the provider's id of the account, not the settings' name."""
    assert loaded(tmp_path).account("acme").ledger == GUID.lower()


async def test_the_ledger_stands_in_the_storage_folder(tmp_path: Path) -> None:
    """Without a database it is a file there, and open as long as the block lasts."""
    settings = loaded(tmp_path)
    async with open_ledger(settings) as ledger:
        view = await ledger.store.look(settings.account("acme").ledger, settings.limits("acme"))
    assert (tmp_path / "data" / "quota.db").exists()
    assert (view.burst_limit, view.burst_used) == (500, 0)


async def test_a_database_that_is_not_there_is_told_without_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address may hold a password."""
    monkeypatch.setenv("QUOTA_DSN", "postgresql://user:secret@127.0.0.1:1/none")
    settings = loaded(tmp_path, 'store = "env:QUOTA_DSN"')
    with pytest.raises(StoreUnusable) as refused:
        async with open_ledger(settings):
            pass
    assert "secret" not in str(refused.value)
