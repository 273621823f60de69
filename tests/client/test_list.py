"""Envelopes are found by what the search attributes say of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from sealwax.client import EnvelopeClient, EnvelopeRow, list_query
from sealwax.definition import Refusal
from tests.client.conftest import SIGNER


async def test_a_list_shows_the_envelopes_of_one_account(client: EnvelopeClient, pdf: Path) -> None:
    """Newest first, of that account and status alone, no more than asked for."""
    mine, other = f"a{uuid4().hex[:12]}", f"b{uuid4().hex[:12]}"
    for account, key in ((mine, "one"), (other, "two"), (mine, "three")):
        await client.create(
            account=account, key=key, subject="S", documents=[pdf], recipients=[SIGNER]
        )

    async def listed(**of: object) -> list[EnvelopeRow]:
        return [row async for row in client.list(**of)]  # type: ignore[arg-type]

    async with asyncio.timeout(20):
        while len(await listed(account=mine)) < 2:
            continue  # the visibility store is a moment late
    rows = await listed(account=mine, status="new", needs_attention=False)
    assert [(row.account, row.key, row.status) for row in rows] == [
        (mine, "three", "new"),
        (mine, "one", "new"),
    ]
    assert len(await listed(account=mine, limit=1)) == 1
    assert not await listed(account=mine, status="completed")
    assert not await listed(account=mine, needs_attention=True)


@pytest.mark.parametrize("account", ["x' OR 1=1 --", "A", ""])
def test_a_query_takes_only_account_names(account: str) -> None:
    """Nothing that is no account name gets into the query's text."""
    with pytest.raises(Refusal):
        list_query(account, None, None)


def test_a_query_takes_only_known_statuses() -> None:
    """A status that there is not is refused, with those that there are."""
    with pytest.raises(Refusal, match="completed"):
        list_query(None, "done", None)
