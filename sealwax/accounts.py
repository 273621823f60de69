"""The accounts of the settings, ready to be called: one provider per account and principal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import quote

import httpx

from sealwax.permits import Permits
from sealwax.providers import docusign_limits, http, registry
from sealwax.providers.base import AccountIdentity, NoSessionUrls, Provider, UnknownAccount
from sealwax.providers.circuit import Breaker
from sealwax.providers.http import Deadlines, HttpProvider
from sealwax.providers.metering import Quota
from sealwax.providers.tokens import JwtTokens, Principal
from sealwax.quota_limits import Klass, Limits
from sealwax.session import RETURN_URL_LENGTH_MAX
from sealwax.session_links import SessionLinks
from sealwax.settings import AccountSettings, Settings, SettingsError
from sealwax.stores import quota_sqlite
from sealwax.stores.quota_base import QuotaStore

WAITING_MAX = 24
"""Calls of a worker that may hold an activity's slot while they wait for a permit, people's calls
not counted: a worker has 100 slots, and somebody's page must find one."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The quota ledger of the settings, and this process's permits from it.

    Accounts are named there by ``AccountSettings.ledger``.
    """

    store: QuotaStore
    permits: Permits


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[Ledger]:
    """The ledger, open while the block lasts. Raises ``StoreUnusable``, ``SettingsError``."""
    store = await _open_store(settings)
    try:
        limits = {a.ledger: settings.limits(name) for name, a in settings.accounts.items()}
        permits = Permits(
            store,
            limits.__getitem__,
            read_answer=docusign_limits.seen,
            waiting_max=WAITING_MAX,
        )
        try:
            yield Ledger(store, permits)
        finally:
            await permits.close()
    finally:
        await store.close()


async def _open_store(settings: Settings) -> QuotaStore:
    named = settings.quota.store
    if named is None:
        return quota_sqlite.open_quota(settings.storage.quota)
    named.check_private()
    try:
        # Only who shares a ledger between machines has to have the database's driver.
        from sealwax.stores import quota_postgres
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"quota.store: PostgreSQL needs {error.name}; install sealwax[postgres], or take the"
            " key out"
        ) from None
    return await quota_postgres.open_quota(named.secret().get_secret_value())


class ConfiguredAccounts:
    """``providers.base.Accounts`` over settings. An async context manager: it owns the sockets and
    this process's permits. Entering it raises ``StoreUnusable`` or ``SettingsError``.

    Providers are made when first asked for and kept; they share one connection pool and no
    credential, those of one account its circuit, all of them one keeper of permits. No call may
    last longer than ``timing.call_deadline_s``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closing = AsyncExitStack()
        self._ledger: Ledger | None = None
        self._client: httpx.AsyncClient | None = None
        self._tokens: JwtTokens | None = None
        self._providers: dict[tuple[str, str, Klass], Provider] = {}
        self._breakers: dict[str, Breaker] = {}
        self._links: SessionLinks | None = None

    async def __aenter__(self) -> ConfiguredAccounts:
        async with AsyncExitStack() as opening:
            self._ledger = await opening.enter_async_context(open_ledger(self._settings))
            self._client = http.client()
            opening.push_async_callback(self._client.aclose)
            self._tokens = JwtTokens(self._client)
            self._closing = opening.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._closing.aclose()

    @property
    def ledger(self) -> Ledger:
        """The quota ledger that all calls are counted in, while the accounts are entered."""
        if self._ledger is None:
            raise RuntimeError("enter the accounts before asking for their ledger")
        return self._ledger

    def identity(self, account: str) -> AccountIdentity:
        """The account's provider and id. Raises ``UnknownAccount``."""
        settings = self._account(account)
        capabilities = registry.adapter(settings.provider).capabilities
        return AccountIdentity(settings.provider, settings.account_id, capabilities)

    def provider(self, account: str, principal: str, klass: Klass = Klass.MUTATION) -> Provider:
        """The provider as this principal ("": the account's default). Raises ``UnknownAccount``.

        Its calls have the account's quota as calls of this class.
        """
        settings = self._account(account)
        name = principal or settings.default_principal
        held = self._providers.get((account, name, klass))
        if held is None:
            held = self._made(account, name, settings, klass)
            self._providers[account, name, klass] = held
        return held

    def quota_of(self, account: str) -> tuple[str, Limits]:
        """The account's name in the quota ledger, and its limits. Raises ``UnknownAccount``."""
        return self._account(account).ledger, self._settings.limits(account)

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

    def _made(self, account: str, name: str, settings: AccountSettings, klass: Klass) -> Provider:
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
            quota=Quota(self.ledger.permits, settings.ledger, klass),
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
