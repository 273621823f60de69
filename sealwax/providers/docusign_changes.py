"""Which status changes DocuSign tells by a Connect event of their own. Pure.

The names are those of SPEC ``eventNotification.events``. Some statuses have no event (``signed``,
a recipient's ``created``), and some events repeat one that was told (``envelope-resent``) or tell
of no status (``envelope-corrected``). A draft's end in the bin is left out: ``envelope-deleted``
and ``envelope-discard`` are both documented for it, and which of them comes is not.
"""

from __future__ import annotations

from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent, RecipientStatus

_OF_ENVELOPE = {
    f"envelope-{status.value}": status.value
    for status in (
        EnvelopeStatus.CREATED,
        EnvelopeStatus.SENT,
        EnvelopeStatus.DELIVERED,
        EnvelopeStatus.COMPLETED,
        EnvelopeStatus.DECLINED,
        EnvelopeStatus.VOIDED,
    )
}
_OF_RECIPIENT = {
    f"recipient-{status.value}": status.value
    for status in (
        RecipientStatus.SENT,
        RecipientStatus.AUTORESPONDED,
        RecipientStatus.DELIVERED,
        RecipientStatus.COMPLETED,
        RecipientStatus.DECLINED,
    )
}


class ConnectChanges:
    """The ``Changes`` of DocuSign Connect."""

    def announced(self, fact: Fact) -> bool:
        """Whether such a fact has an event of its own."""
        told = _OF_RECIPIENT if fact.recipient else _OF_ENVELOPE
        return fact.status in told.values()

    def told(self, event: ProviderEvent) -> Fact | None:
        """The change whose own event this is.

        A recipient's is of the incarnation that the event's summary shows, where it has one.
        """
        if event.name in _OF_ENVELOPE:
            return Fact(_OF_ENVELOPE[event.name])
        status = _OF_RECIPIENT.get(event.name)
        if status is None or not event.recipient:
            return None
        guids = {
            f.incarnation
            for f in event.facts
            if (f.status, f.recipient) == (status, event.recipient)
        }
        # Several: the message is newer than the change, and shows who took the place since.
        guid = next(iter(guids)) if len(guids) == 1 else ""
        return Fact(status, recipient=event.recipient, incarnation=guid)
