"""Two editors of one envelope never overwrite each other unseen; the provider's ledger tells."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.update.v1 import Input, Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

from sealwax import messages
from sealwax.answers import Conflict
from sealwax.definition import Recipient, RefusalCode, Tab, TabKind
from sealwax.editing import Expects, SavedElsewhere
from sealwax.handle import EnvelopeHandle
from sealwax.messages import Snapshot
from sealwax.mutations import ChangeMessage, Mutation, SetTabs, UpdateRecipient
from tests import rig

COMPLETED = UpdateWorkflowExecutionLifecycleStage.Value(
    "UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED"
)
TWO = [
    Recipient("1", "Ana", "ana@example.com", 1),
    Recipient("2", "Ben", "ben@example.com", 2),
]


async def draft(house: rig.Rig) -> tuple[EnvelopeHandle, int]:
    """A draft with two recipients, and its revision."""
    envelope = await house.create(recipients=TWO, send=False)
    return envelope, (await envelope.wait("created", timeout_s=20)).revision


async def truth(house: rig.Rig) -> dict[str, Any]:
    """The one envelope as the provider's ledger has it: subject, and recipients by their number."""
    (made,) = await house.desk.envelopes()
    named = {r["recipientId"]: (r["name"], r["email"]) for r in made["recipients"]}
    return {"subject": made["emailSubject"], **named}


async def test_the_second_of_two_editors_is_told_what_the_first_changed(house: rig.Rig) -> None:
    """From the same reading, the second gets a conflict with the fields; its change is not made."""
    envelope, read = await draft(house)
    await envelope.update_recipient("1", name="Anna", expected_revision=read)

    with pytest.raises(Conflict) as caught:
        await envelope.update_recipient("2", name="Benno", expected_revision=read)

    conflict = caught.value
    assert (conflict.code, conflict.revision) == (RefusalCode.CONFLICT, read + 1)
    assert [(c.path, c.before, c.now) for c in conflict.changed] == [
        ("recipients.1.name", "Ana", "Anna")
    ]
    assert not any(c.overlaps for c in conflict.changed)
    assert conflict.correlation_id
    assert await truth(house) == {
        "subject": "Please sign",
        "1": ("Anna", "ana@example.com"),
        "2": ("Ben", "ben@example.com"),
    }


async def test_a_merge_lets_disjoint_changes_through_and_shows_both_values_of_others(
    house: rig.Rig,
) -> None:
    """The name by one and the e-mail by another are both at the provider; one name of two is."""
    envelope, read = await draft(house)
    seen: Expects = {"expected_revision": read, "merge": True}
    await envelope.update_recipient("1", name="Anna", **seen)
    await envelope.update_recipient("1", name="Ana", email="ana@other.example", **seen)

    with pytest.raises(Conflict) as caught:
        await envelope.update_recipient("1", name="Annette", **seen)

    (told,) = caught.value.changed
    assert (told.path, told.before, told.now, told.wanted, told.overlaps) == (
        "recipients.1.name",
        "Ana",
        "Anna",
        "Annette",
        True,
    )
    assert (await truth(house))["1"] == ("Anna", "ana@other.example")


async def test_tabs_that_two_editors_placed_are_both_there(house: rig.Rig) -> None:
    """A mutation that replaces the whole is rebuilt of what both left."""
    envelope, read = await draft(house)
    for label in ("price", "place"):
        tab = Tab(TabKind.TEXT, label, 1, x=10, y=10)
        await envelope.set_tabs("1", [tab], expected_revision=read, merge=True)

    (made,) = await house.desk.envelopes()
    (ana,) = (r for r in made["recipients"] if r["recipientId"] == "1")
    assert sorted(t["tabLabel"] for t in ana["tabs"]) == ["place", "price"]


async def test_a_conflict_in_the_queue_is_told_when_its_turn_comes_and_told_again(
    house: rig.Rig,
) -> None:
    """Asked at once by eight from one reading: one is applied, and each repeated request gets its
    first answer, the same conflict and the same correlation id included."""
    envelope, read = await draft(house)

    async def ask(n: int) -> object:
        try:
            change = ChangeMessage(subject=f"S{n}")
            return await envelope.mutate(change, f"op-{n}", 60, expected_revision=read)
        except Conflict as conflict:
            return conflict

    first = await asyncio.gather(*(ask(n) for n in range(8)))
    conflicts = {n: c for n, c in enumerate(first) if isinstance(c, Conflict)}
    assert len(conflicts) == 7
    (winner,) = set(range(8)) - set(conflicts)
    assert (await truth(house))["subject"] == f"S{winner}"
    for n, told in conflicts.items():
        again = await ask(n)
        assert isinstance(again, Conflict)
        assert again.correlation_id == told.correlation_id
        assert again.changed == told.changed
    assert len({c.correlation_id for c in conflicts.values()}) == 7
    latest = (await envelope.status()).revision
    again_won = await envelope.mutate(
        ChangeMessage(subject=f"S{winner}"), f"op-{winner}", expected_revision=latest
    )
    assert (again_won.state, again_won.revision) == ("applied", read + 1)
    assert (await envelope.status()).revision == latest


