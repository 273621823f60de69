"""The ledger of truth: what really happened at the provider, kept apart from what it answered.

It holds accounts, envelopes, and the logs of calls, writes and mails. It does no I/O. A write of
a definition is `begin`, then processing time, then `commit`: the commit stores the copy whole, so
of two overlapping writes the earlier one is lost ("unlocked PUTs simply race, last write wins";
DocuSign offers locks and no compare-and-set). The ledger knows which ones were lost.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.errors import ProviderError, no_envelope
from simulator.model import Definition, Envelope, Path, Removed, now, stamp
from simulator.plans import COMMITS

_MISSING = object()

Mint = Callable[[str], str]
Change = Callable[[Definition, Mint], Any]


@dataclass
class Call:
    """One HTTP call of the API.

    `status` is what the call came to, 0 when it was not processed; `answered` says whether the
    client got that answer, `fault` what struck the call, `limit` which limit refused it.
    """

    at: datetime
    integration_key: str
    user_id: str
    account_id: str
    envelope_id: str
    operation_id: str
    method: str
    path: str
    status: int = 0
    answered: bool = True
    fault: str = ""
    limit: str = ""

    def truth(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "at": stamp(self.at),
            "integrationKey": self.integration_key,
            "userId": self.user_id,
            "accountId": self.account_id,
            "envelopeId": self.envelope_id,
            "operationId": self.operation_id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "answered": self.answered,
            "fault": self.fault or None,
            "limit": self.limit or None,
        }


@dataclass
class Fault:
    """One plan or outage that struck a call, and what really became of the call.

    `committed` says whether an envelope was changed: False for reads and refused calls, None
    while a late commit is still to come.
    """

    at: datetime
    call: Call
    mode: str
    committed: bool | None = None
    late_s: float | None = None
    settled: datetime | None = None

    def settle(self, committed: bool) -> None:
        """The call has been carried out, or never will be."""
        self.committed, self.settled = committed, now()

    def truth(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "at": stamp(self.at),
            "mode": self.mode,
            "accountId": self.call.account_id,
            "operationId": self.call.operation_id,
            "method": self.call.method,
            "envelopeId": self.call.envelope_id,
            "status": self.call.status,
            "committed": self.committed,
            "lateS": self.late_s,
            "settled": stamp(self.settled),
        }


@dataclass
class Write:
    """One call that wanted to change something, and what became of its effect.

    `fingerprint` is the same for two calls that ask for the same, word for word. `changed` says
    whether the call made a difference: to the definition, to the status or folder, or by a mail;
    `mails` counts the latter.
    """

    write_id: str
    call: Call
    envelope_id: str
    fingerprint: str = ""
    accepted: bool = False
    changed: bool = False
    mails: int = 0
    at: datetime | None = None
    held: dict[Path, Any] = field(default_factory=dict)
    dropped: dict[Path, Any] = field(default_factory=dict)
    summary: str = ""

    @property
    def lost(self) -> bool:
        """True while an overlapping write's stale copy has dropped some of its effect."""
        return bool(self.dropped)

    def truth(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "id": self.write_id,
            "at": stamp(self.at or self.call.at),
            "operationId": self.call.operation_id,
            "envelopeId": self.envelope_id,
            "integrationKey": self.call.integration_key,
            "userId": self.call.user_id,
            "status": self.call.status,
            "accepted": self.accepted,
            "lost": self.lost,
            "answered": self.call.answered,
            "fault": self.call.fault or None,
            "fingerprint": self.fingerprint,
            "changed": self.changed,
            "mails": self.mails,
            "summary": self.summary,
        }


@dataclass
class Account:
    """One account of the provider."""

    account_id: str
    name: str


@dataclass
class Pending:
    """A write between its read and its store."""

    write: Write
    envelope: Envelope
    base: Definition
    base_version: int


