"""``[bridge]`` and ``[codec]``: the programs that listen."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sealwax.secret_references import SecretReference, SettingsError
from sealwax.settings_types import Name, Part, Url, UrlOrNothing

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
    that carry documents. ``queue_max``, ``queue_bytes_max``: so many webhooks, and so many bytes of
    their bodies, are taken in or wait for the disk at a time; more are told to come again (503).
    ``park_s``: how long an event of an envelope that nobody knows (yet) is
    tried again. ``forwarder``: whether a bridge starts a forwarder of its own; false where they
    run apart (``python -m bridge.forwarder``).
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    public_url: UrlOrNothing = ""
    body_bytes_max: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    queue_max: Annotated[int, Field(ge=1)] = 2_000
    queue_bytes_max: Annotated[int, Field(ge=1024)] = 128 * 1024 * 1024
    park_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 24 * 3600.0
    forwarder: bool = True

    @model_validator(mode="after")
    def _one_body_fits(self) -> BridgeSettings:
        if self.queue_bytes_max < self.body_bytes_max:
            raise PydanticCustomError(
                "queue",
                "queue_bytes_max must be at least body_bytes_max, or no large body is taken in;"
                " correct it",
            )
        return self
