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
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, core_schema
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

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
    folder_of_settings,
    relative_to,
    why_unreadable,
)
from sealwax.session_settings import SessionSettings, check_ping_every
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
    "TelemetrySettings",
    "TemporalSettings",
    "load_settings",
]

FILE_VARIABLE = "SEALWAX_CONFIG"
FILE_NAME = "sealwax.toml"
PREFIX = "SEALWAX_"

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _provider(name: str) -> str:
    if name not in PROVIDERS:
        raise PydanticCustomError(
            "provider",
            "is not known; use one of: {names}",
            {"names": ", ".join(sorted(PROVIDERS))},
        )
    return name


def _guid(text: str) -> str:
    if not _GUID.fullmatch(text):
        raise PydanticCustomError(
            "guid",
            "must be a GUID such as 01234567-89ab-cdef-0123-456789abcdef;"
            " copy it from the provider's 'Apps and Keys' page",
        )
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise PydanticCustomError("url", "must be an address such as https://host/path; correct it")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("url", "must hold no user name or password; take them out")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise PydanticCustomError(
            "url", "must start with https:// (plain http is only for this machine's own address)"
        )
    return text.rstrip("/")


def _url_or_nothing(text: str) -> str:
    return _url(text) if text else ""


def _path(path: Path) -> Path:
    return folder_of_settings.get(Path()) / path.expanduser()


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


Guid = Annotated[str, AfterValidator(_guid)]
Url = Annotated[str, AfterValidator(_url)]
Name = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """Base of every table of the settings: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TemporalSettings(Part):
    """``[temporal]``: the server.

    ``profile`` names one of Temporal's own configuration file (address, TLS, API key). What is
    set here wins over it; "" leaves what the profile says, or else 127.0.0.1:7233 and "default".
    """

    address: str = ""
    namespace: str = ""
    task_queue: Name = TASK_QUEUE
    profile: str = ""


class StorageSettings(Part):
    """``[storage]``: one folder of the local disk for the registry, the journal and documents."""

    folder: Annotated[Path, AfterValidator(_path), Field(validate_default=True)] = Path(
        "sealwax-data"
    )

    @property
    def registry(self) -> Path:
        """The registry's file."""
        return self.folder / "registry.db"

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.db"

    @property
    def quota(self) -> Path:
        """The quota ledger's file, where no database is named."""
        return self.folder / "quota.db"

    @property
    def blobs(self) -> Path:
        """The documents' folder."""
        return self.folder / "blobs"


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


_CODEC_TOKEN = re.compile(r"[A-Za-z0-9_-]{32,}")


class CodecSettings(Part):
    """``[codec]``: the program that shows payloads to people (``python -m bridge.codec``).

    ``token`` protects it; ``origins`` are the exact addresses of the web UIs whose pages may ask,
    such as ``http://localhost:8233``.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8788
    origins: tuple[Url, ...] = ("http://localhost:8233", "http://127.0.0.1:8233")
    token: SecretReference | None = None

    def secret_token(self) -> str:
        """The token as it is now. Raises ``SettingsError`` where it is none or easy to guess."""
        if self.token is None:
            raise SettingsError(
                "codec.token: missing; put 32 or more random letters and digits into a file and"
                " write token = 'file:PATH' under [codec]"
            )
        self.token.check_private()
        text = self.token.secret().get_secret_value()
        if not _CODEC_TOKEN.fullmatch(text):
            raise SettingsError(
                "codec.token: must be 32 or more letters, digits, '_' and '-', so that nobody"
                " guesses it; make one with `openssl rand -hex 32`"
            )
        return text


class BridgeSettings(Part):
    """``[bridge]``: where webhooks come in.

    ``public_url`` is how the provider and signers' browsers reach the bridge; "" where only the
    account's own Connect configuration serves and nobody signs in a session of ours.
    ``body_bytes_max``: a larger body is refused with 413; the default leaves room for messages
    that carry documents. ``park_s``: how long an event of an envelope that nobody knows (yet) is
    tried again.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    public_url: Annotated[str, AfterValidator(_url_or_nothing)] = ""
    body_bytes_max: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    park_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 24 * 3600.0


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

    def webhook_secrets(self) -> tuple[SecretStr, ...]:
        """The Connect keys as they are now; several while one is being replaced."""
        return tuple(reference.secret() for reference in self.webhook_keys)

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
        *Part.__subclasses__(),
    )
    known = {name for part in parts for name in part.model_fields}
    known |= {part.name for part in dataclasses.fields(Timing)}
    near = difflib.get_close_matches(key, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else "take it out"
