"""Rows of an SQLite journal: from what is appended, and to what is read."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sealwax.crypto import Keyring
from sealwax.stores.base import (
    JournalEntry,
    JournalRow,
    RefusedWebhook,
    Webhook,
    WebhookFilter,
)
from sealwax.stores.journal_appending import Delivery
from sealwax.stores.journal_sealing import (
    delivery_of,
    microseconds,
    open_delivery,
    open_refused,
    seal_delivery,
    time_of,
)


def delivery_to_write(webhook: Webhook, keyring: Keyring) -> Delivery:
    """The webhook as it is appended, sealed."""
    digest = delivery_of(webhook)
    return Delivery(
        digest,
        (
            webhook.account,
            webhook.provider_envelope_id,
            webhook.token,
            webhook.event_key,
            webhook.provider,
            webhook.event_name,
            webhook.trust,
            microseconds(webhook.received_at),
            webhook.state,
            webhook.reason,
        ),
        seal_delivery(keyring, digest, webhook.headers, webhook.body),
    )


def meant(wanted: WebhookFilter) -> tuple[str, dict[str, Any]]:
    """The condition upon ``webhook w``, and its values."""
    parts = ["1"]
    values: dict[str, Any] = {}
    if wanted.account:
        parts.append("w.account = :account")
        values["account"] = wanted.account
    if wanted.provider_envelope_id:
        parts.append("w.provider_envelope_id = :envelope")
        values["envelope"] = wanted.provider_envelope_id
    if wanted.since is not None:
        parts.append("w.received_us >= :since")
        values["since"] = microseconds(wanted.since)
    if wanted.states:
        parts.append("w.state IN (SELECT value FROM json_each(:states))")
        values["states"] = json.dumps(wanted.states)
    if wanted.ids:
        parts.append("w.id IN (SELECT value FROM json_each(:ids))")
        values["ids"] = json.dumps(wanted.ids)
    return " AND ".join(parts), values


def time_or_none(at_us: int | None) -> datetime | None:
    """See ``time_of``."""
    return None if at_us is None else time_of(at_us)


def entry_of(found: tuple[Any, ...]) -> JournalEntry:
    """What ``journal_schema.ENTRIES`` found."""
    (row_id, account, provider, token, key, name, envelope, received_us, state, reason, trust,
     attempts, duplicates, retry_us) = found  # fmt: skip
    return JournalEntry(
        id=row_id,
        account=account,
        provider=provider,
        token=token,
        event_key=key,
        event_name=name,
        provider_envelope_id=envelope,
        received_at=time_of(received_us),
        state=state,
        reason=reason,
        trust=trust,
        attempts=attempts,
        duplicates=duplicates,
        retry_at=time_or_none(retry_us),
    )


def row_of(found: tuple[Any, ...], keyring: Keyring) -> JournalRow:
    """A whole row, opened. Raises ``KeyUnknown``."""
    headers, body = open_delivery(keyring, *found[-2:])
    return entry_of(found[:-2]).opened(headers, body)


def refused_of(found: tuple[Any, ...], keyring: Keyring) -> RefusedWebhook:
    """What ``journal_schema.REFUSED`` found, opened. Raises ``KeyUnknown``."""
    *columns, received_us, sealed = found
    return open_refused(keyring, *columns, sealed, received_at=time_of(received_us))
