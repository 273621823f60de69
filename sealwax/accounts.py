"""The accounts of the settings, ready to be called: one provider per account and principal."""

from __future__ import annotations

from types import TracebackType
from urllib.parse import quote

import httpx

from sealwax.providers import http, registry
from sealwax.providers.base import AccountIdentity, NoSessionUrls, Provider, UnknownAccount
from sealwax.providers.circuit import Breaker
from sealwax.providers.http import Deadlines, HttpProvider
from sealwax.providers.tokens import JwtTokens, Principal
from sealwax.session import RETURN_URL_LENGTH_MAX
from sealwax.session_links import SessionLinks
from sealwax.settings import AccountSettings, Settings, SettingsError


class ConfiguredAccounts:
    """``providers.base.Accounts`` over settings. An async context manager: it owns the sockets.

    Providers are made when first asked for and kept; they share one connection pool and no
    credential, and those of one account its circuit. No call may last longer than
    ``timing.call_deadline_s``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._tokens: JwtTokens | None = None
        self._providers: dict[tuple[str, str], Provider] = {}
        self._breakers: dict[str, Breaker] = {}
        self._links: SessionLinks | None = None

    async def __aenter__(self) -> ConfiguredAccounts:
        self._client = http.client()
        self._tokens = JwtTokens(self._client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.aclose()

    def identity(self, account: str) -> AccountIdentity:
        """The account's provider and id. Raises ``UnknownAccount``."""
        settings = self._account(account)
        capabilities = registry.adapter(settings.provider).capabilities
        return AccountIdentity(settings.provider, settings.account_id, capabilities)

    def provider(self, account: str, principal: str) -> Provider:
        """The provider as this principal ("": the account's default). Raises ``UnknownAccount``."""
        settings = self._account(account)
        name = principal or settings.default_principal
        held = self._providers.get((account, name))
        if held is None:
            held = self._made(account, name, settings)
            self._providers[account, name] = held
        return held

    def webhook_url(self, account: str, routing_token: str) -> str:
        """Where an envelope's webhooks go; "" where the account's own configuration serves."""
        public_url = self._settings.bridge.public_url.rstrip("/")
        if not public_url:
            return ""
        return f"{public_url}/webhooks/{quote(account)}/{quote(routing_token)}"

    def session_urls(self, account: str, routing_token: str, token: int) -> tuple[str, str]:
        """Our landing and ping URL of the session with this fencing token.

        A longer return URL than 470 characters would be cut by the provider (SPEC
        recipientViewRequest.returnUrl). Raises ``NoSessionUrls``.
        """
        public_url = self._settings.bridge.public_url.rstrip("/")
        if not public_url:
            raise NoSessionUrls(
                "signers have no address to come back to; set public_url under [bridge]"
            )
        if self._links is None:
            self._links = SessionLinks(self._settings.keyring())
        done = public_url + self._links.path(account, routing_token, token, "done")
        ping = public_url + self._links.path(account, routing_token, token, "ping")
        if len(done) > RETURN_URL_LENGTH_MAX:
            raise NoSessionUrls(
                f"the return URL would have {len(done)} characters, and the provider cuts it at"
                f" {RETURN_URL_LENGTH_MAX}; set a shorter public_url under [bridge]"
            )
        return done, ping

    def _made(self, account: str, name: str, settings: AccountSettings) -> Provider:
        if self._client is None or self._tokens is None:
            raise RuntimeError("enter the accounts before asking for a provider")
        try:
            given = settings.principal(name)
            key = given.private_key.secret()
        except SettingsError as error:
            raise UnknownAccount(f"account {account}: {error}") from None
        principal = Principal(
            name=f"{account}/{name}",
            integration_key=given.integration_key,
            user_id=given.user_id,
            private_key_pem=key,
            oauth_base=settings.oauth_base,
        )
        return HttpProvider(
            registry.adapter(settings.provider),
            api_base=settings.api_base,
            account_id=settings.account_id,
            client=self._client,
            tokens=self._tokens,
            principal=principal,
            deadlines=_deadlines(self._settings.timing.call_deadline_s),
            breaker=self._breakers.setdefault(account, Breaker(f"account {account}")),
        )

    def _account(self, account: str) -> AccountSettings:
        try:
            return self._settings.account(account)
        except SettingsError as error:
            raise UnknownAccount(str(error)) from None


def _deadlines(call_deadline_s: float) -> Deadlines:
    """The shell's own deadlines, none longer than what the envelope law counts on."""
    usual = Deadlines()
    return Deadlines(
        read_s=min(usual.read_s, call_deadline_s),
        write_s=min(usual.write_s, call_deadline_s),
        upload_s=min(usual.upload_s, call_deadline_s),
        download_s=usual.download_s,
        connect_s=min(usual.connect_s, call_deadline_s),
    )
