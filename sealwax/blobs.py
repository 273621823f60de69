"""Documents as content-addressed files: put bytes, get a reference, read them back verified.

A blob stands at ``sha256/ab/abcdef...`` under the store's folder and never changes. It is visible
only once its bytes and its name are on disk, and its digest is checked on every read, so a
reference that was handed out either yields exactly the bytes that were put or a typed error.

The file is sealed; its name is the digest of the document itself. So who sees the folder can tell
whether a document that he has is among them, and learns nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sealwax.crypto import Keyring, KeyUnknown, SealBroken, SealingStream, opened_stream
from sealwax.definition import BlobRef

CHUNK_BYTES = 1024 * 1024
PURPOSE = "blob"
ABANDONED_AFTER_S = 24 * 3600.0

_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobError(Exception):
    """A blob cannot be had."""


class BlobMissing(BlobError):
    """No blob of that digest stands in the store."""


class BlobCorrupt(BlobError):
    """The bytes on disk are not those that were put."""


class BlobSealed(BlobError):
    """The blob was sealed under a key that is not here."""


class Blobs(Protocol):
    """Where documents' bytes stand."""

    async def put(
        self, data: bytes | Path | AsyncIterable[bytes], media_type: str = "application/pdf"
    ) -> BlobRef:
        """Keep the bytes; return when they are durable. Putting the same twice is one blob."""
        ...

    async def read(self, ref: BlobRef) -> bytes:
        """The bytes. Raises ``BlobMissing`` or ``BlobCorrupt``."""
        ...

    def open_stream(self, ref: BlobRef) -> AsyncIterator[bytes]:
        """The bytes in chunks; see ``BlobStore.open_stream``."""
        ...


