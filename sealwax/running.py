"""How a command of the command line runs: settings, connection, and what its errors come to."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from sealwax import client as clients
from sealwax.blobs import BlobError, BlobStore
from sealwax.connection import ConnectionFailed
from sealwax.crypto import CryptoError, check_key_id, new_key
from sealwax.definition import BlobRef, Recipient, RecipientKind, Refusal, RefusalCode
from sealwax.handle import EnvelopeHandle
from sealwax.intake import stored_documents
from sealwax.messages import QuotaSnapshot, SessionTicket, Snapshot
from sealwax.opening import open_client
from sealwax.settings import Settings, SettingsError, load_settings
from sealwax.stores.base import StoreError
from sealwax.sweep_messages import SweepSnapshot
from sealwax.terminal import Exit, Terminal, conflict_words, exit_of_refusal, progress_of
from sealwax.webhooks import UnknownWebhook


def run_command(as_json: bool, command: Callable[[Terminal], Awaitable[Exit]]) -> Exit:
    """Run one command to its exit code; what goes wrong is one line on stderr."""
    terminal = Terminal(as_json=as_json)

    async def awaited() -> Exit:
        return await command(terminal)

    try:
        return asyncio.run(awaited())
    except BrokenPipeError:
        raise
    except Exception as error:
        known = exit_of(error)
        if known is None:
            traceback.print_exc()
            terminal.error("defect", f"a defect of Sealwax, please report it: {error!r}")
            return Exit.DEFECT
        code, exit_code = known
        if isinstance(error, clients.Conflict):
            details = error.result.model_dump(mode="json", include={"conflict"})
            terminal.error(code, conflict_words(error), details)
        else:
            terminal.error(code, str(error))
        return exit_code


def exit_of(error: Exception) -> tuple[str, Exit] | None:
    """The word and the exit code of an error; None where it is a defect of ours."""
    match error:
        case Refusal():
            return error.code, exit_of_refusal(error)
        case clients.MutationRejected():
            return error.code or "rejected", Exit.REJECTED
        case clients.UnknownEnvelope():
            return "unknown_envelope", Exit.NOT_FOUND
        case clients.UnknownAccountQuota():
            return "unknown_account", Exit.NOT_FOUND
        case clients.EnvelopeAborted():
            return "aborted", Exit.ENDED_OTHERWISE
        case clients.NoAnswerYet():
            return "no_answer", Exit.UNREACHABLE
        case clients.TemporalRefused():
            return "temporal_refused", Exit.UNREACHABLE
        case ConnectionFailed():
            return "temporal_unreachable", Exit.UNREACHABLE
        case SettingsError():
            return "settings", Exit.BAD_INPUT
        case CryptoError():
            return "encryption", Exit.BAD_INPUT
        case UnknownWebhook():
            return "unknown_webhook", Exit.NOT_FOUND
        case StoreError():
            return "storage", Exit.BAD_INPUT
        case BlobError() | OSError():
            return "storage", Exit.BAD_INPUT
        case _:
            return None


@asynccontextmanager
async def one_envelope(
    config: Path | None, account: str | None, key: str
) -> AsyncIterator[EnvelopeHandle]:
    """An envelope by its key; the account may be left out where the settings have only one.

    Raises ``SettingsError``, ``Refusal``, ``ConnectionFailed``.
    """
    settings = load_settings(config)
    name = account_named(settings, account, "with --account")
    client = await open_client(settings)
    yield client.envelope(name, key)


def account_named(settings: Settings, account: str | None, how: str) -> str:
    """This account, or the only one of the settings; ``how`` tells where it can be said.

    Raises ``SettingsError``, ``Refusal``.
    """
    if account is None and len(settings.accounts) > 1:
        known = ", ".join(sorted(settings.accounts))
        raise Refusal(RefusalCode.BAD_INPUT, f"say which account {how}; one of: {known}")
    name = account if account is not None else next(iter(settings.accounts))
    settings.account(name)
    return name


async def stored(config: Path | None, files: Sequence[str]) -> tuple[BlobRef, ...]:
    """Put files into the settings' storage. Raises ``SettingsError``, ``Refusal``, ``OSError``."""
    settings = load_settings(config)
    blobs = BlobStore(settings.storage.blobs, settings.keyring())
    documents = await stored_documents(blobs, dict(enumerate(files, start=1)))
    return tuple(document.blob for document in documents)


