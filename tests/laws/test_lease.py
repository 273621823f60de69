"""Law 4, one session: whatever signers, applications, bridge and network do, nobody is kicked out
unless somebody chose that, those whose turn it is are served in order, and the queue never sticks.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from sealwax.definition import Recipient, Refusal, RefusalCode
from sealwax.envelope import DuringSession
from sealwax.mutations import AddRecipients, Mutation, UpdateRecipient, VoidEnvelope
from sealwax.session import End
from sealwax.signing import eligible
from tests.laws.ceremony import RULES, Ceremony

STEPS_MAX = 600
WAITING_MAX = 4
MEDDLED_MAX = 3
ACTS = ("sign", "sign", "leave", "leave", "later", "later", "decline")


class SigningCeremony(RuleBasedStateMachine):
    """One envelope, three embedded signers, and whatever may happen to them.

    The laws that hold at every step are asserted in ``Ceremony``: one live session, order, tokens
    that grow, nobody kicked unless that was chosen and counted, no ping that ends, no revocation
    of an opened URL, never a recipient out of turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = Ceremony()
        self.asked = 0
        self.meddled = 0

    @precondition(lambda self: len(self.world.play.state.sessions.waiting) < WAITING_MAX)
    @rule(recipient=st.sampled_from("123"), takeover=st.booleans())
    def want(self, recipient: str, takeover: bool) -> None:
        """Somebody wants a session; an active signer is told so unless he takes it over."""
        world, self.asked = self.world, self.asked + 1
        operation_id = f"s-{self.asked}"
        lease = world.play.state.sessions.lease
        own = lease is not None and lease.recipient_id == recipient
        before, line = world.play.state, [*world.line]
        mine = (operation_id, recipient)
        world.line = [mine, *line] if own and takeover else [*line, mine]
        world.forced += own and takeover
        try:
            world.happens(lambda: world.play.wants(operation_id, recipient, takeover=takeover))
        except Refusal as refused:
            world.line, world.forced = line, world.forced - (own and takeover)
            assert world.play.state == before
            if refused.code is RefusalCode.ALREADY_OPEN:
                assert own
                assert not takeover

    @precondition(lambda self: self.world.play.state.in_flight is not None)
    @rule(lost=st.sampled_from((False, False, False, True)))
    def answer(self, lost: bool) -> None:
        """The call in flight is answered, or did not get through."""
        if lost:
            self.world.fails()
        else:
            self.world.answers()

    @precondition(lambda self: self.world.play.state.in_flight is not None)
    @rule(opens=st.booleans())
    def settle(self, opens: bool) -> None:
        """All that is in flight is answered, and what follows; a URL may be opened at once."""
        while self.world.play.state.in_flight is not None:
            self.world.answers()
        if opens and self.url() and self.world.page(self.url()).now == "unopened":
            self.world.opens(self.url())

    @rule(seconds=st.sampled_from((1, 29, 60, 61, 91, 240, 299, 390, 900)))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.world.passes(seconds)

    @precondition(lambda self: self.world.undelivered)
    @rule()
    def deliver(self) -> None:
        """A webhook arrives."""
        at_work = {page.token for page in self.world.at_work()}
        before = self.world.play.state.sessions.lease
        self.world.delivers()
        over = self.world.play.state.sessions.over
        if before is not None and before.token in at_work and over:
            assert over[-1].how is not End.FINISHED_LATER or over[-1].token != before.token

    @precondition(lambda self: self.url())
    @rule()
    def open(self) -> None:
        """The asker opens the URL that his ticket shows."""
        self.world.opens(self.url())

    @precondition(lambda self: self.world.pages and self.may_meddle())
    @rule(data=st.data())
    def open_again(self, data: st.DataObject) -> None:
        """An old or used URL is opened: the browser is sent back, and nobody is thrown out."""
        self.meddled += 1
        token = data.draw(st.sampled_from(sorted(self.world.pages)))
        if self.world.pages[token].now != "unopened":
            self.world.opens(f"https://provider.example/{token}")

    @precondition(lambda self: self.world.at_work())
    @rule(
        act=st.sampled_from(ACTS),
        returns=st.booleans(),
    )
    def leave(self, act: str, returns: bool) -> None:
        """A signer comes to an end, with or without the browser coming back."""
        self.world.leaves(self.world.at_work()[0], act, returns)

    @precondition(lambda self: any(p.now == "left" for p in self.world.pages.values()))
    @rule(data=st.data())
    def reload_the_landing_page(self, data: st.DataObject) -> None:
        """An old return is repeated: it speaks of its own session, and of no later one."""
        left = [p for p in self.world.pages.values() if p.now == "left"]
        page = data.draw(st.sampled_from(left))
        before = self.world.play.state.sessions.lease
        self.world.comes_back(page, "signing_complete")
        if before is not None and before.token != page.token:
            after = self.world.play.state.sessions.lease
            assert after is not None
            assert after.token == before.token

    @precondition(lambda self: self.may_meddle())
    @rule(up=st.booleans())
    def bridge(self, up: bool) -> None:
        """The bridge starts anew or goes away."""
        self.meddled += 1
        self.world.bridge_since = self.world.play.now if up else None

    @precondition(lambda self: self.world.line and self.may_meddle())
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """The caller withdraws, or closes a session that nobody is at work in."""
        world = self.world
        self.meddled += 1
        operation_id, _ = data.draw(st.sampled_from(world.line))
        sessions = world.play.state.sessions
        waiting = sessions.wanted(operation_id) is not None
        lease = sessions.lease
        live = lease is not None and lease.operation_id == operation_id
        if live and lease is not None and world.pages[lease.token].now == "open":
            return
        world.happens(lambda: world.play.closes(operation_id))
        after = world.play.state.sessions
        if waiting:
            over = after.ended(operation_id)
            assert over is not None
            assert over.how is End.WITHDRAWN
        elif live:
            assert after.lease is None or after.lease.closing is not None
        else:
            assert after == sessions

    @precondition(lambda self: self.may_meddle())
    @rule(
        what=st.sampled_from(("add", "add", "update", "update", "update", "void")),
        during=st.sampled_from(("wait", "end")),
    )
    def mutate(self, what: str, during: DuringSession) -> None:
        """A mutation that disturbs nobody, or one that waits for the session or ends it."""
        world, self.asked, self.meddled = self.world, self.asked + 1, self.meddled + 1
        mutations: dict[str, Mutation] = {
            "add": AddRecipients((Recipient(str(self.asked + 9), "Xeno", "x@example.com", 9),)),
            "update": UpdateRecipient("3", name=f"Cyd {self.asked}"),
            "void": VoidEnvelope("no"),
        }
        operation_id = f"m-{self.asked}"
        # Any session until it is done may be ended by it; most of them are not.
        chosen = during == "end" and what != "add"
        world.forced += 99 * chosen
        try:
            world.happens(lambda: world.play.asks(operation_id, mutations[what], during))
        except Refusal:
            world.forced -= 99 * chosen

    @invariant()
    def urls_are_fresh(self) -> None:
        """A ticket shows a URL only while it is the live session's, unspent and unexpired."""
        world = self.world
        shown = [o for o, _ in world.line if world.play.ticket(o).url]
        assert len(shown) <= 1
        if shown:
            page = world.page(world.play.ticket(shown[0]).url)
            assert world.play.now < page.dies_at
            assert not page.heard_of
            assert page.now in ("unopened", "open", "left")
            assert page.token == world.play.lease.token

    @invariant()
    def the_queue_can_be_emptied(self) -> None:
        """From here, by silence alone all whose turn it is are served; by signing, all are."""
        if self.asked % 4 == 0 and self.world.line:
            drained(self.world.twin(), signing=False)
            drained(self.world.twin(), signing=True)

    def may_meddle(self) -> bool:
        """Whether something rarer than asking, answering and signing may happen again."""
        return self.meddled < len(self.world.pages) + MEDDLED_MAX

    def url(self) -> str:
        """The URL that can be opened now, if there is one."""
        tickets = (self.world.play.ticket(o) for o, _ in self.world.line)
        return next((t.url for t in tickets if t.url), "")


