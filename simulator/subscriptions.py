"""Who wants to hear what of Connect: reading configurations and eventNotifications.

Deviation: listeners on plain HTTP are allowed on loopback, where the provider insists on HTTPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from simulator.errors import invalid_body
from simulator.webhook_plans import EVENTS

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LEGACY_ENVELOPE = {"draft": "created"}


@dataclass(frozen=True)
class Subscription:
    """Who wants to hear what: one account configuration, or one envelope's eventNotification."""

    config_id: int
    url: str
    events: frozenset[str]
    include: frozenset[str]
    signed: bool
    name: str = ""


def truthy(raw: Any) -> bool:
    """The API's booleans come as true or as "true"."""
    return str(raw).lower() == "true"


def reachable(url: str, plain_http: bool) -> bool:
    """Whether the provider would call this URL: https, or plain HTTP on loopback here."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain = parts.scheme == "http" and (plain_http or parts.hostname in _LOOPBACK)
    return (plain or parts.scheme == "https") and bool(parts.hostname)


def subscription(raw: Any, config_id: int, url_key: str, plain_http: bool) -> Subscription:
    """Read an eventNotification or connectCustomConfiguration; raises INVALID_REQUEST_BODY."""
    if not isinstance(raw, dict) or not isinstance(raw.get(url_key), str):
        raise invalid_body(f"A webhook needs {url_key}.")
    url = raw[url_key]
    if not reachable(url, plain_http) or len(url.encode()) > 4096:
        raise invalid_body(f"{url_key} must be an https URL of at most 4096 bytes.")
    events = {str(e).lower() for e in _listed(raw, "events")}
    for prefix, list_key, code_key in (
        ("envelope", "envelopeEvents", "envelopeEventStatusCode"),
        ("recipient", "recipientEvents", "recipientEventStatusCode"),
    ):
        for entry in _listed(raw, list_key):
            code = str(entry.get(code_key, "") if isinstance(entry, dict) else entry).lower()
            events.add(f"{prefix}-{_LEGACY_ENVELOPE.get(code, code)}")
    if unknown := events - EVENTS:
        raise invalid_body(f"{sorted(unknown)[0]!r} is not a Connect event.")
    data = raw.get("eventData") or {}
    include = frozenset(str(i).lower() for i in _listed(data, "includeData"))
    if truthy(raw.get("includeDocuments")):
        include |= {"documents"}
    return Subscription(
        config_id,
        url,
        frozenset(events),
        include,
        truthy(raw.get("includeHMAC")),
        str(raw.get("name", "")),
    )


def _listed(raw: Any, key: str) -> list[Any]:
    value = raw.get(key) if isinstance(raw, dict) else None
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid_body(f"{key} is a list.")
    return value
