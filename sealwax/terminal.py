"""What the command line prints: JSON for programs, tables and progress for people.

With JSON, stdout holds nothing but one value a command (one a line where it follows changes).
Errors are one line on stderr. Exit codes tell scripts who said no.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, TextIO

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sealwax import sweep_views, views
from sealwax.answers import Conflict
from sealwax.definition import Refusal, RefusalCode
from sealwax.merge import FieldChange
from sealwax.messages import MutationResult, QuotaSnapshot, Snapshot, TimelineEntry
from sealwax.sweep_messages import SweepSnapshot

WIDTH_OF_FILES = 2_000


class Exit(IntEnum):
    """What a command's exit code says."""

    OK = 0
    DEFECT = 1
    BAD_INPUT = 2
    REFUSED = 3
    REJECTED = 4
    NOT_FOUND = 5
    UNREACHABLE = 6
    ENDED_OTHERWISE = 7
    INTERRUPTED = 130


_OF_INPUT = frozenset(
    {
        RefusalCode.BAD_INPUT,
        RefusalCode.BAD_EMAIL,
        RefusalCode.BAD_ROUTING_ORDER,
        RefusalCode.DUPLICATE_ID,
        RefusalCode.EMPTY_RECIPIENTS,
        RefusalCode.EMPTY_DOCUMENTS,
        RefusalCode.OVERSIZE,
        RefusalCode.BAD_KEY,
        RefusalCode.BAD_RETURN_URL,
    }
)


def exit_of_refusal(refusal: Refusal) -> Exit:
    """Whether a refusal is about what was typed, or about how the envelope stands."""
    return Exit.BAD_INPUT if refusal.code in _OF_INPUT else Exit.REFUSED


class Terminal:
    """Where one command prints."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None):
        self.as_json = as_json
        self._out = out or sys.stdout
        # A file or a pipe has no width; what is cut there is lost to who searches it.
        width = None if self._out.isatty() else WIDTH_OF_FILES
        self._console = Console(file=self._out, highlight=False, width=width)
        self._progress = Console(file=err or sys.stderr, highlight=False)

    def value_if_json(self, value: BaseModel | dict[str, Any] | list[dict[str, Any]]) -> None:
        """One JSON value on one line; nothing for a person."""
        if not self.as_json:
            return
        plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
        self._out.write(json.dumps(plain, ensure_ascii=False) + "\n")
        self._out.flush()

    def line(self, text: str) -> None:
        """One line for a person; nothing with JSON. The text is shown as it is."""
        if not self.as_json:
            self._console.print(escape(text))

    def error(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        """One line on stderr; ``details`` are for programs."""
        line = " ".join(message.split())
        if self.as_json:
            report = {"error": {"code": code, "message": line, **(details or {})}}
            print(json.dumps(report), file=sys.stderr)
        else:
            print(f"error: {line}", file=sys.stderr)

    @contextmanager
    def working(self, text: str) -> Iterator[Working]:
        """Progress on stderr while something takes time; silent without a terminal."""
        if self.as_json or not self._progress.is_terminal:
            yield Working()
            return
        with self._progress.status(escape(text)) as status:
            yield Working(status)

    def snapshot(self, snapshot: Snapshot, timeline: Sequence[TimelineEntry] = ()) -> None:
        """An envelope in full."""
        self.line(f"{snapshot.business_key} of {snapshot.account}: {progress_of(snapshot)}")
        self.line(f"  subject   {snapshot.subject}")
        self.line(f"  provider  {snapshot.provider_envelope_id or 'not made yet'}")
        self.line(f"  revision  {snapshot.revision}, {snapshot.queue_length} in the queue")
        for warning in (snapshot.attention, *snapshot.contradictions):
            if warning:
                self.line(f"  ATTENTION {warning}")
        self._choices(snapshot)
        self.table(
            ("order", "recipient", "name", "kind", "status"),
            (
                (str(r.routing_order), r.recipient_id, r.name, r.kind, r.status)
                for r in sorted(snapshot.recipients, key=lambda r: r.routing_order)
            ),
        )
        if snapshot.signing.recipient_id and snapshot.signing.since:
            page = "page open" if snapshot.signing.opened else "page not known to be open yet"
            who = f"{snapshot.signing.recipient_id} since {_time(snapshot.signing.since)}, {page}"
            self.line(f"  signing   {who}")
        if snapshot.signing.waiting:
            self.line(f"  then      {', '.join(snapshot.signing.waiting)}")
        for document in snapshot.documents:
            self.line(f"  document {document.document_id}: {document.name}")
        for entry in timeline:
            self.line(f"  {_time(entry.at)}  {entry.text}")

    def question(self, snapshot: Snapshot) -> None:
        """What the envelope asks a person, with what may be answered."""
        asked = snapshot.question
        self.line(asked.text if asked else "nothing; the envelope goes on by itself")
        self._choices(snapshot)

    def _choices(self, snapshot: Snapshot) -> None:
        choices = snapshot.question.choices.items() if snapshot.question else ()
        for choice, what in choices:
            self.line(f"  sealwax resolve {snapshot.business_key} {choice}: {what}")

    def change(self, snapshot: Snapshot) -> None:
        """One line about a change."""
        self.line(f"{_time(datetime.now(UTC))}  {progress_of(snapshot)}")

    def result(self, result: MutationResult) -> None:
        """What came of a mutation."""
        self.line(f"{result.state}: revision {result.revision} (operation {result.operation_id})")

    def quota(self, quota: QuotaSnapshot) -> None:
        """An account's quota in full."""
        if quota.problem and quota.problem_since is not None:
            self.line(f"ATTENTION not read since {_time(quota.problem_since)}: {quota.problem}")
        if quota.looked_at is None:
            self.line(f"nobody has looked at the quota of {quota.account} yet; ask again soon")
            return
        self.line(f"quota of {quota.account}, as it was at {_time(quota.looked_at)}")
        for line in views.quota_windows(quota):
            self.line(f"  {line.removeprefix('- ')}")
        waiting = ", ".join(f"{number} {klass}" for klass, number in quota.waiting.items())
        self.line(f"  waiting in {quota.workers} workers: {waiting}")
        for what, number in views.quota_totals(quota):
            self.line(f"  ever {what}: {number}")

    def sweeps(self, sweep: SweepSnapshot) -> None:
        """An account's sweeps in full."""
        if sweep.problem:
            self.line(f"ATTENTION the last sweep did not end: {sweep.problem}")
        self.line(f"sweeps of {sweep.account}")
        for line in sweep_views.sweep_lines(sweep):
            self.line(f"  {line}")
        for each in sweep.drifted:
            whose = f" of recipient {each.recipient}" if each.recipient else ""
            change = f"{each.provider_envelope_id} {each.status}{whose}"
            self.line(f"  without its webhook since {_time(each.found_at)}: {change}")
        for envelope_id in sweep.stranger_ids:
            self.line(f"  made elsewhere: {envelope_id}")

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows under their heads."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self._console.print(table)


