"""The contracts in the repository are those that their texts make."""

from __future__ import annotations

import io

import pypdf
import pytest

from demo.contracts.render import NAMES, pdf_path, render, text_of


@pytest.mark.parametrize("name", NAMES)
def test_pdf_is_made_of_its_text_byte_for_byte(name: str):
    """Rendering is deterministic: making a contract anew changes no byte of the committed PDF."""
    assert render(text_of(name)) == pdf_path(name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_another_text_makes_another_pdf(name: str):
    """The PDF depends on the text: one word changed shows."""
    changed = text_of(name).replace("Northwind", "Southwind", 1)
    assert render(changed) != pdf_path(name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_pdf_says_what_the_text_says(name: str):
    """Every word of the text stands on the pages, in order."""
    reader = pypdf.PdfReader(io.BytesIO(pdf_path(name).read_bytes()))
    lines = "\n".join(page.extract_text() for page in reader.pages).splitlines()
    shown = " ".join(line for line in lines if ", page " not in line).split()
    wanted = " ".join(line.lstrip("# ") for line in text_of(name).splitlines()).split()
    assert shown == wanted
