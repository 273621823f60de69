"""``sealwax resolve`` and ``sealwax renew``: what an operator does to one envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cyclopts import App

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