def drained(world: Ceremony, *, signing: bool) -> None:
    """Let the world go its best way until nobody waits. Fails where that takes for ever."""
    world.bridge_since = world.bridge_since or world.play.now
    for _ in range(STEPS_MAX):
        play, lease = world.play, world.play.state.sessions.lease
        for page in world.at_work():
            world.leaves(page, "sign" if signing else "leave", returns=signing)
        if play.state.in_flight is not None:
            world.answers()
        elif lease is not None and signing and lease.url and lease.closing is None:
            world.opens(lease.url)
        elif lease is None and not _servable(world, signing):
            break
        elif signing and world.undelivered:
            world.delivers()
        elif signing and lease is None:
            _others_sign(world)
        else:
            wake = play.wake_at
            assert wake is not None, f"nothing will ever happen: {play.state.sessions}"
            world.passes(max(1.0, (wake - play.now) / timedelta(seconds=1)))
    else:
        raise AssertionError(f"after {STEPS_MAX} steps: {world.play.state.sessions}")


def _servable(world: Ceremony, signing: bool) -> bool:
    """Whether somebody waits who could get a session yet."""
    state = world.play.state
    turn = eligible(state)
    return any(signing or w.recipient_id in turn for w in state.sessions.waiting)


def _others_sign(world: Ceremony) -> None:
    """Those who did not ask for a session sign all the same, which lets later ones have a turn."""
    waiting = {w.recipient_id for w in world.play.state.sessions.waiting}
    ready = [r for r, s in world.truth.items() if s == "sent" and r not in waiting]
    if ready:
        world.acts(ready[0], "completed")
    else:
        world.passes(RULES.ping_every_s)


TestLease = SigningCeremony.TestCase
TestLease.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
