"""Where a secret stands: ``env:NAME`` or ``file:PATH``, resolved when it is used.

Relative paths are relative to the folder of the settings file that is being read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_SECRET_ADVICE = (
    "a secret never stands in the settings; keep it in a file and write 'file:PATH',"
    " or in the environment and write 'env:NAME'"
)

folder_of_settings: ContextVar[Path] = ContextVar("folder of the settings file")


@contextmanager
def relative_to(folder: Path) -> Iterator[None]:
    """Take relative paths of settings as relative to ``folder``, while it lasts."""
    token = folder_of_settings.set(folder)
    try:
        yield
    finally:
        folder_of_settings.reset(token)


class SettingsError(Exception):
    """The settings cannot be used. One line: which key, what is wrong, what to do."""


class SecretReference:
    """Where a secret stands: an environment variable or a file. Holds no secret itself."""

    # No dataclass: pydantic-settings would read a variable that sets one as JSON.
    __slots__ = ("name", "scheme")

    def __init__(self, scheme: Literal["env", "file"], name: str) -> None:
        self.scheme = scheme
        self.name = name

    def __repr__(self) -> str:
        return f"SecretReference({self.scheme}:{self.name})"

    @classmethod
    def parse(cls, text: object) -> SecretReference:
        """Read ``env:NAME`` or ``file:PATH``. Says nothing of a text that is neither."""
        if isinstance(text, cls):
            return text
        scheme, _, name = text.partition(":") if isinstance(text, str) else ("", "", "")
        name = name.strip()
        if not name or scheme not in ("env", "file"):
            raise PydanticCustomError("secret", _SECRET_ADVICE)
        if scheme == "env":
            return cls("env", name)
        return cls("file", str(folder_of_settings.get(Path()) / Path(name).expanduser()))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)

    def check_private(self) -> None:
        """Raise ``SettingsError`` where others than the file's owner may read or write it."""
        if self.scheme == "env" or os.name != "posix":
            return
        try:
            mode = Path(self.name).stat().st_mode
        except OSError:
            return  # reading it says so
        if mode & 0o077:
            raise SettingsError(
                f"the file {self.name}, which the settings name for a secret, is open to others;"
                f" run: chmod 600 {self.name}"
            )

    def secret(self) -> SecretStr:
        """The secret as it is now, without a line end after it. Raises ``SettingsError``."""
        if self.scheme == "env":
            text = os.environ.get(self.name, "")
            if not text.strip():
                raise SettingsError(
                    f"the environment variable {self.name}, which the settings name for a secret,"
                    " is not set; set it"
                )
        else:
            try:
                text = Path(self.name).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(
                    f"the file {self.name}, which the settings name for a secret, cannot be read"
                    f" ({why_unreadable(error)}); put the secret there"
                ) from None
            if not text.strip():
                raise SettingsError(
                    f"the file {self.name}, which the settings name for a secret, is empty;"
                    " put the secret there"
                )
        return SecretStr(text.rstrip("\r\n"))

    def secrets(self) -> tuple[SecretStr, ...]:
        """Several secrets as they are now, one a line. Raises ``SettingsError``."""
        lines = self.secret().get_secret_value().split("\n")
        return tuple(SecretStr(text) for line in lines if (text := line.rstrip("\r")).strip())


def why_unreadable(error: Exception) -> str:
    """The reason in words that a person can use."""
    return (error.strerror or "unreadable") if isinstance(error, OSError) else "it is not UTF-8"
