"""One envelope, one workflow: the shell around ``sealwax.advance``.

The shell keeps a state, takes what happens into it, and carries out the one call that the machine
asks for at a time. It decides nothing. Handlers take their event in and return; the loop in
``run`` is the only place that waits for calls and timers.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

from temporalio import workflow
from temporalio.common import RawValue, SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError

# Passed through: these modules are pure, or only name protocols, and their enums and types must be
# the same objects inside and outside of the sandbox.
with workflow.unsafe.imports_passed_through():
    from activities import envelopes as activities
    from sealwax import keys, messages, views
    from sealwax.advance import (
        CallFinished,
        EnvelopeEvent,
        EventsReceived,
        Finish,
        MutationAccepted,
        Perform,
        PersonDecided,
        SessionAsked,
        SessionClosed,
        SessionPinged,
        SessionReturned,
        WakeAt,
        Woke,
        advance,
        opened,
    )
    from sealwax.calls import Call, Create, Mutate, NotSent, Outcome, Register, Unknown
    from sealwax.carrying import carried, resumed
    from sealwax.conflicts import check_submitted
    from sealwax.crypto import CryptoError, KeyUnknown
    from sealwax.definition import Refusal, RefusalCode
    from sealwax.envelope import Envelope, check_order, position, waiting_on
    from sealwax.resolving import Resolved, check_resolvable
    from sealwax.signing import check_session
    from workflows.policies import GRACE, HEARTBEAT_TIMEOUT, POLICIES

HELD_UPDATES_MAX = 4
"""Updates that may wait for a result at once. The server allows 10 in flight per workflow; the
rest stay free, so that tickets and control verbs always get in."""

_ACCOUNT = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_ACCOUNT)
_PROVIDER = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_PROVIDER)
_STATUS = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_STATUS)
_ENVELOPE_ID = SearchAttributeKey.for_keyword(messages.ATTRIBUTE_ENVELOPE_ID)
_WAITING_ON = SearchAttributeKey.for_keyword_list(messages.ATTRIBUTE_WAITING_ON)
_NEEDS_ATTENTION = SearchAttributeKey.for_bool(messages.ATTRIBUTE_NEEDS_ATTENTION)

M = TypeVar("M", bound=messages.Message)
Shown = tuple[str, str, str, str, tuple[str, ...], bool]


@workflow.defn(name=messages.WORKFLOW)
class EnvelopeWorkflow:
    """Owns one envelope from its order to its confirmed and archived end."""

    @workflow.init
    def __init__(self, given: messages.EnvelopeInput) -> None:
        now = workflow.now()
        self._state: Envelope = (
            opened(given.order, now) if given.carried is None else resumed(given.carried.state, now)
        )
        self._call: Call | None = self._state.in_flight
        self._wake_at = now
        self._waking = False
        self._finished = False
        self._held = 0
        self._shown: Shown | None = None
        self._stirred = False
        self._renewing = False
        self._wanted_anew = False
        self._take(Woke())
        self._stirred = False

    @workflow.run
    async def run(self, given: messages.EnvelopeInput) -> messages.Snapshot:
        """Run the envelope to its end and return its last snapshot.

        Fails with a refusal where the order could not be an envelope's, or its business key is
        another order's; nothing was made then.
        """
        try:
            if given.carried is None:
                check_order(given.order)
            if workflow.info().workflow_id != self._state.workflow_id:
                raise Refusal(
                    RefusalCode.BAD_KEY,
                    f"start this workflow under the id {self._state.workflow_id}",
                )
        except Refusal as refusal:
            raise _error(refusal) from None
        while not self._finished:
            self._show()
            if self._renewal_due():
                await self._renew()
            if self._call is not None:
                call, self._call = self._call, None
                self._take(CallFinished(await self._carry_out(call)))
            else:
                await self._wait()
        self._show()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._state.refused:
            # A run that failed does not stand in the way of the order that the key belongs to.
            raise _error(keys.reused(self._state.order.account, self._state.order.business_key))
        return views.snapshot(self._state)

    @workflow.update(name=messages.UPDATE_SUBMIT)
    async def submit(self, asked: messages.Submit) -> messages.MutationResult:
        """Ask for a mutation: its result where the queue is short, else a ticket."""
        self._take(
            MutationAccepted(
                asked.operation_id, asked.mutation, asked.during_session, asked.expected()
            )
        )
        return await self._result(asked.operation_id, asked.wait_s)

    @submit.validator
    def _check_submit(self, asked: messages.Submit) -> None:
        try:
            check_submitted(self._state, asked.operation_id, asked.mutation, asked.expected())
        except Refusal as refusal:
            raise _error(refusal, views.refused(asked.operation_id, refusal)) from None

    @workflow.update(name=messages.UPDATE_RESULT)
    async def result(self, asked: messages.AskResult) -> messages.MutationResult:
        """What came of an operation, or its ticket again."""
        return await self._result(asked.operation_id, asked.wait_s)

    @result.validator
    def _check_result(self, asked: messages.AskResult) -> None:
        if views.result(self._state, asked.operation_id) is None:
            raise _error(_unknown_operation(asked.operation_id))

    @workflow.update(name=messages.UPDATE_OPEN_SESSION)
    async def open_session(self, asked: messages.OpenSession) -> messages.SessionTicket:
        """Ask for a signing session: its URL where it is granted soon, else a ticket."""
        self._take(
            SessionAsked(asked.operation_id, asked.recipient_id, asked.return_url, asked.takeover)
        )
        return await self._ticket(asked.operation_id, asked.wait_s)

    @open_session.validator
    def _check_open_session(self, asked: messages.OpenSession) -> None:
        try:
            check_session(
                self._state,
                asked.operation_id,
                asked.recipient_id,
                asked.return_url,
                asked.takeover,
            )
        except Refusal as refusal:
            raise _error(refusal) from None

    @workflow.update(name=messages.UPDATE_SESSION)
    async def session(self, asked: messages.AskSession) -> messages.SessionTicket:
        """How a session request stands, with its URL while that can be opened."""
        return await self._ticket(asked.operation_id, asked.wait_s)

    @session.validator
    def _check_session(self, asked: messages.AskSession) -> None:
        self._known_ticket(asked.operation_id, with_url=False)

    @workflow.update(name=messages.UPDATE_CLOSE_SESSION)
    async def close_session(self, asked: messages.CloseSession) -> messages.SessionTicket:
        """End a session, or no longer wait for one. Never waits, so that it always gets in."""
        self._take(SessionClosed(asked.operation_id))
        return self._known_ticket(asked.operation_id, with_url=False)

    @close_session.validator
    def _check_close_session(self, asked: messages.CloseSession) -> None:
        ticket = self._known_ticket(asked.operation_id, with_url=False)
        if asked.token is not None and asked.token != ticket.token:
            raise _error(
                Refusal(
                    RefusalCode.STALE_TOKEN,
                    f"fencing token {asked.token} is not that of session {asked.operation_id};"
                    " it may close its own session alone",
                )
            )

    @workflow.update(name=messages.UPDATE_RESOLVE)
    async def resolve(self, decided: messages.Resolve) -> messages.Snapshot:
        """A person's decision where the envelope needs one. Never waits."""
        self._take(PersonDecided(Resolved(decided.choice, decided.provider_envelope_id)))
        return views.snapshot(self._state)

    @resolve.validator
    def _check_resolve(self, decided: messages.Resolve) -> None:
        decision = Resolved(decided.choice, decided.provider_envelope_id)
        try:
            check_resolvable(self._state, decision)
        except Refusal as refusal:
            raise _error(refusal) from None

    @workflow.signal(name=messages.SIGNAL_SESSION)
    def session_signs(self, signs: RawValue) -> None:
        """Pings and returns that the bridge saw. Taken raw, like webhooks."""
        read = self._readable(signs, messages.SessionSigns)
        if read is None:
            return
        for ping in read.pings:
            self._take(SessionPinged(ping.token, ping.at))
        for back in read.returns:
            self._take(SessionReturned(back.token, back.event))

    @workflow.query(name=messages.QUERY_TICKET)
    def ticket(self, operation_id: str) -> messages.SessionTicket:
        """How a session request stands, without its URL and without waiting."""
        return self._known_ticket(operation_id, with_url=False)

    @workflow.query(name=messages.QUERY_LANDING)
    def landing(self, token: int) -> messages.Landing:
        """Where the signer of this session is sent on to."""
        return views.landing(self._state, token)

    @workflow.signal(name=messages.SIGNAL_EVENTS)
    def provider_events(self, batch: RawValue) -> None:
        """Webhooks from the bridge. Taken raw: what is plain or cannot be read is told, not lost.

        The SDK drops a signal whose arguments it cannot decode, with a line in the worker's log.
        """
        read = self._readable(batch, messages.EventBatch)
        if read is not None:
            self._take(EventsReceived(read.events))

    @workflow.signal(name=messages.SIGNAL_RENEW)
    def renew(self) -> None:
        """Go on as a new run soon, such as before old workers are taken away."""
        self._stirred = self._wanted_anew = True

    @workflow.query(name=messages.QUERY_SNAPSHOT)
    def snapshot(self) -> messages.Snapshot:
        """The envelope as it stands."""
        return views.snapshot(self._state)

    @workflow.query(name=messages.QUERY_TIMELINE)
    def timeline(self) -> tuple[messages.TimelineEntry, ...]:
        """What happened, oldest first."""
        return views.timeline(self._state)

    @workflow.query(name=messages.QUERY_ANSWER)
    def answer(self, operation_id: str) -> messages.MutationResult:
        """What came of an operation, or its ticket, without waiting."""
        found = views.result(self._state, operation_id)
        if found is None:
            raise _error(_unknown_operation(operation_id))
        return found

    def _take(self, event: EnvelopeEvent) -> None:
        self._state, effects = advance(self._state, event, workflow.now())
        self._stirred = True
        self._waking = False
        for effect in effects:
            match effect:
                case Perform(call=call):
                    self._call = call
                case WakeAt(at=at):
                    self._wake_at, self._waking = at, True
                case Finish():
                    self._finished = True
        workflow.set_current_details(views.card(self._state))

    def _readable(self, value: RawValue, kind: type[M]) -> M | None:
        """A signal's message; None, and counted, where it is plain or cannot be read."""
        try:
            (read,) = workflow.payload_converter().from_payloads([value.payload], [kind])
        except KeyUnknown:
            # It fails the task, which is tried again until the worker has the key.
            raise
        except (CryptoError, KeyError, RuntimeError) as error:
            workflow.logger.error("a signal is not readable: %s", type(error).__name__)
            read = None
        if isinstance(read, kind):
            return read
        self._take(EventsReceived((), unreadable=1))
        return None

    def _renewal_due(self) -> bool:
        """Whether this run's history has become long, and the run has done something.

        Signals are counted by the server too, but not told of: their events are in the history.
        """
        info = workflow.info()
        long = info.get_current_history_length() >= self._state.timing.history_events_max
        due = long or self._wanted_anew or info.is_continue_as_new_suggested()
        return due and self._stirred and not self._finished

    async def _renew(self) -> None:
        """Go on as a new run. Those who are held get their tickets and ask the next one."""
        self._renewing = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        state = carried(self._state)
        workflow.continue_as_new(
            messages.EnvelopeInput(order=state.order, carried=messages.Carried(state=state))
        )

    async def _wait(self) -> None:
        """Until a call is due, the attributes changed, the end has come, or it is time to wake."""
        waking, wake_at = self._waking, self._wake_at
        timeout = max(wake_at - workflow.now(), timedelta(0)) if waking else None

        def stirred() -> bool:
            return (
                self._call is not None
                or self._finished
                or self._renewal_due()
                or (self._waking, self._wake_at) != (waking, wake_at)
                or self._shown != self._to_show()
            )

        if timeout == timedelta(0):
            self._take(Woke())
            return
        try:
            await workflow.wait_condition(stirred, timeout=timeout)
        except TimeoutError:
            self._take(Woke())

    async def _carry_out(self, call: Call) -> Outcome:
        policy = POLICIES[call.kind]
        deadline_s = policy.deadline_s or self._state.timing.call_deadline_s
        try:
            outcome: Outcome = await workflow.execute_activity(
                call.kind,
                self._input(call, deadline_s),
                summary=views.summary(call),
                start_to_close_timeout=timedelta(seconds=deadline_s) + GRACE,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=policy.retries,
                result_type=cast(type, Outcome),
            )
        except ActivityError as error:
            reason = f"the worker was lost ({type(error.cause).__name__})"
            return Unknown(reason) if isinstance(call, Create | Mutate) else NotSent(reason)
        return outcome

    def _input(self, call: Call, deadline_s: float) -> activities.Target:
        first = isinstance(call, Register)
        return activities.INPUTS[call.kind](
            first_run_id=workflow.info().first_execution_run_id,
            order_digest=messages.order_digest(self._state.order) if first else "",
            account=self._state.order.account,
            business_key=self._state.order.business_key,
            principal=self._state.order.principal,
            provider_envelope_id=self._state.provider_envelope_id,
            deadline_s=deadline_s,
            klass=self._state.in_flight_klass,
            call=call,
        )

    async def _result(self, operation_id: str, wait_s: float) -> messages.MutationResult:
        """The result, waited for where few stand before it and few others wait; else a ticket."""
        place = position(self._state, operation_id)
        if place is not None and place < HELD_UPDATES_MAX and self._held < HELD_UPDATES_MAX:
            await self._hold(lambda: position(self._state, operation_id) is None, wait_s)
        found = views.result(self._state, operation_id)
        if found is None:
            raise _error(_unknown_operation(operation_id))
        return found

    async def _hold(self, settled: Callable[[], bool], wait_s: float) -> None:
        """Hold a caller until this is so, its time is up, or a new run is about to begin."""
        self._held += 1
        try:
            await workflow.wait_condition(lambda: self._renewing or settled(), timeout=wait_s)
        except TimeoutError:
            pass
        finally:
            self._held -= 1

    async def _ticket(self, operation_id: str, wait_s: float) -> messages.SessionTicket:
        """The ticket, waited for while it is next in line and few others are held."""
        ticket = self._known_ticket(operation_id, with_url=False)
        if ticket.state == "waiting" and ticket.position < 2 and self._held < HELD_UPDATES_MAX:
            await self._hold(lambda: self._state.sessions.wanted(operation_id) is None, wait_s)
        return self._known_ticket(operation_id, with_url=True)

    def _known_ticket(self, operation_id: str, *, with_url: bool) -> messages.SessionTicket:
        found = views.ticket(self._state, operation_id, workflow.now(), with_url=with_url)
        if found is None:
            raise _error(
                Refusal(
                    RefusalCode.UNKNOWN_SESSION,
                    f"no session {operation_id[:40]!r} was ever asked of this envelope",
                )
            )
        return found

    def _to_show(self) -> Shown:
        state = self._state
        return (
            state.order.account,
            state.provider,
            state.status,
            state.provider_envelope_id,
            waiting_on(state),
            bool(state.attention or state.facts.contradictions()),
        )

    def _show(self) -> None:
        """Bring the search attributes up to date; only what changed costs an event."""
        shown = self._to_show()
        if shown == self._shown:
            return
        before, self._shown = self._shown, shown
        updates: list[SearchAttributeUpdate[Any]] = []
        for i, key in enumerate((_ACCOUNT, _PROVIDER, _STATUS, _ENVELOPE_ID)):
            value = str(shown[i])
            if value and (before is None or before[i] != value):
                updates.append(key.value_set(value))
        if before is None or before[4] != shown[4]:
            updates.append(_WAITING_ON.value_set(list(shown[4])))
        if before is None or before[5] != shown[5]:
            updates.append(_NEEDS_ATTENTION.value_set(shown[5]))
        workflow.upsert_search_attributes(updates)


def _error(refusal: Refusal, answer: messages.MutationResult | None = None) -> ApplicationError:
    """Its details are encrypted like all payloads, so that an answer may stand there whole."""
    details = (refusal.code.value,) if answer is None else (refusal.code.value, answer)
    return ApplicationError(
        refusal.message, *details, type=messages.ERROR_REFUSAL, non_retryable=True
    )


def _unknown_operation(operation_id: str) -> Refusal:
    return Refusal(
        RefusalCode.UNKNOWN_OPERATION,
        f"no operation {operation_id[:40]!r} was ever asked of this envelope",
    )
