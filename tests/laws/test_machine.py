"""The machine under any weather: total, one call at a time, first come first served."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from sealwax.advance import (
    CallFinished,
    EnvelopeEvent,
    EventsReceived,
    MutationAccepted,
    Perform,
    WakeAt,
    Woke,
    advance,
    opened,
)
from sealwax.calls import (
    Applied,
    Archived,
    Done,
    Found,
    NotSent,
    Observed,
    Outcome,
    Registered,
    Rejected,
    Unknown,
)
from sealwax.carrying import carried
from sealwax.definition import Refusal
from sealwax.envelope import Envelope, check_acceptable
from sealwax.facts import RESTORED, EnvelopeStatus, Fact, RecipientStatus
from sealwax.messages import Carried, EnvelopeInput
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
    SendEnvelope,
    SetTabs,
    UpdateRecipient,
    VoidEnvelope,
)
from tests.builders import (
    ACCOUNT_ID,
    ENVELOPE_ID,
    START,
    a_document,
    a_recipient,
    an_event,
    an_observation,
    an_order,
    archived,
    seen_recipient,
)
from tests.playbook import TIMING

ids = st.sampled_from(("1", "2", "3"))
mutations: st.SearchStrategy[Mutation] = st.one_of(
    st.sampled_from(
        (SendEnvelope(), DiscardDraft(), VoidEnvelope("no"), ChangeMessage(subject="Other"))
    ),
    st.builds(lambda n: AddDocuments((a_document(n),)), st.integers(1, 3)),
    st.builds(lambda n: ReplaceDocument(a_document(n, "new.pdf")), st.integers(1, 3)),
    st.builds(lambda n: RemoveDocuments((n,)), st.integers(1, 3)),
    st.builds(lambda i: AddRecipients((a_recipient(i),)), ids),
    st.builds(lambda i: UpdateRecipient(i, email="new@example.com"), ids),
    st.builds(lambda i: RemoveRecipients((i,)), ids),
    st.builds(lambda i, o: ReorderRouting({i: o}), ids, st.integers(0, 3)),
    st.builds(lambda i: SetTabs(i, ()), ids),
    st.builds(lambda i: CorrectEnvelope("S", None, (UpdateRecipient(i, name="N"),)), ids),
)
statuses = st.sampled_from([s for s in EnvelopeStatus if s != "rejected"])
guids = st.sampled_from(("", "a", "b"))
facts = st.builds(
    Fact,
    status=st.sampled_from([*EnvelopeStatus, *RecipientStatus, RESTORED, "xyzzy"]),
    recipient=st.sampled_from(("", "1", "2", "9")),
    incarnation=guids,
    mark=st.sampled_from(("", "t")),
)
seen = st.builds(
    seen_recipient, st.sampled_from(("1", "2", "9")), guids, st.sampled_from(list(RecipientStatus))
)
observations = st.builds(
    an_observation,
    statuses,
    st.lists(seen, max_size=3, unique_by=lambda r: r.recipient).map(tuple),
    st.lists(facts, max_size=3).map(tuple),
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.just(Registered("docusign", ACCOUNT_ID, TIMING)),
    st.builds(
        lambda told, guid: Applied(tuple(told), {"1": guid}, ENVELOPE_ID),
        st.lists(facts, max_size=2),
        guids,
    ),
    st.builds(lambda person: Rejected("CODE", "why", person), st.booleans()),
    st.builds(lambda s: NotSent("later", s), st.none() | st.floats(0, 500)),
    st.just(Unknown("dropped")),
    observations.map(Observed),
    st.sampled_from((Found(()), Found((ENVELOPE_ID,)), Found(("x", "y")), Archived(()), Done())),
)
happenings = st.one_of(
    st.tuples(st.just("ask"), mutations),
    st.tuples(st.just("answer"), outcomes),
    st.tuples(st.just("fitting answer"), st.lists(facts, max_size=2)),
    st.tuples(st.just("hear"), st.lists(facts, max_size=3), st.booleans()),
    st.tuples(st.just("pass"), st.integers(0, 4_000)),
)


@given(st.booleans(), st.lists(happenings, max_size=40))
def test_whatever_happens_the_machine_goes_on_by_its_laws(sent: bool, life: list[tuple]):
    """It never raises; one call at a time; answers in the order of acceptance; nothing unsaid; and
    in every state it may go on as a new run."""
    now = START
    state, effects = advance(opened(an_order(send=sent), now), Woke(), now)
    answered: list[int] = []
    for number, (what, *given_) in enumerate(life):
        before = state
        happened: EnvelopeEvent
        match what:
            case "ask":
                try:
                    check_acceptable(state, f"op-{number}", given_[0])
                except Refusal:
                    continue
                happened = MutationAccepted(f"op-{number}", given_[0])
            case "answer":
                happened = CallFinished(given_[0])
            case "fitting answer":
                happened = CallFinished(_fitting(state, given_[0]))
            case "hear":
                said = an_event(
                    "said", tuple(given_[0]), event_key=f"{number}", needs_read=given_[1]
                )
                happened = EventsReceived((said,))
            case _:
                now += timedelta(seconds=given_[0])
                happened = Woke()
        state, effects = advance(state, happened, now)

        performed = [e for e in effects if isinstance(e, Perform)]
        assert len(performed) <= 1
        assert not (performed and before.in_flight and not isinstance(happened, CallFinished))
        assert all(e.at > now for e in effects if isinstance(e, WakeAt))
        assert state.revision >= before.revision
        answered += [a.sequence for key, a in state.answers.items() if key not in before.answers]
        assert answered == sorted(answered)
        assert {*answered} | {p.sequence for p in state.queue} == {*range(1, state.sequence + 1)}
        assert not (state.closed and state.queue)
        assert _carried_over(state) == carried(state)


@given(st.lists(st.tuples(mutations, statuses), max_size=1), statuses)
def test_an_illegal_mutation_changes_nothing(asked: list[tuple], status: EnvelopeStatus):
    """A refusal leaves the state as it was, and no effect of it is ever performed."""
    state, _ = advance(opened(an_order(send=False), START), Woke(), START)
    for outcome in (
        Registered("docusign", ACCOUNT_ID, TIMING),
        Applied((Fact(status),), {}, ENVELOPE_ID),
        Done(),
    ):
        state, _ = advance(state, CallFinished(outcome), START)
    for mutation, _ in asked:
        try:
            check_acceptable(state, "op", mutation)
        except Refusal:
            forced, effects = advance(state, MutationAccepted("op", mutation), START)
            assert not [e for e in effects if isinstance(e, Perform) and e.call.kind == "mutate"]
            if state.in_flight is None:
                assert forced.answers["op"].state == "refused"
                changed = replace(
                    forced, memory=state.memory, sequence=state.sequence, timeline=state.timeline
                )
                assert changed.definition == state.definition
                assert changed.revision == state.revision


def _carried_over(state: Envelope) -> Envelope:
    """The state as the next run of the workflow reads it."""
    start = EnvelopeInput(order=state.order, carried=Carried(state=carried(state)))
    again = EnvelopeInput.model_validate_json(start.model_dump_json())
    assert again.carried is not None
    return again.carried.state


def _fitting(state: Envelope, told: list[Fact]) -> Outcome:
    """An answer of the kind that the call in flight asks for."""
    kind = state.in_flight.kind if state.in_flight else ""
    fitting: dict[str, Outcome] = {
        "register": Registered("docusign", ACCOUNT_ID, TIMING),
        "create": Applied(tuple(told), {}, ENVELOPE_ID),
        "mutate": Applied(tuple(told)),
        "find_created": Found((ENVELOPE_ID,)),
        "read": Observed(an_observation(facts=tuple(told))),
        "archive": archived(),
    }
    return fitting.get(kind, Done())
