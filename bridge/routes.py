"""Which workflow a webhook belongs to, and what it says there.

A webhook belongs to the workflow that the registry has bound its signed envelope to, else to the
one that its address names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter

from sealwax.facts import ProviderEvent
from sealwax.messages import MESSAGE_BYTES_MAX
from sealwax.providers.base import WebhookReader
from sealwax.stores.base import EnvelopeName, JournalRow, Registry, Webhook

KNOWN_MAX = 100_000
"""How many envelopes' and addresses' workflows are remembered."""

LARGE_BODY_BYTES = 256 * 1024

_EVENT = TypeAdapter(ProviderEvent)


@dataclass(frozen=True, slots=True)
class Item:
    """A row on its way: where it goes, what is said there, whether its address named another."""

    row_id: int
    event: ProviderEvent
    workflow_id: str
    rerouted: bool
    size_bytes: int


@dataclass(slots=True)
class Routed:
    """Rows in their order, by what can be done with them; ``unreadable`` with the reason."""

    items: list[Item] = field(default_factory=list)
    unknown: list[JournalRow] = field(default_factory=list)
    unreadable: list[tuple[JournalRow, str]] = field(default_factory=list)


class Router:
    """Finds the workflows of webhooks.

    A binding never changes, nor does the workflow of an address, so what was found once is not
    looked up again. What nobody knows is looked up every time. ``readers`` are by account.
    """

    def __init__(self, registry: Registry, readers: Mapping[str, WebhookReader]) -> None:
        self._registry = registry
        self._readers = readers
        self._bound: dict[EnvelopeName, str] = {}
        self._addressed: dict[str, tuple[str, str]] = {}

    async def meet(self, names: Iterable[EnvelopeName]) -> None:
        """Look up the workflows of envelopes that will soon be asked for, all at once."""
        await self._look_up(set(), set(names))

    async def routed(self, rows: Sequence[JournalRow]) -> Routed:
        """Read the rows and find where they go. Raises ``StoreError``."""
        names = [self._name(row.webhook) for row in rows]
        await self._look_up({row.webhook.token for row in rows}, set(names))
        found = Routed()
        for row, name in zip(rows, names, strict=True):
            reader = self._readers.get(row.webhook.account)
            target, rerouted = self._target(row.webhook, name)
            if reader is None or not target:
                found.unknown.append(row)
                continue
            try:
                if len(row.webhook.body) > LARGE_BODY_BYTES:
                    item = await asyncio.to_thread(_item, reader, row, target, rerouted)
                else:
                    item = _item(reader, row, target, rerouted)
            except Exception as error:
                # Authentic but strange: it is kept for a person, whatever a reader makes of it.
                found.unreadable.append((row, f"unreadable: {type(error).__name__}"))
                continue
            if item.size_bytes > MESSAGE_BYTES_MAX:
                why = f"its facts have {item.size_bytes} bytes, too many for a signal"
                found.unreadable.append((row, why))
            else:
                found.items.append(item)
        return found

    def _name(self, webhook: Webhook) -> EnvelopeName:
        """Whose it is. One that could not be read when it came may be readable by now."""
        envelope, reader = webhook.provider_envelope_id, self._readers.get(webhook.account)
        if not envelope and reader is not None:
            with suppress(Exception):
                envelope = reader.read_webhook(webhook.body).provider_envelope_id
        return EnvelopeName(webhook.account, envelope)

    async def _look_up(self, tokens: set[str], names: set[EnvelopeName]) -> None:
        tokens = {t for t in tokens if t and t not in self._addressed}
        names = {n for n in names if n.provider_envelope_id and n not in self._bound}
        if not tokens and not names:
            return
        located = await self._registry.located(tokens, names)
        if len(self._bound) + len(self._addressed) > KNOWN_MAX:
            self._bound.clear()
            self._addressed.clear()
        for name, row in located.by_envelope.items():
            self._bound[name] = row.workflow_id
            self._addressed[row.routing_token] = (row.account, row.workflow_id)
        for token, row in located.by_token.items():
            self._addressed[token] = (row.account, row.workflow_id)

    def _target(self, webhook: Webhook, name: EnvelopeName) -> tuple[str, bool]:
        """The workflow, "" where nobody knows it, and whether the address named another."""
        account, addressed = self._addressed.get(webhook.token, ("", ""))
        if account != webhook.account:
            addressed = ""
        target = self._bound.get(name, "") or addressed
        return target, bool(addressed) and addressed != target


def _item(reader: WebhookReader, row: JournalRow, target: str, rerouted: bool) -> Item:
    webhook = row.webhook
    event = replace(
        reader.read_webhook(webhook.body),
        received_at=webhook.received_at,
        journal_ref=str(row.id),
    )
    if webhook.trust == "hint":
        # No MAC covers what it says: it is a reason to look, and what is found then counts.
        event = replace(event, facts=(), needs_read=True, session_left_at=None)
    return Item(row.id, event, target, rerouted, len(_EVENT.dump_json(event)))


def grouped(items: Iterable[Item], bytes_max: int) -> list[list[Item]]:
    """Neighbours of one workflow, as many as fit into one signal of about so many bytes."""
    groups: list[list[Item]] = []
    size_bytes = 0
    for item in items:
        size_bytes += item.size_bytes
        if not groups or groups[-1][0].workflow_id != item.workflow_id or size_bytes > bytes_max:
            groups.append([])
            size_bytes = item.size_bytes
        groups[-1].append(item)
    return groups
