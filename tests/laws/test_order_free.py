"""Law 2 against the provider's own ledger: whatever the order of telling, one state, the true one.

A life is generated: mutations of ours, acts of signers, sweeps, and deliveries in between. Then
what is still undelivered (each event twice over: with and without its summary) arrives in several
permutations with repetitions. Every permutation ends in the state that the ledger holds.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from sealwax.definition import Refusal
from sealwax.envelope import Envelope, names_of, recipient_statuses
from sealwax.facts import ProviderEvent
from sealwax.mutations import (
    AddRecipients,
    DiscardDraft,
    Mutation,
    RemoveRecipients,
    ReorderRouting,
    SendEnvelope,
    UpdateRecipient,
    VoidEnvelope,
)
from tests.builders import a_definition, a_recipient, an_order
from tests.laws.desk import Desk, run

IDS = ("1", "2", "3")
ACTS = ("open", "sign", "decline", "reassign", "autorespond", "finish-later")

ids = st.sampled_from(IDS)
mutations: st.SearchStrategy[Mutation] = st.one_of(
    st.just(SendEnvelope()),
    st.builds(lambda i, o: AddRecipients((a_recipient(i, o),)), ids, st.integers(1, 3)),
    st.builds(lambda i: RemoveRecipients((i,)), ids),
    st.builds(lambda i: UpdateRecipient(i, email="corrected@example.com"), ids),
    st.builds(lambda i: UpdateRecipient(i, name="Corrected"), ids),
    st.builds(lambda i, o: ReorderRouting({i: o}), ids, st.integers(1, 3)),
    st.just(VoidEnvelope("changed our mind")),
    st.just(DiscardDraft()),
)
steps = st.one_of(
    mutations,
    st.tuples(st.sampled_from(("1", "2", "3", "4", "5")), st.sampled_from(ACTS)),
    st.tuples(st.sampled_from(("1", "2")), st.just("sign")),
    st.sampled_from(("deliver some", "sweep", "restore")),
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(steps, max_size=12), st.booleans(), st.data())
def test_every_order_of_telling_ends_in_the_provider_s_state(
    life: list[Mutation | tuple[str, str] | str], sent: bool, data: st.DataObject
):
    """Permutations, duplicates, late snapshots and reads in between: always the ledger's state."""
    run(_lived(life, sent, data))


async def _lived(
    life: list[Mutation | tuple[str, str] | str], sent: bool, data: st.DataObject
) -> None:
    desk = Desk()
    two = a_definition((a_recipient("1"), a_recipient("2", 2, "Ben")))
    try:
        await desk.open(an_order(two, send=sent))
        undelivered = await _happened(desk, life, data)
        assert desk.state is not None
        truth = desk.truth()
        note(f"ledger: {truth}")
        event(f"ended {truth['status']}")
        for _ in range(3):
            told = data.draw(st.permutations(undelivered))
            if told:
                told += data.draw(st.lists(st.sampled_from(undelivered), max_size=4))
            state = await desk.rested(await desk.hear(desk.state, told))
            note("\n".join(entry.text for entry in state.timeline))
            assert _believed(state, truth) == truth
    finally:
        await desk.close()


async def _happened(
    desk: Desk, life: list[Mutation | tuple[str, str] | str], data: st.DataObject
) -> list[ProviderEvent]:
    undelivered: list[ProviderEvent] = []
    for number, step in enumerate(life):
        if isinstance(step, tuple):
            await desk.act(*step)
        elif step == "sweep":
            await desk.sweep()
        elif step == "restore":
            await desk.restore()
        elif step == "deliver some":
            undelivered += desk.fresh_events()
            heard = data.draw(st.lists(st.sampled_from(undelivered))) if undelivered else []
            assert desk.state is not None
            desk.state = await desk.hear(desk.state, heard)
            undelivered = [e for e in undelivered if e not in heard]
        elif not isinstance(step, str):
            try:
                await desk.ask(f"op-{number}", step)
            except Refusal:
                continue
    return undelivered + desk.fresh_events()


def _believed(state: Envelope, truth: dict[str, Any]) -> dict[str, Any]:
    statuses = recipient_statuses(state)
    recipients = {}
    for ours in state.definition.recipients:
        number = state.numbers[ours.recipient_id]
        # A guid that nobody ever told us cannot be believed wrongly.
        guid = names_of(state, number)[0] or truth["recipients"].get(number, ("", ""))[0]
        recipients[number] = (guid, statuses[ours.recipient_id])
    return {"status": state.status, "recipients": recipients}
