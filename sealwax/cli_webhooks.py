"""``sealwax webhooks``: see what came in, forward it again, look at what could not be read, and
take over envelopes that were made elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from sealwax.options import Common

# As in ``sealwax.cli``, commands import what they run.
if TYPE_CHECKING:
    from sealwax.settings import Settings
    from sealwax.stores.base import Journal, WebhookFilter
    from sealwax.terminal import Exit, Terminal

webhooks = App(name="webhooks", help="See what came in, forward it again, adopt envelopes.")
quarantine = App(name="quarantine", help="Webhooks that cannot be read or delivered.")
webhooks.command(quarantine)

_FLAG = Parameter(negative=())


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """Which webhooks are meant.

    Parameters
    ----------
    account
        Only those of this account.
    envelope
        Only those of this envelope, by the provider's id.
    since
        Only those received since: a time like 2026-03-01T12:00Z, or how long ago, like 2h or 7d.
    """

    account: str | None = None
    envelope: str | None = None
    since: str | None = None

    def filter(
        self, settings: Settings, states: tuple[str, ...] = (), ids: tuple[int, ...] = ()
    ) -> WebhookFilter:
        """What is meant. Raises ``SettingsError``, ``Refusal``."""
        from sealwax.webhooks import meant

        return meant(
            settings,
            account=self.account,
            envelope=self.envelope,
            since=self.since,
            states=states,
            ids=ids,
        )


def _on_journal(
    common: Common | None, work: Callable[[Terminal, Settings, Journal], Awaitable[Exit]]
) -> int:
    common = common or Common()

    from sealwax import running
    from sealwax.settings import load_settings
    from sealwax.webhooks import journal_of

    async def command(terminal: Terminal) -> Exit:
        settings = load_settings(common.config)
        async with journal_of(settings) as journal:
            return await work(terminal, settings, journal)

    return running.run_command(common.json, command)


@webhooks.command(name="list")
def list_(
    *,
    which: Which | None = None,
    state: Annotated[list[str], Parameter(negative=())] | None = None,
    after: int = 0,
    limit: int = 50,
    common: Common | None = None,
) -> int:
    """List webhooks in the order in which they came; the body of none is opened.

    Parameters
    ----------
    state
        Only those in this state: pending, delivered, late (its envelope's workflow is closed),
        parked (nobody knows its envelope), quarantined, discarded. May be given several times.
    after
        Only those with a higher number, such as the last one of an earlier list.
    limit
        At most so many.
    """

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk
        from sealwax.terminal import Exit

        wanted = (which or Which()).filter(settings, tuple(state or ()))
        found = await journal.find(wanted, after, desk.within(limit) + 1)
        entries = found[:limit]
        terminal.value_if_json([desk.entry_json(entry) for entry in entries])
        terminal.table(
            ("number", "received", "account", "envelope", "event", "state", "reason"),
            (
                (
                    str(e.id),
                    e.received_at.strftime("%Y-%m-%d %H:%M:%S"),
                    e.account,
                    e.provider_envelope_id,
                    e.event_name,
                    e.state,
                    e.reason,
                )
                for e in entries
            ),
        )
        if len(found) > limit:
            terminal.line(f"there are more: --after {entries[-1].id}")
        return Exit.OK

    return _on_journal(common, work)


@webhooks.command
def show(
    number: int,
    /,
    *,
    body: Annotated[bool, _FLAG] = False,
    common: Common | None = None,
) -> int:
    """Show one webhook: its headers and what it says.

    Parameters
    ----------
    number
        Its number, as `list` shows it.
    body
        Also show its body, which holds names and addresses of people.
    """

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk
        from sealwax.terminal import Exit

        shown = desk.row_json(await desk.needed(journal, number), with_body=body)
        terminal.value_if_json(shown)
        _lines(terminal, shown)
        return Exit.OK

    return _on_journal(common, work)


@webhooks.command
def status(*, common: Common | None = None) -> int:
    """Say what the journal holds, what waits, and which forwarders are up."""

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk
        from sealwax.terminal import Exit

        shown = await desk.standing(journal)
        terminal.value_if_json(shown)
        if shown["needs_attention"]:
            terminal.line(
                f"ATTENTION {shown['needs_attention']} in quarantine;"
                " see `sealwax webhooks quarantine list`"
            )
        forwarders = shown.pop("forwarders")
        _lines(terminal, shown)
        for each in forwarders:
            reaches = "reaches Temporal" if each["reaching"] else "does not reach Temporal"
            terminal.line(f"forwarder {each['name']}, last heard at {each['at']}: {reaches}")
        if not forwarders:
            terminal.line("no forwarder was heard of in the last hour")
        return Exit.OK

    return _on_journal(common, work)


@webhooks.command
def refused(
    *,
    account: str | None = None,
    body: Annotated[bool, _FLAG] = False,
    limit: int = 50,
    common: Common | None = None,
) -> int:
    """List deliveries that were not taken in, newest first; only the newest are kept.

    Parameters
    ----------
    account
        Only those at this account's address; "" for those at an address of no account.
    body
        Also show the beginning of each body. Nobody knows who sent it.
    limit
        At most so many.
    """

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk
        from sealwax.terminal import Exit

        if account:
            settings.account(account)
        rows = await journal.refused(account, desk.within(limit))
        shown = [desk.refused_json(row, with_body=body) for row in rows]
        terminal.value_if_json(shown)
        if body:
            for one in shown:
                _lines(terminal, one)
        else:
            terminal.table(
                ("received", "account", "status", "reason", "bytes"),
                (
                    (
                        r.received_at.isoformat(),
                        r.account,
                        str(r.status),
                        r.reason,
                        str(r.size_bytes),
                    )
                    for r in rows
                ),
            )
        return Exit.OK

    return _on_journal(common, work)


@webhooks.command
def replay(
    *numbers: int,
    which: Which | None = None,
    state: Annotated[list[str], Parameter(negative=())] | None = None,
    all: Annotated[bool, _FLAG] = False,
    common: Common | None = None,
) -> int:
    """Forward webhooks again. What a workflow knows already changes nothing there.

    Parameters
    ----------
    numbers
        Their numbers, as `list` shows them.
    state
        Only those in this state. Without it all but those that are pending anyway.
    all
        All that the journal has.
    """

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk

        named = (which or Which()).filter(settings, tuple(state or ()), numbers)
        desk.some_or_all(named, everything=all)
        wanted = named if state else (which or Which()).filter(settings, desk.REPLAYABLE, numbers)
        return await _marked(terminal, journal, wanted, "pending", "replayed")

    return _on_journal(common, work)


@quarantine.command(name="list")
def quarantine_list(
    *, which: Which | None = None, after: int = 0, limit: int = 50, common: Common | None = None
) -> int:
    """List webhooks that a person has to look at, and why.

    Parameters
    ----------
    after
        Only those with a higher number.
    limit
        At most so many.
    """
    return list_(which=which, state=["quarantined"], after=after, limit=limit, common=common)


@quarantine.command(name="release")
def quarantine_release(
    *numbers: int,
    which: Which | None = None,
    all: Annotated[bool, _FLAG] = False,
    common: Common | None = None,
) -> int:
    """Try to read and forward webhooks of the quarantine again.

    Parameters
    ----------
    numbers
        Their numbers, as `list` shows them.
    all
        All of the quarantine.
    """
    return _out_of_quarantine(numbers, which, all, "pending", "released", common)


@quarantine.command(name="discard")
def quarantine_discard(
    *numbers: int,
    which: Which | None = None,
    all: Annotated[bool, _FLAG] = False,
    common: Common | None = None,
) -> int:
    """Let webhooks of the quarantine go; they stay in the journal for as long as others do.

    Parameters
    ----------
    numbers
        Their numbers, as `list` shows them.
    all
        All of the quarantine.
    """
    return _out_of_quarantine(numbers, which, all, "discarded", "discarded", common)


@quarantine.command(name="put")
def quarantine_put(
    *numbers: int, reason: str = "put there by a person", common: Common | None = None
) -> int:
    """Put webhooks aside that are not to be forwarded for now.

    Parameters
    ----------
    numbers
        Their numbers, as `list` shows them.
    reason
        Why, for those who look at them later.
    """

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk

        wanted = Which().filter(settings, ("pending", "parked", "quarantined"), numbers)
        desk.some_or_all(Which().filter(settings, (), numbers), everything=False)
        return await _marked(terminal, journal, wanted, "quarantined", "put aside", reason)

    return _on_journal(common, work)


@webhooks.command
def adopt(
    account: str,
    envelope_id: str,
    /,
    *,
    key: str = "",
    principal: str = "",
    timeout: float = 60.0,
    common: Common | None = None,
) -> int:
    """Take over an envelope that was made elsewhere, with the webhooks that waited for it.

    Parameters
    ----------
    account
        The account's name in the settings.
    envelope_id
        The provider's id of the envelope.
    key
        The business key that it gets; by default adopted- and the provider's id.
    principal
        Who reads and changes it; by default the account's default principal.
    timeout
        Wait at most so many seconds until it is read.
    """

    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax.adoption import adopted

        with terminal.working("adopting"):
            done = await adopted(
                settings,
                journal,
                account=account,
                provider_envelope_id=envelope_id,
                key=key,
                principal=principal,
                timeout_s=timeout,
            )
        terminal.value_if_json(done.as_json())
        said = done.message or f"{done.replayed} webhooks forwarded"
        terminal.line(f"{done.workflow_id}: {done.status}; {said}")
        return done.exit_code()

    return _on_journal(common, work)


def _out_of_quarantine(
    numbers: tuple[int, ...],
    which: Which | None,
    everything: bool,
    state: Any,
    done: str,
    common: Common | None,
) -> int:
    async def work(terminal: Terminal, settings: Settings, journal: Journal) -> Exit:
        from sealwax import webhooks as desk

        which_ = which or Which()
        desk.some_or_all(which_.filter(settings, (), numbers), everything=everything)
        wanted = which_.filter(settings, ("quarantined",), numbers)
        reason = "let go by a person" if state == "discarded" else ""
        return await _marked(terminal, journal, wanted, state, done, reason)

    return _on_journal(common, work)


async def _marked(
    terminal: Terminal,
    journal: Journal,
    wanted: WebhookFilter,
    state: Any,
    done: str,
    reason: str = "",
) -> Exit:
    from sealwax import webhooks as desk
    from sealwax.terminal import Exit

    with terminal.working(done) as working:
        number = await desk.marked(
            journal,
            wanted,
            state,
            reason,
            lambda so_far, total: working.now(f"{so_far} of {total} {done}"),
        )
    terminal.value_if_json({"marked": number, "state": state})
    terminal.line(f"{number} {done}")
    return Exit.OK


def _lines(terminal: Terminal, shown: dict[str, Any]) -> None:
    for name, value in shown.items():
        if isinstance(value, list) and value:
            terminal.line(f"{name}:")
            for one in value:
                said = one.items() if isinstance(one, dict) else [("", one)]
                terminal.line("  " + ", ".join(f"{n} {v}".strip() for n, v in said if v))
        elif value not in ("", None, [], {}):
            terminal.line(f"{name}: {value}")
