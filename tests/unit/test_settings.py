"""Laws of the settings: what is wrong is said in one line before anything starts, and no secret
is ever shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from sealwax.crypto import new_key
from sealwax.settings import Settings, SettingsError, load_settings

GUID = "6f1b2c3d-0000-4000-8000-00000000ac3e"
ENCRYPTION = """
[encryption]
current = "k1"
[encryption.keys]
k1 = "file:keys/k1.txt"
"""
GOOD = f"""
{ENCRYPTION}
[accounts.acme]
provider = "docusign"
account_id = "{GUID}"
api_base = "https://demo.docusign.net/restapi"
oauth_base = "https://account-d.docusign.com/"
webhook_keys = ["env:ACME_CONNECT_KEY", "file:keys/connect-2.txt"]

[accounts.acme.principals.system]
integration_key = "ik"
user_id = "user"
private_key = "file:keys/acme.pem"
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("SEALWAX_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(folder: Path, text: str) -> Path:
    file = folder / "sealwax.toml"
    file.write_text(text)
    return file


def refused(path: Path | None = None) -> str:
    """What the refusal says; always one line."""
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def test_a_minimal_file_gives_the_documented_defaults(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert (settings.bridge.host, settings.bridge.port) == ("127.0.0.1", 8787)
    assert settings.bridge.public_url == ""
    assert settings.temporal.task_queue == "sealwax"
    assert settings.timing.call_deadline_s == 150.0
    acme = settings.account("acme")
    assert acme.account_id == GUID
    assert acme.oauth_base == "https://account-d.docusign.com"
    assert acme.principal().user_id == "user"
    assert acme.principal("system") is acme.principals["system"]


def test_relative_paths_are_relative_to_the_file_not_to_where_the_program_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / "keys").mkdir(parents=True)
    elsewhere.mkdir()
    (home / "keys" / "connect-2.txt").write_text("second\n")
    monkeypatch.setenv("ACME_CONNECT_KEY", "first")
    monkeypatch.chdir(elsewhere)
    settings = load_settings(write(home, '[storage]\nfolder = "data"\n' + GOOD))
    assert settings.storage.registry == home / "data" / "registry.db"
    assert settings.storage.journal_file == home / "data" / "journal.db"
    assert settings.storage.blobs == home / "data" / "blobs"
    secrets = [r.secret() for r in settings.account("acme").webhook_keys]
    assert [s.get_secret_value() for s in secrets] == ["first", "second"]
    assert load_settings(write(home, GOOD)).storage.folder == home / "sealwax-data"


def test_the_file_is_the_one_that_the_variable_names_else_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[bridge]\nport = 1111\n" + GOOD)
    assert load_settings().bridge.port == 1111
    other = tmp_path / "other.toml"
    other.write_text("[bridge]\nport = 2222\n" + GOOD)
    monkeypatch.setenv("SEALWAX_CONFIG", str(other))
    assert load_settings().bridge.port == 2222


def test_the_environment_wins_over_the_file_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWAX_TEMPORAL__ADDRESS", "temporal:7233")
    monkeypatch.setenv("SEALWAX_TIMING__CALL_DEADLINE_S", "9.5")
    monkeypatch.setenv("SEALWAX_ACCOUNTS__ACME__API_BASE", "http://127.0.0.1:9000/restapi")
    text = '[temporal]\nnamespace = "contracts"\n[timing]\nclose_settle_s = 3\n' + GOOD
    settings = load_settings(write(tmp_path, text))
    assert settings.temporal.address == "temporal:7233"
    assert settings.temporal.namespace == "contracts"
    assert settings.timing.call_deadline_s == 9.5
    assert settings.timing.close_settle_s == 3.0
    assert settings.account("acme").api_base == "http://127.0.0.1:9000/restapi"
    assert settings.account("acme").account_id == GUID


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {
        "PROVIDER": "docusign",
        "ACCOUNT_ID": GUID,
        "API_BASE": "https://demo.docusign.net/restapi",
        "OAUTH_BASE": "https://account-d.docusign.com",
        "PRINCIPALS__SYSTEM__INTEGRATION_KEY": "ik",
        "PRINCIPALS__SYSTEM__USER_ID": "user",
        "PRINCIPALS__SYSTEM__PRIVATE_KEY": "env:KEY",
        "WEBHOOK_KEYS": '["env:ONE", "env:TWO"]',
    }.items():
        monkeypatch.setenv(f"SEALWAX_ACCOUNTS__ACME__{key}", value)
    monkeypatch.setenv("SEALWAX_ENCRYPTION__CURRENT", "k1")
    monkeypatch.setenv("SEALWAX_ENCRYPTION__KEYS__K1", "env:ENCRYPTION_KEY")
    monkeypatch.setenv("ENCRYPTION_KEY", new_key())
    assert load_settings().keyring().current == "k1"
    acme = load_settings().account("acme")
    assert acme.account_id == GUID
    assert [key.name for key in acme.webhook_keys] == ["ONE", "TWO"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (f'account_id = "{GUID}"\n', "", ["accounts.acme.account_id", "missing", "add it"]),
        (GUID, "12345", ["accounts.acme.account_id", "GUID", "copy it"]),
        ('"docusign"', '"docusing"', ["accounts.acme.provider", "use one of: docusign"]),
        ("https://demo", "http://demo", ["accounts.acme.api_base", "https://"]),
        ("https://demo", "demo", ["accounts.acme.api_base", "address such as"]),
        ("https://demo", "https://me:pw@demo", ["api_base", "no user name or password"]),
        ("https://account-d", "ftp://account-d", ["accounts.acme.oauth_base"]),
        ("api_base", "api_bsae", ["accounts.acme.api_base", "missing"]),
        ("user_id", "userid", ["principals.system.user_id", "missing"]),
        ("[accounts.acme]", "[bridge]\nprot = 1\n[accounts.acme]", ["bridge.prot", "mean port"]),
        ("[accounts.acme]", "[brigde]\n[accounts.acme]", ["brigde", "mean bridge"]),
        ("[accounts.acme]", "[zzzzzz]\n[accounts.acme]", ["zzzzzz", "take it out"]),
        ("[accounts.acme]", "[bridge]\nport = 70000\n[accounts.acme]", ["bridge.port", "65535"]),
        ("[accounts.acme]", '[bridge]\nport = "x"\n[accounts.acme]', ["bridge.port", "integer"]),
        ("[accounts.acme]", '[bridge]\nhost = ""\n[accounts.acme]', ["bridge.host", "empty"]),
        (
            "[accounts.acme]",
            '[bridge]\npublic_url = "http://x.example"\n[accounts.acme]',
            ["bridge.public_url", "https://"],
        ),
        (
            "[accounts.acme]",
            "[timing]\ncall_deadline_s = -1\n[accounts.acme]",
            ["timing", "call_deadline_s", "more than 0"],
        ),
        (
            "[accounts.acme]",
            "[timing]\ncall_deadline_s = inf\n[accounts.acme]",
            ["timing", "call_deadline_s"],
        ),
        (
            "[accounts.acme]",
            '[timing]\ncall_deadline_s = "soon"\n[accounts.acme]',
            ["timing.call_deadline_s", "number"],
        ),
        (
            "[accounts.acme]",
            "[timing]\ncal_deadline_s = 1\n[accounts.acme]",
            ["timing", "cal_deadline_s", "mean call_deadline_s"],
        ),
        ("accounts.acme", 'accounts."Acme Inc"', ["accounts", "Acme Inc", "lower case"]),
        (
            "[accounts.acme]",
            '[accounts.acme]\ndefault_principal = "ana"',
            ["accounts.acme", "default_principal ana", "[accounts.NAME.principals.ana]"],
        ),
        ('"ik"', '""', ["integration_key", "empty"]),
        ("provider =", "provider", ["is not TOML"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_key_and_a_remedy(
    tmp_path: Path, before: str, after: str, said: list[str]
) -> None:
    assert before in GOOD
    message = refused(write(tmp_path, GOOD.replace(before, after)))
    for part in ["sealwax.toml", *said]:
        assert part in message


def test_no_accounts_is_refused_with_what_to_add(tmp_path: Path) -> None:
    assert "accounts: missing; add it" in refused(write(tmp_path, ENCRYPTION))
    assert "[accounts.NAME]" in refused(write(tmp_path, ENCRYPTION + "[accounts]\n"))


def test_a_missing_file_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "write one" in refused()
    assert "absent.toml" in refused(tmp_path / "absent.toml")
    monkeypatch.setenv("SEALWAX_CONFIG", str(tmp_path / "named.toml"))
    assert "named.toml" in refused()
    assert "write one" in refused(tmp_path)


def test_a_misspelt_variable_is_refused_and_not_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD)
    monkeypatch.setenv("SEALWAX_TEMPORAL__ADRESS", "x")
    assert "temporal.adress" in refused()
    monkeypatch.delenv("SEALWAX_TEMPORAL__ADRESS")
    monkeypatch.setenv("SEALWAX_TEMPROAL__ADDRESS", "x")
    assert "SEALWAX_TEMPROAL__ADDRESS" in refused()
    monkeypatch.delenv("SEALWAX_TEMPROAL__ADDRESS")
    monkeypatch.setenv("SEALWAX_BRIDGE", "not json")
    message = refused()
    assert "SEALWAX_BRIDGE__KEY" in message
    assert "not json" not in message


@pytest.mark.parametrize("where", ["private_key", "webhook_keys"])
def test_a_literal_secret_is_refused_with_advice_and_never_repeated(
    tmp_path: Path, where: str
) -> None:
    literal = "hunter2-topsecret"
    reference = {"private_key": "file:keys/acme.pem", "webhook_keys": "env:ACME_CONNECT_KEY"}[where]
    message = refused(write(tmp_path, GOOD.replace(reference, literal)))
    assert where in message
    assert "env:NAME" in message
    assert literal not in message


def test_secrets_are_resolved_late_and_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings load without the secrets; each use reads them as they are then."""
    acme = load_settings(write(tmp_path, GOOD)).account("acme")
    with pytest.raises(SettingsError, match=r"ACME_CONNECT_KEY.*set it"):
        acme.webhook_keys[0].secrets()
    with pytest.raises(SettingsError, match=r"acme\.pem.*put the secret there"):
        acme.principal().private_key.secret()
    (tmp_path / "keys").mkdir()
    key = tmp_path / "keys" / "acme.pem"
    for content in ("-----BEGIN\nkey\n-----END\n", "another"):
        key.write_text(content)
        assert acme.principal().private_key.secret().get_secret_value() == content.rstrip("\n")
    key.write_text(" \n")
    with pytest.raises(SettingsError, match="is empty"):
        acme.principal().private_key.secret()


def test_no_secret_shows_in_a_representation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_CONNECT_KEY", "hunter2-topsecret")
    settings = load_settings(write(tmp_path, GOOD))
    secret = settings.account("acme").webhook_keys[0].secret()
    assert secret.get_secret_value() == "hunter2-topsecret"
    for text in (repr(settings), str(settings), repr(secret), str(secret)):
        assert "hunter2" not in text


def test_unknown_names_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    with pytest.raises(SettingsError, match="use one of: acme"):
        settings.account("other")
    with pytest.raises(SettingsError, match="use one of: system"):
        settings.account("acme").principal("ana")


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD))
    assert isinstance(settings, Settings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.bridge.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.bridge = settings.bridge  # type: ignore[misc]


def keyed(folder: Path, content: str, *, mode: int = 0o600) -> Path:
    """Settings whose one key stands in a file."""
    (folder / "keys").mkdir(exist_ok=True)
    key = folder / "keys" / "k1.txt"
    key.write_text(content)
    key.chmod(mode)
    return write(folder, GOOD)


def why_no_keyring(path: Path) -> str:
    """What the refusal of the keys says; always one line."""
    settings = load_settings(path)
    with pytest.raises(SettingsError) as caught:
        settings.keyring()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_key_nothing_starts_and_it_is_said_how_to_make_one(tmp_path: Path) -> None:
    """No table, no file, no key in it: each is refused in one line."""
    message = refused(write(tmp_path, GOOD.replace(ENCRYPTION, "")))
    assert "encryption: missing" in message
    assert "sealwax keys new" in message
    assert "k1.txt" in why_no_keyring(write(tmp_path, GOOD))
    for content in ("secret", "", "QUJD"):
        said = why_no_keyring(keyed(tmp_path, content))
        assert "k1" in said
        assert not content or content not in said
    assert "sealwax keys new" in why_no_keyring(keyed(tmp_path, "secret"))


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The file says whose key it is; so do its permissions."""
    assert "chmod 600" in why_no_keyring(keyed(tmp_path, new_key(), mode=0o640))
    ring = load_settings(keyed(tmp_path, new_key())).keyring()
    assert ring.current == "k1"
    assert len(ring.keys["k1"]) == 32


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('current = "k1"', 'current = "k2"', "encryption.current"),
        ("k1 = ", "K1 = ", "lower case"),
        ('"file:keys/k1.txt"', f'"{new_key()}"', "never stands in the settings"),
    ],
    ids=["unknown current", "odd id", "key in the settings"],
)
def test_an_encryption_table_that_is_wrong_is_refused(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    path = keyed(tmp_path, new_key())
    assert before in GOOD
    path.write_text(GOOD.replace(before, after))
    with pytest.raises(SettingsError) as caught:
        load_settings(path).keyring()
    assert said in str(caught.value)
    assert len(after) < 40 or after.strip('"') not in str(caught.value)
