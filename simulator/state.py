"""What a simulator keeps between two runs, where it was given `--state FILE`.

Accounts, envelopes with their documents and progress, and where their webhooks go. Not kept are
the logs of calls and writes, users and keys (a client registers them anew), deliveries under way,
signing sessions, whose URLs a restarted provider does not know any more, and what the windows of
the limits hold, which start empty.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from simulator.ledger import Account
from simulator.model import Envelope
from simulator.plans import BadPlan
from simulator.service import Service
from simulator.subscriptions import Subscription

SAVE_EVERY_S = 1.0


@dataclass
class State:
    """The kept part of a service; `version` is that of the file's form."""

    version: int = 1
    accounts: list[Account] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    subscriptions: dict[str, list[Subscription]] = field(default_factory=dict)


_STATE = TypeAdapter(
    list[State], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
)


class Keeper:
    """Keeps a service in a file: read once at the start, written when something has changed."""

    def __init__(self, service: Service, path: Path) -> None:
        self._service = service
        self._path = path
        self._seen: tuple[int, int, int] | None = None

    def load(self) -> None:
        """Take what the file holds, if there is one. Raises BadPlan where it cannot be read."""
        if not self._path.parent.is_dir():
            raise BadPlan(f"--state: there is no folder {self._path.parent}")
        try:
            (state,) = _STATE.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError, ValidationError):
            raise BadPlan(
                f"--state: {self._path} is no state of a simulator; remove it, or name another"
            ) from None
        for account in state.accounts:
            self._service.ledger.account(account.account_id, account.name)
        for envelope in state.envelopes:
            self._service.ledger.restore(envelope)
        for envelope_id, subscriptions in state.subscriptions.items():
            self._service.connect.subscribe(envelope_id, subscriptions)

    async def run(self) -> None:
        """Save now and then, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            self.save()

    def save(self) -> None:
        """Write the file in one step, where something has changed since the last time."""
        ledger, connect = self._service.ledger, self._service.connect
        envelopes = list(ledger.envelopes.values())
        now = (
            len(ledger.accounts),
            sum(e.version for e in envelopes),
            sum(len(e.history) for e in envelopes),
        )
        if now == self._seen:
            return
        state = State(
            accounts=list(ledger.accounts.values()),
            envelopes=envelopes,
            subscriptions={e.envelope_id: connect.subscribed(e.envelope_id) for e in envelopes},
        )
        descriptor, draft = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(_STATE.dump_json([state]))
        Path(draft).replace(self._path)
        self._seen = now
