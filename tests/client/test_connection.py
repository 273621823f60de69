"""Programs reach Temporal by settings or by Temporal's own profiles, or say why not in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from sealwax.connection import ConnectionFailed, connect, is_loopback
from sealwax.settings import TemporalSettings
from tests.keys import KEYRING


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere.invalid:7233", "a b:7233"])
async def test_an_absent_server_is_named_in_one_line(address: str) -> None:
    """The error says which address, why, and what to do."""
    with pytest.raises(ConnectionFailed) as caught:
        await connect(TemporalSettings(address=address), KEYRING)
    assert address in str(caught.value)
    assert "[temporal]" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


async def test_a_profile_gives_the_address_and_settings_win_over_it(
    dev_env: WorkflowEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the profile says holds, except where the settings say something else."""
    address = dev_env.client.service_client.config.target_host
    profiles = tmp_path / "temporal.toml"
    profiles.write_text(f'[profile.desk]\naddress = "{address}"\nnamespace = "elsewhere"\n')
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profiles))
    by_profile = await connect(TemporalSettings(profile="desk"), KEYRING)
    assert by_profile.namespace == "elsewhere"
    settings_win = await connect(TemporalSettings(profile="desk", namespace="default"), KEYRING)
    assert settings_win.namespace == "default"
    with pytest.raises(ConnectionFailed, match=r"127\.0\.0\.1:1 "):
        await connect(TemporalSettings(profile="desk", address="127.0.0.1:1"), KEYRING)


async def test_the_default_profile_may_stand_in_variables_alone(
    dev_env: WorkflowEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for as "default", Temporal's variables serve without a file."""
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "none.toml"))
    address = dev_env.client.service_client.config.target_host
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    client = await connect(TemporalSettings(profile="default"), KEYRING)
    assert client.service_client.config.target_host == address


async def test_an_unknown_profile_is_named() -> None:
    """A profile that stands nowhere is an error that says where profiles stand."""
    with pytest.raises(ConnectionFailed, match=r"'of-nobody'.*TEMPORAL_CONFIG_FILE"):
        await connect(TemporalSettings(profile="of-nobody"), KEYRING)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1:7233", True),
        ("localhost:7233", True),
        ("[::1]:7233", True),
        ("localhost", True),
        ("10.0.0.7:7233", False),
        ("temporal.example.com:7233", False),
        ("ns.acct.tmprl.cloud:7233", False),
    ],
)
def test_only_this_machine_is_loopback(address: str, here: bool) -> None:
    """Compression is left out only where no network is in between."""
    assert is_loopback(address) is here
