"""What ARCHITECTURE.md draws is what the law's tables say."""

from __future__ import annotations

from tests.house.diagram import ARCHITECTURE, with_generated


def test_the_drawn_law_is_the_law():
    """The generated part is current; ``python -m tests.house.diagram`` brings it up to date."""
    text = ARCHITECTURE.read_text("utf-8")

    assert with_generated(text) == text
