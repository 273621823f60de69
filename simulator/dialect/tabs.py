"""Tabs of one recipient (SPEC Recipients_{Get,Post,Put,Delete}RecipientTabs)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.dialect.context import Answer, Context, objects
from simulator.dialect.shapes import texts
from simulator.errors import (
    invalid_body,
    invalid_parameter,
    recipient_update_failed,
    unknown_recipient,
)
from simulator.ledger import Mint
from simulator.model import RECIPIENT_DONE, Definition, Envelope, Recipient

Tabs = dict[str, list[dict[str, Any]]]


def kinds(raw: Any) -> Tabs:
    """Read a `tabs` object: lists of tabs by kind (`signHereTabs`, ...)."""
    if not isinstance(raw, dict):
        raise invalid_body("tabs must be an object.")
    for key in raw:
        if not key.endswith("Tabs"):
            raise invalid_body(f"{key!r} is no kind of tab.")
    return {key: [texts(t) for t in objects(raw, key)] for key in raw if raw[key]}


def add_tabs(recipient: Recipient, raw: Any, mint: Mint) -> Tabs:
    """Add tabs; each gets a new tabId, so adding twice makes two."""
    added: Tabs = {}
    for kind, tabs in kinds(raw).items():
        for index, tab in enumerate(tabs):
            shape = {
                "tabLabel": kind.removesuffix("Tabs"),
                **tab,
                "tabId": mint(f"tab:{recipient.recipient_id}:{kind}:{index}"),
                "recipientId": recipient.recipient_id,
                "tabType": kind.removesuffix("Tabs").lower(),
            }
            added.setdefault(kind, []).append(shape)
            recipient.tabs.setdefault(kind, []).append(shape)
    return added


def _recipient(context: Context, definition: Definition) -> Recipient:
    recipient = definition.recipient(context.params["recipientId"])
    if recipient is None:
        raise unknown_recipient()
    return recipient


async def get(context: Context) -> Answer:
    """All tabs of a recipient by kind."""
    return Answer(200, _recipient(context, context.envelope.definition).tabs)


async def _change(context: Context, apply: Callable[[Recipient, Mint], Tabs]) -> Tabs:
    envelope: Envelope = context.envelope

    def whole(definition: Definition, mint: Mint) -> Tabs:
        recipient = _recipient(context, definition)
        if envelope.progress_of(recipient).status in RECIPIENT_DONE:
            raise recipient_update_failed()
        return apply(recipient, mint)

    return await context.change(whole)


async def post(context: Context) -> Answer:
    """Adds tabs; not idempotent."""
    body = context.body()
    return Answer(201, await _change(context, lambda r, mint: add_tabs(r, body, mint)))


def _missing(tab: dict[str, Any]) -> dict[str, Any]:
    error = invalid_parameter("No tab has this tabId.")
    return {**tab, "errorDetails": error.body()}


def _find(tabs: list[dict[str, Any]], wanted: dict[str, Any]) -> int | None:
    for index, tab in enumerate(tabs):
        if tab["tabId"] == wanted.get("tabId"):
            return index
    return None


async def put(context: Context) -> Answer:
    """Updates tabs by tabId; unknown ones come back with errorDetails (unverified)."""
    wanted = kinds(context.body())

    def apply(recipient: Recipient, _: Mint) -> Tabs:
        answer: Tabs = {}
        for kind, changes in wanted.items():
            tabs = recipient.tabs.get(kind, [])
            for change in changes:
                index = _find(tabs, change)
                if index is not None:
                    tabs[index] = {**tabs[index], **change}
                found = _missing(change) if index is None else tabs[index]
                answer.setdefault(kind, []).append(found)
        return answer

    return Answer(200, await _change(context, apply))


async def delete(context: Context) -> Answer:
    """Deletes tabs by tabId and answers with them."""
    wanted = kinds(context.body())

    def apply(recipient: Recipient, _: Mint) -> Tabs:
        answer: Tabs = {}
        for kind, changes in wanted.items():
            tabs = recipient.tabs.get(kind, [])
            for change in changes:
                index = _find(tabs, change)
                found = _missing(change) if index is None else tabs.pop(index)
                answer.setdefault(kind, []).append(found)
            if not tabs:
                recipient.tabs.pop(kind, None)
        return answer

    return Answer(200, await _change(context, apply))
