"""Conversations about what stands beside an envelope's documents and recipients: its reminders and
end, its custom fields, and its own history. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sealwax.calls import Applied
from sealwax.definition import Definition
from sealwax.mutations import SetCustomFields
from sealwax.observations import MailTrail
from sealwax.providers import docusign_shapes as shapes
from sealwax.providers.base import Conversation, ProviderRejected, Request
from sealwax.providers.docusign_errors import ask

# What SPEC leaves open ("Reserved: TBD") people have collected: the actions that are known of
# AuditEvents_GetAuditEvents (docusign.com docs, "Rules for accessing envelope events";
# stackoverflow.com 13071064). An action that is in neither set may be anything, a mail as well.
_MAILS = frozenset({"resent", "sent invitations"})
_NO_MAILS = frozenset(
    {
        "registered",
        "printable copy delivered",
        "printable copy attached to email",
        "accesscode passed",
        "accesscode failed",
        "opened",
        "viewed",
        "viewed in-session",
        "signed",
        "approved",
        "declined",
        "voided",
        "completed",
        "correction initiated",
        "correction cancelled",
        "corrected",
    }
)


def set_notification(base: str, wanted: Definition) -> Conversation[Applied]:
    """Set reminders or end as ``wanted`` says; what it leaves None stays as it is.

    The call replaces both (SPEC Notification_PutEnvelopesEnvelopeIdNotification), so both are read
    first. It sends no mail.
    """
    held = yield from ask(notification_request(base))
    yield from ask(
        Request(
            "Notification_PutEnvelopesEnvelopeIdNotification",
            "PUT",
            f"{base}/notification",
            json=shapes.notification_json(wanted, held),
            purpose="write",
            mutating=True,
        )
    )
    return Applied()


def notification_request(base: str) -> Request:
    """A read of reminders and end; the envelope itself shows the end alone."""
    name = "Notification_GetEnvelopesEnvelopeIdNotification"
    return Request(name, "GET", f"{base}/notification")


def set_custom_fields(base: str, mutation: SetCustomFields) -> Conversation[Applied]:
    """Make the text fields as wanted, by the difference to those that stand.

    Adding is not repeatable (SPEC CustomFields_PostCustomFields adds again), so they are read
    first; of a name that stands more than once all but the first go.
    """
    path = f"{base}/custom_fields"
    shown = yield from ask(Request("CustomFields_GetCustomFields", "GET", path))
    held = shapes.held_fields(shown)
    gone = [_named(e) for name in mutation.remove for e in held.get(name, [])]
    changed, new = [], []
    for name, value in mutation.values.items():
        entries = held.get(name, [])
        gone += [_named(e) for e in entries[1:]]
        if not entries:
            new.append(shapes.text_field(name, value))
        elif entries[0]["value"] != value:
            changed.append({**_named(entries[0]), **shapes.text_field(name, value)})
    if gone:
        yield from ask(_fields_request("CustomFields_DeleteCustomFields", "DELETE", path, gone))
    if changed:
        yield from ask(_fields_request("CustomFields_PutCustomFields", "PUT", path, changed))
    if new:
        yield from ask(_fields_request("CustomFields_PostCustomFields", "POST", path, new))
    return Applied()


def _named(entry: Mapping[str, str]) -> dict[str, str]:
    return {"fieldId": entry["fieldId"]}


def _fields_request(
    operation: str, method: str, path: str, fields: list[dict[str, str]]
) -> Request:
    body = {"textCustomFields": fields}
    return Request(operation, method, path, json=body, purpose="write", mutating=True)


def mail_trail(base: str) -> Conversation[MailTrail | None]:
    """The mails that the envelope's history tells of; None where this user may not read it.

    SPEC AuditEvents_GetAuditEvents. It is the whole history, so it is asked for only around a
    resend.
    """
    request = Request("AuditEvents_GetAuditEvents", "GET", f"{base}/audit_events")
    try:
        answer = yield from ask(request)
    except ProviderRejected:
        return None
    return trail_of(answer)


def trail_of(answer: Mapping[str, Any]) -> MailTrail | None:
    """The count of mails in a history; None where the answer is none."""
    events = answer.get("auditEvents")
    if not isinstance(events, list):
        return None
    actions = [_action(event) for event in events]
    mails = sum(action in _MAILS for action in actions)
    return MailTrail(mails, sum(a not in _MAILS and a not in _NO_MAILS for a in actions))


def _action(event: Any) -> str:
    fields = event.get("eventFields") if isinstance(event, dict) else None
    for field in fields if isinstance(fields, list) else []:
        if isinstance(field, dict) and str(field.get("name") or "").lower() == "action":
            return str(field.get("value") or "").strip().lower()
    return ""
