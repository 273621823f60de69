"""What the journal says of an envelope: what its workflow was told, and whose webhook came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from sealwax.facts import Fact, ProviderEvent
from sealwax.hearing import JournalHearing
from sealwax.providers.base import UnreadableWebhook, WebhookName
from sealwax.providers.docusign_changes import ConnectChanges
from sealwax.stores.base import (
    Journal,
    JournalEntry,
    JournalRow,
    Webhook,
    WebhookFilter,
    WebhookState,
    WebhookTrust,
)
from sealwax.stores.sweep_base import Change

NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def now() -> None:
    """Of each test, not of the import: what is looked at compares with the clock."""
    global NOW
    NOW = datetime.now(UTC)


TOLD = Fact("completed")


class Kept:
    """A journal of rows that are all of one envelope; each body is an event's name."""

    def __init__(self, *rows: JournalRow) -> None:
        self.rows = {row.id: row for row in rows}

    async def find(self, wanted: WebhookFilter, after: int, limit: int) -> tuple[JournalEntry, ...]:
        found = [_entry(row) for number, row in sorted(self.rows.items()) if number > after]
        return tuple(found[:limit])

    async def row(self, row_id: int) -> JournalRow | None:
        row = self.rows[row_id]
        return row if row.webhook.body else None


class Reader:
    """Reads the event's name from the body."""

    def identify(self, body: bytes) -> WebhookName:
        raise NotImplementedError

    def read_webhook(self, body: bytes) -> ProviderEvent:
        if body == b"broken":
            raise UnreadableWebhook("broken")
        return ProviderEvent("k", body.decode(), "a", "e", (TOLD,))


def row(
    number: int,
    body: bytes = b"envelope-completed",
    state: WebhookState = "delivered",
    trust: WebhookTrust = "fact",
    age_s: float = 3600,
) -> JournalRow:
    received_at = NOW - timedelta(seconds=age_s)
    webhook = Webhook(
        *("acme", "docusign", "", str(number), "", "e", (), body, received_at, state),
        trust=trust,
    )
    return JournalRow(number, webhook, 0, 0, None)


def _entry(row: JournalRow) -> JournalEntry:
    hook = row.webhook
    return JournalEntry(
        *(row.id, hook.account, hook.provider, "", hook.event_key, "", "e", hook.received_at),
        *(hook.state, "", hook.trust, 0, 0, None),
    )


def hearing(*rows: JournalRow) -> JournalHearing:
    async def opening() -> Journal:
        return cast(Any, Kept(*rows))

    return JournalHearing(opening, lambda _: (Reader(), ConnectChanges()))


@pytest.mark.parametrize(
    ("state", "trust", "age_s", "told"),
    [
        ("delivered", "fact", 3600, True),
        ("late", "fact", 3600, True),
        ("pending", "fact", 5, True),
        ("pending", "fact", 600, False),
        ("parked", "fact", 3600, False),
        ("quarantined", "fact", 3600, False),
        ("discarded", "fact", 3600, False),
        ("delivered", "hint", 3600, False),
    ],
)
async def test_what_does_not_reach_the_workflow_told_it_nothing_and_came_all_the_same(
    state: WebhookState, trust: WebhookTrust, age_s: float, told: bool
):
    """So a sweep tells it; but a webhook that came is no drift, whatever became of it."""
    kept = row(1, state=state, trust=trust, age_s=age_s)
    heard = await hearing(kept).of("acme", "docusign", "e")
    assert (heard.facts == (TOLD,), heard.changes) == (told, frozenset({Change("completed")}))


async def test_what_is_unreadable_or_no_longer_kept_says_nothing():
    """It is counted, so that nobody looks again before something new has come."""
    heard = await hearing(row(1, b"broken"), row(2, b"")).of("acme", "docusign", "e")
    assert (heard.facts, heard.changes, heard.webhooks) == ((), frozenset(), 2)


async def test_many_webhooks_are_read_to_the_end():
    """In parts; the latest tells when the envelope was last heard of."""
    many = [row(number, age_s=1000 - number) for number in range(1, 451)]
    heard = await hearing(*many).of("acme", "docusign", "e")
    assert (heard.webhooks, len(heard.facts)) == (450, 450)
    assert heard.last_at == many[-1].webhook.received_at
