"""``[telemetry]``: what a worker tells of itself and of the accounts' quota."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from sealwax.settings_types import Part


def _listening(text: str) -> str:
    host, _, port = text.rpartition(":")
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port) if port.isascii() and port.isdigit() else 0
    except ValueError:
        number = 0
    if text and not 0 < number < 65536:
        raise PydanticCustomError(
            "listening",
            "must be an IP address and a port to listen at, such as 127.0.0.1:9464; correct it",
        )
    return text


class TelemetrySettings(Part):
    """``[telemetry]``.

    ``prometheus``: where a worker serves metrics to be fetched (``/metrics``), such as
    ``127.0.0.1:9464``; "" serves none. Each worker of a machine needs a port of its own.
    ``quota_every_s``: how often an account in use is looked at for its card and metrics.
    """

    prometheus: Annotated[str, AfterValidator(_listening)] = ""
    quota_every_s: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 60.0
