"""Make a contract's PDF of its text, byte for byte the same every time.

The text is plain: `# ` opens the title, `## ` a section, every other line is a paragraph. Streams
are stored uncompressed, because compressed bytes differ between builds of zlib.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos

FOLDER = Path(__file__).parent
SERVICES_AGREEMENT = "services-agreement"
MUTUAL_NDA = "mutual-nda"
NAMES = (SERVICES_AGREEMENT, MUTUAL_NDA)
TITLES = {SERVICES_AGREEMENT: "Services Agreement", MUTUAL_NDA: "Mutual NDA"}

_CREATED = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_MARGIN_MM = 25
_FONT = "Times"


class _Page(FPDF):
    """A4 with a running foot."""

    title_text = ""

    def footer(self) -> None:
        """Title and page number at the foot of each page."""
        self.set_y(-18)
        self.set_font(_FONT, "I", 9)
        self.cell(0, 8, f"{self.title_text}, page {self.page_no()}", align="C")


def render(text: str) -> bytes:
    """The PDF of a contract's text."""
    page = _Page(format="A4")
    page.set_compression(False)
    page.set_creation_date(_CREATED)
    page.set_margin(_MARGIN_MM)
    page.set_auto_page_break(True, margin=_MARGIN_MM)
    lines = [line for line in text.splitlines() if line.strip()]
    page.title_text = lines[0].removeprefix("# ")
    page.set_title(page.title_text)
    page.set_author("Northwind Harbour Ltd")
    page.add_page()
    for line in lines:
        _write(page, line)
    return bytes(page.output())


def _write(page: FPDF, line: str) -> None:
    if line.startswith("## "):
        style, size, height, before = "B", 12, 6.5, 3.0
    elif line.startswith("# "):
        style, size, height, before = "B", 17, 9.0, 0.0
    else:
        style, size, height, before = "", 11, 5.6, 0.0
    page.ln(before)
    page.set_font(_FONT, style, size)
    text = line.lstrip("# ")
    page.multi_cell(0, height, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    page.ln(2.0)


def text_of(name: str) -> str:
    """The text of one of `NAMES`."""
    return (FOLDER / f"{name}.txt").read_text("utf-8")


def pdf_path(name: str) -> Path:
    """Where the PDF of one of `NAMES` stands."""
    return FOLDER / f"{name}.pdf"