class BlobStore:
    """Blobs in a folder of the local disk, safe from several tasks and processes at once.

    Raises ``OSError`` where the folder cannot be made.
    """

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring
        self._unfinished = folder / "unfinished"
        self._unfinished.mkdir(parents=True, exist_ok=True)
        self._sweep()

    async def put(
        self, data: bytes | Path | AsyncIterable[bytes], media_type: str = "application/pdf"
    ) -> BlobRef:
        """Keep the bytes and return when they are durable.

        A ``Path`` or stream is read in chunks of about ``CHUNK_BYTES``; the event loop never
        touches the disk. Raises ``OSError`` where the source or the store cannot be read or
        written; nothing half-written is ever visible.
        """
        if isinstance(data, bytes):
            return await asyncio.to_thread(self._put_chunks, iter((data,)), media_type)
        if isinstance(data, Path):
            return await asyncio.to_thread(self._put_file, data, media_type)
        return await self._put_stream(data, media_type)

    async def read(self, ref: BlobRef) -> bytes:
        """The bytes, verified against digest and size.

        Raises ``BlobMissing``, ``BlobCorrupt`` or ``BlobSealed``.
        """
        return await asyncio.to_thread(self._read, ref)

    async def open_stream(self, ref: BlobRef) -> AsyncIterator[bytes]:
        """The bytes in chunks.

        The last chunk is held back until all of them are verified, so that nobody ever holds a
        whole blob that is not the one that was put. Raises ``BlobMissing``, ``BlobCorrupt`` or
        ``BlobSealed``.
        """
        source = await asyncio.to_thread(self._open, ref)
        try:
            check = _Check(ref)
            chunks = self._opened(source, ref)
            held = b""
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                await asyncio.to_thread(check.take, chunk)
                if held:
                    yield held
                held = chunk
            check.finish()
            if held:
                yield held
        finally:
            source.close()

    def path(self, ref: BlobRef) -> Path:
        """Where the blob stands. Raises ``BlobMissing`` for a digest that is none."""
        if not _DIGEST.fullmatch(ref.digest):
            raise BlobMissing("a blob's digest is SHA-256 in 64 lower case hex digits")
        return self._folder / "sha256" / ref.digest[:2] / ref.digest

    def _put_file(self, source: Path, media_type: str) -> BlobRef:
        with source.open("rb") as file:
            return self._put_chunks(iter(lambda: file.read(CHUNK_BYTES), b""), media_type)

    def _put_chunks(self, chunks: Iterator[bytes], media_type: str) -> BlobRef:
        writing = _Writing(self._unfinished, self._keyring)
        try:
            for chunk in chunks:
                writing.take(chunk)
            return self._keep(writing, media_type)
        finally:
            writing.discard()

    async def _put_stream(self, chunks: AsyncIterable[bytes], media_type: str) -> BlobRef:
        writing = await asyncio.to_thread(_Writing, self._unfinished, self._keyring)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(writing.take, chunk)
            return await asyncio.to_thread(self._keep, writing, media_type)
        finally:
            writing.discard()

    def _keep(self, writing: _Writing, media_type: str) -> BlobRef:
        ref = BlobRef(writing.hasher.hexdigest(), writing.size_bytes, media_type)
        target = self.path(ref)
        target.parent.mkdir(parents=True, exist_ok=True)
        writing.finish(target)
        # The rename is durable only once its folder is, and a new folder only once its parent is.
        for folder in (target.parent, target.parent.parent, self._folder):
            _sync_folder(folder)
        return ref

    def _open(self, ref: BlobRef) -> BinaryIO:
        try:
            return self.path(ref).open("rb")
        except FileNotFoundError:
            raise BlobMissing(
                f"no blob {ref.digest} in the store; was it put into another storage folder?"
            ) from None

    def _read(self, ref: BlobRef) -> bytes:
        check = _Check(ref)
        content = io.BytesIO()
        with self._open(ref) as source:
            for chunk in self._opened(source, ref):
                check.take(chunk)
                content.write(chunk)
        check.finish()
        return content.getvalue()

    def _opened(self, source: BinaryIO, ref: BlobRef) -> Iterator[bytes]:
        try:
            yield from opened_stream(self._keyring, source.read, PURPOSE)
        except KeyUnknown as error:
            raise BlobSealed(f"blob {ref.digest}: {error}") from None
        except SealBroken:
            raise BlobCorrupt(
                f"blob {ref.digest} is damaged, or was not sealed with our key;"
                " put the document again"
            ) from None

    def _sweep(self) -> None:
        """Remove what a crash left half-written, long after anybody could still write it."""
        oldest = time.time() - ABANDONED_AFTER_S
        for leftover in self._unfinished.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if leftover.stat().st_mtime < oldest:
                    leftover.unlink()


class _Writing:
    """A blob on its way to disk, sealed, under a name that nobody reads."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder)
        self._path: Path | None = Path(name)
        self._file = os.fdopen(descriptor, "wb")
        self._sealing = SealingStream(keyring, PURPOSE)
        self.hasher = hashlib.sha256()
        self.size_bytes = 0

    def take(self, chunk: bytes) -> None:
        self.hasher.update(chunk)
        self.size_bytes += len(chunk)
        self._file.write(self._sealing.take(chunk))

    def finish(self, target: Path) -> None:
        assert self._path is not None
        self._file.write(self._sealing.finish())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        # Over an existing blob too: the same bytes, and it heals one that has gone bad on disk.
        self._path.replace(target)
        self._path = None

    def discard(self) -> None:
        self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


class _Check:
    """Compares what is read with what the reference says."""

    def __init__(self, ref: BlobRef) -> None:
        self._ref = ref
        self._hasher = hashlib.sha256()
        self._size_bytes = 0

    def take(self, chunk: bytes) -> None:
        self._hasher.update(chunk)
        self._size_bytes += len(chunk)

    def finish(self) -> None:
        ref = self._ref
        if self._size_bytes != ref.size_bytes:
            raise BlobCorrupt(
                f"blob {ref.digest} has {self._size_bytes} bytes instead of {ref.size_bytes};"
                " put the document again"
            )
        if self._hasher.hexdigest() != ref.digest:
            raise BlobCorrupt(
                f"blob {ref.digest} does not match its digest; put the document again"
            )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