class Working:
    """A progress line that may be told what goes on."""

    def __init__(self, status: Any = None) -> None:
        self._status = status

    def now(self, text: str) -> None:
        """Show another text."""
        if self._status is not None:
            self._status.update(escape(text))


def conflict_words(conflict: Conflict) -> str:
    """What others changed, for who was refused because of it."""
    told = [f"{change.path} {_change_words(change)}" for change in conflict.changed]
    view = conflict.result.conflict
    more = [f"{view.more} more fields"] if view is not None and view.more else []
    changes = f"; changed since: {'; '.join(told + more)}" if told else ""
    return f"{conflict}{changes} (conflict {conflict.correlation_id})"


def _change_words(change: FieldChange) -> str:
    before = "was not there" if change.before is None else f"was {change.before!r}"
    now = "is gone" if change.now is None else f"is {change.now!r} now"
    if not change.overlaps:
        return f"{before}, {now}"
    wanted = "wanted it gone" if change.wanted is None else f"wanted {change.wanted!r}"
    return f"{before}, {now}, and you {wanted}"


def progress_of(snapshot: Snapshot) -> str:
    """An envelope's progress in a few words, with ids of ours and no personal data."""
    parts = [str(snapshot.status)]
    if snapshot.waiting_on:
        parts.append(f"waiting on {', '.join(snapshot.waiting_on)}")
    if snapshot.signing.recipient_id:
        parts.append(f"{snapshot.signing.recipient_id} is signing")
    if snapshot.signing.waiting:
        parts.append(f"{len(snapshot.signing.waiting)} wait to sign")
    if snapshot.queue_length:
        parts.append(f"{snapshot.queue_length} changes in the queue")
    if snapshot.in_flight:
        parts.append(snapshot.in_flight)
    if snapshot.closed:
        parts.append("closed")
    return ", ".join(parts)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
