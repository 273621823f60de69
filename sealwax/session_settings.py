"""``[sessions]``: what is believed of the provider's signing sessions, and where signers may go."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from sealwax.session import SessionRules
from sealwax.settings_types import LOOPBACK, Part, address_parts

PING_EVERY_MIN_S = 60.0
"""What DocuSign grants at least (SPEC recipientViewRequest.pingFrequency, 60 to 1200 seconds)."""

_HOST_AND_PORT = re.compile(r"(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?")
_USUAL = SessionRules()


def _origin(text: str) -> str:
    parts, host = address_parts(text)
    alone = text == f"{parts.scheme}://{parts.netloc}"
    if not host or not alone or not _HOST_AND_PORT.fullmatch(parts.netloc):
        raise PydanticCustomError(
            "origin",
            "must be scheme and host alone, in lower case, such as https://app.example.com;"
            " correct it",
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise PydanticCustomError(
            "origin", "must start with https:// (plain http is only for this machine's own address)"
        )
    return text


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SessionSettings(Part):
    """``[sessions]``; times in seconds. See ``session.SessionRules`` for what each one means.

    ``return_origins`` lists the addresses of applications that signers may be sent on to after
    signing, such as ``https://app.example.com``; this machine's own address needs no entry.
    """

    url_life_s: Seconds = _USUAL.url_life_s
    ping_every_s: Annotated[float, Field(gt=0, le=1200, allow_inf_nan=False)] = _USUAL.ping_every_s
    slack_s: Seconds = _USUAL.slack_s
    maximum_s: Seconds = _USUAL.maximum_s
    return_ends: bool = _USUAL.return_ends
    finish_later_ends: bool = _USUAL.finish_later_ends
    revoke_ends: bool = _USUAL.revoke_ends
    close_ends: bool = _USUAL.close_ends
    return_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = ()

    def rules(self) -> SessionRules:
        """The rules that an envelope takes when it is registered."""
        return SessionRules(
            url_life_s=self.url_life_s,
            ping_every_s=self.ping_every_s,
            slack_s=self.slack_s,
            maximum_s=self.maximum_s,
            return_ends=self.return_ends,
            finish_later_ends=self.finish_later_ends,
            revoke_ends=self.revoke_ends,
            close_ends=self.close_ends,
        )


def check_ping_every(sessions: SessionSettings, api_bases: tuple[str, ...]) -> None:
    """Raise ``PydanticCustomError`` where a real provider would ping less often than is believed.

    A session that is asked for by the second and pinged by the minute would count as silent while
    its signer is at work. A simulator on this machine may run faster than a clock.
    """
    if sessions.ping_every_s >= PING_EVERY_MIN_S:
        return
    if any(urlsplit(base).hostname not in LOOPBACK for base in api_bases):
        raise PydanticCustomError(
            "sessions",
            "sessions.ping_every_s must be 60 to 1200, as the provider pings no more often;"
            " correct it (less is only for a simulator on this machine's own address)",
        )
