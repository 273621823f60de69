"""Laws of the blob store: what was put is what is read, or a typed error says why not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sealwax.blobs import CHUNK_BYTES, BlobCorrupt, BlobMissing, BlobSealed, BlobStore
from sealwax.crypto import Keyring
from sealwax.definition import BlobRef
from tests.keys import KEYRING


async def chunks(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def collect(store: BlobStore, ref: BlobRef, into: list[bytes]) -> None:
    async for chunk in store.open_stream(ref):
        into.append(chunk)


async def streamed(store: BlobStore, ref: BlobRef) -> bytes:
    got: list[bytes] = []
    await collect(store, ref, got)
    return b"".join(got)


def files(store_folder: Path) -> list[Path]:
    return sorted(p for p in store_folder.rglob("*") if p.is_file())


async def test_20_mb_come_back_whole_from_every_kind_of_source(tmp_path: Path) -> None:
    """A 20 MB document put as bytes, as a file or as a stream is one blob, read back unchanged."""
    content = os.urandom(20 * 1024 * 1024)
    source = tmp_path / "contract.pdf"
    source.write_bytes(content)
    store = BlobStore(tmp_path / "blobs", KEYRING)

    refs = [
        await store.put(content, "application/pdf"),
        await store.put(source, "application/pdf"),
        await store.put(chunks(content, 70_001), "application/pdf"),
    ]

    digest = hashlib.sha256(content).hexdigest()
    assert refs == [BlobRef(digest, len(content), "application/pdf")] * 3
    assert await store.read(refs[0]) == content
    assert await streamed(store, refs[0]) == content
    assert files(tmp_path / "blobs") == [tmp_path / "blobs" / "sha256" / digest[:2] / digest]


@pytest.mark.parametrize("position", [0, CHUNK_BYTES, -1], ids=["first", "middle", "last"])
async def test_a_flipped_byte_is_never_handed_out_as_the_document(
    tmp_path: Path, position: int
) -> None:
    """One wrong byte anywhere makes read and stream fail; the stream withholds the end."""
    content = os.urandom(2 * CHUNK_BYTES + 5)
    store = BlobStore(tmp_path, KEYRING)
    ref = await store.put(content)
    damaged = bytearray(store.path(ref).read_bytes())
    damaged[position] ^= 1
    store.path(ref).write_bytes(damaged)

    with pytest.raises(BlobCorrupt, match="damaged"):
        await store.read(ref)
    got: list[bytes] = []
    with pytest.raises(BlobCorrupt, match="damaged"):
        await collect(store, ref, got)
    assert sum(map(len, got)) < len(content)


async def test_a_truncated_blob_or_a_wrong_size_in_the_reference_is_corrupt(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, KEYRING)
    ref = await store.put(b"some document")
    with pytest.raises(BlobCorrupt, match="13 bytes instead of 12"):
        await store.read(BlobRef(ref.digest, 12))
    store.path(ref).write_bytes(store.path(ref).read_bytes()[:-1])
    with pytest.raises(BlobCorrupt, match="damaged"):
        await streamed(store, ref)


async def test_another_document_of_ours_under_that_name_is_found_by_its_digest(
    tmp_path: Path,
) -> None:
    """What opens under our key is still not taken for the document that was asked for."""
    store = BlobStore(tmp_path, KEYRING)
    ref, other = await store.put(b"a contract"), await store.put(b"a contrary")
    store.path(other).replace(store.path(ref))
    with pytest.raises(BlobCorrupt, match="digest"):
        await store.read(ref)
    with pytest.raises(BlobCorrupt, match="digest"):
        await streamed(store, ref)


async def test_the_document_is_not_on_disk_in_clear_and_only_a_key_of_the_ring_opens_it(
    tmp_path: Path,
) -> None:
    """Old keys open, the current one seals, and a missing one is named."""
    old, new = Keyring("old", {"old": b"o" * 32}), {"old": b"o" * 32, "new": b"n" * 32}
    ref = await BlobStore(tmp_path, old).put(b"%PDF-1.7 twelve thousand euros")
    rotated = BlobStore(tmp_path, Keyring("new", new))
    assert await rotated.read(ref) == b"%PDF-1.7 twelve thousand euros"
    assert b"euros" not in rotated.path(ref).read_bytes()

    await rotated.put(b"%PDF-1.7 twelve thousand euros")
    with pytest.raises(BlobSealed, match="key new"):
        await BlobStore(tmp_path, old).read(ref)


async def test_putting_again_heals_a_damaged_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, KEYRING)
    ref = await store.put(b"a contract")
    store.path(ref).write_bytes(b"a contrary")
    assert await store.put(b"a contract") == ref
    assert await store.read(ref) == b"a contract"


async def test_a_missing_blob_is_a_typed_error(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, KEYRING)
    absent = BlobRef(hashlib.sha256(b"never put").hexdigest(), 9)
    with pytest.raises(BlobMissing):
        await store.read(absent)
    with pytest.raises(BlobMissing):
        await streamed(store, absent)


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "A" * 64, "a" * 63 + "\n", "a" * 65])
async def test_a_reference_never_leads_out_of_the_store(tmp_path: Path, digest: str) -> None:
    with pytest.raises(BlobMissing, match="SHA-256"):
        await BlobStore(tmp_path, KEYRING).read(BlobRef(digest, 1))


async def test_concurrent_puts_of_the_same_content_are_one_blob(tmp_path: Path) -> None:
    """Two stores on one folder, many puts at once, readers throughout: always the whole blob."""
    content = os.urandom(300_000)
    stores = [BlobStore(tmp_path, KEYRING), BlobStore(tmp_path, KEYRING)]
    first = await stores[0].put(content)

    async def put_and_read(index: int) -> None:
        store = stores[index % 2]
        source = content if index % 3 else chunks(content, 9_999)
        assert await store.put(source) == first
        assert await store.read(first) == content

    await asyncio.gather(*(put_and_read(i) for i in range(24)))
    assert files(tmp_path) == [stores[0].path(first)]


async def test_a_source_that_breaks_leaves_nothing_behind(tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError("gone")

    store = BlobStore(tmp_path, KEYRING)
    with pytest.raises(ConnectionError):
        await store.put(breaking())
    with pytest.raises(FileNotFoundError):
        await store.put(tmp_path / "absent.pdf")
    assert files(tmp_path) == []


async def test_the_empty_document_is_a_blob_too(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, KEYRING)
    ref = await store.put(b"")
    assert ref.size_bytes == 0
    assert await store.read(ref) == b""
    assert await streamed(store, ref) == b""


async def test_bytes_are_synced_before_the_name_appears_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durability's order: fsync of the file, rename, fsync of its folder; never on the loop."""
    store = BlobStore(tmp_path, KEYRING)
    order: list[tuple[str, bool]] = []
    loop_thread = threading.get_ident()
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        assert threading.get_ident() != loop_thread
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        named = any((tmp_path / "sha256").rglob("?" * 64)) if kind == "file" else True
        order.append((kind, named))
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    await store.put(b"a contract")
    assert order[0] == ("file", False)
    assert [kind for kind, _ in order[1:]] == ["folder"] * 3


async def test_a_crash_s_leftovers_are_swept_a_day_later_and_not_before(tmp_path: Path) -> None:
    BlobStore(tmp_path, KEYRING)
    old, young = tmp_path / "unfinished" / "old", tmp_path / "unfinished" / "young"
    for leftover in (old, young):
        leftover.write_bytes(b"half a document")
    os.utime(old, (0, 0))
    BlobStore(tmp_path, KEYRING)
    assert not old.exists()
    assert young.exists()
