"""An envelope's history as the provider tells it (SPEC AuditEvents_GetAuditEvents).

The words of `Action` are not in SPEC ("Reserved: TBD"). "Registered" and "Sent Invitations" stand
in docusign.com docs, "Rules for accessing envelope events", the others in a list that a user
collected from answers (stackoverflow.com 13071064). Which of them a resend leaves, and that each
mail leaves one, is an assumption, unverified; so is the casing of field names in REST.
"""

from __future__ import annotations

from simulator.dialect.context import Answer, Context
from simulator.model import stamp

_ACTIONS = {
    "created": "Registered",
    "resent": "Resent",
    "voided": "Voided",
    "declined": "Declined",
    "completed": "Completed",
}
_OF_RECIPIENTS = {"opened": "Viewed", "signed": "Signed", "declined": "Declined"}
_MAILS = {"sent": "Sent Invitations", "corrected": "Sent Invitations", "resent": "Resent"}


def action(note: str) -> str:
    """The provider's word for a line of the simulator's history; the line itself for others."""
    if note in _ACTIONS:
        return _ACTIONS[note]
    head, _, last = note.rpartition(" ")
    if note.startswith("mail to recipient "):
        return _MAILS.get(last, note)
    if note.startswith("recipient "):
        return _OF_RECIPIENTS.get(last, note)
    return "Corrected" if "_" in head.partition(" ")[0] else note


async def audit_events(context: Context) -> Answer:
    """SPEC AuditEvents_GetAuditEvents: the whole history, oldest first."""
    envelope = context.envelope
    events = []
    for at, what in envelope.history:
        fields = {
            "logTime": stamp(at),
            "Source": "api",
            "UserId": envelope.sender_id,
            "Action": action(what),
            "Message": what,
            "EnvelopeStatus": envelope.status,
        }
        events.append({"eventFields": [{"name": k, "value": v} for k, v in fields.items()]})
    return Answer(200, {"auditEvents": events})
