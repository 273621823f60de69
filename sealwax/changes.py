"""What an application may change of an envelope: one verb for each mutation, and ``edit``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack

from temporalio.client import WorkflowHandle

from sealwax import keys, messages
from sealwax.answers import (
    QUERY_TIMEOUT_S,
    Asking,
    MutationRejected,
    Patience,
    answer_to,
    insist,
    refusal_of,
)
from sealwax.definition import Recipient, Refusal, RefusalCode, Tab
from sealwax.editing import Change, Expects, edited
from sealwax.envelope import DuringSession, mutation_digest
from sealwax.intake import BlobSink, File, stored_documents
from sealwax.messages import MutationResult, Snapshot, Submit
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    CorrectEnvelope,
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
from sealwax.operations import OperationIds

CLOSED_WITHIN_S = 10.0


class EnvelopeChanges:
    """One envelope's changes. Each may be given an ``operation_id`` to be repeated safely by.

    Each also takes ``expected_revision`` and ``merge``, as ``mutate`` does.
    """

    def __init__(
        self,
        account: str,
        key: str,
        workflow: WorkflowHandle[Any, Any],
        blobs: BlobSink,
        transaction: str | None = None,
    ) -> None:
        self.account = account
        self.key = key
        self._workflow = workflow
        self._blobs = blobs
        self._ids = OperationIds(transaction)

    @property
    def workflow_id(self) -> str:
        """The id of the envelope's workflow."""
        return self._workflow.id

    async def mutate(
        self,
        mutation: Mutation,
        operation_id: str | None = None,
        timeout_s: float | None = None,
        *,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Ask for a change and return its result when it has been applied at the provider.

        The same ``operation_id`` gives the same result and never a second effect; without one, an
        id is made for this call. Without ``timeout_s`` it waits as long as it takes. A change that
        would disturb a signer in session waits for the session's end; with ``during_session``
        "end" it ends the session, which may lose what was typed. With ``expected_revision``, a
        snapshot's, it is refused with ``Conflict`` where others changed something since; with
        ``merge``, only where they changed the same fields. Raises
        ``Refusal`` (``MutationRefused`` where it was accepted first), ``MutationRejected``,
        ``UnknownEnvelope``, ``NoAnswerYet``, ``TemporalRefused``.
        """
        operation = operation_id or self._ids.made(mutation.kind, mutation_digest(mutation))
        keys.check_opaque(operation, "operation id")
        submit = Submit(
            operation_id=operation, mutation=mutation, during_session=during_session, **expects
        )
        submit.expected()
        async with self._told_why_closed():
            return _applied(await Asking(self._workflow, submit, timeout_s).result())

    async def edit(
        self,
        change: Change,
        operation_id: str | None = None,
        timeout_s: float | None = None,
        *,
        during_session: DuringSession = "wait",
    ) -> MutationResult | None:
        """Change the envelope by what it is: ``change`` is given a snapshot, and gives a mutation.

        What others changed since the snapshot is merged; where they changed the same fields, it is
        all done again, at most three times, so ``change`` may be called several times. None where
        it gave None. The same ``operation_id`` gives the answer of the attempt that was made under
        it. Raises ``SavedElsewhere`` where others were faster each time, and as ``mutate``.
        """
        patience = Patience(timeout_s)

        def left_s() -> float | None:
            return None if timeout_s is None else patience.left_s

        async def answered(asked_as: str) -> MutationResult | None:
            known = await answer_to(self._workflow, asked_as, patience)
            return None if known is None else _applied(known)

        return await edited(
            change,
            operation_id or self._ids.lasting("edit"),
            read=lambda: self._snapshot(patience),
            ask=lambda asked: self.mutate(
                asked.mutation,
                asked.operation_id,
                left_s(),
                during_session=during_session,
                expected_revision=asked.revision,
                merge=True,
            ),
            answered=answered,
        )

    async def send(
        self, operation_id: str | None = None, **expects: Unpack[Expects]
    ) -> MutationResult:
        """Send the draft."""
        return await self.mutate(SendEnvelope(), operation_id, **expects)

    async def void(
        self,
        reason: str,
        operation_id: str | None = None,
        *,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Void the envelope in process, for good. ``reason``: 1 to 200 characters."""
        return await self.mutate(
            VoidEnvelope(reason), operation_id, during_session=during_session, **expects
        )

    async def discard(
        self, operation_id: str | None = None, **expects: Unpack[Expects]
    ) -> MutationResult:
        """Put the draft into the bin."""
        return await self.mutate(DiscardDraft(), operation_id, **expects)

    async def add_recipients(
        self, *recipients: Recipient, operation_id: str | None = None, **expects: Unpack[Expects]
    ) -> MutationResult:
        """Add recipients under ids that the envelope does not have."""
        return await self.mutate(AddRecipients(recipients), operation_id, **expects)

    async def update_recipient(
        self,
        recipient_id: str,
        *,
        name: str | None = None,
        email: str | None = None,
        routing_order: int | None = None,
        operation_id: str | None = None,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Change a recipient; what is None stays."""
        change = UpdateRecipient(recipient_id, name, email, routing_order)
        return await self.mutate(change, operation_id, during_session=during_session, **expects)

    async def remove_recipients(
        self,
        *recipient_ids: str,
        operation_id: str | None = None,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Take recipients out."""
        return await self.mutate(
            RemoveRecipients(recipient_ids), operation_id, during_session=during_session, **expects
        )

    async def reorder_routing(
        self,
        orders: Mapping[str, int],
        operation_id: str | None = None,
        *,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Give recipients new routing orders, by recipient id."""
        return await self.mutate(
            ReorderRouting(dict(orders)), operation_id, during_session=during_session, **expects
        )

    async def set_tabs(
        self,
        recipient_id: str,
        tabs: Iterable[Tab],
        operation_id: str | None = None,
        *,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Make a recipient's tabs exactly these."""
        return await self.mutate(
            SetTabs(recipient_id, tuple(tabs)),
            operation_id,
            during_session=during_session,
            **expects,
        )

    async def add_documents(
        self,
        documents: Mapping[int, File],
        operation_id: str | None = None,
        *,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Add PDFs under document ids that the envelope does not have."""
        stored = await stored_documents(self._blobs, documents)
        return await self.mutate(
            AddDocuments(stored), operation_id, during_session=during_session, **expects
        )

    async def replace_document(
        self,
        document_id: int,
        document: File,
        operation_id: str | None = None,
        *,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Put another PDF in the place of a document."""
        (stored,) = await stored_documents(self._blobs, {document_id: document})
        return await self.mutate(
            ReplaceDocument(stored), operation_id, during_session=during_session, **expects
        )

    async def remove_documents(
        self,
        *document_ids: int,
        operation_id: str | None = None,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Take documents out."""
        return await self.mutate(
            RemoveDocuments(document_ids), operation_id, during_session=during_session, **expects
        )

    async def change_message(
        self,
        *,
        subject: str | None = None,
        message: str | None = None,
        operation_id: str | None = None,
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Change a draft's subject or message; what is None stays."""
        return await self.mutate(ChangeMessage(subject, message), operation_id, **expects)

    async def correct(
        self,
        *changes: UpdateRecipient,
        subject: str | None = None,
        message: str | None = None,
        operation_id: str | None = None,
        during_session: DuringSession = "wait",
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Change several things of a sent envelope in one call; what is None stays."""
        return await self.mutate(
            CorrectEnvelope(subject, message, changes),
            operation_id,
            during_session=during_session,
            **expects,
        )

    async def set_reminders(
        self,
        first_after_days: int,
        every_days: int = 0,
        operation_id: str | None = None,
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Have the provider remind those who have not signed; 0 and 0 is never."""
        change = SetReminders(first_after_days, every_days)
        return await self.mutate(change, operation_id, **expects)

    async def set_expiration(
        self,
        after_days: int,
        warn_days: int = 0,
        operation_id: str | None = None,
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Have the provider void the envelope so many days after its sending."""
        return await self.mutate(SetExpiration(after_days, warn_days), operation_id, **expects)

    async def set_custom_fields(
        self,
        values: Mapping[str, str] | None = None,
        *,
        remove: Iterable[str] = (),
        operation_id: str | None = None,
        **expects: Unpack[Expects],
    ) -> MutationResult:
        """Set text fields by name and take others out; recipients do not see them."""
        change = SetCustomFields(dict(values or {}), tuple(remove))
        return await self.mutate(change, operation_id, **expects)

    async def resend(
        self, *recipient_ids: str, operation_id: str | None = None, **expects: Unpack[Expects]
    ) -> MutationResult:
        """Mail again everybody who is waited on, or the given recipients of them.

        A lost answer never makes a second mail: where nothing tells whether it went out, a person
        is asked.
        """
        return await self.mutate(ResendEnvelope(recipient_ids), operation_id, **expects)

    @asynccontextmanager
    async def _told_why_closed(self) -> AsyncIterator[None]:
        """That the envelope is closed is no answer where its order was never taken."""
        try:
            yield
        except Refusal as refusal:
            if refusal.code is RefusalCode.CLOSED:
                await self._snapshot(Patience(CLOSED_WITHIN_S))
            raise

    async def _snapshot(self, patience: Patience) -> Snapshot:
        found: Snapshot = await self._queried(messages.QUERY_SNAPSHOT, Snapshot, patience)
        if found.refused:
            raise keys.reused(self.account, self.key)
        return found

    async def _queried(self, query: str, kind: Any, patience: Patience) -> Any:
        return await insist(
            lambda: self._workflow.query(query, result_type=kind),
            patience,
            call_timeout_s=QUERY_TIMEOUT_S,
        )


def _applied(result: MutationResult) -> MutationResult:
    """The answer of a mutation that was applied; raises the error of any other."""
    if result.state == "refused":
        raise refusal_of(result)
    if result.state == "rejected":
        raise MutationRejected(result)
    return result