def made_key(key_id: str, file: Path | None) -> str:
    """A new key; with ``file`` written there, for its owner alone to read, as its folder is if that
    is made for it.

    Raises ``BadKey`` for an id that is none, ``Refusal`` rather than write over an old key.
    """
    check_key_id(key_id)
    key = new_key()
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise Refusal(
                RefusalCode.BAD_INPUT, f"{file} is there already; name another file"
            ) from None
        with os.fdopen(descriptor, "w", encoding="ascii") as written:
            written.write(f"{key}\n")
    return key


def encryption_table(key_id: str, file: Path) -> tuple[str, ...]:
    """The lines of the settings that name the key."""
    return (
        "[encryption]",
        f'current = "{key_id}"',
        "",
        "[encryption.keys]",
        f'{key_id} = "file:{file}"',
    )


async def report_sent(
    terminal: Terminal,
    envelope: EnvelopeHandle,
    *,
    until: str | None,
    timeout_s: float | None,
) -> Exit:
    """Say what was started; with ``until`` wait for it and say what became of the envelope."""
    row: dict[str, object] = {
        "workflow_id": envelope.workflow_id,
        "account": envelope.account,
        "key": envelope.key,
    }
    if until is None:
        terminal.value_if_json(row)
        terminal.line(f"accepted: {envelope.workflow_id}")
        return Exit.OK
    with terminal.working("waiting") as working:
        snapshot = await envelope.wait(
            until, timeout_s, seen=lambda snapshot: working.now(progress_of(snapshot))
        )
    terminal.value_if_json(row | {"snapshot": snapshot.model_dump(mode="json")})
    terminal.snapshot(snapshot)
    return Exit.OK if snapshot.status == until else exit_of_end(snapshot)


def report_quota(terminal: Terminal, quota: QuotaSnapshot) -> Exit:
    """Say how an account's quota stands; without figures that is not done."""
    terminal.value_if_json(quota)
    terminal.quota(quota)
    return Exit.OK if quota.looked_at is not None else Exit.UNREACHABLE


def report_sweeps(terminal: Terminal, sweep: SweepSnapshot) -> Exit:
    """Say how an account's sweeps stand; one that did not come to its end is not done."""
    terminal.value_if_json(sweep)
    terminal.sweeps(sweep)
    return Exit.UNREACHABLE if sweep.problem or sweep.looked_at is None else Exit.OK


def exit_of_end(snapshot: Snapshot) -> Exit:
    """Whether an envelope came to the end that was wished for."""
    return Exit.OK if snapshot.status == "completed" else Exit.ENDED_OTHERWISE


def wait_of(ticket: SessionTicket) -> str:
    """What a session request waits for, in a few words."""
    before = f"{ticket.position} before it" if ticket.position else "next"
    return f"{before}: {ticket.why}" if ticket.why else before


def recipient_from(text: str, kind: RecipientKind, embedded: bool = False) -> Recipient:
    """Read ``id:Name:email[:order]``. Raises ``Refusal``.

    Who is ``embedded`` is known to the provider's session by the recipient id.
    """
    parts = [part.strip() for part in text.split(":")]
    if len(parts) not in (3, 4):
        raise Refusal(
            RefusalCode.BAD_INPUT,
            "a recipient is given as id:Name:email or id:Name:email:order,"
            " such as buyer:Bea Buyer:bea@example.com:1",
        )
    order = parts[3] if len(parts) == 4 else "1"
    if not order.isascii() or not order.isdigit() or len(order) > 9:
        raise Refusal(
            RefusalCode.BAD_ROUTING_ORDER,
            "a recipient's routing order, after the e-mail address, is a whole number from 1 on",
        )
    return Recipient(
        parts[0],
        parts[1],
        parts[2],
        routing_order=int(order),
        kind=kind,
        client_user_id=parts[0] if embedded else "",
    )
