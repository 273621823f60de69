"""Signing URLs for embedded recipients (SPEC Views_PostEnvelopeRecipientView)."""

from __future__ import annotations

from typing import Any

from simulator.dialect.context import Answer, Context
from simulator.dialect.shapes import whole
from simulator.errors import invalid_body, not_in_sequence, unknown_recipient, wrong_status
from simulator.model import IN_PROCESS, Envelope, Recipient
from simulator.sessions import PING_S_DEFAULT, View
from simulator.subscriptions import reachable

CLIENT_USER_ID_LIMIT = 100
PING_S_MIN, PING_S_MAX = 60, 1200
# SPEC recipientViewRequest.authenticationMethod; compared without case, as samples write `none`.
AUTHENTICATION_METHODS = {
    "biometric",
    "email",
    "httpbasicauth",
    "kerberos",
    "knowledgebasedauth",
    "none",
    "paperdocuments",
    "password",
    "rsasecureid",
    "singlesignon_casiteminder",
    "singlesignon_infocard",
    "singlesignon_microsoftactivedirectory",
    "singlesignon_other",
    "singlesignon_passport",
    "singlesignon_saml",
    "smartcard",
    "sslmutualauth",
    "x509certificate",
}


def find(envelope: Envelope, body: dict[str, Any]) -> Recipient:
    """The recipient that a request means; every identification given must fit.

    `userId` of an embedded recipient "must match a recipientId" (SPEC recipientViewRequest).
    Raises UNKNOWN_ENVELOPE_RECIPIENT; so it does for recipients without clientUserId.
    """
    email, name = body.get("email"), body.get("userName")
    wanted = [str(body[key]) for key in ("recipientId", "userId") if body.get(key)]
    if not wanted and not (email and name):
        raise invalid_body("Give recipientId, userId, or email and userName.")
    for recipient in envelope.definition.recipients:
        fits = (
            all(w in (recipient.recipient_id, recipient.guid) for w in wanted)
            and (not email or str(email).lower() == recipient.email.lower())
            and (not name or name == recipient.name)
        )
        same_client = str(body.get("clientUserId") or "") == recipient.fields.get("clientUserId")
        if fits and same_client:
            return recipient
    raise unknown_recipient()


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key) or ""
    if not isinstance(value, str) or not value.isprintable():
        raise invalid_body(f"{key} must be a string.")
    return value


def view(body: dict[str, Any], plain_http: bool) -> View:
    """Check a recipientViewRequest; raises INVALID_REQUEST_BODY.

    What the provider answers to an unknown authenticationMethod, a pingFrequency out of bounds
    ("Valid values are 60-1200 seconds") or a clientUserId above 100 characters is unverified.
    """
    for key in ("returnUrl", "authenticationMethod"):
        if not _text(body, key):
            raise invalid_body(f"{key} is required.")
    if _text(body, "authenticationMethod").lower() not in AUTHENTICATION_METHODS:
        raise invalid_body("authenticationMethod is none of the documented values.")
    if len(str(body.get("clientUserId") or "")) > CLIENT_USER_ID_LIMIT:
        raise invalid_body(f"clientUserId has more than {CLIENT_USER_ID_LIMIT} characters.")
    ping_url, ping_s = _text(body, "pingUrl"), PING_S_DEFAULT
    if ping_url:
        given = whole(str(body.get("pingFrequency") or PING_S_DEFAULT))
        if given is None or not PING_S_MIN <= given <= PING_S_MAX:
            raise invalid_body(f"pingFrequency must be {PING_S_MIN} to {PING_S_MAX} seconds.")
        if not reachable(ping_url, plain_http):
            raise invalid_body("pingUrl must be an https URL.")
        ping_s = given
    return View(_text(body, "returnUrl"), ping_url, ping_s)


async def post_recipient(context: Context) -> Answer:
    """A URL, used once within five minutes; the envelope does not change.

    `delivered` is accepted besides `sent`, the only status that the prose names (unverified).
    """
    envelope, body = context.envelope, context.body()
    wanted = view(body, context.service.connect.plain_http)
    if envelope.status not in IN_PROCESS:
        raise wrong_status("Sent", "Delivered")
    recipient = find(envelope, body)
    if envelope.progress_of(recipient).status == "created":
        raise not_in_sequence()
    session = context.service.sessions.issue(context.account_id, envelope, recipient, wanted)
    return Answer(201, {"url": context.base_url + session.path})
