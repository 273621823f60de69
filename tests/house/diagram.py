"""The state diagram and tables of ARCHITECTURE.md, made from the law's own tables.

``python -m tests.house.diagram`` writes them anew; a test checks that they are current.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from sealwax.facts import ENVELOPE_TABLE, FINAL, EnvelopeStatus
from sealwax.legality import LEAVES, LEGAL

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"
BEGIN = "<!-- generated from the tables: begin -->"
END = "<!-- generated from the tables: end -->"
SHOWN = [s for s in EnvelopeStatus if s is not EnvelopeStatus.REJECTED]


def generated() -> str:
    """Everything between the two marks."""
    return "\n".join([BEGIN, "", *_diagram(), "", *_join(), "", *_legal(), "", END])


def _moves() -> set[tuple[str, str]]:
    """Moves by facts that are no contradiction, without those that other moves add up to."""
    moves = {
        (a, b)
        for a, b in product(SHOWN, SHOWN)
        if a != b and (m := ENVELOPE_TABLE.get((a, b))) and m.to == b and not m.contradiction
    }
    return {
        (a, b)
        for a, b in moves
        if not any((a, c) in moves and (c, b) in moves and c not in FINAL for c in SHOWN)
    }


def _diagram() -> list[str]:
    by_mutation = {
        (status, LEAVES[kind], kind)
        for (kind, status), legal in LEGAL.items()
        if legal and kind in LEAVES
    }
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", "    [*] --> new"]
    lines += [f"    {a} --> {b}: {kind}" for a, b, kind in sorted(by_mutation)]
    told = {(a, b) for a, b, _ in by_mutation}
    lines += [f"    {a} --> {b}" for a, b in sorted(_moves() - told)]
    lines += ["    new --> rejected: refused by the provider"]
    lines += [f"    {status} --> [*]" for status in sorted(FINAL)]
    return [*lines, "```"]


def _join() -> list[str]:
    said = [s for s in SHOWN if s is not EnvelopeStatus.NEW]
    head = ["What we hold (row), what is said (column), what it comes to; **!** is flagged:", ""]
    head += [_row(["", *said]), _row(["---"] * (len(said) + 1))]
    rows = []
    for held in SHOWN:
        cells = []
        for word in said:
            move = ENVELOPE_TABLE[held, word]
            cells.append(("·" if move.to == held else move.to) + (" **!**" * move.contradiction))
        rows.append(_row([f"**{held}**", *cells]))
    return head + rows


def _legal() -> list[str]:
    kinds = sorted({kind for kind, _ in LEGAL})
    statuses = [s for s in SHOWN if any(LEGAL[k, s] for k in kinds)]
    head = ["Which mutation is legal in which status; in all others nothing is:", ""]
    head += [_row(["", *statuses]), _row(["---"] * (len(statuses) + 1))]
    return head + [
        _row([kind, *("✓" if LEGAL[kind, s] else "" for s in statuses)]) for kind in kinds
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def with_generated(text: str) -> str:
    """The document with its generated part made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + generated() + after


if __name__ == "__main__":
    ARCHITECTURE.write_text(with_generated(ARCHITECTURE.read_text("utf-8")), "utf-8")
