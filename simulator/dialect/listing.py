"""Finding envelopes: by time, id, transaction, custom field (SPEC Envelopes_GetEnvelopes)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from simulator.dialect.context import Answer, Context
from simulator.dialect.envelopes import includes, shape
from simulator.errors import invalid_body, invalid_parameter
from simulator.model import Envelope, now, stamp

PAGE_LIMIT = 1000
TRANSACTION_LIFE = timedelta(days=7)

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_ORDERS: dict[str, Callable[[Envelope], Any]] = {
    "created": lambda e: e.created,
    "sent": lambda e: e.times.get("sent", _EARLIEST),
    "completed": lambda e: e.times.get("completed", _EARLIEST),
    "status_changed": lambda e: e.times.get("statusChanged", e.created),
    "last_modified": lambda e: e.last_modified,
    "status": lambda e: e.status,
    "subject": lambda e: e.definition.email_subject,
    "envelope_name": lambda e: e.definition.email_subject,
}


def _moment(context: Context, name: str) -> datetime | None:
    given = context.query.get(name)
    if not given:
        return None
    try:
        moment = datetime.fromisoformat(_seven_digits(given))
    except ValueError:
        raise invalid_parameter(f"Invalid value specified for '{name}'.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seven_digits(given: str) -> str:
    """Cut a seventh fraction digit, which the API itself writes and Python does not read."""
    head, dot, tail = given.replace(" ", "+").partition(".")
    if not dot:
        return head
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"


def _ids(context: Context, query_name: str, body_name: str) -> list[str] | None:
    """Ids given in the query, or in the body when the query says `request_body`."""
    given = context.query.get(query_name)
    if not given:
        return None
    if given.lower() != "request_body":
        return [part.strip() for part in given.split(",") if part.strip()]
    listed = context.body().get(body_name)
    if not isinstance(listed, list):
        raise invalid_body(f"{body_name} must be a list.")
    return [str(item) for item in listed]


def _changed(envelope: Envelope, what: str) -> datetime | None:
    if what == "changed":
        return envelope.times.get("statusChanged", envelope.created)
    return envelope.created if what == "created" else envelope.times.get(what)


def _listed(context: Context, envelope: Envelope) -> bool:
    """False while the look-up lag hides an envelope that was just created."""
    lag = timedelta(seconds=context.service.harms.listed_after_s(envelope.number))
    return not lag or now() - envelope.created >= lag


def _select(context: Context) -> list[Envelope]:
    everything = [
        e
        for e in context.service.ledger.envelopes.values()
        if e.account_id == context.account_id and _listed(context, e)
    ]
    wanted = _ids(context, "envelope_ids", "envelopeIds")
    transactions = _ids(context, "transaction_ids", "transactionIds")
    since, until = _moment(context, "from_date"), _moment(context, "to_date")
    if wanted is None and transactions is None and since is None:
        raise invalid_parameter("from_date, envelope_ids or transaction_ids is required.")
    if wanted is not None:
        lower = {w.lower() for w in wanted}
        everything = [e for e in everything if e.envelope_id in lower]
    if transactions is not None:
        everything = [e for e in everything if _transaction(e) in transactions]
    if since is not None or until is not None:
        what = context.query.get("from_to_status", "changed").lower()
        moments = ((e, _changed(e, what)) for e in everything)
        low, high = since or _EARLIEST, until or now()
        everything = [e for e, m in moments if m is not None and low <= m <= high]
    statuses = includes(context.query.get("status", "any"))
    if "any" not in statuses:
        everything = [e for e in everything if e.status in statuses]
    return _with_field(context, everything)


def _with_field(context: Context, envelopes: list[Envelope]) -> list[Envelope]:
    given = context.query.get("custom_field")
    if not given:
        return envelopes
    name, equals, value = given.partition("=")
    if not equals:
        raise invalid_parameter("custom_field must read name=value.")
    return [
        e
        for e in envelopes
        if any(
            c.name == name and c.fields.get("value") == value for c in e.definition.custom_fields
        )
    ]


def _transaction(envelope: Envelope) -> str | None:
    """The transaction id while it is known: seven days (SPEC Envelopes_GetEnvelopes)."""
    fresh = now() - envelope.created < TRANSACTION_LIFE
    return envelope.transaction_id if envelope.transaction_id and fresh else None


def _start(context: Context) -> int:
    token = context.query.get("continuation_token")
    if not token:
        return context.number("start_position", 0)
    try:
        return int(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError):
        raise invalid_parameter("Invalid value specified for 'continuation_token'.") from None


def _page(context: Context, found: list[Envelope], full: bool) -> dict[str, Any]:
    by = context.query.get("order_by", "last_modified" if full else "created").lower()
    if by not in _ORDERS:
        raise invalid_parameter(f"order_by {by!r} is not simulated.")
    descending = context.query.get("order", "asc").lower() == "desc"
    found = sorted(found, key=lambda e: (_ORDERS[by](e), e.number), reverse=descending)
    start = _start(context)
    count = min(context.number("count", PAGE_LIMIT), PAGE_LIMIT)
    page = found[start : start + count]
    include = includes(context.query.get("include", ""))
    body: dict[str, Any] = {
        "resultSetSize": str(len(page)),
        "totalSetSize": str(len(found)),
        "startPosition": str(start),
        "endPosition": str(max(start + len(page) - 1, 0)),
        "lastQueriedDateTime": stamp(now()),
        "envelopes": [shape(context, e, include) if full else _short(e) for e in page],
    }
    if start + len(page) < len(found):
        token = str(start + len(page)).encode()
        body["continuationToken"] = base64.urlsafe_b64encode(token).decode()
    if context.query.get("transaction_ids"):
        body["envelopeTransactionStatuses"] = [
            {
                "transactionId": e.transaction_id,
                "envelopeId": e.envelope_id,
                "status": e.status,
            }
            for e in page
        ]
    return body


def _short(envelope: Envelope) -> dict[str, Any]:
    return {
        "envelopeId": envelope.envelope_id,
        "status": envelope.status,
        "statusChangedDateTime": stamp(_changed(envelope, "changed")),
        "envelopeUri": f"/envelopes/{envelope.envelope_id}",
    }


async def get_all(context: Context) -> Answer:
    """SPEC Envelopes_GetEnvelopes; numbers come as strings.

    Whether a just created envelope is listed at once at the provider is unverified; here it is,
    unless a look-up lag is switched on, which hides it from every search and listing. Of
    envelopes with the same transactionId all are listed (SPEC says nothing; an assumption).
    """
    return Answer(200, _page(context, _select(context), full=True))


async def put_status(context: Context) -> Answer:
    """SPEC Envelopes_PutStatus: reads the statuses of many; a PUT that writes nothing."""
    return Answer(200, _page(context, _select(context), full=False))
