"""Overlapping writes lose updates, and the ledger knows exactly which."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import ProviderError
from simulator.ledger import Call, Ledger, Mint, Pending
from simulator.model import CustomField, Definition, Envelope
from tests.simulator.desk import Desk, document, person

WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def call(operation: str = "op") -> Call:
    return Call(WHEN, "k", "u", "a", "e", operation, "PUT", "/")


def fresh() -> tuple[Ledger, Envelope]:
    ledger = Ledger()
    envelope = Envelope("e", "a", 1, "u", "", Definition(email_subject="s"), WHEN)
    ledger.add(envelope, ledger.log_write(call(), "e"))
    return ledger, envelope


def subject(text: str) -> Any:
    def change(definition: Definition, _: Mint) -> None:
        definition.email_subject = text

    return change


def blurb(text: str) -> Any:
    def change(definition: Definition, _: Mint) -> None:
        definition.email_blurb = text

    return change


def begin(ledger: Ledger, envelope: Envelope) -> Pending:
    return ledger.begin(envelope, ledger.log_write(call(), "e"))


def test_the_later_store_wins_and_the_earlier_write_is_lost() -> None:
    ledger, envelope = fresh()
    first, second = begin(ledger, envelope), begin(ledger, envelope)
    ledger.commit(first, subject("first"))
    ledger.commit(second, blurb("second"))
    assert (envelope.definition.email_subject, envelope.definition.email_blurb) == ("s", "second")
    assert (first.write.lost, second.write.lost) == (True, False)
    assert ledger.overlaps == {"a": 1}


def test_writes_one_after_another_lose_nothing() -> None:
    ledger, envelope = fresh()
    first = begin(ledger, envelope)
    ledger.commit(first, subject("first"))
    second = begin(ledger, envelope)
    ledger.commit(second, blurb("second"))
    assert (first.write.lost, second.write.lost, ledger.overlaps) == (False, False, {})
    assert envelope.definition.email_subject == "first"


def test_setting_the_same_field_anew_is_an_overlap_but_no_loss() -> None:
    """One after the other the later value would have stood as well."""
    ledger, envelope = fresh()
    first, second = begin(ledger, envelope), begin(ledger, envelope)
    ledger.commit(first, subject("first"))
    ledger.commit(second, subject("second"))
    assert (first.write.lost, ledger.overlaps) == (False, {"a": 1})


def test_a_refused_change_stores_nothing_and_loses_nothing() -> None:
    ledger, envelope = fresh()
    first, second = begin(ledger, envelope), begin(ledger, envelope)
    ledger.commit(first, subject("first"))

    def refuse(definition: Definition, _: Mint) -> None:
        definition.email_subject = "half"
        raise ProviderError("X", "no")

    with pytest.raises(ProviderError):
        ledger.commit(second, refuse)
    assert envelope.definition.email_subject == "first"
    assert not first.write.lost
    assert not second.write.accepted


@given(st.lists(st.integers(0, 7), min_size=1, max_size=24))
def test_lost_is_exactly_what_is_missing_in_the_end(schedule: list[int]) -> None:
    """Each write adds a field of its own name, at any interleaving of reads and stores.

    A number opens a write (first time) or stores it (second time). Nobody removes fields, so a
    write is lost exactly if its field is not there at the end.
    """
    ledger, envelope = fresh()
    opened: dict[int, Pending] = {}
    stored: dict[str, Pending] = {}

    def add(name: str) -> Any:
        def change(definition: Definition, _: Mint) -> None:
            definition.custom_fields.append(CustomField(name, "textCustomFields", {"name": name}))

        return change

    for step, number in enumerate(schedule):
        if number in opened:
            name = f"f{step}"
            stored[name] = opened.pop(number)
            ledger.commit(stored[name], add(name))
        else:
            opened[number] = begin(ledger, envelope)
    present = {c.name for c in envelope.definition.custom_fields}
    lost = {name for name, pending in stored.items() if pending.write.lost}
    assert lost == stored.keys() - present


async def storm(desk: Desk, envelope: str) -> None:
    """Ten writes of different places at once."""
    path = f"/envelopes/{envelope}"
    await asyncio.gather(
        desk.ok("PUT", f"{path}?advanced_update=true", {"emailSubject": "New"}),
        desk.ok("PUT", f"{path}?advanced_update=true", {"emailBlurb": "New"}),
        desk.ok("PUT", f"{path}/notification", {"reminders": {"reminderEnabled": "true"}}),
        desk.ok("POST", f"{path}/recipients/1/tabs", {"textTabs": [{"tabLabel": "t"}]}),
        *(desk.ok("POST", f"{path}/recipients", {"signers": [person(str(n), n)]}) for n in (2, 3)),
        *(desk.ok("PUT", f"{path}/documents", {"documents": [document(str(n))]}) for n in (2, 3)),
        *(
            desk.ok("POST", f"{path}/custom_fields", {"textCustomFields": [{"name": n}]})
            for n in ("a", "b")
        ),
    )


def effects(truth: dict[str, Any]) -> int:
    """How many of the storm's ten effects the truth shows."""
    return sum(
        [
            truth["emailSubject"] == "New",
            truth["emailBlurb"] == "New",
            truth["notification"] != {},
            len(truth["recipients"][0]["tabs"]),
            len(truth["recipients"]) - 1,
            len(truth["documents"]) - 1,
            len(truth["customFields"]),
        ]
    )


