"""Which providers there are, by the name that settings use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sealwax.providers.base import Adapter, Changes, WebhookReader
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.docusign_changes import ConnectChanges
from sealwax.providers.docusign_connect import SCHEME as CONNECT_SCHEME
from sealwax.providers.docusign_connect import ConnectReader
from sealwax.providers.webhook_trust import TrustScheme


class UnknownProvider(ValueError):
    """A provider's name that settings may not use; the message lists those they may."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one provider is spoken to, and how its webhooks are believed and read."""

    adapter: Callable[[], Adapter]
    webhook_reader: Callable[[], WebhookReader]
    webhook_scheme: TrustScheme
    changes: Callable[[], Changes]


PROVIDERS: Mapping[str, Dialect] = {
    "docusign": Dialect(DocuSignAdapter, ConnectReader, CONNECT_SCHEME, ConnectChanges),
}


def adapter(name: str) -> Adapter:
    """A provider's adapter. Raises ``UnknownProvider``."""
    return _dialect(name).adapter()


def webhook_reader(name: str) -> WebhookReader:
    """A provider's webhook reader. Raises ``UnknownProvider``."""
    return _dialect(name).webhook_reader()


def webhook_scheme(name: str) -> TrustScheme:
    """How a provider shows that a webhook is its own. Raises ``UnknownProvider``."""
    return _dialect(name).webhook_scheme


def changes(name: str) -> Changes:
    """What a provider tells by webhook. Raises ``UnknownProvider``."""
    return _dialect(name).changes()


def _dialect(name: str) -> Dialect:
    dialect = PROVIDERS.get(name)
    if dialect is None:
        raise UnknownProvider(
            f"there is no provider {name[:40]!r}; known are {', '.join(sorted(PROVIDERS))}"
        )
    return dialect
