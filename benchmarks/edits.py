"""Many callers who edit one envelope at once: `edit()` against retrying on a changed version.

Both read, decide and ask with the revision that they read; nobody overwrites anybody. The naive
caller starts over at each mismatch, at once. `edit()` merges what others did elsewhere, and pauses
after a conflict. Two workloads: all add to one field, and each changes a field of its own. What
was lost is counted in the provider's ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import string
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import stage
from demo.control import Control
from demo.guard import guarded
from demo.run import start_sealwax
from demo.stack import ProgramFailed, Stack
from demo.temporal_dev import TemporalBinaryMissing
from sealwax.client import Conflict, EnvelopeClient, EnvelopeHandle, SavedElsewhere
from sealwax.connection import ConnectionFailed
from sealwax.definition import Recipient
from sealwax.lifetime import leave
from sealwax.messages import Snapshot
from sealwax.mutations import ChangeMessage, Mutation, UpdateRecipient
from sealwax.opening import open_client

CLIENTS, ROUNDS = 16, 2
SYMBOLS = string.ascii_letters
SUBJECT = "Edits: "
PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"

Change = Callable[[Snapshot], Mutation]
Attempt = Callable[[EnvelopeHandle, Change], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Options:
    """How many callers, and how often each edits."""

    clients: int = CLIENTS
    rounds: int = ROUNDS
    seed: int = 7


def tell(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


async def by_edit(envelope: EnvelopeHandle, change: Change) -> int:
    """Edit until it is done; how often it was given up and asked anew."""
    given_up = 0
    while True:
        try:
            await envelope.edit(change)
        except SavedElsewhere:
            given_up += 1
            continue
        return given_up


async def by_version(envelope: EnvelopeHandle, change: Change) -> int:
    """Read, ask with the revision, and at a mismatch at once from the start."""
    while True:
        snapshot = await envelope.status()
        try:
            await envelope.mutate(change(snapshot), expected_revision=snapshot.revision)
        except Conflict:
            continue
        return 0


def one_field(client: int, turn: int, options: Options) -> Change:
    """Add a letter of its own to the subject that stands."""
    letter = SYMBOLS[client * options.rounds + turn]
    return lambda snapshot: ChangeMessage(subject=snapshot.subject + letter)


def own_field(client: int, turn: int, options: Options) -> Change:
    """Rename the caller's own recipient."""
    return lambda snapshot: UpdateRecipient(str(client + 1), name=f"Caller {client} turn {turn}")


def lost(made: dict[str, Any], workload: str, options: Options) -> int:
    """How many edits the provider's envelope does not show."""
    if workload == "one_field":
        letters = SYMBOLS[: options.clients * options.rounds]
        return sum(made["emailSubject"].removeprefix(SUBJECT).count(c) != 1 for c in letters)
    names = {r["recipientId"]: r["name"] for r in made["recipients"]}
    last = options.rounds - 1
    return sum(names[str(c + 1)] != f"Caller {c} turn {last}" for c in range(options.clients))


async def measured(
    envelope: EnvelopeHandle,
    attempt: Attempt,
    change_of: Callable[[int, int, Options], Change],
    options: Options,
) -> dict[str, Any]:
    """All callers at once, each its rounds; the figures."""
    attempts = given_up = 0

    async def caller(number: int) -> None:
        nonlocal attempts, given_up
        for turn in range(options.rounds):
            change = change_of(number, turn, options)

            def counted(snapshot: Snapshot, change: Change = change) -> Mutation:
                nonlocal attempts
                attempts += 1
                return change(snapshot)

            given_up += await attempt(envelope, counted)

    began = time.monotonic()
    await asyncio.gather(*(caller(number) for number in range(options.clients)))
    seconds = time.monotonic() - began
    edits = options.clients * options.rounds
    return {
        "edits": edits,
        "attempts_per_success": round(attempts / edits, 2),
        "given_up": given_up,
        "seconds": round(seconds, 2),
    }