async def test_values_travel_encrypted_only(house: rig.Rig) -> None:
    """Who has no key sees of a conflict neither the values nor the fields."""
    envelope, read = await draft(house)
    await envelope.update_recipient("1", name="Secret Sophie")
    asked = messages.Submit(
        operation_id="op-1", mutation=UpdateRecipient("1", name="Other"), expected_revision=read
    )
    payloads = await house.temporal.data_converter.encode([asked])
    request = UpdateWorkflowExecutionRequest(
        namespace=house.temporal.namespace,
        workflow_execution=WorkflowExecution(workflow_id=envelope.workflow_id),
        wait_policy=WaitPolicy(lifecycle_stage=COMPLETED),
        request=Request(
            meta=Meta(update_id="raw"),
            input=Input(name=messages.UPDATE_SUBMIT, args=Payloads(payloads=payloads)),
        ),
    )

    answer = await house.temporal.workflow_service.update_workflow_execution(request)

    raw = answer.outcome.failure
    assert raw.application_failure_info.type == messages.ERROR_REFUSAL
    for secret in (b"Sophie", b"recipients.1", b"revision"):
        assert secret not in raw.SerializeToString()
    with pytest.raises(Conflict) as caught:
        await envelope.update_recipient("1", name="Other", expected_revision=read)
    assert [c.now for c in caught.value.changed] == ["Secret Sophie"]


async def test_edit_merges_and_decides_anew_after_a_conflict(house: rig.Rig) -> None:
    """What is decided of an old reading is decided again of the new one; no change is lost.

    Repeated with its id, it gives the answer of the attempt that was applied, and no second effect.
    """
    envelope, _ = await draft(house)
    read: list[str] = []

    async def change(snapshot: Snapshot) -> Mutation:
        read.append(snapshot.subject)
        if len(read) == 1:
            await envelope.change_message(subject="Theirs")
            await envelope.update_recipient("2", name="Benno")
        return ChangeMessage(subject=f"{snapshot.subject}, ours")

    result = await envelope.edit(change, "edit-1", timeout_s=30)

    assert result is not None
    assert read == ["Please sign", "Theirs"]
    again = await envelope.edit(change, "edit-1", timeout_s=30)
    assert again is not None
    assert (again.operation_id, again.revision) == (result.operation_id, result.revision)
    assert len(read) == 2
    found = await truth(house)
    assert (found["subject"], found["2"][0]) == ("Theirs, ours", "Benno")
    assert await envelope.edit(lambda snapshot: None) is None


async def test_edit_gives_up_after_three_retries(house: rig.Rig) -> None:
    """Saved elsewhere each time: a person is told to look, and the last conflict is at hand."""
    envelope, _ = await draft(house)
    tries = 0

    async def change(snapshot: Snapshot) -> Mutation:
        nonlocal tries
        tries += 1
        await envelope.change_message(subject=f"Theirs {tries}")
        return ChangeMessage(subject="Ours")

    with pytest.raises(
        SavedElsewhere, match="saved elsewhere; refresh to see the latest"
    ) as caught:
        await envelope.edit(change, timeout_s=60)

    assert (tries, caught.value.attempts) == (4, 4)
    (told,) = caught.value.changed
    assert (told.now, told.wanted) == ("Theirs 4", "Ours")
    assert (await truth(house))["subject"] == "Theirs 4"


async def test_sixteen_editors_of_different_fields_all_succeed_at_once(house: rig.Rig) -> None:
    """Each sets the tabs of its own recipient and none ever conflicts."""
    people = [Recipient(str(n), f"P{n}", f"p{n}@example.com", 1) for n in range(1, 17)]
    envelope = await house.create(recipients=people, send=False)
    await envelope.wait("created", timeout_s=20)
    asked: list[str] = []

    async def edit(n: int) -> None:
        def change(snapshot: Snapshot) -> Mutation:
            asked.append(snapshot.business_key)
            return SetTabs(str(n), (Tab(TabKind.TEXT, f"mine-{n}", 1, x=n, y=n),))

        await envelope.edit(change, timeout_s=60)

    await asyncio.gather(*(edit(n) for n in range(1, 17)))
    (made,) = await house.desk.envelopes()
    placed = {r["recipientId"]: [t["tabLabel"] for t in r["tabs"]] for r in made["recipients"]}
    assert placed == {str(n): [f"mine-{n}"] for n in range(1, 17)}
    assert len(asked) == 16


async def test_sixteen_editors_of_one_field_all_make_progress(house: rig.Rig) -> None:
    """Each adds its own letter to the subject; who gives up asks again; all letters are there."""
    envelope, _ = await draft(house)
    letters = "abcdefghijklmnop"

    async def edit(letter: str) -> None:
        def change(snapshot: Snapshot) -> Mutation:
            return ChangeMessage(subject=snapshot.subject + letter)

        while True:
            try:
                await envelope.edit(change, timeout_s=60)
            except SavedElsewhere:
                continue
            return

    async with asyncio.timeout(90):
        await asyncio.gather(*(edit(letter) for letter in letters))
    subject = (await truth(house))["subject"].removeprefix("Please sign")
    assert sorted(subject) == sorted(letters)
    ledger = await house.desk.ledger()
    assert ledger["lost_update_count"] == 0
    writes = [w for w in ledger["writes"] if w["operationId"] == "Envelopes_PutEnvelope"]
    assert len(writes) == len(letters)
