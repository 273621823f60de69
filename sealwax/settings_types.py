"""What the tables of the settings are made of."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _guid(text: str) -> str:
    if not _GUID.fullmatch(text):
        raise PydanticCustomError(
            "guid",
            "must be a GUID such as 01234567-89ab-cdef-0123-456789abcdef;"
            " copy it from the provider's 'Apps and Keys' page",
        )
    return text


def address_parts(text: str) -> tuple[SplitResult, str]:
    """An address in its parts, and its host; of what is none, parts and a host that are empty."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return urlsplit(""), ""
    return parts, host


def _url(text: str) -> str:
    parts, host = address_parts(text)
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise PydanticCustomError("url", "must be an address such as https://host/path; correct it")
    if parts.username is not None or parts.password is not None:
        raise PydanticCustomError("url", "must hold no user name or password; take them out")
    if parts.scheme == "http" and host not in LOOPBACK:
        raise PydanticCustomError(
            "url", "must start with https:// (plain http is only for this machine's own address)"
        )
    return text.rstrip("/")


def _url_or_nothing(text: str) -> str:
    return _url(text) if text else ""


Guid = Annotated[str, AfterValidator(_guid)]
Url = Annotated[str, AfterValidator(_url)]
UrlOrNothing = Annotated[str, AfterValidator(_url_or_nothing)]
Name = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """Base of every table of the settings: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
