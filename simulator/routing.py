"""How an envelope moves: sending, routing orders, and what recipients do.

Statuses and their meaning: SPEC Envelopes_GetEnvelopes (envelope) and SPEC `signer.status`
(recipient). `delivered` means that everybody whose turn it is has opened the envelope, not that a
mail arrived. An envelope that is `delivered` stays so when the next routing order begins
(assumption, unverified). `signed` is passed through at once: it is the transient status between
the last signature and `completed`.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.errors import (
    ProviderError,
    cannot_void,
    not_in_sequence,
    wrong_recipient_status,
    wrong_status,
)
from simulator.ledger import Ledger, new_guid
from simulator.model import (
    DONE_WHEN_OPENED,
    DONE_WHEN_REACHED,
    IN_PROCESS,
    RECIPIENT_DONE,
    Envelope,
    Recipient,
    RecipientProgress,
    Removed,
    now,
)

Emit = Callable[[Envelope, str, Recipient | None], None]

_VOID_REASON_LIMIT = 200


class Routing:
    """Moves envelopes; `emit(envelope, event, recipient)` hears each Connect event."""

    def __init__(self, ledger: Ledger, emit: Emit) -> None:
        self._ledger = ledger
        self._emit = emit

    def created(self, envelope: Envelope) -> None:
        """Announce a new draft."""
        self._emit(envelope, "envelope-created", None)

    def send(self, envelope: Envelope) -> None:
        """Send a draft: the lowest routing order is asked first.

        Raises ENVELOPE_INVALID_STATUS for others, ENVELOPE_IS_INCOMPLETE (code unverified).
        """
        if envelope.status != "created":
            # What a second `sent` gives is not published; a refusal by state is our choice.
            raise wrong_status("Created")
        self.require_complete(envelope)
        self._enter(envelope, "sent")
        envelope.times["initialSent"] = envelope.times["sent"]
        envelope.folder = "sentitems"
        self._emit(envelope, "envelope-sent", None)
        self.route(envelope)

    def require_complete(self, envelope: Envelope) -> None:
        """Raise ENVELOPE_IS_INCOMPLETE unless there are subject, document and recipient."""
        definition = envelope.definition
        if not (definition.email_subject and definition.documents and definition.recipients):
            raise ProviderError(
                "ENVELOPE_IS_INCOMPLETE",
                "The Envelope is not Complete. A Complete Envelope Requires Documents, "
                "Recipients, Tabs, and a Subject Line.",
            )

    def void(self, envelope: Envelope, reason: str) -> None:
        """Void an envelope in process; the reason is cut at 200 characters (unverified)."""
        if envelope.status not in IN_PROCESS:
            raise cannot_void()
        envelope.voided_reason = reason[:_VOID_REASON_LIMIT]
        self._enter(envelope, "voided")
        self._emit(envelope, "envelope-voided", None)

    def bin(self, envelope: Envelope) -> None:
        """Move to the recycle bin: deletes a draft, voids what is in process.

        SPEC Folders_PutFolderById.
        """
        if envelope.status in IN_PROCESS:
            self.void(envelope, "Voided because the envelope was moved to the recycle bin.")
        elif envelope.status == "created":
            self._enter(envelope, "deleted")
            self._emit(envelope, "envelope-deleted", None)
        envelope.folder = "recyclebin"

    def restore(self, envelope: Envelope) -> None:
        """Take an envelope out of the recycle bin; a deleted draft is a draft again."""
        if envelope.status == "deleted":
            envelope.status = "created"
            envelope.times["statusChanged"] = now()
            envelope.times.pop("deleted", None)
            envelope.folder = "draft"
        else:
            envelope.folder = "sentitems"
        envelope.note("restored")

    def corrected(self, envelope: Envelope, mail: bool = False) -> None:
        """Announce that the definition of a sent envelope was changed, and go on routing.

        That the recipient endpoints raise `envelope-corrected` is an assumption, unverified.
        """
        self._emit(envelope, "envelope-corrected", None)
        self.route(envelope, quiet=not mail)

    def resend(self, envelope: Envelope) -> None:
        """Mail everybody whose turn it is again: never idempotent."""
        if envelope.status not in IN_PROCESS:
            raise wrong_status("Sent", "Delivered")
        envelope.note("resent")
        self._emit(envelope, "envelope-resent", None)
        for recipient in self._waiting(envelope):
            self.resend_to(envelope, recipient, "resent")

    def remind(self, envelope: Envelope) -> None:
        """A reminder falls due: mail everybody whose turn it is (SPEC reminders).

        The clock is the control API's; raises REMINDERS_OFF (our word) where none are enabled.
        """
        if envelope.status not in IN_PROCESS:
            raise wrong_status("Sent", "Delivered")
        if envelope.definition.notification.get("reminders", {}).get("reminderEnabled") != "true":
            raise ProviderError("REMINDERS_OFF", "The envelope has no reminders enabled.")
        for recipient in self._waiting(envelope):
            if not recipient.embedded:
                self._ledger.mail(envelope, recipient.recipient_id, recipient.email, "reminder")
        envelope.note("reminded")

    def expire(self, envelope: Envelope) -> None:
        """The envelope expires, which voids it (SPEC expirations); the reason's text is ours."""
        self.void(envelope, "The envelope has expired.")

    def resend_to(self, envelope: Envelope, recipient: Recipient, why: str) -> None:
        """Mail one recipient again, if the turn is his; embedded ones get no mail."""
        if envelope.progress_of(recipient).status not in ("sent", "delivered", "autoresponded"):
            return
        if not recipient.embedded:
            self._ledger.mail(envelope, recipient.recipient_id, recipient.email, why)
        self._emit(envelope, "recipient-resent", recipient)

    def route(self, envelope: Envelope, quiet: bool = False) -> None:
        """Ask those whose turn has come; complete the envelope when nobody is left.

        `quiet`: those added at an order already reached get no mail, as SPEC
        Recipients_PostRecipients says; orders reached anew always mail.
        """
        reached = max((p.order for p in self._asked(envelope)), default=0) if quiet else 0
        while envelope.status in IN_PROCESS:
            order = envelope.current_order
            if order is None:
                if envelope.definition.recipients:
                    self._complete(envelope)
                return
            fresh = [
                r
                for r in envelope.definition.recipients
                if r.order <= order and envelope.progress_of(r).status == "created"
            ]
            for recipient in fresh:
                self._ask(envelope, recipient, mail=recipient.order > reached)
            if envelope.current_order == order:
                return

    def open(self, envelope: Envelope, recipient: Recipient) -> str:
        """A recipient opens the envelope; returns his status.

        Raises RECIPIENT_NOT_IN_SEQUENCE before his turn, ENVELOPE_INVALID_STATUS when over.
        """
        progress = self.turn(envelope, recipient)
        if progress.status != "delivered":
            progress.status, progress.delivered = "delivered", now()
            envelope.note(f"recipient {recipient.recipient_id} opened")
            self._emit(envelope, "recipient-delivered", recipient)
        if recipient.kind in DONE_WHEN_OPENED:
            progress.status = "completed"
            self._emit(envelope, "recipient-completed", recipient)
        if envelope.status == "sent" and all(
            envelope.progress_of(r).status == "delivered" for r in self._waiting(envelope)
        ):
            self._enter(envelope, "delivered")
            self._emit(envelope, "envelope-delivered", None)
        self.route(envelope)
        return progress.status

    def sign(self, envelope: Envelope, recipient: Recipient) -> str:
        """A recipient signs (and thereby has opened); returns his status."""
        self.open(envelope, recipient)
        progress = envelope.progress_of(recipient)
        if progress.status == "completed":
            return progress.status
        progress.status, progress.signed = "signed", now()
        envelope.note(f"recipient {recipient.recipient_id} signed")
        progress.status = "completed"
        self._emit(envelope, "recipient-completed", recipient)
        self.route(envelope)
        return progress.status

    def decline(self, envelope: Envelope, recipient: Recipient, reason: str) -> str:
        """A recipient declines, which ends the envelope; returns his status."""
        progress = self.turn(envelope, recipient)
        progress.delivered = progress.delivered or now()
        progress.status, progress.declined, progress.declined_reason = "declined", now(), reason
        envelope.note(f"recipient {recipient.recipient_id} declined")
        self._emit(envelope, "recipient-declined", recipient)
        self._enter(envelope, "declined")
        self._emit(envelope, "envelope-declined", None)
        return progress.status

    def finish_later(self, envelope: Envelope, recipient: Recipient) -> str:
        """A recipient leaves his session to finish later; his status stays."""
        progress = self.turn(envelope, recipient)
        envelope.note(f"recipient {recipient.recipient_id} finishes later")
        self._emit(envelope, "recipient-finish-later", recipient)
        return progress.status

    def autorespond(self, envelope: Envelope, recipient: Recipient, reason: str) -> str:
        """The recipient's mailbox answers by itself; he may still open and sign."""
        progress = self.turn(envelope, recipient)
        if progress.status == "sent":
            progress.status, progress.autoresponded_reason = "autoresponded", reason
        envelope.note(f"recipient {recipient.recipient_id} autoresponded")
        self._emit(envelope, "recipient-autoresponded", recipient)
        return progress.status

    def reassign(self, envelope: Envelope, recipient: Recipient, name: str, email: str) -> str:
        """A recipient hands over to another person: same recipientId, a new incarnation.

        That the recipientId stays and the guid changes is an assumption, unverified.
        """
        old = self.turn(envelope, recipient)
        fields = {**recipient.fields, "name": name, "email": email}
        fields.pop("clientUserId", None)
        successor = Recipient(
            recipient.recipient_id, new_guid(), recipient.kind, fields, recipient.tabs
        )
        definition = envelope.definition.clone()
        definition.recipients = [
            successor if r.guid == recipient.guid else r for r in definition.recipients
        ]
        envelope.definition = definition
        envelope.replaced[recipient.guid] = successor
        envelope.removed.append(Removed(recipient, old.status, "reassigned", now()))
        envelope.note(f"recipient {recipient.recipient_id} reassigned")
        self._emit(envelope, "recipient-reassign", recipient)
        self._ask(envelope, successor, mail=True)
        return envelope.progress_of(successor).status

    def reincarnate(self, envelope: Envelope, old: Recipient, new: Recipient) -> None:
        """Carry a corrected recipient's turn over to his new incarnation and mail him.

        A changed e-mail address of a sent recipient means a new person, hence a new guid; the
        correction mail is documented (SPEC Recipients_PutRecipients), the guid is an assumption.
        """
        if envelope.progress_of(old).status in ("sent", "delivered", "autoresponded"):
            progress = envelope.progress_of(new)
            progress.status, progress.sent = "sent", now()
            if not new.embedded:
                self._ledger.mail(envelope, new.recipient_id, new.email, "corrected")
            self._emit(envelope, "recipient-sent", new)

    def turn(self, envelope: Envelope, recipient: Recipient) -> RecipientProgress:
        """The progress of a recipient who may act now; raises what forbids it."""
        progress = envelope.progress_of(recipient)
        if envelope.status not in IN_PROCESS:
            raise wrong_status("Sent", "Delivered")
        if progress.status == "created":
            raise not_in_sequence()
        if progress.status in RECIPIENT_DONE:
            raise wrong_recipient_status(progress.status)
        return progress

    def _asked(self, envelope: Envelope) -> list[Recipient]:
        return [
            r for r in envelope.definition.recipients if envelope.progress_of(r).status != "created"
        ]

    def _waiting(self, envelope: Envelope) -> list[Recipient]:
        """Those who were asked and are not done."""
        done = ("created", *RECIPIENT_DONE)
        recipients = envelope.definition.recipients
        return [r for r in recipients if envelope.progress_of(r).status not in done]

    def _ask(self, envelope: Envelope, recipient: Recipient, mail: bool) -> None:
        progress = envelope.progress_of(recipient)
        progress.status, progress.sent = "sent", now()
        if mail and not recipient.embedded:
            self._ledger.mail(envelope, recipient.recipient_id, recipient.email, "sent")
        self._emit(envelope, "recipient-sent", recipient)
        if recipient.kind in DONE_WHEN_REACHED:
            progress.status = "completed"
            self._emit(envelope, "recipient-completed", recipient)

    def _complete(self, envelope: Envelope) -> None:
        self._enter(envelope, "completed")
        self._emit(envelope, "envelope-completed", None)

    def _enter(self, envelope: Envelope, status: str) -> None:
        moment = now()
        envelope.status = status
        envelope.times[status] = envelope.times["statusChanged"] = moment
        envelope.note(status)
