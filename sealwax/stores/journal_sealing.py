"""How a webhook stands in a journal, whichever engine keeps it: what is sealed, what identifies it.

Headers and body are sealed together, bound to the delivery they are of. The columns by which rows
are found hold digests, provider's ids and names of event kinds, and stand in clear.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import from_json, to_json

from sealwax.crypto import Keyring, SealBroken, open_sealed, seal
from sealwax.stores.base import RefusedWebhook, Webhook

Headers = tuple[tuple[str, str], ...]

DELIVERY_BYTES = 16
_LENGTH_BYTES = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def delivery_of(webhook: Webhook) -> bytes:
    """The digest that one account's event at one address has, however often it is delivered.

    Half of a SHA-256: to collide with another's, one would have to find a second preimage of 128
    bits among bodies that the provider has signed.
    """
    text = "\0".join((webhook.account, webhook.token, webhook.event_key))
    return hashlib.sha256(text.encode()).digest()[:DELIVERY_BYTES]


def seal_delivery(keyring: Keyring, delivery: bytes, headers: Headers, body: bytes) -> bytes:
    """Headers and body, to be opened for this delivery alone."""
    return _seal(keyring, "webhook\0" + delivery.hex(), headers, body)


def open_delivery(keyring: Keyring, delivery: bytes, sealed: bytes) -> tuple[Headers, bytes]:
    """What ``seal_delivery`` sealed; nothing where it is damaged. Raises ``KeyUnknown``."""
    return _open(keyring, "webhook\0" + delivery.hex(), sealed)


def seal_refused(keyring: Keyring, account: str, headers: Headers, body: bytes) -> bytes:
    """Headers and body of a refused delivery, to be opened for this account alone."""
    return _seal(keyring, "refused\0" + account, headers, body)


def open_refused(
    keyring: Keyring,
    *columns: Any,
    received_at: datetime,
) -> RefusedWebhook:
    """A refused webhook from its row: id, account, status, reason, size and what ``seal_refused``
    sealed, of which nothing is there where it is damaged. Raises ``KeyUnknown``."""
    row_id, account, status, reason, size_bytes, sealed = columns
    headers, body = _open(keyring, "refused\0" + account, sealed)
    return RefusedWebhook(
        account=account,
        status=status,
        reason=reason,
        headers=headers,
        body=body,
        size_bytes=size_bytes,
        received_at=received_at,
        id=row_id,
    )


def microseconds(at: datetime) -> int:
    """Since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def time_of(at_us: int) -> datetime:
    """What ``microseconds`` was made of, in UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def _seal(keyring: Keyring, purpose: str, headers: Headers, body: bytes) -> bytes:
    head = to_json(headers)
    plain = b"".join((len(head).to_bytes(_LENGTH_BYTES, "big"), head, body))
    return seal(keyring, plain, "journal\0" + purpose)


def _open(keyring: Keyring, purpose: str, sealed: bytes) -> tuple[Headers, bytes]:
    try:
        plain = open_sealed(keyring, sealed, "journal\0" + purpose)
    except SealBroken:
        # One damaged row must hold up no other: without a body its reader puts it aside. What is
        # on disk stays as it is. A key that is missing is another matter: it can be brought back.
        return (), b""
    end = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "big")
    return tuple((n, v) for n, v in from_json(plain[_LENGTH_BYTES:end])), plain[end:]
