"""Names made of other names: workflow ids, operation ids, transaction ids, event keys.

Temporal shows workflow ids and update ids in clear, so everything that goes into one is checked
to be opaque: an id that looks like an e-mail address is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from sealwax.definition import Refusal, RefusalCode

_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_OPAQUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,127}")
_WORKFLOW_ID = re.compile(r"envelope/([^/]+)/([^/]+)")


def check_account(account: str) -> str:
    """The account's name as settings know it: lower case letters, digits, ``-``; up to 63."""
    if not _ACCOUNT.fullmatch(account):
        raise Refusal(
            RefusalCode.BAD_KEY,
            "an account name has 1 to 63 lower case letters, digits or '-'; see your settings",
        )
    return account


def check_opaque(key: str, what: str) -> str:
    """Refuse a key that Temporal could not show to everybody (``what`` names it in the refusal)."""
    if "@" in key:
        raise Refusal(
            RefusalCode.BAD_KEY,
            f"a {what} is shown in clear and must be opaque: this one looks like an e-mail"
            " address; use an order or contract number",
        )
    if not _OPAQUE.fullmatch(key):
        raise Refusal(
            RefusalCode.BAD_KEY,
            f"a {what} has 1 to 128 letters, digits or '.', '_', ':', '~', '-'"
            " and starts with a letter or digit; give another",
        )
    return key


def workflow_id(account: str, business_key: str) -> str:
    """The id of the one workflow that owns the envelope of this account and business key."""
    return f"envelope/{check_account(account)}/{check_opaque(business_key, 'business key')}"


def adopted_key(provider_envelope_id: str) -> str:
    """The business key of an envelope that was made elsewhere, where nobody gives another."""
    return f"adopted-{provider_envelope_id.lower()}"


def reused(account: str, business_key: str) -> Refusal:
    """The refusal of another order under a business key that was used before."""
    return Refusal(
        RefusalCode.BUSINESS_KEY_REUSED,
        f"business key {business_key} was used for another envelope of {account};"
        " give each envelope its own key",
    )


def account_workflow_id(account: str) -> str:
    """The id of the workflow that shows this account's quota."""
    return f"account/{check_account(account)}"


def sweep_id(account: str) -> str:
    """The id of the schedule of this account's sweeps, and the beginning of theirs."""
    return f"sweep/{check_account(account)}"


def account_and_key(envelope_workflow_id: str) -> tuple[str, str]:
    """The inverse of ``workflow_id``. Raises ``ValueError`` for an id of another kind."""
    match = _WORKFLOW_ID.fullmatch(envelope_workflow_id)
    if match is None:
        raise ValueError(f"{envelope_workflow_id!r} is not the id of an envelope workflow")
    return match.group(1), match.group(2)


def digest(parts: Iterable[str]) -> str:
    """SHA-256 in hex over the parts, each preceded by its length, so that no two lists collide."""
    hasher = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        hasher.update(f"{len(raw)}:".encode())
        hasher.update(raw)
    return hasher.hexdigest()


def business_key_digest(account: str, business_key: str) -> str:
    """What the registry keeps instead of the business key."""
    return digest(("business-key", account, business_key))


def transaction_id(envelope_workflow_id: str, attempt: int) -> str:
    """The provider's look-up key of one create attempt, known before the call is made.

    DocuSign keeps a caller's ``transactionId`` for seven days and finds envelopes by it
    (SPEC Envelopes_GetEnvelopes, ``transaction_ids``). It is shaped as a GUID because that is
    what the service's own examples hold.
    """
    raw = digest(("transaction", envelope_workflow_id, str(attempt)))
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:32]}"


def operation_id(transaction: str, parts: Iterable[str]) -> str:
    """The id of an operation that belongs to a business transaction: the same parts, the same id.

    It is a digest, so that the transaction's name is shown to nobody.
    """
    return f"tx-{digest(('operation', transaction, *parts))[:40]}"


def event_key(parts: Iterable[str]) -> str:
    """One delivery's identity, made of signed content only, never of headers or retry counts."""
    return digest(("event", *parts))
