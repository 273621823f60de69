"""A provider, its signers and a bridge as small as can be, around one envelope in the machine.

They do the harm that real ones do: a second URL of an envelope throws out whoever is at work, a
read shows what was true when it was asked for, a bridge that is down hears nothing. Signers ping
for as long as their page is open; applications close sessions whose signer has left.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from sealwax.calls import (
    Applied,
    Archive,
    AskBridge,
    BridgeUp,
    Call,
    Done,
    Mutate,
    NotSent,
    Observed,
    OpenView,
    Outcome,
    Read,
    Rejected,
    RevokeView,
    ViewOpened,
)
from sealwax.definition import Recipient
from sealwax.facts import EnvelopeStatus, Fact, ProviderEvent
from sealwax.mutations import VoidEnvelope
from sealwax.session import End, SessionRules
from sealwax.signing import DISTURBING, eligible
from tests.builders import (
    a_definition,
    an_event,
    an_observation,
    an_order,
    archived,
    seen_recipient,
)
from tests.playbook import Playbook

PEOPLE = (
    Recipient("1", "Ana", "ana@example.com", 1, client_user_id="a"),
    Recipient("2", "Ben", "ben@example.com", 1, client_user_id="b"),
    Recipient("3", "Cyd", "cyd@example.com", 2, client_user_id="c"),
)
RULES = SessionRules(maximum_s=1_800)
CALL_TAKES = timedelta(seconds=0.1)


@dataclass
class Page:
    """A signing URL as the provider knows it, and the page behind it."""

    token: int
    recipient: str
    dies_at: datetime
    now: str = "unopened"
    pings_at: datetime | None = None
    heard_of: bool = False


@dataclass
class Ceremony:
    """The world around one sent envelope. ``kicked`` holds tokens of signers thrown out at work."""

    play: Playbook = field(
        default_factory=lambda: Playbook.sent(an_order(a_definition(PEOPLE)), RULES)
    )
    truth: dict[str, str] = field(
        default_factory=lambda: {"1": "sent", "2": "sent", "3": "created"}
    )
    envelope: EnvelopeStatus = EnvelopeStatus.SENT
    pages: dict[int, Page] = field(default_factory=dict)
    bridge_since: datetime | None = None
    undelivered: list[ProviderEvent] = field(default_factory=list)
    line: list[tuple[str, str]] = field(default_factory=list)
    """Operation ids and recipients in the order in which sessions have to be granted."""
    kicked: list[int] = field(default_factory=list)
    forced: int = 0
    """How often somebody chose to end a session that may be in use."""
    late: set[str] = field(default_factory=set)
    """Who signed in a session that had been ended by force, which no read can foresee."""
    _flight: Call | None = None
    _shown: Observed | None = None

    def __post_init__(self) -> None:
        self.bridge_since = self.play.now

    def twin(self) -> Ceremony:
        """A world that goes its own way from here. What is frozen is shared."""
        twin = copy(self)
        twin.play = copy(self.play)
        twin.play.script = [*self.play.script]
        twin.truth, twin.late = dict(self.truth), set(self.late)
        twin.pages = {token: copy(page) for token, page in self.pages.items()}
        twin.undelivered, twin.line, twin.kicked = (
            [*self.undelivered],
            [*self.line],
            [*self.kicked],
        )
        return twin

    def happens(self, what: Callable[[], object]) -> None:
        """Something happens to the machine, which keeps its laws."""
        before = self.play.state.sessions
        what()
        after = self.play.state.sessions
        waiting = {w.operation_id for w in after.waiting}
        assert [o for o, _ in self.line if o in waiting] == [w.operation_id for w in after.waiting]
        assert after.last_token >= before.last_token
        assert after.losses - before.losses in (0, 1)
        assert after.losses <= self.forced
        over = [o.operation_id for o in after.over]
        assert len(over) == len(set(over))
        live = [] if after.lease is None else [after.lease.operation_id]
        assert sorted([*over, *live, *waiting]) == sorted(o for o, _ in self.line)
        call = self.play.state.in_flight
        if call is not None and call is not self._flight:
            self._issued(call)
        self._flight = call

    def _issued(self, call: Call) -> None:
        """A call leaves; a read sees what is true at this moment."""
        sessions = self.play.state.sessions
        if isinstance(call, Read):
            self._shown = self._observed()
        if isinstance(call, OpenView):
            assert sessions.lease is None
            turn = eligible(self.play.state)
            waiting = {w.operation_id for w in sessions.waiting}
            first = next((o, r) for o, r in self.line if o in waiting and r in turn)
            assert sessions.opening is not None
            assert first == (sessions.opening.operation_id, call.recipient)
        if isinstance(call, RevokeView):
            page = self.page(call.url)
            assert not page.heard_of
            assert page.now != "revoked"

    def page(self, url: str) -> Page:
        """The page behind a URL."""
        return self.pages[int(url.rsplit("/", 1)[-1])]

    def at_work(self) -> list[Page]:
        """Pages that signers have open."""
        return [page for page in self.pages.values() if page.now == "open"]

    def answers(self) -> None:
        """The call in flight takes effect now and is answered."""
        call = self.play.call
        self.play.now += CALL_TAKES
        self.happens(lambda: self.play.answers(self._effect(call)))

    def fails(self) -> None:
        """The call in flight did not get through."""
        self.happens(lambda: self.play.answers(NotSent("no route")))

    def _effect(self, call: Call) -> Outcome:
        match call:
            case OpenView():
                return self._opened_view(call)
            case RevokeView(url=url):
                page = self.page(url)
                if page.now != "unopened" or self.play.now >= page.dies_at:
                    return Rejected("404", "gone")
                page.now = "revoked"
                return Done()
            case AskBridge():
                return BridgeUp(self.bridge_since)
            case Read():
                assert self._shown is not None
                return self._shown
            case Mutate():
                return self._mutated(call)
            case _:
                return archived(call.document) if isinstance(call, Archive) else Done()

    def _opened_view(self, call: OpenView) -> Outcome:
        assert call.token not in self.pages, "a fencing token is used once"
        assert call.token > max(self.pages, default=0)
        if self.envelope is not EnvelopeStatus.SENT:
            return Rejected("ENVELOPE_INVALID_STATUS", str(self.envelope))
        if call.recipient in self.late:
            return Rejected("UNKNOWN_ENVELOPE_RECIPIENT", "has signed")
        assert self.truth[call.recipient] == "sent", "RECIPIENT_NOT_IN_SEQUENCE is never provoked"
        for page in self.pages.values():
            if page.now == "open":
                page.now = "kicked"
                self.kicked.append(page.token)
            elif page.now == "unopened":
                page.now = "invalid"
        assert len(self.kicked) <= self.play.state.sessions.losses
        dies_at = self.play.now + timedelta(seconds=RULES.url_life_s)
        self.pages[call.token] = Page(call.token, call.recipient, dies_at)
        return ViewOpened(f"https://provider.example/{call.token}")

    def _mutated(self, call: Mutate) -> Outcome:
        if self.envelope is not EnvelopeStatus.SENT:
            return Rejected("ENVELOPE_INVALID_STATUS", str(self.envelope))
        if call.mutation.kind in DISTURBING:
            for page in self.at_work():
                page.now = "disturbed"
                self.kicked.append(page.token)
            assert len(self.kicked) <= self.play.state.sessions.losses
        if isinstance(call.mutation, VoidEnvelope):
            self.envelope = EnvelopeStatus.VOIDED
            return Applied((Fact("voided"),))
        for recipient in call.after.recipients:
            self.truth.setdefault(call.numbers[recipient.recipient_id], "created")
        return Applied()

    def passes(self, seconds: float) -> None:
        """Time passes: open pages ping, and the machine wakes when it asked to."""
        end = self.play.now + timedelta(seconds=seconds)
        while self.play.now < end:
            wake = self.play.wake_at
            wakes = [wake] if wake is not None and wake > self.play.now else []
            pings = [p.pings_at for p in self.at_work() if p.pings_at is not None]
            until = max(self.play.now, min([end, *wakes, *pings]))
            gap = (until - self.play.now).total_seconds()
            self.happens(partial(self.play.passes, gap))
            for page in self.at_work():
                if page.pings_at is not None and page.pings_at <= self.play.now:
                    page.pings_at += timedelta(seconds=RULES.ping_every_s)
                    self._pings(page)

    def _pings(self, page: Page) -> None:
        if self.bridge_since is None:
            return
        page.heard_of = True
        before = self.play.state.sessions.lease
        self.happens(lambda: self.play.pings(page.token))
        after = self.play.state.sessions.lease
        if before is not None and before.closing not in (End.TAKEN_OVER, End.FOR_MUTATION):
            assert after is not None, "a ping ends nothing"
            assert after.token == before.token

    def opens(self, url: str) -> None:
        """A browser goes to a URL. An unusable one is sent back at once."""
        page = self.page(url)
        if page.now == "unopened" and self.play.now < page.dies_at:
            page.now = "open"
            page.pings_at = self.play.now + timedelta(seconds=RULES.ping_every_s)
        else:
            self.comes_back(page, "ttl_expired")

    def comes_back(self, page: Page, event: str) -> None:
        """A browser reaches our landing page, if there is a bridge to hear it."""
        if self.bridge_since is None:
            return
        page.heard_of = True
        self.happens(lambda: self.play.returns(event, page.token))

    def leaves(self, page: Page, act: str, returns: bool) -> None:
        """A signer signs, declines, or leaves without either; the browser may never come back.

        Who presses "finish later" is told of, twice.
        """
        page.now = "left"
        if act == "later":
            for copy_ in ("a", "b"):
                key = f"later-{page.token}{copy_}"
                word = an_event("recipient-finish-later", (), event_key=key)
                self.undelivered.append(replace(word, recipient=page.recipient))
        lease = self.play.state.sessions.lease
        if act == "sign" and (lease is None or lease.token != page.token):
            self.late.add(page.recipient)
        event = {"sign": "signing_complete", "decline": "decline"}.get(act, "cancel")
        if act in ("sign", "decline"):
            self.acts(page.recipient, "completed" if act == "sign" else "declined")
        if returns:
            self.comes_back(page, event)

    def acts(self, recipient: str, status: str) -> None:
        """A recipient has acted; the provider knows, and a webhook is on its way."""
        self.truth[recipient] = status
        facts = [Fact(status, recipient, f"guid-{recipient}")]
        if status == "declined":
            self.envelope = EnvelopeStatus.DECLINED
        elif all(self.truth[r] == "completed" for r in self.truth):
            self.envelope = EnvelopeStatus.COMPLETED
        elif self.truth["1"] == self.truth["2"] == "completed" and self.truth["3"] == "created":
            self.truth["3"] = "sent"
        if self.envelope is not EnvelopeStatus.SENT:
            facts.append(Fact(self.envelope))
        key = f"{status}-{recipient}"
        self.undelivered.append(an_event(f"recipient-{status}", tuple(facts), event_key=key))

    def delivers(self) -> None:
        """The newest of the webhooks under way arrives: not in order.

        Word of finishing later is dated when it is sent, the worst that a provider may do.
        """
        event = self.undelivered.pop()
        if event.recipient:
            event = replace(event, session_left_at=self.play.now)
        self.happens(lambda: self.play.hears(event))

    def _observed(self) -> Observed:
        seen = tuple(seen_recipient(r, f"guid-{r}", what) for r, what in self.truth.items())
        return Observed(an_observation(self.envelope, seen))
