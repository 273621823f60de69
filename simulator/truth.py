"""The JSON form of the ledger of truth, as the control API answers it."""

from __future__ import annotations

from typing import Any

from simulator.connect import Connect
from simulator.ledger import Fault, Ledger
from simulator.limits import Limits
from simulator.model import RECIPIENT_KINDS, Envelope, Recipient, stamp
from simulator.sessions import Sessions


def recipient_truth(envelope: Envelope, recipient: Recipient) -> dict[str, Any]:
    """One recipient: definition, status and tabs."""
    progress = envelope.progress_of(recipient)
    return {
        "recipientId": recipient.recipient_id,
        "recipientIdGuid": recipient.guid,
        "type": RECIPIENT_KINDS[recipient.kind],
        "name": recipient.name,
        "email": recipient.email,
        "routingOrder": recipient.order,
        "status": progress.status,
        "clientUserId": recipient.fields.get("clientUserId"),
        "signed": stamp(progress.signed),
        "declinedReason": progress.declined_reason or None,
        "values": dict(progress.values),
        "tabs": [
            {**tab, "tabType": str(tab.get("tabType") or kind.removesuffix("Tabs").lower())}
            for kind, tabs in recipient.tabs.items()
            for tab in tabs
        ],
    }


def envelope_truth(envelope: Envelope) -> dict[str, Any]:
    """One envelope: everything that really holds of it."""
    definition = envelope.definition
    return {
        "envelopeId": envelope.envelope_id,
        "accountId": envelope.account_id,
        "status": envelope.status,
        "transactionId": envelope.transaction_id or None,
        "customFields": {c.name: c.fields.get("value") for c in definition.custom_fields},
        "emailSubject": definition.email_subject,
        "emailBlurb": definition.email_blurb,
        "notification": definition.notification,
        "documents": [
            {
                "documentId": d.document_id,
                "name": d.name,
                "sha256": d.sha256,
                "bytes": len(d.content),
            }
            for d in definition.documents
        ],
        "recipients": [recipient_truth(envelope, r) for r in definition.recipients],
        "removedRecipients": [
            {
                **recipient_truth(envelope, r.recipient),
                "status": r.status,
                "why": r.why,
                "at": stamp(r.at),
            }
            for r in envelope.removed
        ],
        "voidedReason": envelope.voided_reason or None,
        "folder": envelope.folder,
        "created": stamp(envelope.created),
        "sent": stamp(envelope.times.get("sent")),
        "completed": stamp(envelope.times.get("completed")),
        "history": [{"at": stamp(at), "what": what} for at, what in envelope.history],
    }


def fault_counts(faults: list[Fault]) -> dict[str, dict[str, int]]:
    """By mode: how often it struck, and how often an envelope was changed all the same."""
    counts: dict[str, dict[str, int]] = {}
    for fault in faults:
        count = counts.setdefault(fault.mode, {"struck": 0, "committed": 0})
        count["struck"] += 1
        count["committed"] += fault.committed is True
    return counts


def ledger_truth(
    ledger: Ledger,
    account_id: str | None,
    calls: bool,
    connect: Connect,
    sessions: Sessions,
    limits: Limits,
) -> dict[str, Any]:
    """The whole ledger, of one account or of all."""
    held = sessions.listed(account_id)
    in_account = [c for c in ledger.calls if account_id in (None, c.account_id)]
    writes = [w for w in ledger.writes if account_id in (None, w.call.account_id)]
    lost = [w.write_id for w in writes if w.lost]
    overlaps = [n for account, n in ledger.overlaps.items() if account_id in (None, account)]
    faults = [f for f in ledger.faults if account_id in (None, f.call.account_id)]
    body = {
        "envelopes": [
            envelope_truth(e)
            for e in ledger.envelopes.values()
            if account_id in (None, e.account_id)
        ],
        "writes": [w.truth() for w in writes],
        "mails": [m for m in ledger.mails if account_id in (None, m["accountId"])],
        "deliveries": connect.view(),
        "withheld": connect.withheld(account_id),
        "lost_updates": lost,
        "lost_update_count": len(lost),
        "overlaps": sum(overlaps),
        "calls_total": len(in_account),
        "sessions": [s.truth() for s in held],
        "kicked": sum(s.kicked for s in held),
        "input_lost": sum(s.input_lost for s in held),
        "faults": [f.truth() for f in faults],
        "fault_counts": fault_counts(faults),
        "late_pending": sum(f.committed is None for f in faults),
        "limits": limits.truths(account_id),
    }
    if calls:
        body["calls"] = [c.truth() for c in in_account]
    return body
