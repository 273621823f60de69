"""The two addresses of signing sessions: where signers land, and what the provider pings.

Whoever has an address of ours may only say what that address is for. A ping can keep a session
alive and never end one; a return ends the session of its own fencing token at most, since the
workflow takes no word about an earlier one. Nothing of an address is ever logged.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import parse_qs

from bridge.landing import Page, landing_page, refused_page, silent
from bridge.signs import SessionName, Signs, TooMany
from bridge.sink import SessionSink, SinkUnavailable, Undeliverable, WorkflowGone
from sealwax.definition import Refusal
from sealwax.session import RETURN_EVENTS
from sealwax.session_links import Purpose, SessionLinks
from sealwax.signing import check_return_url
from sealwax.stores.base import Registry

log = logging.getLogger("sealwax.bridge")

_TOKEN = re.compile(r"[1-9][0-9]{0,9}")
_URL = re.compile(r"[!-~]+")
_PURPOSES: dict[str, Purpose] = {"done": "done", "ping": "ping"}


class SessionEndpoints:
    """``GET /sessions/{account}/{routing token}/{fencing token}/{mac}/{done or ping}``."""

    def __init__(
        self,
        *,
        links: SessionLinks,
        registry: Registry,
        signs: Signs,
        sink: SessionSink,
        return_origins: tuple[str, ...],
        now: Callable[[], datetime],
    ) -> None:
        self._links = links
        self._registry = registry
        self._signs = signs
        self._sink = sink
        self._return_origins = return_origins
        self._now = now

    async def answer(self, method: str, parts: Sequence[str], query: bytes) -> Page:
        """Answer one request; ``parts`` is its path without ``sessions``, each part decoded.

        Raises ``StoreError``.
        """
        purpose = _PURPOSES.get(parts[4]) if len(parts) == 5 else None
        if purpose is None:
            return refused_page(404, "path")
        # A program that only looks at a link asks by HEAD, and has not brought a signer back.
        if method != "GET":
            return silent(405, "method")
        name = await self._genuine(parts, purpose)
        if name is None:
            return refused_page(404, "session")
        try:
            if purpose == "done":
                return await self._landed(name, query)
            self._signs.pinged(name, self._now())
        except TooMany:
            return silent(503, "busy")
        return silent(204)

    async def _genuine(self, parts: Sequence[str], purpose: Purpose) -> SessionName | None:
        account, routing_token, token, mac, _ = parts
        if not _TOKEN.fullmatch(token):
            return None
        if not self._links.genuine(mac, account, routing_token, int(token), purpose):
            return None
        row = await self._registry.by_token(routing_token)
        if row is None or row.account != account:
            return None
        return row.workflow_id, int(token)

    async def _landed(self, name: SessionName, query: bytes) -> Page:
        given = parse_qs(query.decode("latin-1")).get("event", [""])[0]
        event = given if given in RETURN_EVENTS else "unknown"
        self._signs.came_back(name, event)
        return landing_page(event, await self._onward(name), self._return_origins)

    async def _onward(self, name: SessionName) -> str:
        """Where the application wants its signer, "" where that is not known or not allowed.

        It was checked when it was asked for; the operator's list may be shorter by now.
        """
        try:
            url = await self._sink.landing(*name)
            if not url or not _URL.fullmatch(url):
                return ""
            check_return_url(url, self._return_origins)
        except (SinkUnavailable, WorkflowGone, Undeliverable) as error:
            log.info("landing without a way onward: %s", type(error).__name__)
            return ""
        except Refusal as refusal:
            log.warning("a signer was not sent on: %s", refusal)
            return ""
        return url
