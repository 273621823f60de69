"""``sealwax void``, ``resend``, ``reminders``, ``expiration`` and ``fields``: one change each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from sealwax.options import Common, Expecting

# As in ``sealwax.cli``, commands import what they run.
if TYPE_CHECKING:
    from collections.abc import Callable

    from sealwax.mutations import Mutation
    from sealwax.terminal import Exit, Terminal

changes = App()


@changes.command
def void(
    key: str,
    /,
    *,
    reason: str,
    account: str | None = None,
    operation_id: str | None = None,
    timeout: float | None = None,
    expecting: Expecting | None = None,
    common: Common | None = None,
) -> int:
    """Void an envelope in process. It cannot be undone.

    Parameters
    ----------
    key
        The envelope's business key.
    reason
        What the recipients are told, 1 to 200 characters.
    account
        The account's name; may be left out where the settings have only one.
    operation_id
        Your own id of this request: repeated with it, the command gives the first answer again.
    timeout
        Wait at most so many seconds for the provider.
    """
    from sealwax.mutations import VoidEnvelope

    def asked() -> Mutation:
        return VoidEnvelope(reason)

    return _changed("voiding", key, account, asked, operation_id, timeout, expecting, common)


@changes.command
def resend(
    key: str,
    /,
    *recipients: str,
    account: str | None = None,
    operation_id: str | None = None,
    timeout: float | None = None,
    expecting: Expecting | None = None,
    common: Common | None = None,
) -> int:
    """Mail again everybody who is waited on, or the given recipients of them.

    Parameters
    ----------
    key
        The envelope's business key.
    recipients
        Ids of recipients; all who are waited on where none is given.
    account
        The account's name; may be left out where the settings have only one.
    operation_id
        Your own id of this request: repeated with it, the command mails nobody again.
    timeout
        Wait at most so many seconds for the provider.
    """
    from sealwax.mutations import ResendEnvelope

    def asked() -> Mutation:
        return ResendEnvelope(recipients)

    return _changed("resending", key, account, asked, operation_id, timeout, expecting, common)


@changes.command
def reminders(
    key: str,
    /,
    *,
    first_after_days: int | None = None,
    every_days: int = 0,
    off: Annotated[bool, Parameter(negative=())] = False,
    account: str | None = None,
    operation_id: str | None = None,
    timeout: float | None = None,
    expecting: Expecting | None = None,
    common: Common | None = None,
) -> int:
    """Have the provider remind those who have not signed.

    Parameters
    ----------
    key
        The envelope's business key.
    first_after_days
        The first reminder, so many days after a recipient got the envelope.
    every_days
        Further ones every so many days; 0 for none.
    off
        No reminders at all.
    account
        The account's name; may be left out where the settings have only one.
    operation_id
        Your own id of this request: repeated with it, the command gives the first answer again.
    timeout
        Wait at most so many seconds for the provider.
    """
    from sealwax.mutations import SetReminders

    def asked() -> Mutation:
        if off == (first_after_days is not None) or (off and every_days):
            raise _unclear("give either --first-after-days (and --every-days), or --off")
        return SetReminders(first_after_days or 0, every_days)

    return _changed("setting", key, account, asked, operation_id, timeout, expecting, common)


@changes.command
def expiration(
    key: str,
    /,
    *,
    after_days: int,
    warn_days: int = 0,
    account: str | None = None,
    operation_id: str | None = None,
    timeout: float | None = None,
    expecting: Expecting | None = None,
    common: Common | None = None,
) -> int:
    """Have the provider void the envelope if it is not finished in time.

    Parameters
    ----------
    key
        The envelope's business key.
    after_days
        So many days after its sending.
    warn_days
        Warn its recipients so many days before; 0 for no warning.
    account
        The account's name; may be left out where the settings have only one.
    operation_id
        Your own id of this request: repeated with it, the command gives the first answer again.
    timeout
        Wait at most so many seconds for the provider.
    """
    from sealwax.mutations import SetExpiration

    def asked() -> Mutation:
        return SetExpiration(after_days, warn_days)

    return _changed("setting", key, account, asked, operation_id, timeout, expecting, common)


@changes.command
def fields(
    key: str,
    /,
    *,
    set: Annotated[list[str], Parameter(negative=())] | None = None,
    remove: Annotated[list[str], Parameter(negative=())] | None = None,
    account: str | None = None,
    operation_id: str | None = None,
    timeout: float | None = None,
    expecting: Expecting | None = None,
    common: Common | None = None,
) -> int:
    """Set or remove custom fields, which senders see and recipients do not.

    Parameters
    ----------
    key
        The envelope's business key.
    set
        A field, as name=value; may be repeated.
    remove
        The name of a field to take out; may be repeated.
    account
        The account's name; may be left out where the settings have only one.
    operation_id
        Your own id of this request: repeated with it, the command gives the first answer again.
    timeout
        Wait at most so many seconds for the provider.
    """
    from sealwax.mutations import SetCustomFields

    def asked() -> Mutation:
        pairs = [text.partition("=") for text in set or []]
        if any(not sign for _, sign, _ in pairs):
            raise _unclear("give a field as --set name=value")
        return SetCustomFields({name: value for name, _, value in pairs}, tuple(remove or []))

    return _changed("setting", key, account, asked, operation_id, timeout, expecting, common)


def _unclear(message: str) -> Exception:
    from sealwax.definition import Refusal, RefusalCode

    return Refusal(RefusalCode.BAD_INPUT, message)


def _changed(
    doing: str,
    key: str,
    account: str | None,
    asked: Callable[[], Mutation],
    operation_id: str | None,
    timeout_s: float | None,
    expecting: Expecting | None,
    common: Common | None,
) -> int:
    """Ask for one change and print what came of it."""
    common = common or Common()

    from sealwax import running
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        mutation, expects = asked(), (expecting or Expecting()).given()
        async with running.one_envelope(common.config, account, key) as envelope:
            with terminal.working(doing):
                result = await envelope.mutate(mutation, operation_id, timeout_s, **expects)
        terminal.value_if_json(result)
        terminal.result(result)
        return Exit.OK

    return running.run_command(common.json, command)
