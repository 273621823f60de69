"""An application asks for signing sessions: one by one, and nobody is kicked out.

The real workflow and worker, a real Temporal server, and the simulator, whose ledger says what
became of each session. No bridge runs: what ends a session here is the application's own word.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from demo.stack import Stack
from sealwax.client import (
    EnvelopeHandle,
    LiveSession,
    MutationRefused,
    NoAnswerYet,
    SessionRefused,
)
from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.messages import Snapshot
from sealwax.mutations import UpdateRecipient
from tests import programs, rig
from tests.rig import Rig

THANKS = "http://127.0.0.1:9/thanks"
ANA = Recipient("ana", "Ana", "ana@example.com", client_user_id="u-ana")
BEN = Recipient("ben", "Ben", "ben@example.com", client_user_id="u-ben")
CARL = Recipient("carl", "Carl", "carl@example.com", 2, client_user_id="u-carl")
MAIL = Recipient("mia", "Mia", "mia@example.com", 3)


@pytest_asyncio.fixture(loop_scope="session")
async def house(dev_env: WorkflowEnvironment, tmp_path: Path) -> AsyncIterator[Rig]:
    """A whole Sealwax but for the bridge, whose address signing URLs need all the same."""
    async with Stack(tmp_path / "programs") as stack:
        url = await programs.start_simulator(stack)
        async with rig.running(dev_env.client, url, tmp_path, bridge_port=9) as running:
            yield running


async def sent(house: Rig, *recipients: Recipient) -> EnvelopeHandle:
    """A sent envelope of these recipients."""
    envelope = await house.create(recipients=list(recipients))
    await envelope.wait("sent", timeout_s=30)
    return envelope


async def seen(envelope: EnvelopeHandle, wanted: Any) -> Snapshot:
    """The first snapshot of which ``wanted`` holds."""
    async with asyncio.timeout(240):
        async for snapshot in envelope.watch():
            if wanted(snapshot):
                return snapshot
    raise AssertionError("the envelope closed before")


async def browse(house: Rig, envelope: EnvelopeHandle, session: LiveSession, *acts: str) -> None:
    """The signer's browser opens the URL and does this, each of which the provider lets it do."""
    snapshot = await envelope.status()
    number = {r.recipient_id: r.provider_recipient_id for r in snapshot.recipients}
    path = f"/envelopes/{snapshot.provider_envelope_id}/recipients/{number[session.recipient_id]}"
    left = await house.desk.post(f"{path}/session/open", {"url": session.url})
    assert "event" not in left
    for act in acts:
        await house.desk.post(f"{path}/session/{act}", {})


async def test_sessions_are_granted_one_by_one_in_the_order_of_asking(house: Rig) -> None:
    """The second waits until the first is done; by the ledger nobody is kicked."""
    envelope = await sent(house, ANA, BEN)
    tickets = []

    async def signs(recipient_id: str) -> None:
        async with envelope.signing_session(recipient_id, THANKS) as session:
            tickets.append((recipient_id, session.token))
            await browse(house, envelope, session, "type")
            if recipient_id == "ana":
                await seen(envelope, lambda s: s.signing.waiting == ("ben",))
            await browse_on(house, envelope, session, "sign")

    first = asyncio.create_task(signs("ana"))
    await seen(envelope, lambda s: s.signing.recipient_id == "ana")
    await asyncio.gather(first, signs("ben"))
    assert tickets == [("ana", 1), ("ben", 2)]
    assert (await envelope.wait("completed", timeout_s=30)).status == "completed"
    ledger = await house.desk.ledger()
    assert (ledger["kicked"], ledger["input_lost"]) == (0, 0)
    assert [s["end"] for s in ledger["sessions"]] == ["signing_complete"] * 2


async def browse_on(house: Rig, envelope: EnvelopeHandle, session: LiveSession, act: str) -> None:
    """What the browser does on the page that is open."""
    snapshot = await envelope.status()
    number = {r.recipient_id: r.provider_recipient_id for r in snapshot.recipients}
    path = f"/envelopes/{snapshot.provider_envelope_id}/recipients/{number[session.recipient_id]}"
    await house.desk.post(f"{path}/session/{act}", {})


