"""What the demonstration shows: progress while it runs, and the table at the end."""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from demo import workload
from demo.contracts.render import TITLES
from demo.ledger import Figures
from demo.workload import Change, Life, Request

NAIVE, SEALWAX = "naive client", "Sealwax"
SIDES = (NAIVE, SEALWAX)

_PLAIN_EVERY_S = 2.0
_REFRESH_PER_S = 8.0
_LINES_AROUND = 6
_SVG_WIDTH = 92
# The fonts from the web: without them the viewer's own monospace font serves.
_SVG_FONTS = re.compile(r"@font-face \{.*?\}|<!--.*?-->", re.DOTALL)
_STYLES = {"completed": "green", "declined": "yellow", "voided": "yellow", "waiting": "dim"}
_PHASES = (
    "waiting",
    "creating",
    "drafting",
    "sending",
    "correcting",
    "signing",
    "settling",
    "completed",
    "declined",
    "voided",
)

_ROWS: tuple[tuple[str, Callable[[Figures], str], str], ...] = (
    (
        "changes in effect",
        lambda f: f"{f.mutations_effective} of {f.mutations_requested}",
        "stand in the envelope at the end",
    ),
    (
        "overlapping writes",
        lambda f: str(f.overlapping_writes),
        "made while another was in process",
    ),
    (
        "lost updates",
        lambda f: str(f.lost_updates),
        "accepted, then wiped out by another",
    ),
    (
        "duplicate envelopes",
        lambda f: str(f.duplicate_envelopes),
        "second ones, of a job that came twice",
    ),
    (
        "wrong final states",
        lambda f: str(f.wrong_final_states),
        "status or content not as intended",
    ),
    (
        "completed",
        lambda f: f"{f.completed} of {f.envelopes}",
        "the others were voided or declined",
    ),
    ("API calls", lambda f: str(f.api_calls), "without those for tokens"),
    (
        "refused by limits",
        lambda f: str(f.limit_refusals),
        "calls beyond what the account may make",
    ),
    (
        "most used at a time",
        lambda f: f"{f.burst_peak} of {f.burst_limit}",
        "calls within one window of the burst",
    ),
)
_HARMS = ("lost updates", "duplicate envelopes", "wrong final states")


class Board:
    """Where every envelope stands on both sides: a live table, or a line now and then.

    A context manager around the run. `tell(side)` gives the callback of one side.
    """

    def __init__(self, lives: Sequence[Life], console: Console) -> None:
        self._lives = lives
        self._console = console
        self._states = {(side, life.key): "waiting" for side in SIDES for life in lives}
        self._began = time.monotonic()
        self._printed = 0.0
        self._live: Live | None = None
        self.note = ""

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=self._screen,
                refresh_per_second=_REFRESH_PER_S,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif kind is None:
            self._line()

    def tell(self, side: str) -> Callable[[str, str], None]:
        """Callback `(key, text)` of one side."""

        def told(key: str, text: str) -> None:
            self._states[side, key] = text
            if self._live is None and time.monotonic() - self._printed >= _PLAIN_EVERY_S:
                self._line()

        return told

    def say(self, note: str) -> None:
        """A sentence above the table, or a line of its own."""
        self.note = note
        if self._live is None:
            self._console.print(note, highlight=False, soft_wrap=True)

    def _line(self) -> None:
        self._printed = time.monotonic()
        parts = []
        for side in SIDES:
            counts = Counter(self._states[side, life.key].split()[0] for life in self._lives)
            known = [f"{counts[phase]} {phase}" for phase in _PHASES if counts[phase]]
            other = sum(counts.values()) - sum(counts[phase] for phase in _PHASES)
            parts.append(f"{side}: {', '.join(known)}" + (f", {other} other" if other else ""))
        elapsed_s = self._printed - self._began
        line = f"{elapsed_s:5.1f} s  {' | '.join(parts)}"
        self._console.print(line, highlight=False, soft_wrap=True)

    def _screen(self) -> Group:
        elapsed_s = time.monotonic() - self._began
        return Group(Text(self.note), self._table(), Text(f"{elapsed_s:.0f} s", style="dim"))

    def _table(self) -> Table:
        table = Table()
        for heading in ("order", "contract", *SIDES):
            table.add_column(heading, no_wrap=True)
        room = max(1, self._console.height - _LINES_AROUND)
        shown = sorted(self._lives, key=self._ended)[:room]
        for life in sorted(shown, key=lambda life: life.key):
            states = (self._styled(self._states[side, life.key]) for side in SIDES)
            table.add_row(life.key, TITLES[life.contract], *states)
        if len(shown) < len(self._lives):
            table.caption = f"and {len(self._lives) - len(shown)} more"
        return table

    def _ended(self, life: Life) -> bool:
        return all(self._states[side, life.key] in _STYLES for side in SIDES)

    @staticmethod
    def _styled(state: str) -> str:
        style = _STYLES.get(state)
        return f"[{style}]{state}[/]" if style else state


def final_table(figures: Mapping[str, Figures], seed: int, *, overlap: bool) -> Table:
    """The comparison: one row per figure, one column per side."""
    one = next(iter(figures.values()))
    harm = "overlapping writes lose updates" if overlap else "overlap harm switched off"
    table = Table(
        title=f"{one.envelopes} envelopes, {one.mutations_requested} changes by several services,"
        f" one provider ({harm}), seed {seed}",
        caption="Every figure is counted from the provider's own ledger.",
        title_style="bold",
    )
    table.add_column("")
    for side in SIDES:
        table.add_column(side, justify="right")
    table.add_column("what it means", style="dim")
    for label, read, meaning in _ROWS:
        cells = [read(figures[side]) for side in SIDES]
        if label in _HARMS:
            cells = [f"[{'green' if cell == '0' else 'bold red'}]{cell}[/]" for cell in cells]
        table.add_row(label, *cells, meaning)
    return table


def example(key: str, missing: Sequence[Request]) -> str:
    """What one order of the naive client lacks, in a sentence."""
    return f"For example, the naive client's {key} ended without {things(missing)}."


def things(missing: Sequence[Request]) -> str:
    """What is lacking, each with the service that asked for it."""
    return ", ".join(f"{_thing(request.change)} ({request.service})" for request in missing)


def _thing(change: Change) -> str:
    match change:
        case workload.AddDocument(_, contract):
            return f"the added {TITLES[contract]}"
        case workload.ChangeSubject():
            return "its subject"
        case workload.ChangeMessage():
            return "the payment terms"
        case workload.AddParty(party):
            return f"the {party.role}"
        case workload.PlaceFields(role):
            return f"the {role}'s signature field"
        case workload.Reorder(role):
            return f"the {role}'s place in the routing order"
        case workload.Rename(role):
            return f"the {role}'s corrected name"
        case workload.Send():
            return "being sent"
        case workload.Void():
            return "being voided"
        case _:
            return f"what {type(change).__name__} asked for"


def write_svg(table: Table, path: Path) -> None:
    """A picture of the table, the same on every terminal; it loads nothing from elsewhere."""
    console = Console(record=True, file=io.StringIO(), width=_SVG_WIDTH, force_terminal=True)
    console.print(table)
    # A fixed id keeps the picture the same where the figures are.
    svg = console.export_svg(title="make demo", unique_id="demo")
    path.write_text(_SVG_FONTS.sub("", svg), encoding="utf-8")
