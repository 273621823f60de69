"""Which mutation is legal in which status of an envelope, and what it does to the status."""

from __future__ import annotations

from sealwax.definition import Refusal, RefusalCode
from sealwax.facts import EnvelopeStatus, read_cells

# 'yes' means legal. Rules: SPEC Envelopes_PutEnvelope (void only from sent or delivered; draft
# changes), Documents_PutDocuments and Documents_DeleteDocuments (created, sent, delivered),
# Recipients_PutRecipients (Created, Sent, Delivered), Recipients_DeleteRecipient (draft or sent).
# A subject changes on a draft directly and in process only by an advanced update.
# Notification_PutEnvelopesEnvelopeIdNotification (an existing envelope; only in these does it
# matter), CustomFields_PutCustomFields (draft and in process). A resend needs somebody who was
# mailed.
_LEGAL = """
                   new  rejected created sent delivered signed deleted declined voided completed
create             yes  no       no      no   no        no     no      no       no     no
send               no   no       yes     no   no        no     no      no       no     no
add_documents      no   no       yes     yes  yes       no     no      no       no     no
replace_document   no   no       yes     yes  yes       no     no      no       no     no
remove_documents   no   no       yes     yes  yes       no     no      no       no     no
add_recipients     no   no       yes     yes  yes       no     no      no       no     no
update_recipient   no   no       yes     yes  yes       no     no      no       no     no
remove_recipients  no   no       yes     yes  no        no     no      no       no     no
reorder_routing    no   no       yes     yes  yes       no     no      no       no     no
set_tabs           no   no       yes     yes  yes       no     no      no       no     no
change_message     no   no       yes     no   no        no     no      no       no     no
correct            no   no       no      yes  yes       no     no      no       no     no
set_reminders      no   no       yes     yes  yes       no     no      no       no     no
set_expiration     no   no       yes     yes  yes       no     no      no       no     no
set_custom_fields  no   no       yes     yes  yes       no     no      no       no     no
resend             no   no       no      yes  yes       no     no      no       no     no
void               no   no       no      yes  yes       no     no      no       no     no
discard            no   no       yes     no   no        no     no      no       no     no
"""


LEGAL = {pair: cell == "yes" for pair, cell in read_cells(_LEGAL).items()}
"""(mutation kind, envelope status) -> legal. Every pair is decided."""


LEAVES = {
    "create": EnvelopeStatus.CREATED,
    "send": EnvelopeStatus.SENT,
    "void": EnvelopeStatus.VOIDED,
    "discard": EnvelopeStatus.DELETED,
}
"""The status that a mutation itself brings about, where it brings one."""


def check_legal(status: EnvelopeStatus, kind: str) -> None:
    """Raise ``Refusal`` naming the status and what it allows, where the table says no."""
    if LEGAL[kind, status]:
        return
    allowed = sorted(k for (k, s), legal in LEGAL.items() if legal and s == status)
    raise Refusal(
        RefusalCode.ILLEGAL_IN_STATUS,
        f"{kind} is not possible while the envelope is {status};"
        f" possible now: {', '.join(allowed) if allowed else 'nothing, it is final'}",
    )
