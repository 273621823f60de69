"""Access tokens by JWT grant: one principal, one token, never another's.

A token is kept in memory for its principal alone, is renewed once for all who wait for it, and is
handed out per request; nothing here writes it to a client, a log or a representation.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import httpx
import jwt
from jwt.algorithms import RSAAlgorithm
from pydantic import SecretStr

from sealwax.providers.base import NeedsPerson, NotSentError, RateLimited, Unavailable
from sealwax.providers.circuit import Breaker

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_LIFETIME_S = 3600
REFRESH_AT = 0.8
REFRESH_JITTER = 0.1
DEADLINE_S = 10.0
RETRY_AFTER_FAILURE_S = 30.0

_PLAIN_WORDS = re.compile(r"[\w ,:;'()-]{1,100}")


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf calls are made: an integration acting for one user of the provider.

    ``name`` is the settings' word for it; ``integration_key`` and ``user_id`` are GUIDs as the
    provider shows them; ``oauth_base`` is like ``https://account-d.docusign.com``.
    """

    name: str
    integration_key: str
    user_id: str
    private_key_pem: SecretStr = field(repr=False)
    oauth_base: str
    scopes: tuple[str, ...] = ("signature", "impersonation")


class TokenSource(Protocol):
    """Where the shell gets the token of the request that it is about to send."""

    async def token(self, principal: Principal) -> str:
        """A token of this principal. Raises ``NeedsPerson`` or ``NotSentError``."""
        ...

    def invalidate(self, principal: Principal, token: str) -> None:
        """Forget this token, if it is still the one in use."""
        ...


@dataclass(slots=True, repr=False)
class _Held:
    token: str
    refresh_at: float
    expires_at: float


@dataclass(slots=True, repr=False)
class _Slot:
    held: _Held | None = None
    renewal: asyncio.Task[_Held] | None = None
    key: object = None


