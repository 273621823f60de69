"""What a sweep asks of the world: the provider's lists, compared with what came by webhook.

Each activity may be run again from its beginning: what was signalled twice is one event with one
key, and what is written down says how things stand, not what was added. A stretch of the list is
written down as done (``advance_watermark``) only when all its signals are with the server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.beating import beating
from sealwax.facts import Facts, ProviderEvent
from sealwax.hearing import Heard, Hearing
from sealwax.messages import SIGNAL_EVENTS, EventBatch, Message
from sealwax.providers.base import (
    Accounts,
    Changes,
    NotSentError,
    Provider,
    ProviderError,
    ProviderRejected,
    UnknownAccount,
)
from sealwax.quota_limits import Klass
from sealwax.stores.base import Registry, RegistryRow, StoreError
from sealwax.stores.sweep_base import (
    Change,
    Envelope,
    OpenEnvelopes,
    Seen,
    Stranger,
    SweepStore,
    SweepView,
)
from sealwax.sweep_settings import SweepSettings

T = TypeVar("T")

AT_ONCE = 16
OVERLAP = 3
"""So many envelopes two neighbouring parts of a list have in common."""
SIGNAL_TIMEOUT = timedelta(seconds=10)
SCANNED_AT_ONCE = 500
JUDGED_WITHIN = timedelta(days=7)
"""A change that is older when a sweep first sees it is not judged: the journal may have forgotten
its webhook."""
FORGOTTEN_AFTER = timedelta(days=400)
_GONE = (RPCStatusCode.NOT_FOUND,)


class SweepTarget(Message):
    """Whose sweep it is."""

    account: str


class PageAsked(Message):
    """Which part of the list is due. ``since`` None: from the watermark on, to be read.

    ``last_ids``: the envelopes that stood from ``position`` on when the part before was read.
    """

    account: str
    since: datetime | None = None
    position: int = 0
    last_ids: tuple[str, ...] = ()


class PageSwept(Message):
    """A part of the list, with all its signals given to the server.

    ``next``: the part that is due next, None after the last. ``as_of``: when the provider made
    this part, by its clock.
    """

    next: PageAsked | None = None
    as_of: datetime | None = None
    listed: int = 0
    signalled: int = 0


class Advanced(Message):
    """The whole list was read; ``watermark`` is the provider's time of its first part."""

    account: str
    watermark: datetime


class SilentAsked(Message):
    """Silent envelopes were asked about. ``done``: the round is over for now."""

    done: bool
    asked: int = 0
    signalled: int = 0


class SweepEnded(Message):
    """How a sweep went. ``problem``: why it did not come to its end, in one line."""

    account: str
    listed: int = 0
    signalled: int = 0
    asked: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tools:
    """What sweeps work with.

    ``changes``: by the provider's name. ``poll_every_s``: by the account's name here, the least
    time between two looks at one envelope that nobody asked for.
    """

    accounts: Accounts
    registry: Registry
    open_envelopes: OpenEnvelopes
    store: SweepStore
    hearing: Hearing
    changes: Callable[[str], Changes]
    poll_every_s: Callable[[str], float]
    settings: SweepSettings


@dataclass(frozen=True, slots=True)
class _Compared:
    seen: Seen | None = None
    stranger: Stranger | None = None
    signalled: bool = False


