"""What really took effect, per envelope: the form of the ledger of truth that a judge needs.

Two calls have the same fingerprint when they ask for the same, word for word. That alone is no
proof of a double effect: a caller may want the same twice. `repeats` therefore tells how many of
such calls made a difference, and `blind` how many of these arrived after one that made a
difference without its caller being answered, which is what a blind retry does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from simulator.ledger import Ledger, Write
from simulator.model import Envelope
from simulator.truth import envelope_truth, fault_counts

Mails = list[dict[str, Any]]
_CREATE = "Envelopes_PostEnvelopes"


def repeats(writes: Iterable[Write]) -> list[dict[str, Any]]:
    """Groups of calls that were carried out, asked for the same, and came more than once."""
    groups: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        if write.accepted:
            groups[write.fingerprint].append(write)
    return [_repeat(group) for group in groups.values() if len(group) > 1]


def _repeat(group: list[Write]) -> dict[str, Any]:
    # By arrival: a late commit may come after the retry that it makes a double effect.
    group = sorted(group, key=lambda w: w.call.at)
    effective = [w for w in group if w.changed]
    blind = sum(
        any(not earlier.call.answered for earlier in effective[:index])
        for index in range(len(effective))
    )
    return {
        "fingerprint": group[0].fingerprint,
        "operationId": group[0].call.operation_id,
        "envelopeIds": sorted({w.envelope_id for w in group}),
        "writes": [w.write_id for w in group],
        "effective": len(effective),
        "blind": blind,
    }


def _detail(envelope: Envelope, writes: list[Write], mails: Mails) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mail in mails:
        counts[mail["recipientId"]][mail["why"]] += 1
    return {
        **envelope_truth(envelope),
        "effects": [w.truth() for w in writes if w.accepted],
        "repeats": repeats(w for w in writes if w.call.operation_id != _CREATE),
        "mails": mails,
        "mailCounts": {recipient: dict(count) for recipient, count in counts.items()},
    }


def envelope_effects(ledger: Ledger, envelope: Envelope) -> dict[str, Any]:
    """One envelope: its truth, each call that took effect, each mail."""
    return _detail(
        envelope,
        [w for w in ledger.writes if w.envelope_id == envelope.envelope_id],
        [m for m in ledger.mails if m["envelopeId"] == envelope.envelope_id],
    )


def whole_truth(ledger: Ledger, account_id: str | None, marker: str | None) -> dict[str, Any]:
    """All envelopes of one account or of all, and what stands out across them.

    `marker` is the name of a custom field whose values are meant to be unique.
    """
    envelopes = [e for e in ledger.envelopes.values() if account_id in (None, e.account_id)]
    writes = [w for w in ledger.writes if account_id in (None, w.call.account_id)]
    mails = [m for m in ledger.mails if account_id in (None, m["accountId"])]
    faults = [f for f in ledger.faults if account_id in (None, f.call.account_id)]
    by_envelope: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        by_envelope[write.envelope_id].append(write)
    mailed: dict[str, Mails] = defaultdict(list)
    for mail in mails:
        mailed[mail["envelopeId"]].append(mail)
    told = [_detail(e, by_envelope[e.envelope_id], mailed[e.envelope_id]) for e in envelopes]
    created = repeats(w for w in writes if w.call.operation_id == _CREATE)
    every_repeat = [*created, *(r for shape in told for r in shape["repeats"])]
    lost = [w.write_id for w in writes if w.lost]
    return {
        "envelopes": told,
        "duplicates": duplicates(envelopes, marker),
        "repeated_creates": created,
        "repeats": len(every_repeat),
        "blind_repeats": sum(r["blind"] for r in every_repeat),
        "drafts_left": [e.envelope_id for e in envelopes if e.status == "created"],
        "lost_updates": lost,
        "lost_update_count": len(lost),
        "mail_counts": dict(Counter(m["why"] for m in mails)),
        "fault_counts": fault_counts(faults),
        "late_pending": sum(f.committed is None for f in faults),
    }


def duplicates(envelopes: list[Envelope], marker: str | None) -> list[dict[str, Any]]:
    """Values of transactionId, and of the marker, that more than one envelope carries."""
    found = []
    by_value: dict[tuple[str, str], list[Envelope]] = defaultdict(list)
    for envelope in envelopes:
        for key in _marks(envelope, marker):
            by_value[key].append(envelope)
    for (by, value), sharing in by_value.items():
        if len(sharing) > 1:
            shown = [{"envelopeId": e.envelope_id, "status": e.status} for e in sharing]
            found.append({"by": by, "value": value, "envelopes": shown})
    return found


def _marks(envelope: Envelope, marker: str | None) -> list[tuple[str, str]]:
    """The envelope's values that are meant to be unique, each once, in a fixed order."""
    marks = [("transactionId", envelope.transaction_id)] if envelope.transaction_id else []
    for custom in envelope.definition.custom_fields:
        if marker and custom.name == marker:
            marks.append((marker, str(custom.fields.get("value", ""))))
    return list(dict.fromkeys(marks))
