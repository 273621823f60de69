"""The simulator's control API as the demonstration uses it: set-up, signers, and the ledger.

Both sides are measured by this; neither of their clients knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

Act = Literal["open", "sign", "decline"]

_TIMEOUT_S = 30.0


class ControlRefused(Exception):
    """The simulator refused a control request; the message holds its answer."""


@dataclass(frozen=True, slots=True)
class Principal:
    """One application and user that may ask for tokens of an account."""

    integration_key: str
    user_id: str
    public_key_pem: str
    name: str
    email: str


class Control:
    """Control of one running simulator at `url`. An async context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.AsyncClient(
            base_url=f"{url}/simulator", timeout=_TIMEOUT_S, trust_env=False
        )

    async def __aenter__(self) -> Control:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def add_account(self, account_id: str, name: str, principal: Principal) -> None:
        """Make an account with one principal that has consented."""
        await self._ask("PUT", f"/accounts/{account_id}", {"name": name})
        await self._ask(
            "PUT",
            "/principals",
            {
                "integration_key": principal.integration_key,
                "user_id": principal.user_id,
                "public_key_pem": principal.public_key_pem,
                "accounts": [account_id],
                "name": principal.name,
                "email": principal.email,
                "consented": True,
            },
        )

    async def add_hmac_key(self, account_id: str, key: str) -> None:
        """Sign the account's webhooks with a key."""
        await self._ask("POST", f"/accounts/{account_id}/hmac-keys", {"key": key})

    async def set_harms(self, harms: Mapping[str, Any]) -> None:
        """Change the provider's harms."""
        await self._ask("PATCH", "/harms", harms)

    async def harms(self) -> dict[str, Any]:
        """The provider's harms, with what each plan has struck."""
        return await self._ask("GET", "/harms")

    async def remind(self, envelope_id: str) -> None:
        """A reminder of the envelope falls due. Raises ControlRefused where it has none."""
        await self._ask("POST", f"/envelopes/{envelope_id}/remind", {})

    async def act(self, envelope_id: str, recipient_id: str, act: Act) -> bool:
        """Do what a recipient does; False where it is not their turn or no longer possible."""
        path = f"/envelopes/{envelope_id}/recipients/{recipient_id}/{act}"
        answer = await self._client.post(path, json={"reason": "Not on these terms."})
        if answer.status_code == httpx.codes.CONFLICT:
            return False
        self._check(answer)
        return True

    async def in_session(
        self, envelope_id: str, recipient_id: str, action: str, **body: Any
    ) -> dict[str, Any]:
        """What a signer's browser does at the provider; `returnUrl` where it is sent away.

        Raises ControlRefused where the recipient has no open window.
        """
        path = f"/envelopes/{envelope_id}/recipients/{recipient_id}/session/{action}"
        return await self._ask("POST", path, body)

    async def truth(self, envelope_id: str) -> dict[str, Any]:
        """What the ledger holds of one envelope."""
        return await self._ask("GET", f"/envelopes/{envelope_id}")

    async def ledger(self, account_id: str, *, calls: bool = False) -> dict[str, Any]:
        """What the ledger holds of an account; with the list of single calls where asked."""
        with_calls = "true" if calls else "false"
        return await self._ask("GET", f"/ledger?account={account_id}&calls={with_calls}")

    async def limits(self, account_id: str) -> dict[str, Any]:
        """What was made of an account's limits since they are simulated."""
        return await self._ask("GET", f"/accounts/{account_id}/limits")

    async def flush_webhooks(self, timeout_s: float) -> int:
        """Wait until no webhook is on its way; returns how many still are."""
        answer = await self._ask("POST", "/webhooks/flush", {"timeout_s": timeout_s})
        return int(answer["pending"])

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        answer = await self._client.request(method, path, json=body)
        self._check(answer)
        document: dict[str, Any] = answer.json()
        return document

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_error:
            raise ControlRefused(
                f"{answer.request.method} {answer.request.url.path}:"
                f" {answer.status_code} {answer.text[:200]}"
            )
