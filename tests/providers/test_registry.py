"""Settings name a provider; a name that is not known is a typed error that lists the known."""

from __future__ import annotations

import pytest

from sealwax.providers.registry import PROVIDERS, UnknownProvider, adapter, webhook_reader


@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_every_registered_provider_can_be_made(name: str) -> None:
    """Its adapter bears its name and its webhooks have a reader."""
    assert adapter(name).name == name
    assert not webhook_reader(name).authentic([], b"", [b"key"])


def test_an_unknown_provider_is_refused_with_the_known_ones() -> None:
    """In one line."""
    for ask in (adapter, webhook_reader):
        with pytest.raises(UnknownProvider, match="known are docusign"):
            ask("docusgin")
