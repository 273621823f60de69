"""Envelopes: create, read, send, void, change, bin (SPEC Envelopes_*, Folders_*)."""

from __future__ import annotations

from typing import Any

from simulator.dialect.context import Answer, Context, an_object, objects, require_editable
from simulator.dialect.documents import put_documents, read_documents
from simulator.dialect.fields import add_fields, set_notification, update_fields
from simulator.dialect.recipients import Outcome, add, correct, entries, results, settle
from simulator.dialect.shapes import envelope_shape
from simulator.errors import invalid_body, invalid_parameter, not_lock_owner, wrong_status
from simulator.ledger import Mint, new_guid
from simulator.model import IN_PROCESS, Definition, Envelope, now, stamp

_ADVANCED = ("recipients", "customFields", "notification", "documents")


def includes(raw: str) -> frozenset[str]:
    """The `include` parameter: a comma-separated list."""
    return frozenset(part.strip().lower() for part in raw.split(",") if part.strip())


def shape(context: Context, envelope: Envelope, include: frozenset[str]) -> dict[str, Any]:
    """The `envelope` object of an answer."""
    return envelope_shape(envelope, include, context.service.sender(envelope))


def _notifications(body: dict[str, Any]) -> list[Any]:
    single = body.get("eventNotification")
    return ([single] if single else []) + objects(body, "eventNotifications")


async def create(context: Context) -> Answer:
    """SPEC Envelopes_PostEnvelopes.

    A second create with the same transactionId makes a second envelope: that the provider merges
    them is stated nowhere (assumption, unverified). The envelope is listed when its processing
    time is over.
    """
    body = context.body()
    write = context.log_write()
    status = str(body.get("status") or "created").lower()
    if status not in ("created", "sent"):
        raise invalid_body("status of a new envelope must be created or sent.")
    found = entries(an_object(body, "recipients"))
    documents = read_documents(body)
    subscriptions = context.service.connect.read_notifications(_notifications(body))
    await context.service.processing()
    minted: dict[str, str] = {}

    def mint(name: str) -> str:
        return minted.setdefault(name, new_guid())

    definition = Definition(
        email_subject=str(body.get("emailSubject") or ""),
        email_blurb=str(body.get("emailBlurb") or ""),
    )
    put_documents(definition, documents, mint)
    add(definition, found, mint, with_tabs=True)
    add_fields(definition, an_object(body, "customFields"), mint)
    if body.get("notification"):
        set_notification(definition, an_object(body, "notification"))
    ledger = context.service.ledger
    envelope = Envelope(
        envelope_id=new_guid(),
        account_id=context.account_id,
        number=ledger.next_number(context.account_id),
        sender_id=context.principal.user_id,
        transaction_id=str(body.get("transactionId") or ""),
        definition=definition,
        created=now(),
    )
    if status == "sent":
        context.service.routing.require_complete(envelope)
    context.call.envelope_id = envelope.envelope_id
    with ledger.effect(write, envelope):
        ledger.add(envelope, write)
        context.service.connect.subscribe(envelope.envelope_id, subscriptions)
        context.service.routing.created(envelope)
        if status == "sent":
            context.service.routing.send(envelope)
    return Answer(
        201,
        {
            "envelopeId": envelope.envelope_id,
            "status": envelope.status,
            "statusDateTime": stamp(envelope.times.get("statusChanged", envelope.created)),
            "uri": f"/envelopes/{envelope.envelope_id}",
        },
    )


async def get(context: Context) -> Answer:
    """SPEC Envelopes_GetEnvelope."""
    include = includes(context.query.get("include", ""))
    return Answer(200, shape(context, context.envelope, include))


async def put(context: Context) -> Answer:
    """SPEC Envelopes_PutEnvelope: send, void, change, resend."""
    body, envelope = context.body(), context.envelope
    status = str(body.get("status") or "").lower()
    if status == "correct":
        context.log_write(envelope.envelope_id)
        raise not_lock_owner()
    if status not in ("", "created", "sent", "voided"):
        raise invalid_parameter(f"status {status!r} cannot be set.")
    if body.get("purgeState"):
        raise invalid_parameter("purgeState is not simulated.")
    answer: dict[str, Any] = {"envelopeId": envelope.envelope_id}
    if status == "voided":
        await _void(context, envelope, body)
        return Answer(200, answer)
    answer.update(await _apply(context, envelope, body))
    if status == "sent":
        await context.move(envelope, "send", context.service.routing.send)
    if context.flag("resend_envelope"):
        await context.move(envelope, "resend", context.service.routing.resend)
    if context.write is None:
        context.service.ledger.accept(context.log_write(envelope.envelope_id), "no change")
    return Answer(200, answer)