@pytest.mark.parametrize(
    ("recipient_id", "return_url", "code"),
    [
        ("nobody", THANKS, RefusalCode.UNKNOWN_RECIPIENT),
        ("mia", THANKS, RefusalCode.NOT_EMBEDDED),
        ("ana", "http://app.example.com/thanks", RefusalCode.BAD_RETURN_URL),
        ("ana", "https://elsewhere.example.com/", RefusalCode.BAD_RETURN_URL),
        ("ana", f"{THANKS}?{'q' * 2_000}", RefusalCode.BAD_RETURN_URL),
        ("ana", "", RefusalCode.BAD_RETURN_URL),
    ],
)
async def test_what_can_never_be_a_session_is_refused_and_changes_nothing(
    house: Rig, recipient_id: str, return_url: str, code: RefusalCode
) -> None:
    """Each has its code and one line; the envelope and the provider see nothing of it."""
    envelope = await sent(house, ANA, MAIL)
    before = await envelope.status()
    with pytest.raises(Refusal) as caught:
        await envelope.open_session(recipient_id, return_url)
    assert caught.value.code is code
    assert "\n" not in str(caught.value)
    assert (await envelope.status()).signing == before.signing
    assert (await house.desk.ledger())["sessions"] == []


async def test_a_session_of_an_ended_envelope_is_refused(house: Rig) -> None:
    """Nobody can sign what was voided, also when its workflow is over."""
    envelope = await sent(house, ANA)
    await envelope.void("Withdrawn")
    with pytest.raises(Refusal):
        await envelope.open_session("ana", THANKS, timeout_s=10)
    await envelope.wait("closed", timeout_s=30)
    with pytest.raises(Refusal) as caught:
        await envelope.open_session("ana", THANKS, timeout_s=10)
    assert caught.value.code is RefusalCode.CLOSED


async def test_a_repeated_request_never_gives_a_spent_url(house: Rig) -> None:
    """Before it is opened it is the same URL; afterwards there is none, whoever asks."""
    envelope = await sent(house, ANA)
    first = await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)
    again = await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)
    assert (again.url, again.token) == (first.url, first.token)
    assert first.url.startswith("http")
    assert first.url not in repr(first)
    await envelope.close_session("op-1", first.token)
    with pytest.raises(SessionRefused) as caught:
        await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)
    assert caught.value.code is RefusalCode.SESSION_OVER
    assert caught.value.ticket.url == ""


async def test_a_second_tab_is_told_so_and_may_take_over(house: Rig) -> None:
    """The same signer again gets ``already_open``; a takeover ends the first and gets the next."""
    envelope = await sent(house, ANA)
    first = await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)
    with pytest.raises(Refusal) as caught:
        await envelope.open_session("ana", THANKS, timeout_s=30)
    assert caught.value.code is RefusalCode.ALREADY_OPEN
    second = await envelope.open_session("ana", THANKS, takeover=True, timeout_s=30)
    assert second.token == first.token + 1
    assert second.url not in ("", first.url)
    with pytest.raises(SessionRefused):
        await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)


async def test_a_stale_token_closes_nothing(house: Rig) -> None:
    """A token of another session is refused, and so is a request that nobody made."""
    envelope = await sent(house, ANA)
    ticket = await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)
    with pytest.raises(Refusal) as caught:
        await envelope.close_session("op-1", ticket.token + 1)
    assert caught.value.code is RefusalCode.STALE_TOKEN
    with pytest.raises(Refusal) as caught:
        await envelope.close_session("op-2")
    assert caught.value.code is RefusalCode.UNKNOWN_SESSION
    assert (await envelope.status()).signing.recipient_id == "ana"


async def test_a_turn_by_routing_order_is_waited_for(house: Rig) -> None:
    """Who comes later by routing order waits, and says why, without being in anybody's way."""
    envelope = await sent(house, ANA, CARL)
    why = []
    with pytest.raises(NoAnswerYet, match="op-carl"):
        await envelope.open_session(
            "carl",
            THANKS,
            operation_id="op-carl",
            timeout_s=1.5,
            seen=lambda ticket: why.append(ticket.why),
        )
    assert set(why) == {"others come first by routing order"}
    waiting = asyncio.create_task(
        envelope.open_session("carl", THANKS, operation_id="op-carl", timeout_s=60)
    )
    async with envelope.signing_session("ana", THANKS) as session:
        await browse(house, envelope, session, "sign")
    assert (await waiting).recipient_id == "carl"
    assert (await house.desk.ledger())["kicked"] == 0