class JwtTokens:
    """Tokens by DocuSign's JWT grant (docusign.com docs, "How to get an access token with JWT").

    Each token service has a circuit: it is another host than the API, and fails by itself.
    ``monotonic``, ``wall`` and ``jitter`` are the clocks in seconds and a source of numbers from 0
    to 1; tests replace them.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        deadline_s: float = DEADLINE_S,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._deadline_s = deadline_s
        self._monotonic = monotonic
        self._wall = wall
        self._jitter = jitter
        self._slots: dict[Principal, _Slot] = {}
        self._breakers: dict[str, Breaker] = {}

    async def token(self, principal: Principal) -> str:
        """This principal's token, renewed where it is missing or past 80 % of its life.

        Raises ``NeedsPerson`` (no consent, a refused grant, an unreadable key), ``RateLimited`` or
        ``NotSentError``. A renewal that fails while the old token still lives is no failure.
        """
        slot = self._slots.setdefault(principal, _Slot())
        held = slot.held
        if held is not None and self._monotonic() < held.refresh_at:
            return held.token
        try:
            return (await asyncio.shield(self._renewal(principal, slot))).token
        except NotSentError:
            now = self._monotonic()
            if held is None or slot.held is not held or now >= held.expires_at:
                raise
            held.refresh_at = min(now + RETRY_AFTER_FAILURE_S, held.expires_at)
            return held.token

    def invalidate(self, principal: Principal, token: str) -> None:
        """Forget this token, if it is still the one in use: a later one is not its fault."""
        slot = self._slots.get(principal)
        if slot is not None and slot.held is not None and slot.held.token == token:
            slot.held = None

    def _renewal(self, principal: Principal, slot: _Slot) -> asyncio.Task[_Held]:
        # One flight for all who wait; none who gives up waiting takes it down for the others.
        if slot.renewal is None:
            slot.renewal = asyncio.get_running_loop().create_task(self._renew(principal, slot))
            slot.renewal.add_done_callback(_looked_at)
        return slot.renewal

    async def _renew(self, principal: Principal, slot: _Slot) -> _Held:
        try:
            if slot.key is None:
                slot.key = await asyncio.to_thread(_load_key, principal)
            slot.held = await self._grant(principal, slot.key)
            return slot.held
        finally:
            slot.renewal = None

    async def _grant(self, principal: Principal, key: object) -> _Held:
        asked_at = self._monotonic()
        response = await self._post(principal, self._assertion(principal, key))
        body = _json(response)
        if response.status_code != 200:
            raise _refusal(principal, response.status_code, body)
        token = body.get("access_token")
        lifetime_s = _seconds(body.get("expires_in"))
        if not isinstance(token, str) or not token or lifetime_s <= 0:
            raise NotSentError(f"principal {principal.name}: the token answer cannot be read")
        share = REFRESH_AT * (1 - REFRESH_JITTER * self._jitter())
        return _Held(token, asked_at + share * lifetime_s, asked_at + lifetime_s)

    async def _post(self, principal: Principal, assertion: str) -> httpx.Response:
        request = httpx.Request(
            "POST",
            f"{principal.oauth_base.rstrip('/')}/oauth/token",
            data={"grant_type": GRANT, "assertion": assertion},
            headers={"Accept": "application/json"},
            extensions={"timeout": httpx.Timeout(self._deadline_s).as_dict()},
        )
        with self._breaker(principal.oauth_base).passage() as passage:
            try:
                async with asyncio.timeout(self._deadline_s):
                    response = await self._client.send(request, auth=None, follow_redirects=False)
            except (httpx.HTTPError, TimeoutError) as error:
                passage.failed()
                what = f"{type(error).__name__} at the token service"
                raise Unavailable(f"principal {principal.name}: no token, {what}") from error
            if response.status_code >= 500 or response.status_code == 408:
                passage.failed()
            else:
                passage.answered()
            return response

    def _breaker(self, oauth_base: str) -> Breaker:
        held = self._breakers.get(oauth_base)
        if held is None:
            held = Breaker(f"token service {oauth_base}", monotonic=self._monotonic)
            self._breakers[oauth_base] = held
        return held

    def _assertion(self, principal: Principal, key: object) -> str:
        now = int(self._wall())
        claims = {
            "iss": principal.integration_key,
            "sub": principal.user_id,
            "aud": urlsplit(principal.oauth_base).netloc,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME_S,
            "scope": " ".join(principal.scopes),
        }
        return jwt.encode(claims, key, algorithm="RS256")  # type: ignore[arg-type]


def _load_key(principal: Principal) -> object:
    # Parsing and checking a PEM costs a hundred times a signature with the loaded key.
    try:
        return RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(
            principal.private_key_pem.get_secret_value()
        )
    except (ValueError, TypeError, jwt.InvalidKeyError):
        raise NeedsPerson(
            "private_key_unreadable",
            f"principal {principal.name}: the private key is no RSA key in PEM form; give the one"
            " made for the integration key",
        ) from None


def consent_url(principal: Principal) -> str:
    """Where the user grants consent, once. The person appends a redirect URI of the integration.

    Source: docusign.com docs, "Obtaining individual consent".
    """
    query = urlencode(
        {
            "response_type": "code",
            "scope": " ".join(principal.scopes),
            "client_id": principal.integration_key,
        }
    )
    return f"{principal.oauth_base.rstrip('/')}/oauth/auth?{query}&redirect_uri="


def _refusal(
    principal: Principal, status: int, body: dict[str, object]
) -> NotSentError | NeedsPerson:
    code = str(body.get("error") or f"HTTP_{status}")
    if not _PLAIN_WORDS.fullmatch(code):
        code = f"HTTP_{status}"
    if status == 429:
        return RateLimited(f"principal {principal.name}: the token service asks to wait")
    if status >= 500 or status == 408:
        return Unavailable(f"principal {principal.name}: the token service answered {status}")
    if code == "consent_required":
        return NeedsPerson(
            code,
            f"principal {principal.name}: the user has not granted consent; open"
            f" {consent_url(principal)} with one of the integration's redirect URIs at its end",
        )
    said = str(body.get("error_description") or "")
    detail = f" ({said})" if _PLAIN_WORDS.fullmatch(said) else ""
    return NeedsPerson(
        code,
        f"principal {principal.name}: the token service refused the grant{detail}; check the"
        " integration key, the user id, the private key and the OAuth base in your settings",
    )


def _json(response: httpx.Response) -> dict[str, object]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _looked_at(task: asyncio.Task[_Held]) -> None:
    if not task.cancelled():
        task.exception()