async def _void(context: Context, envelope: Envelope, body: dict[str, Any]) -> None:
    reason = str(body.get("voidedReason") or "")
    if not reason:
        raise invalid_body("voidedReason is required to void an envelope.")
    routing = context.service.routing
    await context.move(envelope, "void", lambda e: routing.void(e, reason))


async def _apply(context: Context, envelope: Envelope, body: dict[str, Any]) -> dict[str, Any]:
    """Change what the body names; recipients, fields... only with advanced_update=true.

    Without it those keys change nothing in a draft (assumption, unverified), and an envelope in
    process takes no change at all.
    """
    advanced = context.flag("advanced_update")
    email = {k: str(body[k]) for k in ("emailSubject", "emailBlurb") if body.get(k) is not None}
    wider = {k: body[k] for k in _ADVANCED if advanced and body.get(k)}
    if not email and not wider:
        return {}
    found = entries(an_object(wider, "recipients"))
    documents = read_documents(wider)
    fields = an_object(wider, "customFields")

    def check(checked: Envelope) -> None:
        require_editable(checked)
        if checked.status != "created" and not advanced:
            raise wrong_status("Created")

    def apply(definition: Definition, mint: Mint) -> list[Outcome]:
        definition.email_subject = email.get("emailSubject", definition.email_subject)
        definition.email_blurb = email.get("emailBlurb", definition.email_blurb)
        put_documents(definition, documents, mint)
        _upsert_fields(definition, fields, mint)
        if wider.get("notification"):
            set_notification(definition, an_object(wider, "notification"))
        return correct(envelope, definition, found, mint)

    def after(changed: Envelope, outcomes: list[Outcome]) -> None:
        if outcomes:
            settle(context, changed, outcomes, resend=False)
        elif changed.status in IN_PROCESS:
            context.service.routing.corrected(changed)

    outcomes = await context.change(apply, after, check)
    return {"recipientUpdateResults": results(outcomes)} if outcomes else {}


def _upsert_fields(definition: Definition, fields: dict[str, Any], mint: Mint) -> None:
    known = {(c.kind, c.name) for c in definition.custom_fields}
    for kind in ("textCustomFields", "listCustomFields"):
        for entry in objects(fields, kind):
            exists = entry.get("fieldId") or (kind, str(entry.get("name"))) in known
            if exists:
                update_fields(definition, {kind: [entry]})
            else:
                add_fields(definition, {kind: [entry]}, _named(mint, str(entry.get("name"))))


def _named(mint: Mint, name: str) -> Mint:
    return lambda key: mint(f"{key}:{name}")


async def put_folder(context: Context) -> Answer:
    """SPEC Folders_PutFolderById: recyclebin deletes drafts and voids what is in process.

    Other folders take out of the recycle bin again (with fromFolderId).
    """
    body, folder = context.body(), context.params["folderId"].lower()
    wanted = body.get("envelopeIds")
    if not isinstance(wanted, list) or not wanted:
        raise invalid_body("envelopeIds must be a list of envelope ids.")
    ledger, routing = context.service.ledger, context.service.routing
    envelopes = [ledger.find(context.account_id, str(envelope_id)) for envelope_id in wanted]
    context.log_write(envelopes[0].envelope_id)
    for envelope in envelopes:
        context.call.envelope_id = envelope.envelope_id
        if folder == "recyclebin":
            await context.move(envelope, "move to recyclebin", routing.bin)
        elif folder in ("sentitems", "draft", "drafts", "inbox"):
            await context.move(envelope, f"move to {folder}", routing.restore)
        else:
            raise invalid_parameter(f"There is no folder {folder!r}.")
    moved = {"folderId": folder, "type": folder, "name": folder, "itemCount": str(len(envelopes))}
    return Answer(200, {"folders": [moved]})
