"""What an account's workflow asks of the world: a look at the quota ledger, told as metrics too."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.common import MetricMeter

from sealwax import sweep_views
from sealwax.messages import Message
from sealwax.providers.base import UnknownAccount
from sealwax.quota_limits import Klass, Limits
from sealwax.quota_reports import Counters, QuotaView
from sealwax.stores.base import StoreError
from sealwax.stores.quota_base import QuotaStore
from sealwax.stores.sweep_base import SweepStore
from sealwax.sweep_messages import SweepSnapshot

REST_FACTOR = 10
"""An account that made no call since the last look is looked at so much more rarely."""

DRIFT_SHOWN = 20

_TOTALS = ("granted", "refusals", "foreign", "breaches", "lost")


class LookQuota(Message):
    """Input of ``look_quota``. ``known``: the totals of the look before; None at the first."""

    account: str
    known: Counters | None = None


class Looked(Message):
    """What a look showed. ``view`` None: nothing, and ``problem`` says why, in one line.

    ``sweep``: how the account's sweeps stand; None where that cannot be read. ``configured`` False:
    the worker's settings do not name the account. ``again_in_s``: when the next look is due.
    """

    view: QuotaView | None = None
    sweep: SweepSnapshot | None = None
    problem: str = ""
    configured: bool = True
    again_in_s: float


class AccountActivities:
    """``quota_of`` gives an account's name in the store and its limits, by its own name.

    It raises ``UnknownAccount``. ``every_s`` is the time between two looks at an account in use.
    ``sweeps``: the memory of sweeps, whose webhooks are late after ``late_after_s``.
    """

    def __init__(
        self,
        *,
        store: QuotaStore,
        quota_of: Callable[[str], tuple[str, Limits]],
        every_s: float,
        sweeps: SweepStore | None = None,
        late_after_s: float = 0.0,
    ) -> None:
        self._store = store
        self._quota_of = quota_of
        self._every_s = every_s
        self._sweeps = sweeps
        self._late_after_s = late_after_s

    @activity.defn(name="look_quota")
    async def look_quota(self, given: LookQuota) -> Looked:
        """The account's quota as the ledger holds it now; changes nothing there."""
        rest_s = self._every_s * REST_FACTOR
        try:
            view = await self._store.look(*self._quota_of(given.account))
        except UnknownAccount as error:
            return Looked(problem=str(error), configured=False, again_in_s=rest_s)
        except StoreError as error:
            return Looked(problem=str(error), again_in_s=self._every_s)
        tell(activity.metric_meter(), given.account, view, given.known)
        known = given.known
        rests = known is not None and known.granted == view.counters.granted
        rests = rests and not any(view.waiting)
        sweep = await self._look_sweep(given.account)
        return Looked(view=view, sweep=sweep, again_in_s=rest_s if rests else self._every_s)

    async def _look_sweep(self, account: str) -> SweepSnapshot | None:
        if self._sweeps is None:
            return None
        now = datetime.now(UTC)
        late_before = now - timedelta(seconds=self._late_after_s)
        try:
            view = await self._sweeps.look(account, late_before)
            drifted = await self._sweeps.drift(account, late_before, DRIFT_SHOWN)
        except StoreError:
            return None
        return sweep_views.sweep_snapshot(account, view, drifted, now)


def tell(meter: MetricMeter, account: str, view: QuotaView, known: Counters | None) -> None:
    """Set the gauges, and add to the counters what happened since ``known``.

    One look's differences are added by one worker, so the sum over all workers is the truth; a
    gauge is as old as ``sealwax_quota_looked_at`` of the same worker says.
    """
    own = meter.with_additional_attributes({"account": account})
    used = own.create_gauge("sealwax_quota_used", "Calls that the provider still counts")
    left = own.create_gauge("sealwax_quota_left", "Calls that may still be made")
    for window, limit, calls in (
        ("burst", view.burst_limit - view.burst_margin, view.burst_used),
        ("hour", view.hour_limit, view.hour_used),
    ):
        used.set(calls, {"window": window})
        left.set(max(0, limit - calls), {"window": window})
    waiting = own.create_gauge("sealwax_quota_waiting", "Calls that wait for the account's quota")
    for klass in Klass:
        waiting.set(view.waiting[klass], {"class": klass.name.lower()})
    own.create_gauge("sealwax_quota_margin", "Calls kept free for those of others").set(
        view.burst_margin
    )
    own.create_gauge("sealwax_quota_looked_at", "When the gauges were set", "s").set(
        int(datetime.now(UTC).timestamp())
    )
    for name in _TOTALS:
        counter = own.create_counter(f"sealwax_quota_{name}", f"See the quota card: {name}")
        before = getattr(view.counters if known is None else known, name)
        counter.add(max(0, getattr(view.counters, name) - before))
