"""The provider's side of a run: an account with limits and envelopes, and what it counted.

Calls accepted and refused are taken from here alone, never from what a worker believes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from demo import stage
from demo.control import Control, Principal
from demo.stack import Program

BURST_CALLS = 500
BURST_S = 30.0
"""The provider's own window, before it is scaled."""

SCALE = 0.1
ENVELOPES = 120
AT_ONCE = 8


def simulator(answer_ms: int, seed: int) -> Program:
    """The provider, which takes a while for each answer and limits nothing yet."""
    options = ["--port", "0", "--seed", str(seed), "--overlap", "off"]
    if answer_ms:
        options += ["--lost-answers", f"*:1:slow:{answer_ms}"]
    return Program(name="simulator", argv=(sys.executable, "-m", "simulator", *options))


@dataclass(frozen=True)
class Counted:
    """What the provider counted of an account in an interval.

    ``utilisation``: the part that its clients used of what they could have had at most. ``peak``:
    the most calls that any window within the interval held.
    """

    accepted: int
    refused: int
    utilisation: float
    peak: int
    tenant: int


@dataclass(frozen=True)
class Moment:
    """One moment on the provider's clock and on this machine's, in seconds."""

    provider_s: float
    machine_s: float


class Account:
    """One account that was made for one side."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, account_id: str, token: str, scale: float
    ) -> None:
        self._client, self._scale, self.account_id = client, scale, account_id
        self.burst_s = BURST_S * scale
        self._limits = f"{url}/simulator/accounts/{account_id}/limits"
        self.base = f"{url}/restapi/v2.1/accounts/{account_id}"
        self.token = token
        self.envelopes: tuple[str, ...] = ()

    async def fill(self) -> None:
        """Make the envelopes that will be read."""
        narrow = asyncio.Semaphore(AT_ONCE)

        async def make() -> str:
            async with narrow:
                answer = await self._client.post(
                    f"{self.base}/envelopes",
                    json={"status": "created", "emailSubject": "Services agreement"},
                    headers={"Authorization": f"Bearer {self.token}"},
                )
            return str(answer.raise_for_status().json()["envelopeId"])

        self.envelopes = tuple(await asyncio.gather(*(make() for _ in range(ENVELOPES))))

    async def limit(self, tenant: Mapping[str, Any] | None) -> None:
        """Count strictly from now on: the burst and each envelope's windows, and no hour."""
        rules = {
            "on": True,
            "scale": self._scale,
            "burst": BURST_CALLS,
            "hour": None,
            "polling": "off",
            "tenant": tenant,
        }
        (await self._client.patch(self._limits, json=rules)).raise_for_status()

    async def moment(self) -> Moment:
        """Now."""
        before_s = time.monotonic()
        answer = (await self._client.get(self._limits)).raise_for_status().json()
        return Moment(answer["now"], (before_s + time.monotonic()) / 2)

    async def counted(self, start_s: float | None, end_s: float | None) -> Counted:
        """What was counted between two times of the provider's clock; None: all there was."""
        asked = {"from": start_s, "to": end_s}
        answer = await self._client.get(
            self._limits, params={k: repr(v) for k, v in asked.items() if v is not None}
        )
        found = answer.raise_for_status().json()
        burst = found["windows"]["burst"]
        return Counted(
            accepted=found["clients"]["accepted"],
            refused=found["clients"]["refused_total"],
            utilisation=burst["utilisation"] or 0.0,
            peak=burst["peak"],
            tenant=found["tenant"]["accepted"],
        )


async def admitted(
    control: Control, client: httpx.AsyncClient, url: str, name: str, scale: float
) -> Account:
    """A new account with envelopes, and a token for it."""
    tenant = stage.new_tenant(name)
    await stage.admit(control, tenant, name)
    principal: Principal = tenant.principal
    answer = await client.post(
        f"{url}/simulator/tokens",
        json={"integration_key": principal.integration_key, "user_id": principal.user_id},
    )
    token = str(answer.raise_for_status().json()["access_token"])
    account = Account(client, url, tenant.account_id, token, scale)
    await account.fill()
    return account
