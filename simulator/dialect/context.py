"""What every operation gets: the call, the caller, the body, and the one way to write."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from simulator.dialect.shapes import whole
from simulator.errors import invalid_body, invalid_parameter, wrong_status
from simulator.ledger import Call, Mint, Write
from simulator.model import EDITABLE, Definition, Envelope
from simulator.oauth import Principal
from simulator.service import Service
from simulator.subscriptions import truthy

T = TypeVar("T")

# Larger bodies are compared byte for byte: they carry documents.
CANONICAL_BYTES = 64 * 1024

_EDITABLE_NAMES = ("Created", "Sent", "Delivered", "Correct")


@dataclass
class Answer:
    """Status and body of an answer: JSON, or raw bytes with their media type."""

    status: int
    body: Any = None
    media_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def require_editable(envelope: Envelope) -> None:
    """Drafts and envelopes in process may be changed (SPEC Recipients_PutRecipients)."""
    if envelope.status not in EDITABLE:
        raise wrong_status(*_EDITABLE_NAMES)


@dataclass
class Context:
    """One call of one operation by one principal."""

    service: Service
    principal: Principal
    account_id: str
    base_url: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes
    call: Call
    write: Write | None = None

    @property
    def envelope(self) -> Envelope:
        """The envelope in the path; raises ENVELOPE_DOES_NOT_EXIST."""
        return self.service.ledger.find(self.account_id, self.params["envelopeId"])

    def flag(self, name: str) -> bool:
        """A boolean query parameter."""
        return truthy(self.query.get(name, ""))

    def number(self, name: str, default: int) -> int:
        """A numeric query parameter; raises INVALID_REQUEST_PARAMETER."""
        given = self.query.get(name, "")
        if not given:
            return default
        number = whole(given)
        if number is None:
            raise invalid_parameter(f"Invalid value specified for '{name}'.")
        return number

    def body(self) -> dict[str, Any]:
        """The JSON body, {} when empty; raises INVALID_REQUEST_BODY."""
        if not self.raw.strip():
            return {}
        try:
            value = json.loads(self.raw)
        except ValueError:
            raise invalid_body("It is not JSON.") from None
        if not isinstance(value, dict):
            raise invalid_body("It is not an object.")
        return value

    def log_write(self, envelope_id: str = "") -> Write:
        """This call's entry in the write log (made on first use)."""
        if self.write is None:
            self.write = self.service.ledger.log_write(self.call, envelope_id, self._fingerprint())
        return self.write

    def _fingerprint(self) -> str:
        """Digest of method, path, query and body; the order of a small body's keys is no matter."""
        raw = self.raw
        if len(raw) <= CANONICAL_BYTES:
            with contextlib.suppress(ValueError, RecursionError):
                raw = json.dumps(json.loads(raw), sort_keys=True).encode()
        query = sorted(self.query.items())
        head = json.dumps([self.call.method, self.call.path, query]).encode()
        return hashlib.sha256(head + b"\n" + raw).hexdigest()[:32]

    async def change(
        self,
        apply: Callable[[Definition, Mint], T],
        after: Callable[[Envelope, T], None] | None = None,
        check: Callable[[Envelope], None] = require_editable,
    ) -> T:
        """Change the definition of the envelope in the path: read, take time, store whole.

        `apply` works on a copy and must depend on its arguments alone. `after` moves the
        progress and runs in the same instant as the store. `check` runs before and after the
        processing time: states are guarded, definitions are not.
        """
        envelope = self.envelope
        write = self.log_write(envelope.envelope_id)
        check(envelope)
        pending = self.service.ledger.begin(envelope, write)
        await self.service.processing()
        check(envelope)
        with self.service.ledger.effect(write, envelope):
            result: T = self.service.ledger.commit(pending, apply)
            self.service.sessions.changed(envelope.envelope_id, self.call.operation_id)
            if after is not None:
                after(envelope, result)
        return result

    async def move(self, envelope: Envelope, what: str, step: Callable[[Envelope], None]) -> None:
        """Change the progress of an envelope; `step` raises when its state forbids that."""
        write = self.log_write(envelope.envelope_id)
        await self.service.processing()
        with self.service.ledger.effect(write, envelope):
            step(envelope)
        self.service.ledger.accept(write, what)


def objects(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects under a key, [] when missing; raises INVALID_REQUEST_BODY."""
    value = raw.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise invalid_body(f"{key} must be a list of objects.")
    return value


def an_object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object under a key, {} when missing; raises INVALID_REQUEST_BODY."""
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid_body(f"{key} must be an object.")
    return value