class SweepActivities:
    """The activities of ``workflows.sweep``."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._settings = tools.settings

    @activity.defn(name="sweep_page")
    async def sweep_page(self, asked: PageAsked) -> PageSwept:
        """Read one part of the list of status changes, and tell workflows what they lack."""
        return await _told(self._page(asked, activity.client()))

    @activity.defn(name="advance_watermark")
    async def advance_watermark(self, given: Advanced) -> None:
        """The list was read to its end: the next one begins here, less the overlap."""
        await _told(self._tools.store.advance(given.account, given.watermark))

    @activity.defn(name="ask_silent")
    async def ask_silent(self, target: SweepTarget) -> SilentAsked:
        """Ask once about envelopes of which nothing was heard for long, all in one request."""
        return await _told(self._silent(target.account, activity.client()))

    @activity.defn(name="end_sweep")
    async def end_sweep(self, given: SweepEnded) -> None:
        """Take webhooks that came after all out of the drift, and write down how it went."""
        await _told(self._end(given))

    async def _page(self, asked: PageAsked, client: Client) -> PageSwept:
        account, settings = asked.account, self._settings
        since = asked.since or await self._since(account)
        provider = self._provider(account)
        listing = await provider.listed(since, asked.position, settings.page)
        signalled = await self._take(account, listing.events, client)
        ids = [event.provider_envelope_id for event in listing.events]
        done = PageSwept(as_of=listing.as_of, listed=len(ids), signalled=signalled)
        asked = asked.model_copy(update={"since": since})
        if asked.position and not set(asked.last_ids) & set(ids):
            # So many left the list, or joined it before this place, that others may have slipped
            # past it. Back, until the two parts meet.
            back = max(0, asked.position - settings.page + OVERLAP)
            return done.model_copy(update={"next": asked.model_copy(update={"position": back})})
        if not listing.more or not ids:
            return done
        # The next part begins with this one's last envelopes. The order never changes, so while
        # one of them is there, whoever stood behind it is still to come.
        overlap = min(OVERLAP, len(ids) - 1)
        further = {
            "position": asked.position + len(ids) - overlap,
            "last_ids": tuple(ids[-overlap:]) if overlap else (),
        }
        return done.model_copy(update={"next": asked.model_copy(update=further)})

    async def _since(self, account: str) -> datetime:
        watermark = await self._tools.store.watermark(account)
        if watermark is None:
            back_s = self._settings.look_back_s + self._settings.overlap_s
            return datetime.now(UTC) - timedelta(seconds=back_s)
        return watermark - timedelta(seconds=self._settings.overlap_s)

    async def _take(self, account: str, events: Sequence[ProviderEvent], client: Client) -> int:
        """Tell workflows, then write down what was seen; how many were told."""
        store = self._tools.store
        known = await store.envelopes(account, [e.provider_envelope_id for e in events])
        room = asyncio.Semaphore(AT_ONCE)

        async def compare(event: ProviderEvent) -> _Compared:
            async with room:
                held = known.get(event.provider_envelope_id)
                return await self._compared(account, event, held, client)

        compared = await _all([compare(event) for event in events])
        now = datetime.now(UTC)
        seen = [c.seen for c in compared if c.seen is not None]
        await store.see(account, seen, now)
        await store.strangers(account, [c.stranger for c in compared if c.stranger], now)
        await store.ours(account, [s.provider_envelope_id for s in seen])
        return sum(c.signalled for c in compared)

    async def _compared(
        self, account: str, event: ProviderEvent, held: Envelope | None, client: Client
    ) -> _Compared:
        if held is not None and held.listed_key == event.event_key:
            return _Compared()
        envelope_id = event.provider_envelope_id
        row = await self._tools.registry.by_envelope(account, envelope_id)
        if row is None:
            status = Facts().joined(event.facts).envelope_status()
            return _Compared(stranger=Stranger(envelope_id, status))
        heard = await self._tools.hearing.of(account, row.provider, envelope_id)
        told = not row.final_status and _adds(event, heard)
        if told:
            await _signal(client, row, replace(event, received_at=datetime.now(UTC)))
        seen = Seen(
            provider_envelope_id=envelope_id,
            listed_key=event.event_key,
            heard_at=heard.last_at,
            webhooks=heard.webhooks,
            changes=self._judged(row.provider, event, heard, held),
        )
        return _Compared(seen=seen, signalled=told)

    def _judged(
        self, provider: str, event: ProviderEvent, heard: Heard, held: Envelope | None
    ) -> dict[Change, bool]:
        """The changes that this list shows, and whether their webhooks came."""
        announced = self._tools.changes(provider).announced
        oldest = datetime.now(UTC) - JUDGED_WITHIN
        judged: dict[Change, bool] = {}
        for fact in event.facts:
            change = Change(fact.status, fact.recipient, fact.incarnation)
            known = held is not None and change in held.changes
            if announced(fact) and (known or fact.at is None or fact.at >= oldest):
                judged[change] = any(change.same(each) for each in heard.changes)
        return judged

    async def _silent(self, account: str, client: Client) -> SilentAsked:
        store, settings = self._tools.store, self._settings
        cursor = await store.cursor(account)
        rows = await self._tools.open_envelopes.open_envelopes(account, cursor, SCANNED_AT_ONCE)
        now = datetime.now(UTC)
        apart_s = max(settings.silent_after_s, self._tools.poll_every_s(account))
        before = now - timedelta(seconds=apart_s)
        known = await store.envelopes(account, [row[1] for row in rows])
        silent: list[str] = []
        heard: dict[str, datetime] = {}
        for workflow_id, envelope_id, registered_at in rows:
            cursor = workflow_id
            held = known.get(envelope_id) or Envelope(envelope_id)
            last = (held.asked_at, held.heard_at, registered_at)
            if any(at is not None and at > before for at in last):
                continue
            at = await self._tools.hearing.since(account, envelope_id, before)
            if at is not None:
                heard[envelope_id] = at
                continue
            silent.append(envelope_id)
            if len(silent) == settings.batch:
                break
        await store.heard(account, heard)
        signalled = await self._ask(account, silent, client, now) if silent else 0
        done = len(rows) < SCANNED_AT_ONCE and (not rows or cursor == rows[-1][0])
        await store.move_cursor(account, "" if done else cursor)
        return SilentAsked(done=done, asked=len(silent), signalled=signalled)

    async def _ask(self, account: str, ids: Sequence[str], client: Client, now: datetime) -> int:
        # Written down before the request: one that is lost in a crash was made all the same.
        await self._tools.store.asking(account, ids, now)
        try:
            listing = await self._provider(account).shown(ids)
        except NotSentError:
            # Certainly not asked, so they are as silent as before.
            await self._tools.store.asking(account, ids, datetime.fromtimestamp(0, UTC))
            raise
        return await self._take(account, listing.events, client)

    async def _end(self, given: SweepEnded) -> None:
        account, store = given.account, self._tools.store
        after = ""
        while missed := await store.missed(account, after, SCANNED_AT_ONCE):
            after = missed[-1]
            await self._settle(account, await store.envelopes(account, missed))
        counts = {"listed": given.listed, "signalled": given.signalled, "asked": given.asked}
        now = datetime.now(UTC)
        await store.ended(account, now, counts, given.problem)
        await store.prune(now - FORGOTTEN_AFTER)
        late_before = now - timedelta(seconds=self._settings.late_after_s)
        view = await store.look(account, late_before)
        tell_sweep(activity.metric_meter(), account, view, counts)

    async def _settle(self, account: str, known: Mapping[str, Envelope]) -> None:
        """Look again where webhooks came since the envelope's changes were judged."""
        provider = self._tools.accounts.identity(account).provider
        settled = []
        for envelope_id, held in known.items():
            count = await self._tools.hearing.count(account, envelope_id)
            if count == held.webhooks:
                continue
            heard = await self._tools.hearing.of(account, provider, envelope_id)
            changes = {
                change: came or any(change.same(each) for each in heard.changes)
                for change, came in held.changes.items()
            }
            settled.append(
                Seen(envelope_id, held.listed_key, heard.last_at, heard.webhooks, changes)
            )
        await self._tools.store.see(account, settled, datetime.now(UTC))

    def _provider(self, account: str) -> Provider:
        return self._tools.accounts.provider(account, "", Klass.BACKGROUND)


