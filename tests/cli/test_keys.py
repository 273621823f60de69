"""Keys are made for the operator, and documents stored, without anything to be typed by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sealwax.blobs import BlobStore
from sealwax.crypto import parse_key
from sealwax.definition import BlobRef
from sealwax.settings import load_settings
from tests.cli.conftest import Sealwax


async def test_a_key_is_made_in_a_file_of_its_owner_s_and_the_settings_are_said(
    sealwax: Sealwax, settings: Path, tmp_path: Path
) -> None:
    """What is printed goes into the settings as it is; the key itself is not printed."""
    file = tmp_path / "secrets" / "2026-11.key"
    ran = await sealwax("keys", "new", "--id", "2026-11", "--file", str(file))
    assert ran.code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert file.read_text().strip() not in ran.out

    text = settings.read_text()
    accounts = text[text.index("[accounts.") :]
    settings.write_text(ran.out + accounts)
    ring = load_settings(settings).keyring()
    assert (ring.current, ring.keys["2026-11"]) == ("2026-11", parse_key(file.read_text()))


async def test_a_key_without_a_file_is_printed_and_each_is_another(sealwax: Sealwax) -> None:
    first, second = await sealwax("keys", "new"), await sealwax("keys", "new", "--json")
    assert len(parse_key(first.out)) == 32
    assert second.json["key"] != first.out.strip()


async def test_no_key_is_written_over_and_no_odd_id_taken(sealwax: Sealwax, tmp_path: Path) -> None:
    """A lost key is lost data."""
    file = tmp_path / "a.key"
    file.write_text("precious")
    again = await sealwax("keys", "new", "--file", str(file), "--json")
    assert again.code == 2
    assert "name another" in again.error["message"]
    assert file.read_text() == "precious"
    odd = await sealwax("keys", "new", "--id", "ana@example.com", "--json")
    assert odd.code == 2
    assert "lower case" in odd.error["message"]


async def test_a_stored_document_is_read_by_its_reference(
    sealwax: Sealwax, settings: Path, pdf: Path
) -> None:
    """Digest and size are those of the document; the file holds neither name nor text of it."""
    (row,) = (await sealwax("put", str(pdf), "--json")).json
    ref = BlobRef(**row)
    assert ref.digest == hashlib.sha256(pdf.read_bytes()).hexdigest()
    loaded = load_settings(settings)
    store = BlobStore(loaded.storage.blobs, loaded.keyring())
    assert await store.read(ref) == pdf.read_bytes()
    assert b"%PDF" not in store.path(ref).read_bytes()
    shown = (await sealwax("put", str(pdf))).out.split()
    assert shown == [ref.digest, str(ref.size_bytes), str(pdf)]


@pytest.mark.parametrize("name", ["absent.pdf", "text.pdf"])
async def test_what_is_no_pdf_is_not_stored(sealwax: Sealwax, tmp_path: Path, name: str) -> None:
    (tmp_path / "text.pdf").write_text("no PDF")
    ran = await sealwax("put", str(tmp_path / name), "--json")
    assert ran.code == 2
    assert ran.error["message"]
