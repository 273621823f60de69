"""The JWT grant and access tokens."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from simulator.oauth import GRANT_TYPE
from tests.simulator.desk import ACCOUNT, Desk


def pair() -> tuple[rsa.RSAPrivateKey, str]:
    private = rsa.generate_private_key(65537, 2048)
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, pem.decode()


PRIVATE, PEM = pair()
STRANGER, _ = pair()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {
        "iss": "jwt-key",
        "sub": "jwt-user",
        "aud": "desk",
        "iat": now,
        "exp": now + 3600,
        "scope": "signature impersonation",
    }
    return {k: v for k, v in {**usual, **changes}.items() if v is not None}


async def grant(
    desk: Desk, key: Any = PRIVATE, kind: str = GRANT_TYPE, **changes: Any
) -> tuple[int, dict[str, Any]]:
    assertion = jwt.encode(claims(**changes), key, algorithm="RS256")
    form = {"grant_type": kind, "assertion": assertion}
    answer = await desk.http.post("/oauth/token", data=form)
    body: dict[str, Any] = answer.json()
    return answer.status_code, body


async def test_a_signed_assertion_gives_a_working_token(desk: Desk) -> None:
    await desk.register("jwt-key", "jwt-user", ACCOUNT, pem=PEM)
    status, body = await grant(desk)
    assert (status, body["token_type"], body["expires_in"]) == (200, "Bearer", 3600)
    await desk.ok(
        "GET", "/envelopes", query={"from_date": "2026-01-01"}, token=body["access_token"]
    )
    headers = {"Authorization": f"Bearer {body['access_token']}"}
    info = (await desk.http.get("/oauth/userinfo", headers=headers)).json()
    assert info["sub"] == "jwt-user"
    assert info["accounts"][0] == {
        "account_id": ACCOUNT,
        "account_name": "Account",
        "is_default": True,
        "base_uri": "http://desk",
    }


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"iss": "nobody"}, "invalid_grant"),
        ({"sub": "nobody"}, "invalid_grant"),
        ({"aud": "account.example.com"}, "invalid_grant"),
        ({"exp": 1}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"key": STRANGER}, "invalid_grant"),
        ({"scope": "signature"}, "consent_required"),
        ({"kind": "password"}, "unsupported_grant_type"),
    ],
)
async def test_a_wrong_assertion_is_refused_by_name(
    desk: Desk, changes: dict[str, Any], error: str
) -> None:
    await desk.register("jwt-key", "jwt-user", ACCOUNT, pem=PEM)
    status, body = await grant(desk, **changes)
    assert (status, body["error"]) == (400, error)


async def test_an_unsigned_assertion_is_refused(desk: Desk) -> None:
    await desk.register("jwt-key", "jwt-user", ACCOUNT, pem=PEM)
    unsigned = jwt.encode(claims(), "", algorithm="none")
    form = {"grant_type": GRANT_TYPE, "assertion": unsigned}
    answer = await desk.http.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    nothing = await desk.http.post("/oauth/token", data={"grant_type": GRANT_TYPE})
    assert nothing.json()["error"] == "invalid_request"


async def test_without_consent_a_person_must_act(desk: Desk) -> None:
    body = {
        "integration_key": "jwt-key",
        "user_id": "jwt-user",
        "public_key_pem": PEM,
        "accounts": [ACCOUNT],
    }
    await desk.http.put("/simulator/principals", json={**body, "consented": False})
    assert await grant(desk) == (
        400,
        {
            "error": "consent_required",
            "error_description": "the user has not consented to these scopes",
        },
    )
    await desk.http.put("/simulator/principals", json=body)
    assert (await grant(desk))[0] == 200


async def test_unknown_revoked_and_missing_tokens_are_401(desk: Desk) -> None:
    query = {"from_date": "2026-01-01"}
    code = await desk.refused("GET", "/envelopes", query=query, token="made-up")
    assert code == "AUTHORIZATION_INVALID_TOKEN"
    await desk.harms(revoke_tokens=True)
    answer = await desk.call("GET", "/envelopes", query=query)
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "AUTHORIZATION_INVALID_TOKEN")
    bare = await desk.call("GET", "/envelopes", query=query, headers={"Authorization": ""})
    assert (bare.status_code, bare.json()["errorCode"]) == (401, "USER_AUTHENTICATION_FAILED")


async def test_an_expired_token_is_401(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.monotonic() + 3601
    await desk.ok("GET", "/envelopes", query={"from_date": "2026-01-01"})
    monkeypatch.setattr("simulator.oauth.time", SimpleNamespace(monotonic=lambda: later))
    answer = await desk.call("GET", "/envelopes", query={"from_date": "2026-01-01"})
    assert answer.json()["errorCode"] == "AUTHORIZATION_INVALID_TOKEN"
