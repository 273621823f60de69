"""What the demonstration shows is what was counted."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rich.console import Console

from demo import report, workload
from demo.ledger import Figures
from demo.report import NAIVE, SEALWAX, Board

LIVES = workload.make(7, 3)


def figures(number: int) -> Figures:
    """Figures that differ from each other and between sides."""
    return Figures(*range(number, number + 12))


def text_of(shown: object, *, terminal: bool = False, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    console.print(shown)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_the_table_holds_every_figure_under_its_side():
    """Each row shows the naive client's figure first, Sealwax's second, then what it means."""
    table = report.final_table({NAIVE: figures(100), SEALWAX: figures(200)}, 7, overlap=True)
    rows = {
        cells[0]: cells[1:3]
        for line in text_of(table).splitlines()
        if len(cells := [cell.strip() for cell in line.strip("\u2502").split("\u2502")]) == 4
    }
    assert rows == {
        "changes in effect": ["103 of 102", "203 of 202"],
        "overlapping writes": ["108", "208"],
        "lost updates": ["104", "204"],
        "duplicate envelopes": ["105", "205"],
        "wrong final states": ["106", "206"],
        "completed": ["101 of 100", "201 of 200"],
        "API calls": ["107", "207"],
        "refused by limits": ["109", "209"],
        "most used at a time": ["110 of 111", "210 of 211"],
    }


def test_the_picture_is_well_formed_and_holds_the_figures(tmp_path: Path):
    """The SVG parses, shows the same figures as the table, and refers to nothing on the web."""
    table = report.final_table({NAIVE: figures(100), SEALWAX: figures(200)}, 7, overlap=False)
    path = tmp_path / "table.svg"
    report.write_svg(table, path)
    text = "".join(ElementTree.parse(path).getroot().itertext())
    assert "104" in text
    assert "204" in text
    assert path.read_text().count("http") == path.read_text().count("http://www.w3.org/2000/svg")


def test_without_a_terminal_progress_is_plain_lines():
    """Piped output has lines with counts per state of both sides, and no control sequences."""
    console = Console(file=io.StringIO(), width=200)
    with Board(LIVES, console) as board:
        board.tell(NAIVE)(LIVES[0].key, "completed")
        board.tell(SEALWAX)(LIVES[1].key, "drafting 2/7")
    file = console.file
    assert isinstance(file, io.StringIO)
    last = file.getvalue().splitlines()[-1]
    assert "naive client: 2 waiting, 1 completed | Sealwax: 2 waiting, 1 drafting" in last
    assert "\x1b" not in file.getvalue()


def test_at_a_terminal_every_envelope_has_its_row():
    """The live table shows each envelope's state on both sides, and is gone when the run ends."""
    console = Console(file=io.StringIO(), width=120, height=40, force_terminal=True)
    with Board(LIVES, console) as board:
        board.tell(SEALWAX)(LIVES[1].key, "drafting 2/7")
    file = console.file
    assert isinstance(file, io.StringIO)
    shown = file.getvalue()
    assert all(life.key in shown for life in LIVES)
    assert "drafting 2/7" in shown


def test_the_example_names_what_is_lacking_and_who_asked():
    """The sentence about one order lists each missing change with its service."""
    life = LIVES[0]
    sentence = report.example(life.key, [r for r in life.requests() if r.service == "hr"])
    assert sentence == (
        f"For example, the naive client's {life.key} ended without"
        " the witness (hr), the seller's corrected name (hr)."
    )


def test_every_change_can_be_named():
    """Each kind of change of the workload has a name of its own within an envelope."""
    for life in LIVES:
        named = [report.things([request]) for request in life.requests()]
        assert len(set(named)) == len(named)