async def test_whoever_is_cancelled_gives_the_place_back(house: Rig) -> None:
    """A cancelled wait leaves nobody in the queue, and a failed block no live session."""
    envelope = await sent(house, ANA, BEN)

    async def fails() -> None:
        async with envelope.signing_session("ana", THANKS):
            asking = asyncio.create_task(enter(envelope, "ben"))
            await seen(envelope, lambda s: s.signing.waiting == ("ben",))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (await envelope.status()).signing.waiting == ()
            raise LookupError("the application's own")

    with pytest.raises(LookupError):
        await fails()
    ended = await seen(envelope, lambda s: not s.signing.recipient_id)
    assert ended.signing.losses == 0


async def enter(envelope: EnvelopeHandle, recipient_id: str) -> None:
    """Wait for a session that is not wanted for long."""
    async with envelope.signing_session(recipient_id, THANKS):
        pass


async def test_a_live_session_tells_its_end(house: Rig) -> None:
    """Inside the block the application hears how the session ended."""
    envelope = await sent(house, ANA)
    async with envelope.signing_session("ana", THANKS, operation_id="op-1") as session:
        with pytest.raises(NoAnswerYet):
            await session.over(timeout_s=0.3)
        await envelope.close_session("op-1", session.token)
        assert (await session.over(timeout_s=30)).how == "closed"


async def test_a_change_waits_for_the_signer_or_ends_the_session_by_choice(house: Rig) -> None:
    """It is never made under the signer's eyes silently."""
    envelope = await sent(house, ANA, BEN)
    ticket = await envelope.open_session("ana", THANKS, operation_id="op-1", timeout_s=30)
    change = UpdateRecipient("ben", name="Benno")
    before = await envelope.status()
    with pytest.raises(NoAnswerYet):
        await envelope.mutate(change, "rename", timeout_s=1.5)
    assert (await envelope.status()).revision == before.revision
    await envelope.close_session("op-1", ticket.token)
    assert (await envelope.mutate(change, "rename", timeout_s=30)).state == "applied"
    await envelope.open_session("ana", THANKS, operation_id="op-2", timeout_s=30)
    result = await envelope.update_recipient("ben", name="Bennie", during_session="end")
    assert result.state == "applied"
    with pytest.raises(SessionRefused) as caught:
        await envelope.open_session("ana", THANKS, operation_id="op-2", timeout_s=10)
    assert caught.value.ticket.how == "for_mutation"


CROWD = 50


@pytest.mark.timeout(400)
async def test_those_who_close_and_cancel_get_in_past_a_crowd(house: Rig) -> None:
    """With 50 changes and 50 session requests waiting, control has an answer within seconds."""
    envelope = await sent(house, ANA, BEN)
    live = await envelope.open_session("ana", THANKS, operation_id="op-live", timeout_s=60)
    changes = [
        asyncio.create_task(
            envelope.mutate(UpdateRecipient("ben", name=f"Ben {n}"), f"change-{n}", timeout_s=300)
        )
        for n in range(CROWD)
    ]
    asked = [
        asyncio.create_task(
            envelope.open_session("ben", THANKS, operation_id=f"ask-{n}", timeout_s=300)
        )
        for n in range(CROWD)
    ]
    full = await seen(
        envelope, lambda s: s.queue_length == CROWD and len(s.signing.waiting) == CROWD
    )
    assert full.signing.recipient_id == "ana"
    took = {}
    controls: dict[str, Callable[[], Awaitable[object]]] = {
        "withdraw": lambda: envelope.close_session("ask-7", timeout_s=60),
        "close": lambda: envelope.close_session("op-live", live.token, timeout_s=60),
        "void": lambda: envelope.void("Withdrawn", "op-void", during_session="end"),
    }
    for name, control in controls.items():
        began = time.monotonic()
        await control()
        took[name] = time.monotonic() - began
    outcomes = await asyncio.gather(*changes, *asked, return_exceptions=True)
    kinds = {type(outcome) for outcome in outcomes[:CROWD] if isinstance(outcome, Exception)}
    assert kinds <= {MutationRefused}
    assert {type(outcome) for outcome in outcomes[CROWD:]} <= {SessionRefused, type(live), Refusal}
    assert took["withdraw"] < 5, took
    assert took["close"] < 5, took
    assert (await house.desk.ledger())["kicked"] == 0
