"""Signing URLs for embedded recipients (SPEC Views_PostEnvelopeRecipientView)."""

from __future__ import annotations

from typing import Any

from simulator.dialect.context import Answer, Context
from simulator.errors import invalid_body, not_in_sequence, unknown_recipient, wrong_status
from simulator.model import IN_PROCESS, Envelope, Recipient


def find(envelope: Envelope, body: dict[str, Any]) -> Recipient:
    """The recipient that a request means; every identification given must fit.

    Raises UNKNOWN_ENVELOPE_RECIPIENT; so it does for recipients without clientUserId.
    """
    email, name = body.get("email"), body.get("userName")
    wanted = body.get("recipientId")
    if not wanted and not (email and name):
        raise invalid_body("Give recipientId, or email and userName.")
    for recipient in envelope.definition.recipients:
        fits = (
            (not wanted or str(wanted) in (recipient.recipient_id, recipient.guid))
            and (not email or str(email).lower() == recipient.email.lower())
            and (not name or name == recipient.name)
        )
        same_client = str(body.get("clientUserId") or "") == recipient.fields.get("clientUserId")
        if fits and same_client:
            return recipient
    raise unknown_recipient()


async def post_recipient(context: Context) -> Answer:
    """A URL, used once within five minutes; the envelope does not change."""
    envelope, body = context.envelope, context.body()
    for key in ("returnUrl", "authenticationMethod"):
        if not body.get(key):
            raise invalid_body(f"{key} is required.")
    if envelope.status not in IN_PROCESS:
        raise wrong_status("Sent", "Delivered")
    recipient = find(envelope, body)
    if envelope.progress_of(recipient).status == "created":
        raise not_in_sequence()
    session = context.service.sessions.issue(
        context.account_id, envelope.envelope_id, recipient.guid, str(body["returnUrl"])
    )
    return Answer(201, {"url": context.base_url + session.path})
