"""Settings: one TOML file, overridden by the environment, checked before anything starts.

The file is the one that ``SEALWAX_CONFIG`` names, or ``sealwax.toml``. A variable such as
``SEALWAX_TEMPORAL__ADDRESS`` overrides the key ``address`` of ``[temporal]``. Secrets never stand
in settings: a key that needs one holds ``env:NAME`` or ``file:PATH``, which is resolved when the
secret is used. Relative paths are relative to the folder of the file, so that programs started in
different folders share one storage.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sealwax.bridge_settings import BridgeSettings, CodecSettings
from sealwax.calls import Timing
from sealwax.crypto import KEY_ADVICE, BadKey, Keyring, check_key_id, parse_key
from sealwax.definition import Refusal
from sealwax.keys import check_account
from sealwax.messages import TASK_QUEUE
from sealwax.providers.registry import PROVIDERS
from sealwax.quota_limits import Limits
from sealwax.quota_settings import AccountQuota, QuotaSettings, check_quota, limits_of
from sealwax.secret_references import (
    SecretReference,
    SettingsError,
    relative_to,
    why_unreadable,
)
from sealwax.session_settings import SessionSettings, check_ping_every
from sealwax.settings_types import Guid, Name, Part, Url
from sealwax.storage_settings import StorageSettings
from sealwax.sweep_settings import SweepSettings, check_sweep
from sealwax.telemetry_settings import TelemetrySettings

__all__ = [
    "AccountSettings",
    "BridgeSettings",
    "CodecSettings",
    "EncryptionSettings",
    "PrincipalSettings",
    "QuotaSettings",
    "SecretReference",
    "SessionSettings",
    "Settings",
    "SettingsError",
    "StorageSettings",
    "SweepSettings",
    "TelemetrySettings",
    "TemporalSettings",
    "load_settings",
]

FILE_VARIABLE = "SEALWAX_CONFIG"
FILE_NAME = "sealwax.toml"
PREFIX = "SEALWAX_"


def _provider(name: str) -> str:
    if name not in PROVIDERS:
        raise PydanticCustomError(
            "provider",
            "is not known; use one of: {names}",
            {"names": ", ".join(sorted(PROVIDERS))},
        )
    return name


def _timing_keys(value: object) -> object:
    if isinstance(value, Mapping):
        known = {f.name for f in dataclasses.fields(Timing)}
        for key in value:
            if key not in known:
                raise PydanticCustomError(
                    "timing", "{key} is no known key; {advice}", {"key": key, "advice": _near(key)}
                )
    return value


def _timing_positive(timing: Timing) -> Timing:
    for part in dataclasses.fields(timing):
        value = getattr(timing, part.name)
        if not 0 < value < float("inf"):
            raise PydanticCustomError(
                "timing", "{key} must be more than 0; correct it", {"key": part.name}
            )
    return timing


class TemporalSettings(Part):
    """``[temporal]``: the server.

    ``profile`` names one of Temporal's own configuration file (address, TLS, API key). What is
    set here wins over it; "" leaves what the profile says, or else 127.0.0.1:7233 and "default".
    """

    address: str = ""
    namespace: str = ""
    task_queue: Name = TASK_QUEUE
    profile: str = ""


def _key_ids(keys: dict[str, SecretReference]) -> dict[str, SecretReference]:
    for key_id in keys:
        try:
            check_key_id(key_id)
        except BadKey as error:
            raise PydanticCustomError("key", "{why}", {"why": str(error)}) from None
    return keys


class EncryptionSettings(Part):
    """``[encryption]``: the keys of all that is kept, and the id of the one that seals.

    Every key in ``keys`` opens. To replace the current one, add the new one everywhere, then name
    it as ``current``; the old one stays for as long as something sealed with it is kept.
    """

    current: str
    keys: Annotated[dict[str, SecretReference], AfterValidator(_key_ids)]

    def keyring(self) -> Keyring:
        """The keys as they are now. Raises ``SettingsError``, never with a key in it."""
        found = {}
        for key_id, reference in self.keys.items():
            try:
                reference.check_private()
                found[key_id] = parse_key(reference.secret().get_secret_value())
            except BadKey as error:
                raise SettingsError(f"encryption.keys.{key_id}: {error}") from None
        try:
            return Keyring(self.current, found)
        except BadKey as error:
            raise SettingsError(f"encryption.current: {error}") from None


class PrincipalSettings(Part):
    """``[accounts.NAME.principals.NAME]``: one user in whose name calls are made (JWT grant)."""

    integration_key: Name
    user_id: Name
    private_key: SecretReference


class AccountSettings(Part):
    """``[accounts.NAME]``: one account at one provider."""

    provider: Annotated[str, AfterValidator(_provider)]
    account_id: Guid
    api_base: Url
    oauth_base: Url
    default_principal: Name = "system"
    webhook_keys: tuple[SecretReference, ...] = ()
    principals: dict[Name, PrincipalSettings]
    quota: AccountQuota = AccountQuota()

    @property
    def ledger(self) -> str:
        """The account's name in the quota ledger: the same for all who share the account."""
        return self.account_id.casefold()

    @model_validator(mode="after")
    def _default_is_known(self) -> AccountSettings:
        if self.default_principal not in self.principals:
            raise PydanticCustomError(
                "principal",
                "default_principal {name} has no table; add [accounts.NAME.principals.{name}]",
                {"name": self.default_principal},
            )
        return self

    def principal(self, name: str = "") -> PrincipalSettings:
        """The principal of that name, or the default one. Raises ``SettingsError``."""
        found = self.principals.get(name or self.default_principal)
        if found is None:
            known = ", ".join(sorted(self.principals))
            raise SettingsError(f"no principal {name!r} in the settings; use one of: {known}")
        return found


