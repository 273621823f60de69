"""DocuSign's REST API by httpx: bearer token, time-outs, retries with backoff."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

_TIMEOUT_S = 15.0
_TRIES_MAX = 5
_BACKOFF_S = 0.25
_TOKEN_EARLY_S = 300.0
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Rejected(Exception):
    """The provider said no; `code` is its error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class NoAnswer(Exception):
    """No answer came, or none that says whether the request took effect."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the provider is, and in whose name to call it. `url` has no path."""

    url: str
    account_id: str
    integration_key: str
    user_id: str
    private_key_pem: str = field(repr=False)


class Rest:
    """Calls of one account. An async context manager."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
        self._base = f"{credentials.url}/restapi/v2.1/accounts/{credentials.account_id}"
        self._token = ""
        self._token_until = 0.0
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> dict[str, Any]:
        """The answer's JSON. With `again`, tried anew with backoff where no answer came.

        Raises Rejected, and NoAnswer when the tries are used up.
        """
        answer = await self._tried(method, path, body, params, _TRIES_MAX if again else 1)
        document: dict[str, Any] = answer.json()
        _check_items(document)
        return document

    async def download(self, path: str) -> bytes:
        """A file's bytes. Raises as `call` does."""
        return (await self._tried("GET", path, None, None, _TRIES_MAX)).content

    async def _tried(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
        tries: int,
    ) -> httpx.Response:
        for number in range(1, tries + 1):
            try:
                return await self._once(method, path, body, params)
            except NoAnswer:
                if number == tries:
                    raise
                await asyncio.sleep(backoff_s(number))
        raise AssertionError("the loop returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
    ) -> httpx.Response:
        try:
            answer = await self._send(method, path, body, params)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self._token_until = 0.0
                answer = await self._send(method, path, body, params)
        except httpx.TransportError as error:
            raise NoAnswer(type(error).__name__) from error
        if answer.is_success:
            return answer
        code, message = _error_of(answer)
        if answer.is_server_error or "LIMIT_EXCEEDED" in code.upper():
            raise NoAnswer(f"{answer.status_code} {code}")
        raise Rejected(code, message)

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        params: Mapping[str, str] | None,
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self._fresh_token()}"}
        return await self._client.request(
            method, f"{self._base}{path}", json=body, params=params, headers=headers
        )

    async def _fresh_token(self) -> str:
        async with self._renewing:
            if time.monotonic() >= self._token_until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        held = self._credentials
        issued_at = int(time.time())
        claims = {
            "iss": held.integration_key,
            "sub": held.user_id,
            "aud": urlsplit(held.url).netloc,
            "iat": issued_at,
            "exp": issued_at + 3600,
            "scope": "signature impersonation",
        }
        assertion = jwt.encode(claims, held.private_key_pem, algorithm="RS256")
        answer = await self._client.post(
            f"{held.url}/oauth/token", data={"grant_type": _GRANT, "assertion": assertion}
        )
        if answer.is_error:
            raise Rejected("oauth", answer.text[:200])
        token = answer.json()
        self._token = token["access_token"]
        self._token_until = time.monotonic() + float(token["expires_in"]) - _TOKEN_EARLY_S


def backoff_s(number: int) -> float:
    """How long to wait after the `number`th try, with full jitter."""
    return random.uniform(0.0, _BACKOFF_S * float(2**number))


def _error_of(answer: httpx.Response) -> tuple[str, str]:
    try:
        document = answer.json()
        return str(document["errorCode"]), str(document.get("message", ""))
    except (ValueError, KeyError, TypeError):
        return f"HTTP_{answer.status_code}", answer.text[:200]


def _check_items(document: Mapping[str, Any]) -> None:
    """A 200 may hold a refusal per recipient (SPEC Recipients_PutRecipients)."""
    for item in document.get("recipientUpdateResults") or ():
        details = item.get("errorDetails") or {}
        code = str(details.get("errorCode", "SUCCESS"))
        if code != "SUCCESS":
            raise Rejected(code, str(details.get("message", "")))
