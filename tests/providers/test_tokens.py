"""One principal, one token: renewed once, kept apart, never shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
from pydantic import SecretStr

from sealwax.providers.base import NeedsPerson, NotSentError, RateLimited, Unavailable
from sealwax.providers.tokens import GRANT, JwtTokens, consent_url
from tests.providers.samples import plain_client, principal, public_key_pem

ANSWER = httpx.Response


class Grants:
    """A token service that counts what it grants; ``reply`` replaces its next answers."""

    def __init__(self) -> None:
        self.assertions: list[str] = []
        self.reply: Callable[[], httpx.Response] | None = None
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        form = parse_qs(request.content.decode())
        assert form["grant_type"] == [GRANT]
        self.assertions.append(form["assertion"][0])
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.reply is not None:
            return self.reply()
        token = f"token-{len(self.assertions)}"
        return ANSWER(200, json={"access_token": token, "expires_in": 3600})


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def tokens(grants: Grants, clock: Clock | None = None) -> JwtTokens:
    client = plain_client(httpx.MockTransport(grants))
    return JwtTokens(client, monotonic=clock or Clock(), jitter=lambda: 0.0)


async def test_the_grant_is_signed_for_its_principal() -> None:
    """Issuer, subject, audience without scheme and scopes, verified with the public key."""
    grants = Grants()
    assert await tokens(grants).token(principal()) == "token-1"
    claims = jwt.decode(
        grants.assertions[0],
        public_key_pem(),
        algorithms=["RS256"],
        audience="account-d.example.com",
    )
    assert (claims["iss"], claims["sub"]) == ("key-leasing", "user-leasing")
    assert claims["scope"] == "signature impersonation"
    assert claims["exp"] - claims["iat"] == 3600


async def test_all_who_wait_share_one_renewal() -> None:
    """Fifty at once ask the service once; one who gives up does not take it from the others."""
    grants = Grants()
    grants.gate = asyncio.Event()
    source = tokens(grants)
    waiting = [asyncio.create_task(source.token(principal())) for _ in range(50)]
    await grants.asked.wait()
    waiting[0].cancel()
    grants.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert set(answers[1:]) == {"token-1"}
    assert len(grants.assertions) == 1


async def test_a_failed_renewal_fails_all_who_wait_once() -> None:
    """One request to a failing service, not one for each caller; the next call tries again."""
    grants = Grants()
    grants.gate = asyncio.Event()
    grants.reply = lambda: ANSWER(503)
    source = tokens(grants)
    waiting = [asyncio.create_task(source.token(principal())) for _ in range(5)]
    await grants.asked.wait()
    grants.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(type(a) is Unavailable for a in answers)
    assert len(grants.assertions) == 1
    grants.reply = None
    assert await source.token(principal()) == "token-2"


async def test_a_token_service_that_is_out_is_asked_by_one_at_a_time() -> None:
    """After five failures in a row nobody asks until the pause is over; then one does."""
    grants, clock = Grants(), Clock()
    grants.reply = lambda: ANSWER(503)
    source = tokens(grants, clock)
    for _ in range(20):
        with pytest.raises(Unavailable):
            await source.token(principal())
    assert len(grants.assertions) == 5
    grants.reply = None
    clock.now += 1
    assert await source.token(principal()) == "token-6"


async def test_a_token_is_renewed_at_four_fifths_of_its_life() -> None:
    """Kept before, renewed after."""
    grants, clock = Grants(), Clock()
    source = tokens(grants, clock)
    await source.token(principal())
    clock.now += 0.79 * 3600
    assert await source.token(principal()) == "token-1"
    clock.now += 0.02 * 3600
    assert await source.token(principal()) == "token-2"


async def test_an_early_renewal_that_fails_is_no_failure_while_the_token_lives() -> None:
    """The old token serves until it expires, and the service is not asked at every call."""
    grants, clock = Grants(), Clock()
    source = tokens(grants, clock)
    await source.token(principal())
    clock.now += 0.85 * 3600
    grants.reply = lambda: ANSWER(503)
    assert [await source.token(principal()) for _ in range(3)] == ["token-1"] * 3
    assert len(grants.assertions) == 2
    clock.now += 0.15 * 3600
    with pytest.raises(NotSentError):
        await source.token(principal())


async def test_only_the_token_in_use_can_be_invalidated() -> None:
    """A late refusal of an old token does not cost the new one."""
    grants = Grants()
    source = tokens(grants)
    source.invalidate(principal(), "token-0")
    await source.token(principal())
    source.invalidate(principal(), "token-0")
    assert await source.token(principal()) == "token-1"
    source.invalidate(principal(), "token-1")
    assert await source.token(principal()) == "token-2"
    source.invalidate(principal(), "token-1")
    assert await source.token(principal()) == "token-2"


async def test_principals_do_not_share() -> None:
    """Not even those who differ in one field."""
    grants = Grants()
    source = tokens(grants)
    first = principal()
    others = [replace(first, user_id="u2"), replace(first, scopes=("signature",)), principal("b")]
    got = [await source.token(p) for p in (first, *others)]
    assert len(set(got)) == 4
    assert [await source.token(p) for p in (first, *others)] == got


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, {"error": "consent_required"}, NeedsPerson, "/oauth/auth?response_type=code"),
        (
            400,
            {"error": "invalid_grant", "error_description": "no_valid_keys"},
            NeedsPerson,
            "no_v",
        ),
        (401, {"error": "invalid_client"}, NeedsPerson, "settings"),
        (404, {}, NeedsPerson, "HTTP_404"),
        (302, {}, NeedsPerson, "HTTP_302"),
        (429, {}, RateLimited, "wait"),
        (500, {"error": "x"}, Unavailable, "500"),
        (200, {}, NotSentError, "cannot be read"),
        (200, {"access_token": "t", "expires_in": "soon"}, NotSentError, "cannot be read"),
    ],
)
async def test_a_refused_grant_says_what_to_do(
    status: int, body: Any, kind: type[Exception], says: str
) -> None:
    """In one line, by a typed error."""
    grants = Grants()
    grants.reply = lambda: ANSWER(status, json=body)
    with pytest.raises(kind) as caught:
        await tokens(grants).token(principal())
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.ReadError])
async def test_a_token_service_out_of_reach_is_not_sent(failure: type[Exception]) -> None:
    """Nothing of the provider's has changed by it."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise failure("x")

    source = JwtTokens(plain_client(httpx.MockTransport(fail)))
    with pytest.raises(NotSentError, match=failure.__name__):
        await source.token(principal())


