"""Settings name a provider; a name that is not known is a typed error that lists the known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sealwax.providers.base import UnreadableWebhook
from sealwax.providers.registry import (
    PROVIDERS,
    UnknownProvider,
    adapter,
    webhook_reader,
    webhook_scheme,
)
from sealwax.providers.webhook_trust import Verdict


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_registered_provider_can_be_made(name: str) -> None:
    """Its adapter bears its name, and its webhooks have a scheme that does not believe all."""
    assert adapter(name).name == name
    scheme = webhook_scheme(name)
    assert scheme.trust in ("fact", "hint")
    verdict = scheme.verify([], b"", [b"key"], datetime(2026, 1, 1, tzinfo=UTC))
    assert verdict is Verdict.SIGNATURE
    with pytest.raises(UnreadableWebhook):
        webhook_reader(name).identify(b"")


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    """In one line."""
    for ask in (adapter, webhook_reader, webhook_scheme):
        with pytest.raises(UnknownProvider, match="known are docusign"):
            ask("docusgin")
