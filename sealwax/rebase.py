"""A mutation moved from the revision that its caller read onto what others left since.

``merged`` is the definition that both sides come to, ``now`` the one that stands. What is asked of
the provider is what is missing between them: a field that the caller repeated without changing it
would else be set back over another's change, and a mail be sent for nothing.
"""

from __future__ import annotations

from dataclasses import replace

from sealwax.definition import Definition
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    Mutation,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    SetCustomFields,
    SetExpiration,
    SetReminders,
    SetTabs,
    UpdateRecipient,
)


def rebased(mutation: Mutation, merged: Definition, now: Definition) -> Mutation | None:
    """The mutation that leads from ``now`` to ``merged``; None where they are the same already.

    One of a kind that is not listed goes as it is. Whoever calls this checks what it leads to.
    """
    match mutation:
        case UpdateRecipient():
            return _update(mutation, merged, now)
        case ReorderRouting(orders=orders):
            changes = (UpdateRecipient(i, routing_order=order) for i, order in orders.items())
            left = [i for c in changes for i in _ids_of(_update(c, merged, now))]
            return ReorderRouting({i: orders[i] for i in left}) if left else None
        case ChangeMessage():
            texts = _texts(mutation, merged, now)
            return None if texts == (None, None) else ChangeMessage(*texts)
        case CorrectEnvelope(recipients=changes):
            texts = _texts(mutation, merged, now)
            updates = (_update(change, merged, now) for change in changes)
            rest = tuple(update for update in updates if update is not None)
            return CorrectEnvelope(*texts, rest) if rest or texts != (None, None) else None
        case SetReminders():
            wanted_reminders = merged.reminders
            if wanted_reminders is None or wanted_reminders == now.reminders:
                return None
            first, every = wanted_reminders.first_after_days, wanted_reminders.every_days
            return SetReminders(first, every)
        case SetExpiration():
            wanted_end = merged.expiration
            if wanted_end is None or wanted_end == now.expiration:
                return None
            return SetExpiration(wanted_end.after_days, wanted_end.warn_days)
        case SetCustomFields(values=values, remove=names):
            held_fields = {f.name: f.value for f in now.custom_fields}
            wanted_fields = {f.name: f.value for f in merged.custom_fields}
            differ = {n for n, v in wanted_fields.items() if held_fields.get(n) != v}
            fields = {n: v for n, v in values.items() if n in differ}
            gone = tuple(n for n in names if n in held_fields and n not in wanted_fields)
            return SetCustomFields(fields, gone) if fields or gone else None
        case SetTabs(recipient_id=recipient_id):
            return _tabs(mutation, merged, now) if merged.recipient(recipient_id) else None
        case AddRecipients(recipients=added):
            new = tuple(r for r in added if now.recipient(r.recipient_id) is None)
            return AddRecipients(new) if new else None
        case RemoveRecipients(recipient_ids=ids):
            there = tuple(i for i in ids if now.recipient(i) is not None)
            return RemoveRecipients(there) if there else None
        case AddDocuments(documents=documents):
            fresh = tuple(d for d in documents if now.document(d.document_id) is None)
            return AddDocuments(fresh) if fresh else None
        case RemoveDocuments(document_ids=document_ids):
            held = tuple(i for i in document_ids if now.document(i) is not None)
            return RemoveDocuments(held) if held else None
        case ReplaceDocument(document=document):
            wanted = merged.document(document.document_id)
            there_now = now.document(document.document_id)
            return ReplaceDocument(wanted) if wanted and wanted != there_now else None
        case _:
            return mutation


def _update(change: UpdateRecipient, merged: Definition, now: Definition) -> UpdateRecipient | None:
    wanted, held = merged.recipient(change.recipient_id), now.recipient(change.recipient_id)
    if wanted is None or held is None:
        return None
    left = replace(
        change,
        name=change.name if wanted.name != held.name else None,
        email=change.email if wanted.email != held.email else None,
        routing_order=change.routing_order if wanted.routing_order != held.routing_order else None,
    )
    return None if left == UpdateRecipient(change.recipient_id) else left


def _ids_of(change: UpdateRecipient | None) -> tuple[str, ...]:
    return () if change is None else (change.recipient_id,)


def _texts(
    mutation: ChangeMessage | CorrectEnvelope, merged: Definition, now: Definition
) -> tuple[str | None, str | None]:
    return (
        mutation.subject if merged.subject != now.subject else None,
        mutation.message if merged.message != now.message else None,
    )


def _tabs(mutation: SetTabs, merged: Definition, now: Definition) -> SetTabs | None:
    wanted, held = merged.recipient(mutation.recipient_id), now.recipient(mutation.recipient_id)
    if wanted is None or (held is not None and set(wanted.tabs) == set(held.tabs)):
        return None
    return replace(mutation, tabs=wanted.tabs)