async def test_a_silent_token_service_costs_one_deadline() -> None:
    """The wait is bounded."""
    grants = Grants()
    grants.gate = asyncio.Event()
    source = JwtTokens(plain_client(httpx.MockTransport(grants)), deadline_s=0.05)
    with pytest.raises(NotSentError, match="TimeoutError"):
        await source.token(principal())


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n"])
async def test_an_unreadable_key_is_a_typed_error_that_does_not_show_it(pem: str) -> None:
    """No request is made with it."""
    grants = Grants()
    broken = replace(principal(), private_key_pem=SecretStr(pem))
    with pytest.raises(NeedsPerson, match="no RSA key in PEM form") as caught:
        await tokens(grants).token(broken)
    assert not pem or pem not in str(caught.value)
    assert grants.assertions == []


async def test_no_representation_shows_a_key_or_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Nor do errors and logs, even where the service echoes the assertion."""
    grants = Grants()
    source = tokens(grants)
    with caplog.at_level(logging.DEBUG):
        token = await source.token(principal())
        source.invalidate(principal(), token)
        grants.reply = lambda: ANSWER(
            400, json={"error": "invalid_grant", "error_description": grants.assertions[-1]}
        )
        with pytest.raises(NeedsPerson) as caught:
            await source.token(principal())
    pem = principal().private_key_pem.get_secret_value()
    shown = " ".join([repr(principal()), repr(source), repr(vars(source)), str(caught.value)])
    for text in (shown, caplog.text):
        assert pem.splitlines()[1] not in text
        assert token not in text
        assert grants.assertions[-1] not in text


def test_the_consent_address_names_the_integration_and_nothing_secret() -> None:
    """As documented: code, scopes, client id."""
    url = consent_url(principal())
    assert url.startswith("https://account-d.example.com/oauth/auth?response_type=code&")
    assert "client_id=key-leasing" in url
