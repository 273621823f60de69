"""Look for texts in every file of a folder, in each form in which a text may be hidden in bytes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import apsw

SHORTEST = 6
"""Shorter texts are found everywhere by chance."""

_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, order=True)
class Hit:
    """A text that was found: what it is called, in which form, where."""

    secret: str
    form: str
    place: str


def forms(text: str) -> Iterator[tuple[str, bytes]]:
    """The text's bytes as they may stand in a file, each with the name of its form."""
    plain = text.encode()
    yield "utf-8", plain
    yield "utf-16-le", text.encode("utf-16-le")
    yield "utf-16-be", text.encode("utf-16-be")
    yield "hex", plain.hex().encode()
    yield "json", json.dumps(text)[1:-1].encode()
    yield "json twice", json.dumps(json.dumps(text)[1:-1])[1:-1].encode()
    yield "url", quote(text, safe="").encode()
    yield "url, path", quote(text).encode()
    yield "url, form", quote_plus(text).encode()
    for shift in range(3):
        for name, encode in (
            ("base64", base64.b64encode),
            ("base64url", base64.urlsafe_b64encode),
        ):
            encoded = encode(b"\0" * shift + plain).rstrip(b"=")
            # The first and the last characters depend on the neighbours of the text.
            first = (0, 2, 3)[shift]
            last = len(encoded) - (1 if (shift + len(plain)) % 3 else 0)
            yield f"{name}+{shift}", encoded[first:last]


def hits(folder: Path, secrets: Mapping[str, str], besides: Iterable[Path] = ()) -> list[Hit]:
    """Every secret that stands in a file below ``folder``, or in a cell of a database there.

    ``secrets`` maps names to texts of ``SHORTEST`` characters or more. Files below one of
    ``besides`` are left out. A value that SQLite cut into pages is found in its cell.
    """
    short = [name for name, text in secrets.items() if len(text) < SHORTEST]
    assert not short, f"too short to be looked for: {short}"
    wanted = {(name, form): sought for name, t in secrets.items() for form, sought in forms(t)}
    found = set()
    for place, content in _contents(folder, tuple(besides)):
        for (name, form), sought in wanted.items():
            if sought in content:
                found.add(Hit(name, form, place))
    return sorted(found)


def _contents(folder: Path, besides: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if any(path.is_relative_to(left_out) for left_out in besides):
            continue
        content = path.read_bytes()
        name = str(path.relative_to(folder))
        yield name, content
        yield f"{name} (its name)", name.encode()
        if content.startswith(_SQLITE):
            yield f"{name} (cells)", b"\n".join(_cells(path))


def _cells(path: Path) -> Iterator[bytes]:
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        for (table,) in connection.execute(tables).fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    yield cell if isinstance(cell, bytes) else str(cell).encode()
