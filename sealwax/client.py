"""What an application imports: create envelopes, ask for changes, see how they stand.

::

    client = EnvelopeClient(await Client.connect(...), blobs=BlobStore(folder, keyring))
    envelope = await client.create(account="acme", key="order-17", subject="Contract",
                                   documents=["contract.pdf"], recipients=[Recipient(...)])
    await envelope.update_recipient("buyer", email="new@example.com")
    async with envelope.signing_session("buyer", "https://app.example.com/thanks") as session:
        ...  # send the signer's browser to session.url, then: await session.over()
    print((await envelope.wait("completed")).status)

Everything may be repeated: a business key names one envelope and an operation id one effect. The
errors are those of ``sealwax.answers``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from sealwax import keys, messages
from sealwax.answers import (
    QUERY_TIMEOUT_S,
    ClientError,
    Conflict,
    EnvelopeAborted,
    Gone,
    MutationRefused,
    MutationRejected,
    NoAnswerYet,
    Patience,
    TemporalRefused,
    UnknownAccountQuota,
    UnknownEnvelope,
    insist,
)
from sealwax.definition import (
    Definition,
    Expiration,
    Recipient,
    Refusal,
    RefusalCode,
    Reminders,
    check_provider_envelope_id,
)
from sealwax.editing import SavedElsewhere
from sealwax.envelope import Order
from sealwax.facts import EnvelopeStatus
from sealwax.handle import ANSWER_TIMEOUT_S, EnvelopeHandle, status_named
from sealwax.intake import BlobSink, DocumentFile, File, stored_definition
from sealwax.messages import EnvelopeInput, QuotaSnapshot
from sealwax.signers import LiveSession, SessionRefused
from sealwax.sweep_messages import (
    QUERY_SWEEP,
    SWEEP_LASTS_AT_MOST,
    WORKFLOW_SWEEP,
    SweepInput,
    SweepResult,
    SweepSnapshot,
)

__all__ = [
    "ClientError",
    "Conflict",
    "DocumentFile",
    "EnvelopeAborted",
    "EnvelopeClient",
    "EnvelopeHandle",
    "EnvelopeRow",
    "LiveSession",
    "MutationRefused",
    "MutationRejected",
    "NoAnswerYet",
    "SavedElsewhere",
    "SessionRefused",
    "TemporalRefused",
    "UnknownAccountQuota",
    "UnknownEnvelope",
]

MEMO_ORDER_DIGEST = "order_digest"
SWEEP_TIMEOUT_S = 300.0

_ACCOUNT = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_ACCOUNT)
_STATUS = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_STATUS)
_ENVELOPE_ID = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_ENVELOPE_ID)
_WAITING_ON = SearchAttributeKey.for_keyword_list(messages.ATTRIBUTE_WAITING_ON)
_ATTENTION = SearchAttributeKey.for_bool(messages.ATTRIBUTE_NEEDS_ATTENTION)


@dataclass(frozen=True, slots=True)
class EnvelopeRow:
    """One envelope in a list, as Temporal's visibility store shows it: a moment late at times.

    ``started_at``: when the workflow's present run began.
    """

    workflow_id: str
    account: str
    key: str
    status: str
    provider_envelope_id: str
    waiting_on: tuple[str, ...]
    needs_attention: bool
    started_at: datetime


class EnvelopeClient:
    """The door to all envelopes of one Temporal namespace. Safe to share between tasks."""

    def __init__(
        self, temporal: Client, *, blobs: BlobSink, task_queue: str = messages.TASK_QUEUE
    ) -> None:
        self._temporal = temporal
        self._blobs = blobs
        self._task_queue = task_queue

    async def create(
        self,
        *,
        account: str,
        key: str,
        subject: str,
        documents: Sequence[File],
        recipients: Sequence[Recipient],
        message: str = "",
        reminders: Reminders | None = None,
        expiration: Expiration | None = None,
        custom_fields: Mapping[str, str] | None = None,
        send: bool = True,
        principal: str = "",
        bulk: bool = False,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> EnvelopeHandle:
        """The envelope of this account and business key, made if there is none yet.

        ``documents`` are PDFs, numbered 1, 2, ... in the order given. Without ``reminders`` or
        ``expiration`` the provider's account decides. ``bulk``: one of many, whose calls to the
        provider let those go first that somebody waits for. Asked again with the same
        content it answers with the same envelope, also from another process; with another
        content it raises ``Refusal`` (``business_key_reused``). Where Temporal has forgotten the
        envelope, its worker finds that out in the registry: then nothing is made, and whatever is
        asked through the handle raises it. Raises ``Refusal`` before anything starts for what
        could not be an envelope; ``NoAnswerYet``, ``TemporalRefused``.
        """
        handle = self.envelope(account, key)
        definition = await stored_definition(
            self._blobs,
            subject=subject,
            message=message,
            documents=documents,
            recipients=recipients,
            reminders=reminders,
            expiration=expiration,
            custom_fields=custom_fields,
        )
        order = Order(account, key, definition, send=send, principal=principal, bulk=bulk)
        await self._begin(handle, order, Patience(timeout_s))
        return handle

    async def adopt(
        self,
        *,
        account: str,
        provider_envelope_id: str,
        key: str = "",
        principal: str = "",
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> EnvelopeHandle:
        """The envelope that was made elsewhere, taken over under this business key.

        Without a key it is ``adopted-`` and the provider's id. Its workflow reads what the envelope
        is and how it stands, and treats it as its own from then on; ``handle.wait("created")``
        waits for that; one that cannot be adopted ends ``rejected``. Asked again it answers with
        the same envelope. Its webhooks come by the account's own Connect configuration. Raises
        ``Refusal`` (``business_key_reused`` for a key of another envelope), ``NoAnswerYet``,
        ``TemporalRefused``.
        """
        check_provider_envelope_id(provider_envelope_id)
        handle = self.envelope(account, key or keys.adopted_key(provider_envelope_id))
        order = Order(
            account,
            handle.key,
            Definition(subject=""),
            principal=principal,
            adopted_envelope_id=provider_envelope_id,
        )
        await self._begin(handle, order, Patience(timeout_s))
        return handle

    async def _begin(self, handle: EnvelopeHandle, order: Order, patience: Patience) -> None:
        """Start the workflow of the order, unless it was started with the same one before."""
        start = _checked_size(EnvelopeInput(order=order))
        digest = messages.order_digest(order)
        if await insist(lambda: self._started(handle, start, digest), patience):
            return
        if await insist(lambda: self._held_digest(handle), patience) != digest:
            raise keys.reused(order.account, order.business_key)

    def envelope(self, account: str, key: str) -> EnvelopeHandle:
        """The handle of an envelope; asks nobody. Raises ``Refusal`` for a key that is none."""
        workflow_id = keys.workflow_id(account, key)
        return EnvelopeHandle(
            account, key, self._temporal.get_workflow_handle(workflow_id), self._blobs
        )

    async def list(
        self,
        account: str | None = None,
        status: EnvelopeStatus | str | None = None,
        needs_attention: bool | None = None,
        limit: int = 50,
    ) -> AsyncIterator[EnvelopeRow]:
        """Envelopes, newest first, at most ``limit``. Raises ``Refusal``, ``TemporalRefused``."""
        found = self._temporal.list_workflows(
            list_query(account, status, needs_attention), limit=limit
        )
        while True:
            try:
                execution = await insist(found.__anext__, Patience(ANSWER_TIMEOUT_S))
            except StopAsyncIteration:
                return
            account_name, key = keys.account_and_key(execution.id)
            known = execution.typed_search_attributes
            yield EnvelopeRow(
                workflow_id=execution.id,
                account=account_name,
                key=key,
                status=known.get(_STATUS, ""),
                provider_envelope_id=known.get(_ENVELOPE_ID, ""),
                waiting_on=tuple(known.get(_WAITING_ON, ())),
                needs_attention=known.get(_ATTENTION, False),
                started_at=execution.start_time,
            )

    async def quota(
        self,
        account: str,
        *,
        refresh: bool = False,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> QuotaSnapshot:
        """How the account's quota stood when it was last looked at; ``refresh``: as it stands.

        Raises ``Refusal`` for a name that is none, ``UnknownAccountQuota`` where no worker has
        shown this account yet, ``NoAnswerYet``, ``TemporalRefused``.
        """
        workflow = self._temporal.get_workflow_handle(keys.account_workflow_id(account))

        async def ask() -> QuotaSnapshot:
            if not refresh:
                shown: QuotaSnapshot = await workflow.query(
                    messages.QUERY_QUOTA, result_type=QuotaSnapshot
                )
                return shown
            # A new id for each try: the run that took an earlier one may have ended meanwhile.
            seen: QuotaSnapshot = await workflow.execute_update(
                messages.UPDATE_REFRESH, id=f"refresh-{uuid4()}", result_type=QuotaSnapshot
            )
            return seen

        try:
            return await insist(ask, Patience(timeout_s), call_timeout_s=QUERY_TIMEOUT_S)
        except (UnknownEnvelope, Gone):
            raise UnknownAccountQuota(
                f"no worker shows the quota of account {account}; start one whose settings name it"
            ) from None

    async def sweeps(
        self,
        account: str,
        *,
        refresh: bool = False,
        timeout_s: float | None = ANSWER_TIMEOUT_S,
    ) -> SweepSnapshot:
        """How the account's sweeps and its drift stood when last looked at; ``refresh``: stand.

        Raises as ``quota`` does.
        """
        # The look that shows the quota shows the sweeps too.
        await self.quota(account, refresh=refresh, timeout_s=timeout_s)
        workflow = self._temporal.get_workflow_handle(keys.account_workflow_id(account))

        async def ask() -> SweepSnapshot:
            shown: SweepSnapshot = await workflow.query(QUERY_SWEEP, result_type=SweepSnapshot)
            return shown

        return await insist(ask, Patience(timeout_s), call_timeout_s=QUERY_TIMEOUT_S)

    async def sweep(
        self, account: str, *, timeout_s: float | None = SWEEP_TIMEOUT_S
    ) -> SweepSnapshot:
        """Sweep now, besides the schedule; who asks meanwhile shares it. How things stand then.

        A sweep that does not come to its end says why in ``problem``. Raises as ``quota`` does.
        """
        name = keys.sweep_id(account)
        attributes = TypedSearchAttributes([SearchAttributePair(_ACCOUNT, account)])
        given = SweepInput(account=account)

        async def start() -> WorkflowHandle[object, SweepResult]:
            return await self._temporal.start_workflow(
                WORKFLOW_SWEEP,
                given,
                id=f"{name}/now",
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                execution_timeout=SWEEP_LASTS_AT_MOST,
                result_type=SweepResult,
                static_summary=f"Sweep of {account}",
                search_attributes=attributes,
            )

        running = await insist(start, Patience(timeout_s))
        try:
            async with asyncio.timeout(timeout_s):
                await running.result()
        except WorkflowFailureError:
            pass
        except TimeoutError:
            raise NoAnswerYet(
                f"the sweep of {account} goes on; ask for its figures later"
            ) from None
        return await self.sweeps(account, refresh=True)

    async def _started(self, handle: EnvelopeHandle, start: EnvelopeInput, digest: str) -> bool:
        """Start the workflow; False where one of that id runs, or has come to its end.

        After one that failed or was ended from outside, the registry says what there is.
        """
        order = start.order
        try:
            await self._temporal.start_workflow(
                messages.WORKFLOW,
                start,
                id=handle.workflow_id,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                memo={MEMO_ORDER_DIGEST: digest},
                static_summary=f"Envelope {order.business_key} of {order.account}",
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(_ACCOUNT, order.account),
                        SearchAttributePair(_STATUS, EnvelopeStatus.NEW.value),
                        SearchAttributePair(_ATTENTION, False),
                    ]
                ),
            )
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _held_digest(self, handle: EnvelopeHandle) -> str:
        workflow = self._temporal.get_workflow_handle(handle.workflow_id)
        held = await (await workflow.describe()).memo_value(MEMO_ORDER_DIGEST, "")
        if held:
            return str(held)
        # Started by another program, which need not know our digest: what it started with tells.
        async for event in workflow.fetch_history_events(page_size=1):
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            try:
                (start,) = await self._temporal.data_converter.decode(payloads, [EnvelopeInput])
            except (ValueError, RuntimeError):
                break
            return messages.order_digest(start.order)
        return ""


def list_query(
    account: str | None, status: EnvelopeStatus | str | None, needs_attention: bool | None
) -> str:
    """The visibility query of a list. Raises ``Refusal`` for an account or status that is none."""
    parts = [
        f"WorkflowType = '{messages.WORKFLOW}'",
        "ExecutionStatus != 'ContinuedAsNew'",
    ]
    if account is not None:
        parts.append(f"{messages.ATTRIBUTE_ACCOUNT} = '{keys.check_account(account)}'")
    if status is not None:
        parts.append(f"{messages.ATTRIBUTE_STATUS} = '{status_named(status)}'")
    if needs_attention is not None:
        parts.append(f"{messages.ATTRIBUTE_NEEDS_ATTENTION} = {str(needs_attention).lower()}")
    return " AND ".join(parts)


def _checked_size(start: EnvelopeInput) -> EnvelopeInput:
    size_bytes = len(start.model_dump_json().encode())
    if size_bytes > messages.MESSAGE_BYTES_MAX:
        raise Refusal(
            RefusalCode.OVERSIZE,
            f"the envelope's description has {size_bytes} bytes;"
            f" at most {messages.MESSAGE_BYTES_MAX} are allowed: send fewer recipients or tabs",
        )
    return start
