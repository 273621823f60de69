"""Principals, the JWT grant, and access tokens.

POST /oauth/token with grant type urn:ietf:params:oauth:grant-type:jwt-bearer and an RS256
assertion {iss: integration key, sub: user GUID, aud: host of the authorisation server, scope
"signature impersonation", iat, exp} (docusign.com docs, JWT grant; docusign-esign 6.1.0
`request_jwt_user_token`). There is no refresh token. Error words other than `consent_required`
and `invalid_grant` follow the OAuth standard; the descriptions are unverified.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from simulator.errors import ProviderError, invalid_token, no_credentials

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_KEYS_PER_INTEGRATION = 5


class OAuthError(Exception):
    """A refusal of the token endpoint: 400 {"error", "error_description"}."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description


@dataclass
class Principal:
    """One user under one integration key."""

    integration_key: str
    user_id: str
    name: str
    email: str
    accounts: list[str] = field(default_factory=list)
    consented: bool = True


@dataclass(frozen=True)
class Token:
    """A live access token of one principal."""

    principal: Principal
    expires_at_s: float


class OAuth:
    """All principals and live tokens; `token_life_s` is what `expires_in` says."""

    def __init__(self, token_life_s: int = 3600, audiences: tuple[str, ...] = ()) -> None:
        self.token_life_s = token_life_s
        self.audiences = audiences
        self.principals: dict[tuple[str, str], Principal] = {}
        self._keys: dict[str, list[str]] = {}
        self._tokens: dict[str, Token] = {}

    def register(self, principal: Principal, public_key_pem: str) -> Principal:
        """Add or replace a principal; an integration has at most five RSA keys."""
        self.principals[principal.integration_key, principal.user_id] = principal
        keys = self._keys.setdefault(principal.integration_key, [])
        if public_key_pem and public_key_pem not in keys:
            keys.append(public_key_pem)
            del keys[:-MAX_KEYS_PER_INTEGRATION]
        return principal

    def mint(self, principal: Principal) -> str:
        """A fresh access token."""
        token = secrets.token_urlsafe(48)
        self._tokens[token] = Token(principal, time.monotonic() + self.token_life_s)
        return token

    def revoke_all(self) -> int:
        """Make every live token invalid; returns how many there were."""
        count = len(self._tokens)
        self._tokens.clear()
        return count

    def revoke(self, authorization: str | None) -> None:
        """Make the token of an Authorization header invalid."""
        self._tokens.pop((authorization or "").partition(" ")[2].strip(), None)

    def authenticate(self, authorization: str | None) -> Principal:
        """The principal of an Authorization header; raises the 401 errors of the API."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise no_credentials()
        live = self._tokens.get(token.strip())
        if live is None or live.expires_at_s <= time.monotonic():
            raise invalid_token()
        return live.principal

    def admits(self, authorization: str | None, account_id: str) -> bool:
        """True for a live token of a member of the account."""
        try:
            return account_id in self.authenticate(authorization).accounts
        except ProviderError:
            return False

    def grant(self, form: dict[str, str], host: str) -> dict[str, Any]:
        """Answer of the token endpoint; raises OAuthError."""
        if form.get("grant_type") != GRANT_TYPE:
            raise OAuthError("unsupported_grant_type", "only the JWT bearer grant is offered")
        assertion = form.get("assertion", "")
        try:
            issuer = jwt.decode(assertion, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError:
            raise OAuthError("invalid_request", "the assertion is not a JWT") from None
        keys = self._keys.get(str(issuer))
        if not keys:
            raise OAuthError("invalid_grant", "issuer_not_found")
        claims = self._verify(assertion, keys, host)
        principal = self.principals.get((str(issuer), str(claims["sub"])))
        if principal is None:
            raise OAuthError("invalid_grant", "user_not_found")
        scopes = str(claims.get("scope", "")).split()
        if not principal.consented or "impersonation" not in scopes or "signature" not in scopes:
            raise OAuthError("consent_required", "the user has not consented to these scopes")
        return {
            "access_token": self.mint(principal),
            "token_type": "Bearer",
            "expires_in": self.token_life_s,
            "scope": " ".join(scopes),
        }

    def _verify(self, assertion: str, keys: list[str], host: str) -> dict[str, Any]:
        audience = [host, host.rsplit(":", 1)[0], *self.audiences]
        for key in keys:
            try:
                claims: dict[str, Any] = jwt.decode(
                    assertion,
                    key,
                    algorithms=["RS256"],
                    audience=audience,
                    options={"require": ["iss", "sub", "aud", "exp"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise OAuthError("invalid_grant", "expired_grant") from None
            except jwt.PyJWTError as error:
                raise OAuthError("invalid_grant", str(error)) from None
            return claims
        raise OAuthError("invalid_grant", "no_valid_keys_or_signatures")

    def userinfo(self, principal: Principal, names: dict[str, str], base: str) -> dict[str, Any]:
        """GET /oauth/userinfo: the accounts of the token's user with their base_uri."""
        return {
            "sub": principal.user_id,
            "name": principal.name,
            "email": principal.email,
            "accounts": [
                {
                    "account_id": account,
                    "account_name": names.get(account, "Account"),
                    "is_default": index == 0,
                    "base_uri": base,
                }
                for index, account in enumerate(principal.accounts)
            ],
        }
