"""Recipients: list, add, correct, delete (SPEC Recipients_*)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.dialect.context import Answer, Context, objects
from simulator.dialect.shapes import (
    RECIPIENT_COMPUTED,
    recipient_shape,
    recipients_shape,
    texts,
    whole,
)
from simulator.dialect.tabs import add_tabs
from simulator.errors import (
    ProviderError,
    invalid_body,
    invalid_parameter,
    recipient_update_failed,
    unknown_recipient,
)
from simulator.ledger import Mint
from simulator.model import (
    IN_PROCESS,
    RECIPIENT_DONE,
    RECIPIENT_KINDS,
    Definition,
    Envelope,
    Recipient,
)

PLAIN = ("name", "email", "hostName", "hostEmail", "clientUserId", "routingOrder")
MAX_ROUTING_ORDER = 2_147_483_647


@dataclass(frozen=True)
class Entry:
    """One recipient of a request body."""

    recipient_id: str
    kind: str
    fields: dict[str, Any]
    tabs: dict[str, Any]


@dataclass
class Outcome:
    """What became of one entry of a correction."""

    recipient_id: str
    error: ProviderError | None = None
    old: Recipient | None = None
    new: Recipient | None = None
    mails: bool = False


def entries(body: dict[str, Any]) -> list[Entry]:
    """Read a `recipients` object; raises INVALID_REQUEST_BODY on missing or repeated ids."""
    found: list[Entry] = []
    for kind in RECIPIENT_KINDS:
        for raw in objects(body, kind):
            recipient_id = str(raw.get("recipientId") or "")
            if not recipient_id:
                raise invalid_body("Every recipient needs a recipientId.")
            fields = {k: v for k, v in texts(raw).items() if k not in RECIPIENT_COMPUTED}
            for key in PLAIN:
                if not isinstance(fields.get(key, ""), str):
                    raise invalid_body(f"{key} of a recipient must be a string.")
            order = whole(fields.get("routingOrder", "1"))
            if order is None or not 1 <= order <= MAX_ROUTING_ORDER:
                raise invalid_body("routingOrder must be a positive integer.")
            found.append(Entry(recipient_id, kind, fields, raw.get("tabs") or {}))
    ids = [e.recipient_id for e in found]
    if len(set(ids)) != len(ids):
        raise invalid_parameter("A recipientId is used more than once.")
    return found


def new_recipient(entry: Entry, mint: Mint, with_tabs: bool) -> Recipient:
    """A recipient from an entry; raises INVALID_EMAIL_ADDRESS_FOR_RECIPIENT (unverified code)."""
    recipient = Recipient(
        entry.recipient_id, mint(f"recipient:{entry.recipient_id}"), entry.kind, dict(entry.fields)
    )
    if entry.kind != "seals":
        check_person(recipient)
    if with_tabs:
        add_tabs(recipient, entry.tabs, mint)
    return recipient


def check_person(recipient: Recipient) -> None:
    """A recipient needs a name and an e-mail address."""
    if not recipient.name:
        raise invalid_body(f"Recipient {recipient.recipient_id} needs a name.")
    local, _, domain = recipient.email.partition("@")
    if not local or not domain or " " in recipient.email:
        raise ProviderError(
            "INVALID_EMAIL_ADDRESS_FOR_RECIPIENT",
            "The email address for the recipient is invalid. "
            f"The recipient Id follows. {recipient.recipient_id}",
        )


def add(definition: Definition, found: list[Entry], mint: Mint, with_tabs: bool) -> list[Recipient]:
    """Append recipients; raises when an id is taken (the real answer to that is unpublished)."""
    taken = [e.recipient_id for e in found if definition.recipient(e.recipient_id)]
    if taken:
        raise invalid_parameter(f"The recipientId {taken[0]} is used already.")
    added = [new_recipient(e, mint, with_tabs) for e in found]
    definition.recipients += added
    return added


def correct(
    envelope: Envelope, definition: Definition, found: list[Entry], mint: Mint
) -> list[Outcome]:
    """Update each recipient or say why not; unknown ones are added to a draft only.

    SPEC Recipients_PutRecipients: 200 with errorDetails per item.
    """
    outcomes = []
    for entry in found:
        try:
            outcomes.append(_correct_one(envelope, definition, entry, mint))
        except ProviderError as error:
            outcomes.append(Outcome(entry.recipient_id, error))
    return outcomes


def _correct_one(envelope: Envelope, definition: Definition, entry: Entry, mint: Mint) -> Outcome:
    old = definition.recipient(entry.recipient_id)
    in_process = envelope.status in IN_PROCESS
    if old is None:
        if in_process:
            raise unknown_recipient()
        [added] = add(definition, [entry], mint, with_tabs=False)
        return Outcome(entry.recipient_id, new=added)
    if envelope.progress_of(old).status in RECIPIENT_DONE:
        raise recipient_update_failed()
    new = Recipient(
        old.recipient_id, old.guid, entry.kind, {**old.fields, **entry.fields}, old.tabs
    )
    check_person(new)
    if in_process and new.email.lower() != old.email.lower():
        new.guid = mint(f"recipient:{entry.recipient_id}:{new.email.lower()}")
    definition.recipients[definition.recipients.index(old)] = new
    mails = in_process and "email" in entry.fields
    return Outcome(entry.recipient_id, old=old, new=new, mails=mails)


def settle(context: Context, envelope: Envelope, outcomes: list[Outcome], resend: bool) -> None:
    """Mails, incarnations and routing after a correction.

    Giving an e-mail address, even an unchanged one, mails (SPEC Recipients_PutRecipients).
    """
    changed = [o for o in outcomes if o.error is None]
    if envelope.status not in IN_PROCESS or not changed:
        return
    routing = context.service.routing
    for outcome in changed:
        if outcome.old is None or outcome.new is None:
            continue
        if outcome.new.guid != outcome.old.guid:
            routing.reincarnate(envelope, outcome.old, outcome.new)
        elif outcome.mails or resend:
            routing.resend_to(envelope, outcome.new, "corrected" if outcome.mails else "resent")
    routing.corrected(envelope, mail=resend)


def results(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """The `recipientUpdateResults` list."""
    shapes = []
    for outcome in outcomes:
        shape: dict[str, Any] = {"recipientId": outcome.recipient_id}
        if outcome.new is not None:
            shape["recipientIdGuid"] = outcome.new.guid
        if outcome.error is not None:
            shape["errorDetails"] = outcome.error.body()
        shapes.append(shape)
    return shapes


async def get_all(context: Context) -> Answer:
    """SPEC Recipients_GetRecipients."""
    return Answer(200, recipients_shape(context.envelope, context.flag("include_tabs")))


async def post(context: Context) -> Answer:
    """SPEC Recipients_PostRecipients: adds recipients; tabs in the body are ignored."""
    found = entries(context.body())
    resend = context.flag("resend_envelope")

    def after(envelope: Envelope, _: list[Recipient]) -> None:
        if envelope.status in IN_PROCESS:
            context.service.routing.corrected(envelope, mail=resend)

    added = await context.change(lambda d, mint: add(d, found, mint, with_tabs=False), after)
    return Answer(201, recipients_shape(context.envelope, only=added))


async def put(context: Context) -> Answer:
    """SPEC Recipients_PutRecipients: updates, in a draft also adds; errors per item."""
    found = entries(context.body())
    envelope, resend = context.envelope, context.flag("resend_envelope")
    outcomes = await context.change(
        lambda d, mint: correct(envelope, d, found, mint),
        lambda e, done: settle(context, e, done, resend),
    )
    return Answer(200, {"recipientUpdateResults": results(outcomes)})


def _remove(
    envelope: Envelope, definition: Definition, recipient_ids: list[str]
) -> list[tuple[str, Recipient | None, ProviderError | None]]:
    removed: list[tuple[str, Recipient | None, ProviderError | None]] = []
    for recipient_id in recipient_ids:
        recipient = definition.recipient(recipient_id)
        if recipient is None:
            removed.append((recipient_id, None, unknown_recipient()))
        elif envelope.progress_of(recipient).status in RECIPIENT_DONE:
            removed.append((recipient_id, recipient, recipient_update_failed()))
        else:
            definition.recipients.remove(recipient)
            removed.append((recipient_id, recipient, None))
    return removed


async def _delete(context: Context, recipient_ids: list[str], single: bool) -> Answer:
    envelope = context.envelope

    def apply(
        definition: Definition, _: Mint
    ) -> list[tuple[str, Recipient | None, ProviderError | None]]:
        removed = _remove(envelope, definition, recipient_ids)
        if single and removed[0][2] is not None:
            raise removed[0][2]
        return removed

    def after(
        changed: Envelope, removed: list[tuple[str, Recipient | None, ProviderError | None]]
    ) -> None:
        if changed.status in IN_PROCESS and any(error is None for _, _, error in removed):
            context.service.routing.corrected(changed)

    removed = await context.change(apply, after)
    shape = recipients_shape(envelope, only=[])
    for recipient_id, recipient, error in removed:
        kind = recipient.kind if recipient else "signers"
        item = recipient_shape(envelope, recipient, False) if recipient else {}
        item["recipientId"] = recipient_id
        if error is not None:
            item["errorDetails"] = error.body()
        shape[kind].append(item)
    shape["recipientCount"] = str(len(removed))
    return Answer(200, shape)


async def delete_some(context: Context) -> Answer:
    """SPEC Recipients_DeleteRecipients: errors per item (their shape there is unverified)."""
    body = context.body()
    found = [str(raw.get("recipientId")) for k in RECIPIENT_KINDS for raw in objects(body, k)]
    return await _delete(context, found, single=False)


async def delete_one(context: Context) -> Answer:
    """SPEC Recipients_DeleteRecipient; who has completed his action cannot be deleted."""
    return await _delete(context, [context.params["recipientId"]], single=True)
