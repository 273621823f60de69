"""Rows of a journal in PostgreSQL: from what is appended, and to what is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sealwax.crypto import Keyring
from sealwax.stores.base import (
    EnvelopeName,
    JournalEntry,
    JournalRow,
    RefusedWebhook,
    Webhook,
    WebhookFilter,
)
from sealwax.stores.journal_sealing import (
    delivery_of,
    open_delivery,
    open_refused,
    seal_delivery,
)


def plain(text: str) -> str:
    """The text as PostgreSQL can hold it, which knows no NUL."""
    return text.replace("\0", "\ufffd")


def delivery_to_write(webhook: Webhook, keyring: Keyring) -> tuple[Any, ...]:
    """The webhook as it is appended, sealed, with no repetition of it."""
    digest = delivery_of(webhook)
    return (
        digest,
        webhook.account,
        plain(webhook.provider_envelope_id),
        plain(webhook.token),
        plain(webhook.event_key),
        webhook.provider,
        plain(webhook.event_name),
        webhook.trust,
        webhook.received_at,
        webhook.state,
        plain(webhook.reason),
        seal_delivery(keyring, digest, webhook.headers, webhook.body),
        0,
    )


def taken_over(row: JournalRow, keyring: Keyring) -> tuple[Any, ...]:
    """A row of another journal as it is appended, with its repetitions."""
    webhook = row.webhook
    if webhook.state == "parked":
        webhook = replace(webhook, state="pending", reason="")
    return (*delivery_to_write(webhook, keyring)[:-1], row.duplicates)


def meant(wanted: WebhookFilter, first: int) -> tuple[str, list[Any]]:
    """The condition upon ``sealwax_webhook w``, and its values, numbered from ``first``."""
    conditions = [
        ("w.account = ${}", wanted.account),
        ("w.provider_envelope_id = ${}", wanted.provider_envelope_id),
        ("w.received_at >= ${}", wanted.since),
        ("w.state = ANY(${}::text[])", list(wanted.states)),
        ("w.id = ANY(${}::bigint[])", list(wanted.ids)),
    ]
    parts: list[str] = ["true"]
    values: list[Any] = []
    for text, value in conditions:
        if value:
            parts.append(text.format(first + len(values)))
            values.append(value)
    return " AND ".join(parts), values


def entry_of(found: Sequence[Any]) -> JournalEntry:
    """What ``journal_postgres_schema.ENTRIES`` found."""
    (row_id, account, provider, token, key, name, envelope, received_at, state, reason, trust,
     attempts, duplicates, retry_at) = found[:14]  # fmt: skip
    return JournalEntry(
        id=row_id,
        account=account,
        provider=provider,
        token=token,
        event_key=key,
        event_name=name,
        provider_envelope_id=envelope,
        received_at=received_at,
        state=state,
        reason=reason,
        trust=trust,
        attempts=attempts,
        duplicates=duplicates,
        retry_at=retry_at,
    )


def row_of(found: Sequence[Any], keyring: Keyring) -> JournalRow:
    """A whole row, opened. Raises ``KeyUnknown``."""
    headers, body = open_delivery(keyring, found[-2], found[-1])
    return entry_of(found).opened(headers, body)


def columns(names: Iterable[EnvelopeName]) -> tuple[list[str], list[str]]:
    """Accounts and provider's ids, as ``unnest`` takes them."""
    listed = list(names)
    return [name.account for name in listed], [name.provider_envelope_id for name in listed]


def refused_of(found: Sequence[Any], keyring: Keyring) -> RefusedWebhook:
    """What ``journal_postgres_schema.REFUSED`` found, opened. Raises ``KeyUnknown``."""
    *columns, received_at, sealed = found
    return open_refused(keyring, *columns, sealed, received_at=received_at)
