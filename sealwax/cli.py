"""Sealwax at a terminal: send envelopes, see how they stand, watch, void and list them.

Exit codes:
  0    done
  1    a defect of Sealwax
  2    bad input or settings
  3    refused by the envelope's law
  4    refused by the provider
  5    no such envelope
  6    Temporal not reachable, or no answer in time
  7    ended otherwise than completed (send --wait, watch)
  130  interrupted
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from json import dumps as as_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from sealwax.cli_changes import changes
from sealwax.cli_keys import keys
from sealwax.cli_operator import operator
from sealwax.cli_webhooks import webhooks
from sealwax.lifetime import leave
from sealwax.options import Common

# Importing Temporal takes half a second, which --help and a mistyped option need not cost: so the
# commands import what they run.
if TYPE_CHECKING:
    from sealwax.terminal import Exit, Terminal

PACKAGE = "sealwax"
CHECKOUT = Path(__file__).resolve().parent.parent
"""Where the project's source tree is, unless this is an installed package."""

INTERRUPTED = 130
BAD_INPUT = 2

app = App(
    name="sealwax",
    help=__doc__,
    help_format="plaintext",
    version_flags=[],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(keys)
app.command(webhooks)
app.command(operator, name="*")
app.command(changes, name="*")


@app.command
def send(
    *files: str,
    account: str,
    key: str,
    subject: str,
    signer: Annotated[list[str], Parameter(negative=())],
    message: str = "",
    cc: Annotated[list[str], Parameter(negative=())] | None = None,
    embedded: Annotated[bool, Parameter(negative=())] = False,
    draft: Annotated[bool, Parameter(negative=())] = False,
    bulk: Annotated[bool, Parameter(negative=())] = False,
    principal: str = "",
    wait: bool = False,
    timeout: float | None = None,
    common: Common | None = None,
) -> int:
    """Send PDFs to be signed. Repeating the command with the same content changes nothing.

    Parameters
    ----------
    files
        The PDFs, numbered 1, 2, ... in this order.
    account
        The account's name in the settings.
    key
        Your own key for the envelope, such as an order number; never personal data.
    subject
        What the recipients see as the subject, up to 100 characters.
    message
        What the recipients see as the message.
    signer
        Who signs, as id:Name:email or id:Name:email:order; may be repeated.
    cc
        Who gets a copy, in the same form; may be repeated.
    embedded
        Signers sign in your application (`sealwax sign`) and get no mail from the provider.
    draft
        Make the envelope, and do not send it yet.
    bulk
        One of many: its calls let signers and single envelopes go first.
    principal
        In whose name, as in the settings; by default the account's default principal.
    wait
        Wait until the envelope has ended (with --draft: until it is made).
    timeout
        Wait at most so many seconds.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.definition import RecipientKind
    from sealwax.intake import checked_definition
    from sealwax.keys import workflow_id
    from sealwax.opening import open_client
    from sealwax.settings import load_settings

    async def command(terminal: Terminal) -> Exit:
        settings = load_settings(common.config)
        settings.account(account).principal(principal)
        signers = RecipientKind.SIGNER
        recipients = [running.recipient_from(text, signers, embedded) for text in signer]
        recipients += [running.recipient_from(text, RecipientKind.CARBON_COPY) for text in cc or []]
        # Bad input is told as such also where Temporal cannot be reached.
        workflow_id(account, key)
        checked_definition(subject=subject, message=message, documents=files, recipients=recipients)
        client = await open_client(settings)
        envelope = await client.create(
            account=account,
            key=key,
            subject=subject,
            documents=files,
            recipients=recipients,
            message=message,
            send=not draft,
            principal=principal,
            bulk=bulk,
        )
        until = ("created" if draft else "final") if wait else None
        return await running.report_sent(terminal, envelope, until=until, timeout_s=timeout)

    return running.run_command(common.json, command)


@app.command
def status(
    key: str,
    /,
    *,
    account: str | None = None,
    timeline: Annotated[bool, Parameter(negative=())] = False,
    common: Common | None = None,
) -> int:
    """Show how an envelope stands.

    Parameters
    ----------
    key
        The envelope's business key.
    account
        The account's name; may be left out where the settings have only one.
    timeline
        Also show what happened, oldest first.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        async with running.one_envelope(common.config, account, key) as envelope:
            snapshot = await envelope.status()
            entries = await envelope.timeline() if timeline else ()
        extra = {"timeline": [e.model_dump(mode="json") for e in entries]} if timeline else {}
        terminal.value_if_json(snapshot.model_dump(mode="json") | extra)
        terminal.snapshot(snapshot, entries)
        return Exit.OK

    return running.run_command(common.json, command)


@app.command
def watch(key: str, /, *, account: str | None = None, common: Common | None = None) -> int:
    """Follow an envelope until it is closed, a line for every change.

    Parameters
    ----------
    key
        The envelope's business key.
    account
        The account's name; may be left out where the settings have only one.
    """
    common = common or Common()

    from sealwax import running

    async def command(terminal: Terminal) -> Exit:
        async with running.one_envelope(common.config, account, key) as envelope:
            with terminal.working("watching"):
                async for snapshot in envelope.watch():
                    terminal.value_if_json(snapshot)
                    terminal.change(snapshot)
        return running.exit_of_end(snapshot)

    return running.run_command(common.json, command)


@app.command
def sign(
    key: str,
    recipient: str,
    /,
    *,
    return_url: str,
    account: str | None = None,
    takeover: Annotated[bool, Parameter(negative=())] = False,
    operation_id: str | None = None,
    timeout: float | None = None,
    common: Common | None = None,
) -> int:
    """Wait for an embedded signer's turn and print the signing URL, which works once.

    Parameters
    ----------
    key
        The envelope's business key.
    recipient
        The signer's id.
    return_url
        Where the signer's browser goes afterwards.
    account
        The account's name; may be left out where the settings have only one.
    takeover
        End the signer's own live session, which may lose what was typed there.
    operation_id
        Your own id of this request: repeated with it, the command keeps its place in the queue.
    timeout
        Wait at most so many seconds for the turn.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        async with running.one_envelope(common.config, account, key) as envelope:
            with terminal.working("waiting") as working:
                ticket = await envelope.open_session(
                    recipient,
                    return_url,
                    operation_id=operation_id,
                    takeover=takeover,
                    timeout_s=timeout,
                    seen=lambda ticket: working.now(running.wait_of(ticket)),
                )
        terminal.value_if_json(ticket)
        terminal.line(ticket.url)
        return Exit.OK

    return running.run_command(common.json, command)


@app.command(name="list")
def list_(
    *,
    account: str | None = None,
    status: str | None = None,
    needs_attention: Annotated[bool, Parameter(negative=())] = False,
    limit: int = 50,
    common: Common | None = None,
) -> int:
    """List envelopes, newest first.

    Parameters
    ----------
    account
        Only those of this account.
    status
        Only those with this status, such as sent or completed.
    needs_attention
        Only those that wait for a person's decision.
    limit
        At most so many.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.opening import open_client
    from sealwax.settings import load_settings
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        settings = load_settings(common.config)
        if account is not None:
            settings.account(account)
        client = await open_client(settings)
        rows = [row async for row in client.list(account, status, needs_attention or None, limit)]
        terminal.value_if_json([asdict(r) | {"started_at": r.started_at.isoformat()} for r in rows])
        terminal.table(
            ("account", "key", "status", "waiting on", "attention", "provider's id", "started"),
            (
                (
                    r.account,
                    r.key,
                    r.status,
                    ", ".join(r.waiting_on),
                    "yes" if r.needs_attention else "",
                    r.provider_envelope_id,
                    r.started_at.strftime("%Y-%m-%d %H:%M"),
                )
                for r in rows
            ),
        )
        return Exit.OK

    return running.run_command(common.json, command)


@app.command
def put(*files: str, common: Common | None = None) -> int:
    """Store PDFs, encrypted, for envelopes that another language starts; prints their references.

    Parameters
    ----------
    files
        The PDFs. For each, a line with its digest, its size in bytes, and its path.
    """
    common = common or Common()

    from sealwax import running
    from sealwax.terminal import Exit

    async def command(terminal: Terminal) -> Exit:
        refs = await running.stored(common.config, files)
        terminal.value_if_json([asdict(ref) for ref in refs])
        for ref, file in zip(refs, files, strict=True):
            terminal.line(f"{ref.digest} {ref.size_bytes} {file}")
        return Exit.OK

    return running.run_command(common.json, command)


@app.command
def demo(
    *,
    seed: int | None = None,
    envelopes: int | None = None,
    overlap: str | None = None,
    folder: Path | None = None,
    sessions: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Take contracts from draft to completed on this machine (only from a checkout).

    Parameters
    ----------
    seed
        The seed of workload and harms.
    envelopes
        How many.
    overlap
        on or off: whether overlapping writes lose updates at the simulated provider.
    folder
        For all that it writes.
    sessions
        Print signing links to open in a browser instead, for signers who take turns.
    json
        The figures as JSON on stdout, the rest on stderr.
    """
    where = folder and folder.absolute()
    if sessions:
        if (seed, envelopes, overlap) != (None, None, None) or json:
            return _complain(json, "bad_input", "--sessions goes with --folder alone", BAD_INPUT)
        return _program("demo.dev", {"folder": where}, ["--sessions"])
    options = {"seed": seed, "envelopes": envelopes, "overlap": overlap, "folder": where}
    return _program("demo", options, ["--json"] if json else [])


@app.command
def dev(*, folder: Path | None = None) -> int:
    """Keep a local world up: Temporal and its UI, a simulated provider, worker and bridge.

    It runs until Ctrl-C and goes on where it was when started again (only from a checkout).

    Parameters
    ----------
    folder
        For all that it writes; by default build/dev.
    """
    return _program("demo.dev", {"folder": folder and folder.absolute()}, [])


def _program(module: str, options: Mapping[str, object], flags: Sequence[str]) -> int:
    """Become a program of the checkout, so that a signal to this process is one to it."""
    given = {name: value for name, value in options.items() if value is not None}
    arguments = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    if not (CHECKOUT / "demo" / "__main__.py").is_file() or not (CHECKOUT / "Makefile").is_file():
        advice = "this runs from a checkout of the project; clone it, then `make demo`"
        return _complain("--json" in flags, "no_checkout", advice, BAD_INPUT)
    os.chdir(CHECKOUT)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments, *flags])


@app.command(name="version")
def show_version(*, common: Common | None = None) -> int:
    """Say which version this is."""
    try:
        number = version(PACKAGE)
    except PackageNotFoundError:
        with (CHECKOUT / "pyproject.toml").open("rb") as file:
            number = tomllib.load(file)["project"]["version"]
    print(as_json({"version": number}) if (common or Common()).json else number)
    return 0


def main() -> NoReturn:
    """The entry point of ``sealwax`` and ``python -m sealwax``."""
    leave(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Bad input and failures are one line on stderr."""
    wants_json = "--json" in arguments
    try:
        returned = app(list(arguments), exit_on_error=False, print_error=False)
        return int(returned or 0)
    except CycloptsError as error:
        return _complain(
            wants_json, "bad_input", f"{_line(error)}; see `sealwax --help`", BAD_INPUT
        )
    except KeyboardInterrupt:
        return _complain(wants_json, "interrupted", "interrupted", INTERRUPTED)
    except (BrokenPipeError, SystemExit):
        # Who reads us has seen enough, as in `sealwax list | head -1`; rich says it by SystemExit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _complain(wants_json: bool, code: str, message: str, exit_code: int) -> int:
    report = as_json({"error": {"code": code, "message": message}})
    print(report if wants_json else f"error: {message}", file=sys.stderr)
    return exit_code


def _line(error: CycloptsError) -> str:
    return " ".join(str(error).split()).rstrip(".")