def _account_names(accounts: dict[str, AccountSettings]) -> dict[str, AccountSettings]:
    if not accounts:
        raise PydanticCustomError("accounts", "no account; add a table [accounts.NAME]")
    for name in accounts:
        try:
            check_account(name)
        except Refusal as refusal:
            raise PydanticCustomError(
                "accounts", "{name}: {why}", {"name": name, "why": str(refusal)}
            ) from None
    return accounts


class Settings(BaseSettings):
    """All settings, checked. Made by ``load_settings``."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        hide_input_in_errors=True,
    )

    temporal: TemporalSettings = TemporalSettings()
    storage: StorageSettings = Field(default_factory=StorageSettings)
    encryption: EncryptionSettings
    codec: CodecSettings = CodecSettings()
    timing: Annotated[Timing, BeforeValidator(_timing_keys), AfterValidator(_timing_positive)] = (
        Timing()
    )
    bridge: BridgeSettings = BridgeSettings()
    sessions: SessionSettings = SessionSettings()
    quota: QuotaSettings = QuotaSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    sweep: SweepSettings = SweepSettings()
    accounts: Annotated[dict[str, AccountSettings], AfterValidator(_account_names)]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _pings_come_as_believed(self) -> Settings:
        check_ping_every(self.sessions, tuple(a.api_base for a in self.accounts.values()))
        return self

    @model_validator(mode="after")
    def _quotas_can_be(self) -> Settings:
        accounts = self.accounts.items()
        check_quota(self.quota, ((name, a.quota, a.api_base) for name, a in accounts))
        return self

    @model_validator(mode="after")
    def _sweeps_can_be(self) -> Settings:
        polls = ((name, self.limits(name).poll_every_s) for name in self.accounts)
        check_sweep(self.sweep, polls)
        return self

    def limits(self, account: str) -> Limits:
        """The limits of that account, by its name here. Raises ``SettingsError``."""
        return limits_of(self.quota, self.account(account).quota)

    def keyring(self) -> Keyring:
        """The keys of ``[encryption]``, read now. Raises ``SettingsError``."""
        return self.encryption.keyring()

    def account(self, name: str) -> AccountSettings:
        """The account of that name. Raises ``SettingsError``."""
        found = self.accounts.get(name)
        if found is None:
            known = ", ".join(sorted(self.accounts))
            raise SettingsError(f"no account {name!r} in the settings; use one of: {known}")
        return found


def load_settings(path: Path | None = None) -> Settings:
    """The settings of ``path``, or of the file that ``SEALWAX_CONFIG`` names, or ./sealwax.toml.

    Without a file, the environment alone may hold them. Raises ``SettingsError``.
    """
    named = path or (Path(text) if (text := os.environ.get(FILE_VARIABLE, "")) else None)
    file = (named or Path(FILE_NAME)).absolute()
    if named is not None or file.exists():
        content, source = _read(file), str(file)
    elif any(key.upper().startswith(f"{PREFIX}ACCOUNTS") for key in os.environ):
        content, source = {}, "environment"
    else:
        raise SettingsError(f"no settings file {file}; write one, or name it with {FILE_VARIABLE}")
    _check_variables()
    with relative_to(file.parent):
        try:
            return Settings(**content)
        except ValidationError as error:
            raise SettingsError(f"{source}: {_line(error)}") from None
        except ValueError as error:
            # A variable that stands for a whole table and is not JSON; its value may be private.
            raise SettingsError(f"environment: {_variable_advice(error)}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise SettingsError(
            f"no settings file {file}; write one, or name another with {FILE_VARIABLE}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{file} cannot be read ({why_unreadable(error)}); correct that"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not TOML: {' '.join(str(error).split())}") from None


def _check_variables() -> None:
    for variable in os.environ:
        table, nested, _ = variable.upper().removeprefix(PREFIX).partition("__")
        if not variable.upper().startswith(PREFIX) or not nested:
            continue
        if table.lower() not in Settings.model_fields:
            known = ", ".join(f"{PREFIX}{name.upper()}__..." for name in Settings.model_fields)
            raise SettingsError(f"environment: {variable} sets no known key; use one of: {known}")


def _variable_advice(error: ValueError) -> str:
    named = re.search(r'field "(\w+)"', str(error))
    variable = f"{PREFIX}{named.group(1).upper()}" if named else f"a {PREFIX}... variable"
    return f"{variable} is not readable; set single keys instead, such as {variable}__KEY"


def _line(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False, include_context=True)
    first, more = problems[0], len(problems) - 1
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    tail = f" (and {more} more)" if more else ""
    return " ".join(f"{key}: {_advice(first)}{tail}".split())


def _advice(problem: ErrorDetails) -> str:
    kind, message = problem["type"], problem["msg"]
    if kind == "missing" and problem["loc"] == ("encryption",):
        return f"missing; nothing starts without a key: name it there ({KEY_ADVICE})"
    if kind == "missing":
        return "missing; add it"
    if kind == "extra_forbidden":
        return f"is no known key; {_near(str(problem['loc'][-1]))}"
    if kind == "string_too_short":
        return "is empty; set it"
    builtin = not isinstance(problem.get("ctx", {}).get("error"), Exception) and kind in _BUILTIN
    return f"{message[:1].lower()}{message[1:]}; correct it" if builtin else message


_BUILTIN = frozenset(get_args(core_schema.ErrorType))


def _near(key: str) -> str:
    parts: tuple[type[BaseModel], ...] = (
        Settings,
        SessionSettings,
        QuotaSettings,
        TelemetrySettings,
        SweepSettings,
        *Part.__subclasses__(),
    )
    known = {name for part in parts for name in part.model_fields}
    known |= {part.name for part in dataclasses.fields(Timing)}
    near = difflib.get_close_matches(key, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else "take it out"
