"""What a read of an envelope shows, and what it proves about a mutation.

A read is a set of facts and a picture of the definition; it never replaces our state. It is used
to join facts, to learn who a recipient's current incarnation is, and to find out whether a
mutation whose answer was lost took effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sealwax.definition import (
    Definition,
    Expiration,
    Recipient,
    RecipientKind,
    Reminders,
    TabKind,
)
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
    CreateEnvelope,
    DiscardDraft,
    Mutation,
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


@dataclass(frozen=True, slots=True)
class ObservedRecipient:
    """A recipient as the provider shows it. ``recipient`` is the provider's id for it.

    ``tabs`` is None where the read did not ask for them.
    """

    recipient: str
    incarnation: str
    name: str
    email: str
    routing_order: int
    status: str
    client_user_id: str = ""
    tabs: frozenset[tuple[TabKind, str]] | None = None
    kind: RecipientKind = RecipientKind.SIGNER

    def as_recipient(self, recipient_id: str) -> Recipient:
        """It as one of ours, under an id of ours."""
        return Recipient(
            recipient_id,
            self.name,
            self.email,
            self.routing_order,
            self.kind,
            self.client_user_id,
        )


Extra = Literal["", "notification", "mails", "definition"]
"""What a read asks for besides the envelope itself, each by one more request: the settings of
reminders and expiration, the trail of mails, or all that makes the definition whole."""


@dataclass(frozen=True, slots=True)
class MailTrail:
    """How many lines of the envelope's own history tell of a mail to those who are waited on.

    ``unclear`` counts lines whose meaning is not known, which might tell of one.
    """

    mails: int
    unclear: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One read of one envelope: its facts and its definition as the provider shows them.

    ``custom_fields`` are the text fields by name, without ours; several values where a name stands
    more than once. ``reminders``, ``expiration`` and ``mails`` are None where the read did not ask
    for them, ``mails`` also where the provider did not tell. ``definition`` is None unless it was
    asked for; its recipients bear the provider's ids, and its documents' bytes are not here
    (a digest of "").
    """

    provider_envelope_id: str
    status: EnvelopeStatus
    facts: tuple[Fact, ...]
    subject: str
    message: str
    documents: Mapping[int, str]
    recipients: tuple[ObservedRecipient, ...]
    custom_fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reminders: Reminders | None = None
    expiration: Expiration | None = None
    mails: MailTrail | None = None
    definition: Definition | None = None

    def recipient(self, recipient: str) -> ObservedRecipient | None:
        """The recipient of that provider's id, or None."""
        return next((r for r in self.recipients if r.recipient == recipient), None)


REPEATABLE = frozenset(
    {"replace_document", "set_tabs", "set_custom_fields", "set_reminders", "set_expiration"}
)
"""Mutations that may be made again whatever came of the last try (SPEC Documents_PutDocument:
the same document id replaces). Those of tabs, custom fields and notification start with a read and
make only the difference. Nothing that sends a mail is among them."""

TOLD_BY_TABS = frozenset({"add_recipients", "set_tabs"})
"""Mutations of which only a read with tabs can tell whether they landed whole: new recipients and
their tabs are separate requests (SPEC Recipients_PostRecipients ignores tabs)."""


TOLD_BY_MAILS = frozenset({"resend"})
"""Mutations that leave nothing but mails: only the trail of mails, read before and after, tells."""


def extra_of(kind: str) -> Extra:
    """What a look at this kind of mutation has to ask for besides the envelope."""
    if kind in TOLD_BY_MAILS:
        return "mails"
    return "notification" if kind in ("set_reminders", "set_expiration") else ""


def landed(
    mutation: Mutation,
    after: Definition,
    numbers: Mapping[str, str],
    seen: Observation,
    trail: MailTrail | None = None,
) -> bool | None:
    """Whether the read shows what the mutation would have left; None where it cannot tell.

    ``after`` is the definition as the mutation leaves it; ``numbers`` gives the provider's id
    of each of our recipients; ``trail`` is the trail of mails as it was before.
    """
    match mutation:
        case CreateEnvelope():
            return True
        case SendEnvelope():
            return seen.status not in (EnvelopeStatus.NEW, EnvelopeStatus.CREATED)
        case VoidEnvelope():
            return seen.status is EnvelopeStatus.VOIDED
        case DiscardDraft():
            return seen.status is EnvelopeStatus.DELETED
        case AddDocuments(documents=documents):
            return all(seen.documents.get(d.document_id) == d.name for d in documents)
        case ReplaceDocument():
            return None
        case RemoveDocuments(document_ids=ids):
            return not any(i in seen.documents for i in ids)
        case AddRecipients(recipients=added):
            return all(_shows(seen, numbers, r) and _bears(seen, numbers, r) for r in added)
        case RemoveRecipients(recipient_ids=ids):
            return not any(seen.recipient(numbers.get(i, "")) for i in ids)
        case SetTabs(recipient_id=recipient_id, tabs=tabs):
            held = seen.recipient(numbers.get(recipient_id, ""))
            if held is None or held.tabs is None:
                return None
            return held.tabs == frozenset((t.kind, t.label) for t in tabs)
        case UpdateRecipient(recipient_id=recipient_id):
            return _changed(seen, numbers, after, (recipient_id,))
        case ReorderRouting(orders=orders):
            return _changed(seen, numbers, after, tuple(orders))
        case ChangeMessage():
            return seen.subject == after.subject and seen.message == after.message
        case SetReminders():
            return None if seen.reminders is None else seen.reminders == after.reminders
        case SetExpiration():
            return None if seen.expiration is None else seen.expiration == after.expiration
        case SetCustomFields(values=values, remove=remove):
            set_ = all(seen.custom_fields.get(name) == (v,) for name, v in values.items())
            return set_ and not any(name in seen.custom_fields for name in remove)
        case ResendEnvelope():
            return _mailed_since(trail, seen.mails)
        case CorrectEnvelope(recipients=changes):
            texts = seen.subject == after.subject and seen.message == after.message
            ids = tuple(c.recipient_id for c in changes)
            return texts and _changed(seen, numbers, after, ids)


def _mailed_since(before: MailTrail | None, now: MailTrail | None) -> bool | None:
    # A line of unknown meaning may be the mail that is looked for, so it proves neither.
    if before is None or now is None:
        return None
    if now.mails > before.mails:
        return True
    return None if now.unclear > before.unclear else False


def _changed(
    seen: Observation, numbers: Mapping[str, str], after: Definition, ids: tuple[str, ...]
) -> bool:
    wanted = [r for r in after.recipients if r.recipient_id in ids]
    return all(_shows(seen, numbers, r) for r in wanted)


def _shows(seen: Observation, numbers: Mapping[str, str], wanted: Recipient) -> bool:
    held = seen.recipient(numbers.get(wanted.recipient_id, ""))
    return (
        held is not None
        and held.name == wanted.name
        and held.email.casefold() == wanted.email.casefold()
        and held.routing_order == wanted.routing_order
    )


def _bears(seen: Observation, numbers: Mapping[str, str], wanted: Recipient) -> bool:
    held = seen.recipient(numbers.get(wanted.recipient_id, ""))
    if held is None or held.tabs is None:
        return held is not None
    return held.tabs >= {(t.kind, t.label) for t in wanted.tabs}
