"""One conversation per mutation, in DocuSign's operations. Pure.

Only what changes is sent: DocuSign takes any ``email`` it is given for a new address and mails a
correction (SPEC Recipients_PutRecipients), while ``name`` is wanted with every recipient
(SPEC signer.name).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, assert_never
from urllib.parse import quote

from sealwax.calls import Applied, Mutate
from sealwax.definition import Definition, Document, Recipient, TabKind
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    CreateEnvelope,
    DiscardDraft,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    ResendEnvelope,
    SendEnvelope,
    SetCustomFields,
    SetExpiration,
    SetReminders,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)
from sealwax.providers import docusign_settings as settings
from sealwax.providers import docusign_shapes as shapes
from sealwax.providers.base import Conversation, NeedsPerson, Request
from sealwax.providers.docusign_errors import ask

Contents = Mapping[str, bytes]


def envelope_path(provider_envelope_id: str) -> str:
    """The path of one envelope under the account."""
    return f"/envelopes/{quote(provider_envelope_id, safe='')}"


def converse(provider_envelope_id: str, call: Mutate, contents: Contents) -> Conversation[Applied]:
    """The conversation that makes one mutation of an envelope that exists.

    Raises ``KeyError`` where ``contents`` lacks a document that the mutation brings, and
    ``ValueError`` for a create, which is no change of an envelope.
    """
    base = envelope_path(provider_envelope_id)
    mutation = call.mutation
    match mutation:
        case CreateEnvelope():
            raise ValueError("a create has a conversation of its own")
        case SendEnvelope():
            return _put_status(base, {"status": "sent"}, EnvelopeStatus.SENT)
        case VoidEnvelope(reason=reason):
            body = {"status": "voided", "voidedReason": reason}
            return _put_status(base, body, EnvelopeStatus.VOIDED)
        case DiscardDraft():
            return _discard(provider_envelope_id)
        case AddDocuments(documents=documents):
            return _add_documents(base, documents, contents)
        case ReplaceDocument(document=document):
            return _replace_document(base, document, contents)
        case RemoveDocuments(document_ids=ids):
            return _remove_documents(base, ids)
        case AddRecipients(recipients=recipients):
            return _add_recipients(base, call, recipients)
        case UpdateRecipient():
            return _put_recipients(base, _changed_recipients(call, (mutation,)))
        case ReorderRouting(orders=orders):
            changes = tuple(UpdateRecipient(r, routing_order=o) for r, o in orders.items())
            return _put_recipients(base, _changed_recipients(call, changes))
        case RemoveRecipients(recipient_ids=ids):
            return _remove_recipients(base, call, ids)
        case SetTabs():
            return _set_tabs(_tabs_path(base, call.numbers[mutation.recipient_id]), mutation)
        case ChangeMessage():
            return _put_texts(base, _texts(mutation))
        case CorrectEnvelope():
            return _correct(base, call, mutation)
        case SetReminders():
            return settings.set_notification(base, Definition("", reminders=call.after.reminders))
        case SetExpiration():
            return settings.set_notification(base, Definition("", expiration=call.after.expiration))
        case SetCustomFields():
            return settings.set_custom_fields(base, mutation)
        case ResendEnvelope(recipient_ids=ids):
            return _resend(base, call, ids)
    assert_never(mutation)


def _put_status(base: str, body: dict[str, str], status: EnvelopeStatus) -> Conversation[Applied]:
    # The service guards both by state: a void is taken from sent or delivered only, a send from a
    # draft (SPEC Envelopes_PutEnvelope).
    answer = yield from ask(_put_envelope(base, body))
    return Applied(facts=(Fact(status),), incarnations=shapes.incarnations(answer))


def _put_envelope(base: str, body: Any, query: Mapping[str, str] | None = None) -> Request:
    return Request(
        "Envelopes_PutEnvelope",
        "PUT",
        base,
        query=query or {},
        json=body,
        purpose="write",
        mutating=True,
    )


def bin_draft(provider_envelope_id: str) -> Conversation[None]:
    """Put an orphan draft into the bin, after a look that it is a draft."""
    path = envelope_path(provider_envelope_id)
    held = yield from ask(Request("Envelopes_GetEnvelope", "GET", path))
    status = str(held.get("status") or "").lower()
    if status == "deleted":
        return
    if status != "created":
        raise NeedsPerson(
            "ORPHAN_IN_PROCESS",
            f"envelope {provider_envelope_id} bears this one's mark and is {status}; void it at the"
            " provider if nobody wants it",
        )
    yield from _discard(provider_envelope_id)


def _discard(provider_envelope_id: str) -> Conversation[Applied]:
    # There is no DELETE of an envelope; a draft ends in the bin (SPEC Folders_PutFolderById).
    yield from ask(
        Request(
            "Folders_PutFolderById",
            "PUT",
            "/folders/recyclebin",
            json={"envelopeIds": [provider_envelope_id]},
            purpose="write",
            mutating=True,
        )
    )
    return Applied(facts=(Fact(EnvelopeStatus.DELETED),))


def _add_documents(
    base: str, documents: tuple[Document, ...], contents: Contents
) -> Conversation[Applied]:
    body = {"documents": shapes.documents_json(documents, contents)}
    yield from ask(
        Request(
            "Documents_PutDocuments",
            "PUT",
            f"{base}/documents",
            json=body,
            purpose="upload",
            mutating=True,
        )
    )
    return Applied()


def _replace_document(base: str, document: Document, contents: Contents) -> Conversation[Applied]:
    yield from ask(
        Request(
            "Documents_PutDocument",
            "PUT",
            f"{base}/documents/{document.document_id}",
            content=contents[document.blob.digest],
            headers={
                "Content-Type": document.blob.media_type,
                "Content-Disposition": _disposition(document.name),
            },
            purpose="upload",
            mutating=True,
        )
    )
    return Applied()


def _disposition(name: str) -> str:
    # A header is ASCII and one line; a name that is not gets its full form in RFC 5987's way.
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    full = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    return f'filename="{plain}"{full}'


def _remove_documents(base: str, ids: Iterable[int]) -> Conversation[Applied]:
    yield from ask(
        Request(
            "Documents_DeleteDocuments",
            "DELETE",
            f"{base}/documents",
            json={"documents": [{"documentId": str(i)} for i in ids]},
            purpose="write",
            mutating=True,
        )
    )
    return Applied()


def _add_recipients(base: str, call: Mutate, added: tuple[Recipient, ...]) -> Conversation[Applied]:
    # SPEC Recipients_PostRecipients: tabs in its body are not added, and in process a recipient
    # whose turn has come already is mailed only by a resend. Nobody is to be called before the
    # fields stand, and a mail must leave a trace by which a look can tell that it went out: so
    # those whose turn it is are added behind everybody else, get their tabs, and are then moved to
    # their place and mailed by one request. That they stand in their place shows the mail.
    shown: Any = {}
    in_process = call.status is not EnvelopeStatus.CREATED
    if in_process or call.attempt > 1:
        shown = yield from ask(_get_recipients(base, {"include_tabs": "true"}))
    people = {str(p["recipientId"]): p for p in shapes.people(shown)}
    held = {number: shapes.held_tabs(p.get("tabs")) for number, p in people.items()}
    due = _due(shown, call, added) if in_process else []
    guids = shapes.incarnations(shown)
    missing = [r for r in added if call.numbers[r.recipient_id] not in held]
    if missing:
        behind = max(r.routing_order for r in call.after.recipients) + 1
        placed = [replace(r, routing_order=behind) if r in due else r for r in missing]
        guids |= shapes.incarnations((yield from _post_recipients(base, call, placed)))
    for recipient in added:
        number = call.numbers[recipient.recipient_id]
        standing = held.get(number, {})
        tabs = [t for t in recipient.tabs if (t.kind, t.label) not in standing]
        if tabs:
            body = shapes.tabs_json((t.kind, shapes.tab_json(t)) for t in tabs)
            path = _tabs_path(base, number)
            yield from ask(_tabs_request("Recipients_PostRecipientTabs", "POST", path, body))
    guids |= yield from _call_to_places(base, call, due, people)
    return Applied(incarnations=guids)


def _due(shown: Any, call: Mutate, added: tuple[Recipient, ...]) -> list[Recipient]:
    current = str(shown.get("currentRoutingOrder") or "")
    if not current.isdecimal():
        return []
    # Added behind by an earlier try, they may be all that is left, and their turn have come there.
    ours = {call.numbers[r.recipient_id] for r in added}
    others = [
        int(str(p.get("routingOrder")))
        for p in shapes.people(shown)
        if str(p["recipientId"]) not in ours and str(p.get("routingOrder")).isdecimal()
    ]
    reached = min(int(current), max(others, default=int(current)))
    return [r for r in added if r.routing_order <= reached]


def _call_to_places(
    base: str, call: Mutate, due: list[Recipient], people: Mapping[str, Any]
) -> Conversation[dict[str, str]]:
    """Move to their places those who stand behind, and mail those who were not mailed there."""
    moved: dict[str, str] = {}
    out = [r for r in due if not _in_place(people.get(call.numbers[r.recipient_id]), r)]
    mailed = [r for r in out if _reached(people.get(call.numbers[r.recipient_id]))]
    for query, group in (
        ({"resend_envelope": "true"}, [r for r in out if r not in mailed]),
        ({}, mailed),
    ):
        entries = [
            (r, {**_identified(call, r), "routingOrder": str(r.routing_order)}) for r in group
        ]
        if entries:
            applied = yield from _put_recipients(base, shapes.recipients_json(entries), query)
            moved |= applied.incarnations
    return moved


def _reached(person: Mapping[str, Any] | None) -> bool:
    return person is not None and str(person.get("status") or "created").lower() != "created"


def _in_place(person: Mapping[str, Any] | None, wanted: Recipient) -> bool:
    return person is not None and str(person.get("routingOrder")) == str(wanted.routing_order)


def _post_recipients(base: str, call: Mutate, recipients: Iterable[Recipient]) -> Conversation[Any]:
    entries = (
        (r, shapes.recipient_json(r, call.numbers[r.recipient_id], with_tabs=False))
        for r in recipients
    )
    return (
        yield from ask(
            Request(
                "Recipients_PostRecipients",
                "POST",
                f"{base}/recipients",
                json=shapes.recipients_json(entries),
                purpose="write",
                mutating=True,
            )
        )
    )


def _get_recipients(base: str, query: Mapping[str, str]) -> Request:
    return Request("Recipients_GetRecipients", "GET", f"{base}/recipients", query=query)


def _resend(base: str, call: Mutate, ids: tuple[str, ...]) -> Conversation[Applied]:
    # Each sends mails again, every time (SPEC Envelopes_PutEnvelope and Recipients_PutRecipients,
    # resend_envelope). A name belongs to every recipient; an e-mail would be a correction.
    query = {"resend_envelope": "true"}
    if not ids:
        yield from ask(_put_envelope(base, {}, query))
        return Applied()
    chosen = [_known(call.after, recipient_id) for recipient_id in ids]
    entries = ((r, _identified(call, r)) for r in chosen)
    return (yield from _put_recipients(base, shapes.recipients_json(entries), query))


def _identified(call: Mutate, recipient: Recipient) -> dict[str, Any]:
    return {"recipientId": call.numbers[recipient.recipient_id], "name": recipient.name}


def _changed_recipients(
    call: Mutate, changes: Iterable[UpdateRecipient]
) -> dict[str, list[dict[str, Any]]]:
    return shapes.recipients_json(_changed_recipient(call, change) for change in changes)


def _changed_recipient(call: Mutate, change: UpdateRecipient) -> tuple[Recipient, dict[str, Any]]:
    before = _known(call.before, change.recipient_id)
    after = _known(call.after, change.recipient_id)
    entry = _identified(call, after)
    if after.email != before.email:
        entry["email"] = after.email
    if after.routing_order != before.routing_order:
        entry["routingOrder"] = str(after.routing_order)
    return after, entry


def _known(definition: Definition, recipient_id: str) -> Recipient:
    held = definition.recipient(recipient_id)
    if held is None:
        raise KeyError(f"the definition has no recipient {recipient_id}")
    return held


def _put_recipients(
    base: str, recipients: dict[str, Any], query: Mapping[str, str] | None = None
) -> Conversation[Applied]:
    answer = yield from ask(
        Request(
            "Recipients_PutRecipients",
            "PUT",
            f"{base}/recipients",
            query=query or {},
            json=recipients,
            purpose="write",
            mutating=True,
        )
    )
    return Applied(incarnations=shapes.incarnations(answer))


def _remove_recipients(base: str, call: Mutate, ids: tuple[str, ...]) -> Conversation[Applied]:
    removed = [_known(call.before, recipient_id) for recipient_id in ids]
    entries = ((r, {"recipientId": call.numbers[r.recipient_id]}) for r in removed)
    yield from ask(
        Request(
            "Recipients_DeleteRecipients",
            "DELETE",
            f"{base}/recipients",
            json=shapes.recipients_json(entries),
            purpose="write",
            mutating=True,
        )
    )
    return Applied()


def _tabs_path(base: str, number: str) -> str:
    return f"{base}/recipients/{quote(number, safe='')}/tabs"


def _tabs_request(operation: str, method: str, path: str, tabs: Any) -> Request:
    return Request(operation, method, path, json=tabs, purpose="write", mutating=True)


def _set_tabs(path: str, mutation: SetTabs) -> Conversation[Applied]:
    # Adding is not repeatable (SPEC Recipients_PostRecipientTabs adds again), so the tabs that
    # stand are read first and only the difference is made.
    shown = yield from ask(Request("Recipients_GetRecipientTabs", "GET", path, purpose="read"))
    wanted = {(t.kind, t.label): shapes.tab_json(t) for t in mutation.tabs}
    gone, changed, new = tab_difference(shapes.held_tabs(shown), wanted)
    if gone:
        body = shapes.tabs_json(gone)
        yield from ask(_tabs_request("Recipients_DeleteRecipientTabs", "DELETE", path, body))
    if changed:
        body = shapes.tabs_json(changed)
        yield from ask(_tabs_request("Recipients_PutRecipientTabs", "PUT", path, body))
    if new:
        body = shapes.tabs_json(new)
        yield from ask(_tabs_request("Recipients_PostRecipientTabs", "POST", path, body))
    return Applied()


TabEntries = list[tuple[TabKind, dict[str, str]]]


def tab_difference(
    held: Mapping[tuple[TabKind, str], list[dict[str, str]]],
    wanted: Mapping[tuple[TabKind, str], dict[str, str]],
) -> tuple[TabEntries, TabEntries, TabEntries]:
    """What to delete (by ``tabId``), to change (by ``tabId``) and to add, to get from one to other.

    An anchored tab may stand several times, once per occurrence of its text; a group that is not
    as wanted throughout is replaced whole, as is one that changes between anchor and position.
    """
    gone: TabEntries = []
    changed: TabEntries = []
    new: TabEntries = []
    for (kind, label), entries in held.items():
        want = wanted.get((kind, label))
        if want is None:
            gone += [(kind, {"tabId": e.get("tabId", "")}) for e in entries]
        elif len(entries) > 1 and "anchorString" not in want:
            gone += [(kind, {"tabId": e.get("tabId", "")}) for e in entries[1:]]
            _difference_of_one(kind, entries[0], want, (gone, changed, new))
        elif len(entries) == 1:
            _difference_of_one(kind, entries[0], want, (gone, changed, new))
        elif not all(_as_wanted(e, want) for e in entries):
            gone += [(kind, {"tabId": e.get("tabId", "")}) for e in entries]
            new.append((kind, want))
    new += [(kind, want) for (kind, label), want in wanted.items() if (kind, label) not in held]
    return gone, changed, new


def _difference_of_one(
    kind: TabKind,
    entry: dict[str, str],
    want: dict[str, str],
    into: tuple[TabEntries, TabEntries, TabEntries],
) -> None:
    gone, changed, new = into
    if _as_wanted(entry, want):
        return
    if ("anchorString" in want) == bool(entry.get("anchorString")):
        changed.append((kind, {"tabId": entry.get("tabId", ""), **want}))
    else:
        gone.append((kind, {"tabId": entry.get("tabId", "")}))
        new.append((kind, want))


def _as_wanted(entry: Mapping[str, str], want: Mapping[str, str]) -> bool:
    if ("anchorString" in want) != bool(entry.get("anchorString")):
        return False
    return all(entry.get(key, "") == value for key, value in want.items())


def _texts(mutation: ChangeMessage | CorrectEnvelope) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if mutation.subject is not None:
        body["emailSubject"] = mutation.subject
    if mutation.message is not None:
        body["emailBlurb"] = mutation.message
    return body


def _put_texts(base: str, body: dict[str, Any]) -> Conversation[Applied]:
    yield from ask(_put_envelope(base, body))
    return Applied()


def _correct(base: str, call: Mutate, mutation: CorrectEnvelope) -> Conversation[Applied]:
    # Setting the status "correct" is the web session's own and refused here; an advanced update
    # changes a sent envelope in one call (SPEC Envelopes_PutEnvelope, advanced_update).
    body = _texts(mutation)
    if mutation.recipients:
        body["recipients"] = _changed_recipients(call, mutation.recipients)
    answer = yield from ask(_put_envelope(base, body, {"advanced_update": "true"}))
    return Applied(incarnations=shapes.incarnations(answer))
