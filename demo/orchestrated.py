"""The Sealwax side: an application that uses `EnvelopeClient`, and nothing else of Sealwax."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from pathlib import Path

from demo import workload
from demo.contracts.render import TITLES, pdf_path
from demo.ledger import Belief
from demo.side import ChangeFailed
from demo.workload import Change, Field, Life, Party
from sealwax.answers import ClientError
from sealwax.blobs import BlobStore
from sealwax.client import DocumentFile, EnvelopeClient, EnvelopeHandle
from sealwax.definition import Recipient, RecipientKind, Refusal, Tab, TabKind
from sealwax.messages import MutationResult, Snapshot
from sealwax.mutations import UpdateRecipient

_CREATED_WITHIN_S = 60.0
_CHANGED_WITHIN_S = 60.0
_CLOSED_WITHIN_S = 60.0
_TAB_KINDS: Mapping[str, TabKind] = {
    "sign_here": TabKind.SIGN_HERE,
    "date_signed": TabKind.DATE_SIGNED,
    "text": TabKind.TEXT,
}


class SealwaxSide:
    """The side of Sealwax; archived PDFs are copied from the blob store into `folder`."""

    name = "Sealwax"

    def __init__(
        self, client: EnvelopeClient, account: str, blobs: BlobStore, folder: Path
    ) -> None:
        self._client = client
        self._account = account
        self._blobs = blobs
        self._folder = folder

    async def take_job(self, life: Life) -> str:
        """Create or get: the business key names one envelope, however often the job comes."""
        try:
            envelope = await self._client.create(
                account=self._account,
                key=life.key,
                subject=life.subject,
                message=life.message,
                documents=[contract_file(life.contract)],
                recipients=[recipient(party) for party in life.parties],
                send=False,
            )
            snapshot = await envelope.wait("created", timeout_s=_CREATED_WITHIN_S)
        except (Refusal, ClientError) as error:
            raise ChangeFailed(str(error)) from error
        return snapshot.provider_envelope_id

    async def change(self, life: Life, change: Change) -> None:
        """Ask the envelope for a change; returns when it is applied at the provider."""
        envelope = self._client.envelope(self._account, life.key)
        try:
            async with asyncio.timeout(_CHANGED_WITHIN_S):
                await requested(envelope, change)
        except (Refusal, ClientError, TimeoutError) as error:
            raise ChangeFailed(str(error) or "no answer in time") from error

    async def settle(self, life: Life) -> Belief:
        """Wait until the envelope is closed: final, confirmed, archived."""
        envelope = self._client.envelope(self._account, life.key)
        try:
            snapshot = await envelope.wait("closed", timeout_s=_CLOSED_WITHIN_S)
        except (Refusal, ClientError) as error:
            return Belief("", f"not closed: {error}")
        await self._keep(life.key, snapshot)
        return Belief(snapshot.provider_envelope_id, snapshot.status.value)

    async def _keep(self, key: str, snapshot: Snapshot) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for document in snapshot.archive:
            name = f"{key}.pdf" if document.name == "combined" else f"{key}.{document.name}.pdf"
            (self._folder / name).write_bytes(await self._blobs.read(document.blob))


def requested(
    envelope: EnvelopeHandle, change: Change, operation_id: str | None = None
) -> Awaitable[MutationResult]:
    """The request of a change, to be awaited for its result."""
    op = operation_id
    match change:
        case workload.AddDocument(document_id, contract):
            return envelope.add_documents({document_id: contract_file(contract)}, op)
        case workload.ChangeSubject(subject):
            return envelope.change_message(subject=subject, operation_id=op)
        case workload.ChangeMessage(message):
            return envelope.change_message(message=message, operation_id=op)
        case workload.AddParty(party):
            return envelope.add_recipients(recipient(party), operation_id=op)
        case workload.PlaceFields(role, fields):
            return envelope.set_tabs(role, [tab(field) for field in fields], op)
        case workload.Reorder(role, order):
            return envelope.reorder_routing({role: order}, op)
        case workload.Rename(role, name):
            return envelope.update_recipient(role, name=name, operation_id=op)
        case workload.Send():
            return envelope.send(op)
        case workload.Discard():
            return envelope.discard(op)
        case workload.Void(reason):
            return envelope.void(reason, op)
        case _:
            return _rarely_requested(envelope, change, op)


def _rarely_requested(
    envelope: EnvelopeHandle, change: Change, op: str | None
) -> Awaitable[MutationResult]:
    match change:
        case workload.ReplaceDocument(document_id, contract):
            return envelope.replace_document(document_id, contract_file(contract), op)
        case workload.RemoveDocument(document_id):
            return envelope.remove_documents(document_id, operation_id=op)
        case workload.RemoveParty(role):
            return envelope.remove_recipients(role, operation_id=op)
        case workload.RenameAll(names):
            renamed = (UpdateRecipient(role, name=name) for role, name in names)
            return envelope.correct(*renamed, operation_id=op)
        case workload.Readdress(role, email):
            return envelope.update_recipient(role, email=email, operation_id=op)
        case workload.Remind(first, every):
            return envelope.set_reminders(first, every, op)
        case workload.Expire(after, warn):
            return envelope.set_expiration(after, warn, op)
        case workload.Label(values, remove):
            return envelope.set_custom_fields(dict(values), remove=remove, operation_id=op)
        case workload.Resend(role):
            return envelope.resend(role, operation_id=op)
        case _:
            raise AssertionError(f"{change} is requested elsewhere")


def contract_file(contract: str) -> DocumentFile:
    """A contract's PDF under its title."""
    return DocumentFile(pdf_path(contract), TITLES[contract])


def recipient(party: Party) -> Recipient:
    """A party as Sealwax knows it."""
    kind = RecipientKind.SIGNER if party.signs else RecipientKind.CARBON_COPY
    return Recipient(party.role, party.name, party.email, party.order, kind)


def tab(field: Field) -> Tab:
    """A field on the main document."""
    return Tab(
        _TAB_KINDS[field.kind],
        field.label,
        workload.MAIN_DOCUMENT_ID,
        page=field.page,
        x=field.x,
        y=field.y,
        required=field.kind != "text",
    )