class Ledger:
    """All accounts, envelopes and logs of one simulator."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.envelopes: dict[str, Envelope] = {}
        self.calls: list[Call] = []
        self.writes: list[Write] = []
        self.mails: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.overlaps: dict[str, int] = {}
        self._commits: dict[str, list[Write]] = {}
        self._numbers: dict[str, int] = {}

    def account(self, account_id: str, name: str | None = None) -> Account:
        """Create or rename an account."""
        account = self.accounts.setdefault(account_id, Account(account_id, name or "Account"))
        if name:
            account.name = name
        return account

    def find(self, account_id: str, envelope_id: str) -> Envelope:
        """The envelope of an account; raises ENVELOPE_DOES_NOT_EXIST."""
        envelope = self.envelopes.get(envelope_id.lower())
        if envelope is None or envelope.account_id != account_id:
            raise no_envelope(envelope_id)
        return envelope

    def log_call(self, call: Call) -> Call:
        """Append a call to the log."""
        self.calls.append(call)
        return call

    def log_fault(self, call: Call, mode: str) -> Fault:
        """Append what strikes a call to the log."""
        fault = Fault(now(), call, mode)
        if mode not in COMMITS:
            fault.settle(False)
        call.fault = mode
        self.faults.append(fault)
        return fault

    def log_write(self, call: Call, envelope_id: str, fingerprint: str = "") -> Write:
        """Append a write, not yet accepted, to the log."""
        write = Write(f"w{len(self.writes) + 1}", call, envelope_id, fingerprint)
        self.writes.append(write)
        return write

    def add(self, envelope: Envelope, write: Write) -> None:
        """Store a new envelope; from now on it is listed."""
        self.envelopes[envelope.envelope_id] = envelope
        self._commits[envelope.envelope_id] = []
        write.envelope_id, write.changed = envelope.envelope_id, True
        write.summary = f"create {envelope.definition.email_subject!r}"
        self.accept(write)
        envelope.note("created")

    def restore(self, envelope: Envelope) -> None:
        """Take back an envelope of an earlier run; what is in the logs of that run is not known."""
        self.envelopes[envelope.envelope_id] = envelope
        self._commits[envelope.envelope_id] = []
        last = self._numbers.get(envelope.account_id, 0)
        self._numbers[envelope.account_id] = max(last, envelope.number)

    def next_number(self, account_id: str) -> int:
        """Running number of an account's envelopes, for seeded plans."""
        self._numbers[account_id] = self._numbers.get(account_id, 0) + 1
        return self._numbers[account_id]

    def accept(self, write: Write, summary: str = "") -> None:
        """Mark a write as done at the provider."""
        write.accepted = True
        write.at = now()
        write.summary = summary or write.summary

    @contextmanager
    def effect(self, write: Write, envelope: Envelope) -> Iterator[None]:
        """Put all that changes of an envelope down to a write; nothing may be awaited within."""
        before = (envelope.status, envelope.folder)
        mailed = len(self.mails)
        try:
            yield
        finally:
            for mail in self.mails[mailed:]:
                mail["writeId"] = write.write_id
            write.mails += len(self.mails) - mailed
            moved = before != (envelope.status, envelope.folder)
            write.changed = write.changed or moved or len(self.mails) > mailed

    def begin(self, envelope: Envelope, write: Write) -> Pending:
        """Read the definition that a write will work on."""
        return Pending(write, envelope, envelope.definition, envelope.version)

    def commit(self, pending: Pending, change: Change) -> Any:
        """Apply a change to the copy that was read and store the copy whole.

        Raises what `change` raises, in which case nothing is stored. Returns its result.
        """
        write, envelope = pending.write, pending.envelope
        mint = _memo()
        base = pending.base.clone()
        self._keep_reassignments(envelope, base)
        stored = base.clone()
        result = change(stored, mint)
        before, after = base.flat(), stored.flat()
        write.held = {
            path: after.get(path, _MISSING)
            for path in before.keys() | after.keys()
            if before.get(path, _MISSING) != after.get(path, _MISSING)
        }
        write.changed = write.changed or bool(write.held)
        if pending.base_version != envelope.version:
            self.overlaps[envelope.account_id] = self.overlaps.get(envelope.account_id, 0) + 1
        self._mark_lost(pending, change, mint, before, after)
        self._bury(envelope, envelope.definition, stored, write)
        envelope.definition = stored
        envelope.version += 1
        # A real GET shows lastModifiedDateTime earlier than the status times of the same call.
        envelope.last_modified = write.call.at
        self._commits[envelope.envelope_id].append(write)
        self.accept(write, _summary(write.held))
        envelope.note(f"{write.call.operation_id} ({write.write_id}): {write.summary}")
        return result

    def _mark_lost(
        self,
        pending: Pending,
        change: Change,
        mint: Mint,
        base: dict[Path, Any],
        stored: dict[Path, Any],
    ) -> None:
        """Follow each earlier write's places: held, set anew, dropped, or brought back.

        A place is lost when a serial execution would have kept it and the stale copy drops it.
        Setting the same field anew is no loss: it would also have come last if both had been made
        one after the other. A stale copy may also bring back what another one had dropped.
        """
        serial = stored
        if pending.base_version != pending.envelope.version:
            serial_definition = pending.envelope.definition.clone()
            try:
                change(serial_definition, mint)
            except ProviderError:
                serial_definition = pending.envelope.definition
            serial = serial_definition.flat()
        for earlier in self._commits[pending.envelope.envelope_id]:
            for path, value in list(earlier.held.items()):
                if stored.get(path, _MISSING) != value:
                    del earlier.held[path]
                    if serial.get(path, _MISSING) == value:
                        earlier.dropped[path] = value
            for path, value in list(earlier.dropped.items()):
                if base.get(path, _MISSING) == value == stored.get(path, _MISSING):
                    earlier.held[path] = earlier.dropped.pop(path)
        # What holds nothing and has lost nothing can do neither later.
        commits = self._commits[pending.envelope.envelope_id]
        commits[:] = [w for w in commits if w.held or w.dropped]

    def _keep_reassignments(self, envelope: Envelope, stored: Definition) -> None:
        """What a recipient did (handing over to another person) survives a stale copy."""
        for index, recipient in enumerate(stored.recipients):
            successor = envelope.replaced.get(recipient.guid)
            if successor is not None:
                stored.recipients[index] = successor

    def _bury(
        self, envelope: Envelope, before: Definition, after: Definition, write: Write
    ) -> None:
        """Keep a tombstone of each incarnation that the new definition no longer has."""
        alive = {r.guid for r in after.recipients}
        ids = {r.recipient_id for r in after.recipients}
        for recipient in before.recipients:
            if recipient.guid not in alive:
                why = "replaced" if recipient.recipient_id in ids else "deleted"
                status = envelope.progress_of(recipient).status
                text = f"{why} by {write.write_id}"
                envelope.removed.append(Removed(recipient, status, text, now()))
        envelope.removed = [r for r in envelope.removed if r.recipient.guid not in alive]

    def mail(self, envelope: Envelope, recipient_id: str, to: str, why: str) -> None:
        """Record a mail that the provider would have sent.

        `why`: sent, resent, corrected or reminder. `writeId` names the write that caused it, None
        where a recipient or the clock did. The envelope's history, and with it the audit events,
        names each mail (what the provider's say of mails is unverified).
        """
        envelope.note(f"mail to recipient {recipient_id}: {why}")
        self.mails.append(
            {
                "at": stamp(now()),
                "accountId": envelope.account_id,
                "envelopeId": envelope.envelope_id,
                "recipientId": recipient_id,
                "to": to,
                "why": why,
                "writeId": None,
            }
        )


def new_guid() -> str:
    """A random GUID as the provider makes them."""
    return str(uuid.uuid4())


def _memo() -> Mint:
    """Mints one guid per name, the same one when a change is applied a second time."""
    minted: dict[str, str] = {}

    def mint(name: str) -> str:
        return minted.setdefault(name, new_guid())

    return mint


def _summary(changed: dict[Path, Any]) -> str:
    """The changed places, without values: `emailSubject, recipients/1`."""
    return ", ".join(sorted({"/".join(path[:2]) for path in changed})) or "no change"