async def _made(envelope: EnvelopeHandle, control: Control, account_id: str) -> dict[str, Any]:
    """The envelope as the provider's ledger has it."""
    envelope_id = (await envelope.status()).provider_envelope_id
    ledger = await control.ledger(account_id)
    (made,) = (e for e in ledger["envelopes"] if e["envelopeId"] == envelope_id)
    return dict(made)


async def _draft(client: EnvelopeClient, key: str, pdf: Path, options: Options) -> EnvelopeHandle:
    people = [
        Recipient(str(n), f"Caller {n}", f"caller{n}@example.com", 1)
        for n in range(1, options.clients + 1)
    ]
    envelope = await client.create(
        account=stage.ACCOUNT,
        key=key,
        subject=SUBJECT,
        documents=[pdf],
        recipients=people,
        send=False,
    )
    await envelope.wait("created", timeout_s=60)
    return envelope


async def run(options: Options) -> dict[str, Any]:
    """Both sides with both workloads, one after the other. Raises what the programs' starts do."""
    with tempfile.TemporaryDirectory(prefix="sealwax-edits-") as name:
        folder = Path(name)
        async with Stack(folder / "logs") as stack:
            tell("Starting the provider, Temporal, a worker and the bridge ...")
            provider = stage.simulator_program(options.seed, overlap=True)
            simulator = await stack.start(provider)
            async with Control(simulator.url or "") as control:
                (_, tenant), places = await start_sealwax(stack, control, folder)
                pdf = folder / "contract.pdf"
                pdf.write_bytes(PDF)
                client = await open_client(places.settings)
                working = _all(client, control, tenant.account_id, pdf, options)
                return await guarded(stack, working, None)


async def _all(
    client: EnvelopeClient, control: Control, account_id: str, pdf: Path, options: Options
) -> dict[str, Any]:
    found: dict[str, Any] = {"clients": options.clients, "rounds": options.rounds}
    for side, attempt in (("edit", by_edit), ("version_retry", by_version)):
        found[side] = {}
        for workload, change_of in (("one_field", one_field), ("own_field", own_field)):
            envelope = await _draft(client, f"{side}-{workload}", pdf, options)
            figures = await measured(envelope, attempt, change_of, options)
            made = await _made(envelope, control, account_id)
            found[side][workload] = {**figures, "lost": lost(made, workload, options)}
            tell(f"{side}, {workload}: {found[side][workload]}")
    return found


def parsed(argv: Sequence[str]) -> tuple[Options, bool]:
    """Options of a run, and whether to print JSON alone on stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edits", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--clients", type=int, default=CLIENTS, help=f"callers ({CLIENTS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"edits of each ({ROUNDS})")
    parser.add_argument("--seed", type=int, default=Options().seed, help="the provider's seed (7)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout, no words")
    given = parser.parse_args(argv)
    if given.clients < 1 or given.rounds < 1 or given.clients * given.rounds > len(SYMBOLS):
        parser.error(f"--clients times --rounds is a number from 1 to {len(SYMBOLS)}")
    return Options(given.clients, given.rounds, given.seed), given.json


def lines(found: dict[str, Any]) -> list[str]:
    """The document in words, for a person."""
    rows = [f"{found['clients']} callers edit one envelope at once, {found['rounds']} times each."]
    rows += [f"{'':<28}{'attempts/success':>17}{'given up':>10}{'lost':>6}{'seconds':>9}"]
    for side in ("version_retry", "edit"):
        for workload, told in found[side].items():
            name = f"{side.replace('_', ' ')}, {workload.replace('_', ' ')}"
            rows += [
                f"{name:<28}{told['attempts_per_success']:>17}{told['given_up']:>10}"
                f"{told['lost']:>6}{told['seconds']:>9}"
            ]
    return rows


def main(argv: Sequence[str]) -> int:
    """Run; the exit code."""
    options, as_json = parsed(argv)
    try:
        found = asyncio.run(run(options))
    except KeyboardInterrupt:
        tell("Stopped.")
        return 130
    except (ProgramFailed, TemporalBinaryMissing, ConnectionFailed) as error:
        tell(f"benchmarks.edits: {error}")
        return 1
    print(json.dumps(found) if as_json else "\n".join(lines(found)))
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
