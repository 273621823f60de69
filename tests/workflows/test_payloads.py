"""Laws of payloads: encrypted always; what comes in plain is refused, and holds nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from sealwax import messages
from sealwax.answers import TemporalRefused
from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient
from sealwax.crypto import Keyring, KeyUnknown, SealBroken
from sealwax.definition import Definition, Recipient
from sealwax.envelope import Order
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from sealwax.handle import EnvelopeHandle
from sealwax.messages import EnvelopeInput, EventBatch, Submit
from sealwax.mutations import UpdateRecipient
from sealwax.payloads import (
    PLAIN_PAYLOAD,
    PlainPayload,
    UnreadablePayload,
    data_converter,
    is_encrypted,
)
from tests import keys
from tests.rig import ACCOUNT, Rig

NEXT = Keyring("next", {**keys.KEYRING.keys, "next": b"n" * 32})


def plain(client: Client) -> Client:
    """A client of the same server as another program has it: readable JSON."""
    config = client.config()
    config["data_converter"] = pydantic_data_converter
    return Client(**config)


def raw(client: Client, envelope: EnvelopeHandle) -> WorkflowHandle:
    """Temporal's own handle of the envelope's workflow."""
    return client.get_workflow_handle(envelope.workflow_id)


def order(key: str) -> EnvelopeInput:
    """An order as a client starts it, whose one recipient has a name to be kept secret."""
    ana = Recipient("1", "Ana Lovelace", "ana@example.com")
    return EnvelopeInput(order=Order(ACCOUNT, key, Definition("S", recipients=(ana,)), send=False))


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(20):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


async def sent(house: Rig) -> tuple[EnvelopeHandle, str]:
    """An envelope with its signer at the provider, and the provider's id."""
    envelope = await house.create()
    return envelope, (await envelope.wait("sent", timeout_s=20)).provider_envelope_id


async def test_a_workflow_that_was_started_in_plain_closes_with_a_typed_error(house: Rig) -> None:
    """It neither hangs in failing tasks nor makes anything at the provider."""
    key = f"order-{uuid4().hex[:8]}"
    handle = await plain(house.temporal).start_workflow(
        messages.WORKFLOW,
        order(key),
        id=f"envelope/{ACCOUNT}/{key}",
        task_queue=house.settings.temporal.task_queue,
    )
    async with asyncio.timeout(20):
        with pytest.raises(WorkflowFailureError) as caught:
            await house.temporal.get_workflow_handle(handle.id).result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == (PLAIN_PAYLOAD, True)
    assert "codec" in cause.message
    assert await house.desk.envelopes() == []


async def test_an_update_in_plain_is_refused_and_changes_nothing(house: Rig) -> None:
    envelope, _ = await sent(house)
    before = await envelope.status()
    asked = Submit(operation_id="op-plain", mutation=UpdateRecipient("1", name="Mallory"))
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await raw(plain(house.temporal), envelope).execute_update(messages.UPDATE_SUBMIT, asked)
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == PLAIN_PAYLOAD
    assert await envelope.status() == before
    await envelope.update_recipient("1", name="Ana Byron")
    assert (await envelope.status()).revision == before.revision + 1


async def test_a_signal_in_plain_is_counted_and_never_folded(house: Rig) -> None:
    """Facts that anybody could have written are none; the envelope goes on."""
    envelope, provider_id = await sent(house)
    fact = Fact(EnvelopeStatus.COMPLETED)
    event = ProviderEvent(
        "forged", "envelope-completed", house.desk.account_id, provider_id, (fact,)
    )
    ours = raw(house.temporal, envelope)
    for handle, argument in (
        (raw(plain(house.temporal), envelope), EventBatch(events=(event,))),
        (ours, {"events": "no list"}),
        (ours, b"bytes"),
        (ours, None),
    ):
        await handle.signal(messages.SIGNAL_EVENTS, argument)

    async def counted() -> bool:
        return (await envelope.status()).events_unreadable == 4

    async def folded() -> bool:
        return (await envelope.status()).events_seen == 1

    await eventually(counted)
    snapshot = await envelope.status()
    assert (snapshot.status, snapshot.events_seen) == (EnvelopeStatus.SENT, 0)

    await ours.signal(messages.SIGNAL_EVENTS, EventBatch(events=(event,)))
    await eventually(folded)


async def test_a_caller_with_a_key_of_his_own_is_refused_and_blocks_nobody(house: Rig) -> None:
    """An update under a key that the worker lacks is told so at once; others go on meanwhile."""
    envelope, _ = await sent(house)
    blobs = BlobStore(house.settings.storage.blobs, NEXT)
    client = EnvelopeClient(keys.encrypting(house.temporal, NEXT), blobs=blobs)
    stranger = client.envelope(ACCOUNT, envelope.key)
    async with asyncio.timeout(10):
        with pytest.raises(TemporalRefused, match="key next"):
            await stranger.update_recipient("1", name="Mallory")
    before = (await envelope.status()).revision
    await envelope.update_recipient("1", name="Ana Byron")
    assert (await envelope.status()).revision == before + 1


async def test_a_webhook_under_a_key_that_the_worker_lacks_waits_and_one_that_is_forged_does_not(
    house: Rig,
) -> None:
    """A bridge that has the next key first loses nothing; what no key opens is counted."""
    envelope, provider_id = await sent(house)
    (good,) = await data_converter(keys.KEYRING).encode([EventBatch(events=())])
    forged = Payload(metadata=dict(good.metadata), data=good.data[:-1] + b"\0")
    ours = raw(house.temporal, envelope)
    await _as_it_is(house.temporal, envelope, forged)

    async def counted() -> bool:
        return (await envelope.status()).events_unreadable == 1

    await eventually(counted)
    event = ProviderEvent("e1", "envelope-sent", house.desk.account_id, provider_id)
    early = raw(keys.encrypting(house.temporal, NEXT), envelope)
    await early.signal(messages.SIGNAL_EVENTS, EventBatch(events=(event,)))
    await a_task_failed(ours)
    history = (await ours.fetch_history()).events
    assert any(e.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED for e in history)
    await ours.terminate("the test is over")