async def test_a_storm_over_http_loses_what_the_ledger_says() -> None:
    """With processing time, what is missing in the truth is what `lost_updates` counts."""
    async with Desk(overlap=True) as desk:
        await desk.harms(processing_ms=[1, 10], seed=3)
        envelope = await desk.create()
        await storm(desk, envelope)
        ledger, truth = await desk.ledger(), await desk.truth(envelope)
        assert ledger["lost_update_count"] == 10 - effects(truth) > 0
        assert ledger["overlaps"] > 0
        assert {w["id"] for w in ledger["writes"] if w["lost"]} == set(ledger["lost_updates"])
        assert all(w["accepted"] and w["answered"] for w in ledger["writes"])


async def test_with_overlap_off_a_storm_loses_nothing(desk: Desk) -> None:
    envelope = await desk.create()
    await storm(desk, envelope)
    ledger = await desk.ledger()
    assert (ledger["lost_update_count"], ledger["overlaps"]) == (0, 0)
    assert effects(await desk.truth(envelope)) == 10


async def test_no_stale_copy_overwrites_progress() -> None:
    """Signing and reassigning during a write's processing time stay."""
    async with Desk(overlap=True) as desk:
        await desk.harms(processing_ms=[0, 0])
        envelope = await desk.create(person("1"), person("2"))
        await desk.harms(processing_ms=[80, 80])
        path = f"/envelopes/{envelope}/custom_fields"
        writing = asyncio.create_task(desk.ok("POST", path, {"textCustomFields": [{"name": "a"}]}))
        await desk.under_way(2)
        await desk.act(envelope, "1", "sign")
        await desk.act(envelope, "2", "reassign", name="Deputy", email="deputy@example.com")
        await writing
        truth = await desk.truth(envelope)
        assert [r["status"] for r in truth["recipients"]] == ["completed", "sent"]
        assert truth["recipients"][1]["email"] == "deputy@example.com"
        assert truth["customFields"] == {"a": ""}


async def test_a_write_is_refused_when_the_envelope_ends_while_it_is_processed() -> None:
    """States are guarded at the store, definitions are not."""
    async with Desk(overlap=True) as desk:
        await desk.harms(processing_ms=[0, 0])
        envelope = await desk.create()
        await desk.harms(processing_ms=[80, 80])
        path = f"/envelopes/{envelope}/custom_fields"
        writing = asyncio.create_task(
            desk.refused("POST", path, {"textCustomFields": [{"name": "a"}]})
        )
        await desk.under_way(2)
        await desk.act(envelope, "1", "sign")
        assert await writing == "ENVELOPE_INVALID_STATUS"
        assert (await desk.truth(envelope))["customFields"] == {}


async def test_a_create_is_listed_when_its_processing_is_over() -> None:
    async with Desk(overlap=True) as desk:
        await desk.harms(processing_ms=[80, 80])
        creating = asyncio.create_task(desk.create(transactionId="t-1"))
        await desk.under_way(1)
        query = {"transaction_ids": "t-1"}
        assert (await desk.ok("GET", "/envelopes", query=query))["resultSetSize"] == "0"
        envelope = await creating
        found = await desk.ok("GET", "/envelopes", query=query)
        assert [e["envelopeId"] for e in found["envelopes"]] == [envelope]


async def test_processing_times_are_a_matter_of_the_seed() -> None:
    async with Desk(overlap=True) as desk:
        drawn = []
        for seed in (7, 7, 8):
            await desk.harms(processing_ms=[1, 100], seed=seed)
            drawn.append([desk.service.harms.processing_s() for _ in range(5)])
        assert drawn[0] == drawn[1] != drawn[2]
        assert len(set(drawn[0])) == 5
