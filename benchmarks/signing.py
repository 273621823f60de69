"""Signers as people are: most sign, some walk away, never open the URL, decline, or cannot ping.

A `Plan` is what one signer will do, drawn from a seed. `play` lives it in a browser at the
provider, whoever made the signing URL.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from demo.control import Control
from demo.naive.sessions import AGAIN

TRIES_MAX = 12
COMES_AGAIN_S = (0.3, 1.0)
SIGNS_WITHIN_S = (0.8, 2.5)
READS_BEFORE_DECLINING_S = 4.0
SLOW_S = 12.0


class Kind(StrEnum):
    """What a signer is going to do."""

    SIGN = "sign"
    WALK_AWAY = "walk_away"
    NEVER_OPEN = "never_open"
    DECLINE = "decline"
    BLOCKED = "blocked"
    BLOCKED_SLOW = "blocked_slow"


GONE = (Kind.WALK_AWAY, Kind.NEVER_OPEN)
PINGS_BLOCKED = (Kind.BLOCKED, Kind.BLOCKED_SLOW)

# Of 100 signers; the rest sign.
_SHARES = {
    Kind.WALK_AWAY: 12,
    Kind.NEVER_OPEN: 7,
    Kind.BLOCKED: 5,
    Kind.BLOCKED_SLOW: 5,
}
_DECLINING_ENVELOPES = 0.15


@dataclass(frozen=True, slots=True)
class Plan:
    """One signer: place in the envelope from 1, and what happens when, in seconds."""

    envelope: int
    place: int
    kind: Kind
    comes_at_s: float
    opens_after_s: float
    acts_after_s: float

    @property
    def person(self) -> str:
        """A name of its own."""
        return f"signer-{self.envelope}-{self.place}"

    @property
    def stays(self) -> bool:
        """Whether this signer is there until the end."""
        return self.kind not in GONE


@dataclass(slots=True)
class Visit:
    """What became of one signer's wish; times by the wall clock, in seconds.

    `asked` and `granted` have one entry for each URL that was asked for and came.
    """

    plan: Plan
    envelope_id: str = ""
    recipient_id: str = ""
    asked: list[float] = field(default_factory=list)
    granted: list[float] = field(default_factory=list)
    event: str = ""
    failure: str = ""


class Application(Protocol):
    """What gives out signing URLs: the naive application, or one that asks Sealwax."""

    name: str

    async def url(self, visit: Visit) -> str:
        """A signing URL for the visit's signer, when there is one. Raises NoUrl."""
        ...

    async def came_back(self, return_url: str) -> None:
        """The signer's browser is sent to this address."""
        ...


class NoUrl(Exception):
    """The application could not give a signing URL; the message says why."""


def plans(seed: int, envelopes: int, signers: int) -> list[Plan]:
    """What every signer will do; the same for both sides."""
    draw = random.Random(seed)
    count = envelopes * signers
    deck = [kind for kind, share in _SHARES.items() for _ in range(max(1, count * share // 100))]
    deck = (deck + [Kind.SIGN] * count)[:count]
    draw.shuffle(deck)
    declining = draw.sample(range(envelopes), max(1, round(envelopes * _DECLINING_ENVELOPES)))
    made = []
    for number, kind in enumerate(deck):
        envelope, place = divmod(number, signers)
        comes_at_s = draw.uniform(0.1, 0.4)
        acts_after_s = draw.uniform(*SIGNS_WITHIN_S)
        if place == signers - 1 and envelope in declining:
            # The last of the envelope: what is declined, nobody else can sign.
            kind, comes_at_s, acts_after_s = Kind.DECLINE, 0.6, READS_BEFORE_DECLINING_S
        elif kind is Kind.BLOCKED_SLOW and envelope in declining:
            # Who takes so long would find the envelope declined.
            kind = Kind.BLOCKED
        if kind is Kind.BLOCKED_SLOW:
            # First in the queue: the case in which others wait behind such a signer.
            comes_at_s, acts_after_s = 0.0, SLOW_S
        opens_after_s = draw.uniform(0.05, 0.3)
        made.append(Plan(envelope, place + 1, kind, comes_at_s, opens_after_s, acts_after_s))
    return made


async def play(control: Control, application: Application, visit: Visit) -> None:
    """From the wish to sign to its end. A signer who is thrown out comes again."""
    plan = visit.plan
    pace = random.Random(plan.person)
    if plan.kind in PINGS_BLOCKED:
        await control.in_session(visit.envelope_id, visit.recipient_id, "ping-block")
    await asyncio.sleep(plan.comes_at_s)
    for _ in range(TRIES_MAX):
        visit.asked.append(time.time())
        try:
            url = await application.url(visit)
        except NoUrl as error:
            visit.failure = str(error)
            return
        visit.granted.append(time.time())
        left = await _in_browser(control, visit, url)
        if left is None:
            return
        visit.event = left["event"]
        await application.came_back(left["returnUrl"])
        if visit.event not in AGAIN:
            return
        await asyncio.sleep(pace.uniform(*COMES_AGAIN_S))
    visit.failure = f"thrown out {TRIES_MAX} times"


async def _in_browser(control: Control, visit: Visit, url: str) -> dict[str, Any] | None:
    """The page from opening to leaving; None where the signer is gone without a word."""
    plan, ids = visit.plan, (visit.envelope_id, visit.recipient_id)
    if plan.kind is Kind.NEVER_OPEN:
        return None
    await asyncio.sleep(plan.opens_after_s)
    left = await control.in_session(*ids, "open", url=url)
    if "event" in left:
        return left
    session = left["session"]
    left = await control.in_session(*ids, "type", session=session)
    if "event" in left:
        return left
    await asyncio.sleep(plan.acts_after_s)
    if plan.kind is Kind.WALK_AWAY:
        await control.in_session(*ids, "close-window", session=session)
        return None
    act = "decline" if plan.kind is Kind.DECLINE else "sign"
    return await control.in_session(*ids, act, session=session)