async def _as_it_is(client: Client, envelope: EnvelopeHandle, payload: Payload) -> None:
    """Signal a payload without any codec."""
    request = SignalWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=envelope.workflow_id),
        signal_name=messages.SIGNAL_EVENTS,
        input=Payloads(payloads=[payload]),
    )
    await client.workflow_service.signal_workflow_execution(request)


@workflow.defn
class Echo:
    """Says what it was told, or fails with it."""

    @workflow.run
    async def run(self, text: str, fails: bool) -> str:
        if fails:
            raise ApplicationError(text, text, type="Told")
        return text


def echoing(client: Client, queue: str) -> Worker:
    """A worker with that workflow alone."""
    return Worker(
        client, task_queue=queue, workflows=[Echo], workflow_runner=UnsandboxedWorkflowRunner()
    )


async def a_task_failed(handle: WorkflowHandle) -> None:
    """Wait until one of its workflow tasks failed."""

    async def failed() -> bool:
        history = await handle.fetch_history()
        kind = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        return any(event.event_type == kind for event in history.events)

    await eventually(failed)


async def test_a_workflow_under_a_key_that_the_worker_lacks_waits_for_the_key(
    dev_env: WorkflowEnvironment,
) -> None:
    """Keys that are handed out in the wrong order cost time, and no envelope."""
    queue = f"echo-{uuid4()}"
    ours, ahead = keys.encrypting(dev_env.client), keys.encrypting(dev_env.client, NEXT)
    handle = await ahead.start_workflow(Echo.run, args=["hi", False], id=queue, task_queue=queue)
    async with echoing(ours, queue):
        await a_task_failed(handle)
    async with echoing(ahead, queue), asyncio.timeout(30):
        assert await handle.result() == "hi"
    with pytest.raises(KeyUnknown, match="key next"):
        await ours.get_workflow_handle(queue).result()


async def test_failures_leave_nothing_readable_in_the_history(
    dev_env: WorkflowEnvironment,
) -> None:
    """Message, details and stack trace of a failure are sealed; who has the key reads them."""
    queue, told = f"echo-{uuid4()}", "Ana Lovelace lives in London"
    client = keys.encrypting(dev_env.client)
    async with echoing(client, queue):
        handle = await client.start_workflow(
            Echo.run,
            args=[told, True],
            id=queue,
            task_queue=queue,
            static_summary=told,
            memo={"note": told},
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.details) == (told, (told,))
    kept = b"".join(e.SerializeToString() for e in (await handle.fetch_history()).events)
    assert b"Told" in kept
    assert b"Lovelace" not in kept
    assert b"raise ApplicationError" not in kept


async def test_what_does_not_fit_is_told_without_its_values(
    house: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker's log says where an input is wrong, and never what stands there."""
    key = f"order-{uuid4().hex[:8]}"
    handle = await house.temporal.start_workflow(
        messages.WORKFLOW,
        {"order": {"account": "acme", "business_key": {"ana@example.com": "Ana Lovelace"}}},
        id=f"envelope/{ACCOUNT}/{key}",
        task_queue=house.settings.temporal.task_queue,
    )
    try:
        await a_task_failed(handle)
    finally:
        await handle.terminate("the test is over")
    assert "does not fit at order" in caplog.text
    assert "Lovelace" not in caplog.text
    assert "ana@" not in caplog.text


async def test_the_current_key_encrypts_and_every_key_of_the_ring_decrypts() -> None:
    """Rotation of payloads; equal values differ, and the key id cannot be exchanged."""
    old, new = data_converter(keys.KEYRING), data_converter(NEXT)
    (of_old,) = await old.encode(["Ana"])
    (of_new,) = await new.encode(["Ana"])
    assert is_encrypted(of_old)
    assert of_new.metadata["encryption-key-id"] == b"next"
    assert await new.decode([of_old, of_new]) == ["Ana", "Ana"]
    assert (await new.encode(["Ana"]))[0].data != of_new.data
    with pytest.raises(KeyUnknown, match="key next"):
        await old.decode([of_new])
    of_new.metadata["encryption-key-id"] = keys.KEY_ID.encode()
    with pytest.raises(SealBroken):
        await new.decode([of_new])


@pytest.mark.parametrize(
    ("metadata", "data"),
    [
        ({"encoding": b"json/plain"}, b'"Ana"'),
        ({"encoding": b"binary/null"}, b""),
        ({}, b"Ana"),
    ],
)
async def test_a_client_reads_nothing_that_came_in_plain(
    metadata: dict[str, bytes], data: bytes
) -> None:
    with pytest.raises(PlainPayload, match="codec"):
        await data_converter(keys.KEYRING).decode([Payload(metadata=metadata, data=data)])


async def test_a_key_of_a_mapping_is_not_told_as_the_name_of_a_field() -> None:
    """Where an input does not fit may itself be something that somebody wrote."""
    converter = data_converter(keys.KEYRING)
    sealed = await converter.encode([{"ana@example.com": "x"}])
    with pytest.raises(UnreadablePayload, match=r"at \.\.\.: int") as caught:
        await converter.decode(sealed, [dict[str, int]])
    assert "ana" not in str(caught.value)
