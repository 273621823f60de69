"""What an operator sees of webhooks, and does to them, on the journal that the settings name.

Everything here may be done twice: to replay a webhook is to forward it again, and its workflow
counts it once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from pydantic import TypeAdapter

from sealwax.definition import Refusal, RefusalCode
from sealwax.facts import Fact
from sealwax.providers.base import UnreadableWebhook
from sealwax.providers.registry import webhook_reader
from sealwax.settings import Settings
from sealwax.stores.base import (
    Journal,
    JournalEntry,
    JournalRow,
    RefusedWebhook,
    WebhookFilter,
    WebhookState,
)
from sealwax.stores.journals import open_forwarder_journal

STATES: tuple[WebhookState, ...] = get_args(WebhookState)
REPLAYABLE: tuple[WebhookState, ...] = tuple(s for s in STATES if s != "pending")
PORTION = 500
LIMIT_MAX = 100_000

_AGO = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FACTS = TypeAdapter(tuple[Fact, ...])


class UnknownWebhook(LookupError):
    """The journal has no webhook of that number (any more)."""


@asynccontextmanager
async def journal_of(settings: Settings) -> AsyncIterator[Journal]:
    """The journal of these settings, beside whoever else has it open.

    Raises ``StoreError``, and ``Refusal`` where there is none yet.
    """
    storage = settings.storage
    if storage.journal is None and not storage.journal_file.exists():
        raise Refusal(
            RefusalCode.BAD_INPUT,
            f"there is no journal at {storage.journal_file}; start the bridge first, or name the"
            " settings of the one that runs with --config",
        )
    journal = await open_forwarder_journal(storage, settings.keyring())
    try:
        yield journal
    finally:
        await journal.close()


def meant(
    settings: Settings,
    *,
    account: str | None,
    envelope: str | None,
    since: str | None,
    states: Sequence[str],
    ids: Sequence[int] = (),
    now: datetime | None = None,
) -> WebhookFilter:
    """The webhooks that options of the command line name.

    Raises ``SettingsError`` for an account that the settings do not have, ``Refusal``.
    """
    if account is not None:
        settings.account(account)
    if any(not 0 < row_id < 2**63 for row_id in ids):
        raise _bad("the number of a webhook is a whole number from 1 on, as `list` shows it")
    return WebhookFilter(
        account=account or "",
        provider_envelope_id=envelope or "",
        since=None if since is None else _time(since, now or datetime.now(UTC)),
        states=tuple(_state(text) for text in states),
        ids=tuple(ids),
    )


def within(limit: int) -> int:
    """How many are to be shown. Raises ``Refusal`` for a number that is none."""
    if not 1 <= limit <= LIMIT_MAX:
        raise _bad(f"--limit is a whole number from 1 to {LIMIT_MAX}")
    return limit


async def marked(
    journal: Journal,
    wanted: WebhookFilter,
    state: WebhookState,
    reason: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Mark all that is meant, portion by portion; how many they were.

    ``progress`` is told how many are marked, and of how many. Raises ``StoreError``.
    """
    total = await journal.count(wanted)
    after = done = 0
    while entries := await journal.find(wanted, after, PORTION):
        after = entries[-1].id
        await journal.mark([entry.id for entry in entries], state, reason)
        done += len(entries)
        if progress is not None:
            progress(done, max(done, total))
    return done


async def needed(journal: Journal, row_id: int) -> JournalRow:
    """One webhook with its body. Raises ``UnknownWebhook``."""
    row = await journal.row(row_id) if 0 < row_id < 2**63 else None
    if row is None:
        raise UnknownWebhook(
            f"the journal has no webhook {row_id}; see `sealwax webhooks list` for those it has"
        )
    return row


def entry_json(entry: JournalEntry) -> dict[str, Any]:
    """A webhook in a list, without anything that is sealed."""
    return {
        "id": entry.id,
        "account": entry.account,
        "envelope": entry.provider_envelope_id,
        "event": entry.event_name,
        "state": entry.state,
        "reason": entry.reason,
        "received_at": entry.received_at.isoformat(),
        "trust": entry.trust,
        "attempts": entry.attempts,
        "duplicates": entry.duplicates,
        "retry_at": entry.retry_at.isoformat() if entry.retry_at else None,
        "event_key": entry.event_key,
    }


def row_json(row: JournalRow, *, with_body: bool) -> dict[str, Any]:
    """A webhook in full: its headers, what it says, and with ``with_body`` its text.

    ``problem`` is why what it says cannot be read, "" where it can.
    """
    webhook, problem, facts = row.webhook, "", ()
    try:
        event = webhook_reader(webhook.provider).read_webhook(webhook.body)
    except UnreadableWebhook as error:
        problem = str(error)
    except Exception as error:
        problem = f"unreadable: {type(error).__name__}"
    else:
        facts = _FACTS.dump_python(event.facts, mode="json")
    shown = {
        "id": row.id,
        "account": webhook.account,
        "provider": webhook.provider,
        "envelope": webhook.provider_envelope_id,
        "event": webhook.event_name,
        "state": webhook.state,
        "reason": webhook.reason,
        "received_at": webhook.received_at.isoformat(),
        "trust": webhook.trust,
        "attempts": row.attempts,
        "duplicates": row.duplicates,
        "retry_at": row.retry_at.isoformat() if row.retry_at else None,
        "event_key": webhook.event_key,
        "headers": dict(webhook.headers),
        "size_bytes": len(webhook.body),
        "facts": list(facts),
        "problem": problem,
    }
    return shown | ({"body": webhook.body.decode(errors="replace")} if with_body else {})


def refused_json(refused: RefusedWebhook, *, with_body: bool) -> dict[str, Any]:
    """A delivery that was not taken in."""
    shown = asdict(refused) | {
        "headers": dict(refused.headers),
        "received_at": refused.received_at.isoformat(),
        "body": refused.body.decode(errors="replace"),
    }
    if not with_body:
        del shown["body"]
    return shown


async def standing(journal: Journal) -> dict[str, Any]:
    """What the journal holds, how it does, and who forwards. Raises ``StoreError``."""
    counts, health = await journal.counts(), await journal.health()
    oldest = health.oldest_pending
    return {
        **asdict(counts),
        "needs_attention": counts.quarantined,
        "oldest_pending": oldest.isoformat() if oldest else None,
        "size_bytes": health.size_bytes,
        "away": health.away,
        "forwarders": [
            {"name": beat.name, "at": beat.at.isoformat(), "reaching": beat.reaching}
            for beat in health.forwarders
        ],
    }


def some_or_all(wanted: WebhookFilter, *, everything: bool) -> WebhookFilter:
    """The same, if it names anything. Raises ``Refusal`` rather than mean all by accident."""
    if replace(wanted, states=()) == WebhookFilter() and not wanted.states and not everything:
        raise _bad("say which: numbers, --account, --envelope, --since, --state, or --all")
    return wanted


def _state(text: str) -> WebhookState:
    for state in STATES:
        if state == text:
            return state
    raise _bad(f"{text[:40]!r} is no state of a webhook; one of: {', '.join(STATES)}")


def _time(text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text.strip())
    with suppress(ValueError, OverflowError):
        if ago is not None:
            return now - timedelta(**{_UNITS[ago.group(2)]: int(ago.group(1))})
        at = datetime.fromisoformat(text.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    raise _bad(
        f"{text[:40]!r} is no time; give one like 2026-03-01T12:00Z, or how long ago, like 2h or 7d"
    )


def _bad(message: str) -> Refusal:
    return Refusal(RefusalCode.BAD_INPUT, message)
