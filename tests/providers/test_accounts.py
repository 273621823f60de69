"""The accounts of the settings: what their providers share, and what they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwax.accounts import ConfiguredAccounts
from sealwax.calls import Capabilities
from sealwax.providers.base import Unavailable
from sealwax.providers.circuit import CircuitRules
from sealwax.settings import load_settings
from tests import keys
from tests.providers.samples import principal

GUID = "6f1b2c3d-0000-4000-8000-00000000ac3e"


def account(name: str, port: int) -> str:
    """One account of the settings with two principals, at a port where nothing listens."""
    return f"""
[accounts.{name}]
provider = "docusign"
account_id = "{GUID}"
api_base = "http://127.0.0.1:{port}/restapi"
oauth_base = "http://127.0.0.1:{port}"
default_principal = "leasing"
[accounts.{name}.principals.leasing]
integration_key = "ik"
user_id = "one"
private_key = "file:key.pem"
[accounts.{name}.principals.sales]
integration_key = "ik"
user_id = "two"
private_key = "file:key.pem"
"""


async def test_principals_of_one_account_share_its_circuit_and_other_accounts_do_not(
    tmp_path: Path,
) -> None:
    """Five calls of one principal found the API out: another's is refused without being made."""
    (tmp_path / "key.pem").write_text(principal().private_key_pem.get_secret_value())
    file = tmp_path / "sealwax.toml"
    file.write_text(keys.SETTINGS + account("acme", 1) + account("other", 1))
    async with ConfiguredAccounts(load_settings(file)) as accounts:
        signing_url = "https://127.0.0.1:1/signing/x"
        for _ in range(CircuitRules().outages):
            # Another host than the API: its failures are not the API's.
            with pytest.raises(Unavailable, match="ConnectError"):
                await accounts.provider("acme", "leasing").revoke_view(signing_url)
        with pytest.raises(Unavailable, match="token"):
            await accounts.provider("acme", "leasing").read("e-1", False)
        breaker = accounts._breakers["acme"]
        for _ in range(CircuitRules().outages):
            breaker.failed()
        for name in ("leasing", "sales", ""):
            with pytest.raises(Unavailable, match="in a row"):
                await accounts.provider("acme", name).read("e-1", False)
        with pytest.raises(Unavailable, match="token"):
            await accounts.provider("other", "").read("e-1", False)
        assert accounts.identity("acme").capabilities == Capabilities()
