"""The operation ids of callers who give none: random, or made from a business transaction."""

from __future__ import annotations

from collections import Counter
from uuid import uuid4

from sealwax import keys
from sealwax.definition import Refusal, RefusalCode

TRANSACTION_LENGTH_MAX = 500


class OperationIds:
    """Makes operation ids, a random one for each call, or one that a restarted caller makes again.

    Within a transaction an id is made of what is asked, and how often it was asked before. Raises
    ``Refusal`` for a transaction without a name.
    """

    def __init__(self, transaction: str | None = None) -> None:
        if transaction is not None and not 0 < len(transaction) <= TRANSACTION_LENGTH_MAX:
            raise Refusal(
                RefusalCode.BAD_KEY,
                f"name the transaction with 1 to {TRANSACTION_LENGTH_MAX} characters, such as the"
                " id of the order or job that you work on",
            )
        self._transaction = transaction
        self._asked: Counter[tuple[str, ...]] = Counter()

    def lasting(self, *parts: str) -> str | None:
        """An id that a restarted caller makes again; None outside of a transaction."""
        return None if self._transaction is None else self.made(*parts)

    def made(self, *parts: str) -> str:
        """An id for what these parts say is asked."""
        if self._transaction is None:
            return str(uuid4())
        self._asked[parts] += 1
        return keys.operation_id(self._transaction, (*parts, str(self._asked[parts])))
