"""What an operator does: ``sealwax resolve`` and ``renew`` an envelope; see an
account's quota, and what its webhooks left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from sealwax.options import Common

# As in ``sealwax.cli``, commands import what they run.
if TYPE_CHECKING:
    from sealwax.terminal import Exit, Terminal

operator = App()


@operator.command
def resolve(
    key: str,
    choice: Literal["landed", "not_landed", "adopt", "retry", "give_up"] | None = None,
    /,
    *,
    account: str | None = None,
    envelope_id: str = "",
    common: Common | None = None,
) -> int:
    """Decide what an envelope needs a person for; without a choice, show what it asks.

    Parameters
    ----------
    key
        The envelope's business key.
    choice
        One of the choices that the envelope offers.
    account
        The account's name; may be left out where the settings have only one.
    envelope_id
        The provider's envelope id, with adopt.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        async with running.one_envelope(common.config, account, key) as envelope:
            if choice is None:
                snapshot = await envelope.status()
            else:
                snapshot = await envelope.resolve(choice, envelope_id)
        terminal.value_if_json(snapshot)
        if choice is None:
            terminal.question(snapshot)
        else:
            terminal.snapshot(snapshot)
        return Exit.OK

    return running.run_command(common.json, command)


@operator.command
def renew(key: str, /, *, account: str | None = None, common: Common | None = None) -> int:
    """Have an envelope's workflow go on as a new run, such as before old workers are taken away.

    Parameters
    ----------
    key
        The envelope's business key.
    account
        The account's name; may be left out where the settings have only one.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        async with running.one_envelope(common.config, account, key) as envelope:
            await envelope.renew()
        terminal.value_if_json({"renewed": key})
        terminal.line(f"{key} goes on as a new run soon")
        return Exit.OK

    return running.run_command(common.json, command)


@operator.command
def quota(
    account: str | None = None,
    /,
    *,
    refresh: Annotated[bool, Parameter(negative=())] = False,
    common: Common | None = None,
) -> int:
    """Show an account's quota: what is used and left, who waits, what was ever refused.

    Parameters
    ----------
    account
        The account's name; may be left out where the settings have only one.
    refresh
        Have a worker look at the ledger now; else its last look is shown, a minute old or so.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.opening import open_client
    from sealwax.settings import load_settings

    async def command(terminal: Terminal) -> Exit:
        settings = load_settings(common.config)
        name = running.account_named(settings, account, "to look at")
        client = await open_client(settings)
        return running.report_quota(terminal, await client.quota(name, refresh=refresh))

    return running.run_command(common.json, command)


@operator.command
def sweep(
    account: str | None = None,
    /,
    *,
    now: Annotated[bool, Parameter(negative=())] = False,
    refresh: Annotated[bool, Parameter(negative=())] = False,
    common: Common | None = None,
) -> int:
    """Show an account's drift: what webhooks left out and sweeps found; what was made elsewhere.

    Parameters
    ----------
    account
        The account's name; may be left out where the settings have only one.
    now
        Sweep first, besides the schedule.
    refresh
        Have a worker look now; else its last look is shown, a minute old or so.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.opening import open_client
    from sealwax.settings import load_settings

    async def command(terminal: Terminal) -> Exit:
        settings = load_settings(common.config)
        name = running.account_named(settings, account, "to look at")
        client = await open_client(settings)
        if now:
            with terminal.working("sweeping"):
                return running.report_sweeps(terminal, await client.sweep(name))
        return running.report_sweeps(terminal, await client.sweeps(name, refresh=refresh))

    return running.run_command(common.json, command)