def _adds(event: ProviderEvent, heard: Heard) -> bool:
    """Whether the list says something that the webhooks did not come to."""
    before = Facts().joined(heard.facts)
    after = before.joined(event.facts)
    if (before.envelope_status(), before.contradictions()) != (
        after.envelope_status(),
        after.contradictions(),
    ):
        return True
    for recipient in after.recipients():
        guids, known = after.incarnations(recipient), before.incarnations(recipient)
        # Minimal webhooks name no guid; to learn the first one is no news.
        if known and guids != known:
            return True
        names = (*guids, "")
        if before.recipient_status(recipient, names) != after.recipient_status(recipient, names):
            return True
    return False


async def _signal(client: Client, row: RegistryRow, event: ProviderEvent) -> None:
    """Tell the workflow. One that has ended stays so."""
    handle = client.get_workflow_handle(row.workflow_id)
    try:
        await handle.signal(SIGNAL_EVENTS, EventBatch(events=(event,)), rpc_timeout=SIGNAL_TIMEOUT)
    except RPCError as error:
        if error.status not in _GONE or "namespace" in str(error).lower():
            raise


def tell_sweep(
    meter: MetricMeter, account: str, view: SweepView, counts: Mapping[str, int]
) -> None:
    """Set the gauges of an account's sweeps, and add what one sweep did to the counters."""
    own = meter.with_additional_attributes({"account": account})
    own.create_gauge(
        "sealwax_drift", "Status changes seen by sweeps whose webhooks have not come"
    ).set(view.drift)
    own.create_gauge("sealwax_drift_waiting", "The same, not late yet").set(view.waiting)
    own.create_gauge("sealwax_sweep_strangers", "Envelopes made elsewhere").set(view.strangers)
    if view.watermark is not None:
        own.create_gauge("sealwax_sweep_watermark", "Up to where all changes are known", "s").set(
            int(view.watermark.timestamp())
        )
    for name, count in counts.items():
        own.create_counter(f"sealwax_sweep_{name}", f"See the account's card: {name}").add(count)


async def _all(works: Sequence[Awaitable[T]]) -> list[T]:
    """The results, in order; the first failure ends all the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(work)) for work in works]
    return [task.result() for task in tasks]


async def _awaited(work: Awaitable[T]) -> T:
    return await work


async def _told(work: Awaitable[T]) -> T:
    """The result; a failure in the words that decide whether Temporal tries again, and when."""
    try:
        async with beating():
            return await work
    except ExceptionGroup as group:
        raise _named(group.exceptions[0]) from group
    except (ProviderError, StoreError, UnknownAccount, RPCError) as error:
        raise _named(error) from error


def _named(error: Exception) -> Exception:
    kind, said = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, ProviderRejected | UnknownAccount):
        return ApplicationError(said, type=kind, non_retryable=True)
    if isinstance(error, NotSentError) and error.retry_after_s:
        wait = timedelta(seconds=error.retry_after_s)
        return ApplicationError(said, type=kind, next_retry_delay=wait)
    if isinstance(error, ProviderError | StoreError | RPCError):
        return ApplicationError(said, type=kind)
    return error
