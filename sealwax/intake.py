"""What an application hands in: PDF files become documents that reference stored bytes.

Everything is checked before a byte is stored, and stored before a workflow hears of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sealwax.definition import (
    DOCUMENT_BYTES_MAX,
    NAME_LENGTH_MAX,
    BlobRef,
    CustomField,
    Definition,
    Document,
    Expiration,
    Recipient,
    Refusal,
    RefusalCode,
    Reminders,
    check_definition,
    check_documents,
)

PDF_SIGNATURE = b"%PDF-"


class BlobSink(Protocol):
    """Where documents' bytes are put; ``sealwax.blobs.BlobStore`` is one."""

    async def put(self, data: Path, media_type: str = "application/pdf") -> BlobRef:
        """Keep the file's bytes; return when they are durable."""
        ...


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A PDF on disk under the name that signers see; without one, the file's own name."""

    path: Path | str
    name: str = ""


File = Path | str | DocumentFile
"""A PDF: its path, or its path with a name."""


async def stored_definition(
    blobs: BlobSink,
    *,
    subject: str,
    message: str,
    documents: Iterable[File],
    recipients: Iterable[Recipient],
    reminders: Reminders | None = None,
    expiration: Expiration | None = None,
    custom_fields: Mapping[str, str] | None = None,
) -> Definition:
    """The definition of an envelope whose documents stand in ``blobs``, numbered 1, 2, ...

    Raises ``Refusal`` before anything is stored where it could not be an envelope's.
    """
    files = tuple(documents)
    wanted = checked_definition(
        subject=subject,
        message=message,
        documents=files,
        recipients=recipients,
        reminders=reminders,
        expiration=expiration,
        custom_fields=custom_fields,
    )
    return replace(wanted, documents=await _stored(blobs, files, wanted.documents))


def checked_definition(
    *,
    subject: str,
    message: str,
    documents: Iterable[File],
    recipients: Iterable[Recipient],
    reminders: Reminders | None = None,
    expiration: Expiration | None = None,
    custom_fields: Mapping[str, str] | None = None,
) -> Definition:
    """What ``stored_definition`` would give, its documents not stored yet. Raises ``Refusal``."""
    definition = Definition(
        subject=subject,
        message=message,
        documents=_checked(dict(enumerate(documents, start=1))),
        recipients=tuple(recipients),
        reminders=reminders,
        expiration=expiration,
        custom_fields=tuple(CustomField(n, v) for n, v in (custom_fields or {}).items()),
    )
    check_definition(definition)
    return definition


async def stored_documents(blobs: BlobSink, files: Mapping[int, File]) -> tuple[Document, ...]:
    """Documents under the given ids, their bytes in ``blobs``. Raises ``Refusal``."""
    documents = _checked(files)
    check_documents(documents)
    return await _stored(blobs, tuple(files.values()), documents)


def _checked(files: Mapping[int, File]) -> tuple[Document, ...]:
    documents = []
    for document_id, file in files.items():
        named = _named(file)
        size_bytes = _size_of_pdf(Path(named.path))
        documents.append(Document(document_id, named.name, BlobRef("", size_bytes)))
    return tuple(documents)


async def _stored(
    blobs: BlobSink, files: Iterable[File], documents: tuple[Document, ...]
) -> tuple[Document, ...]:
    stored = []
    for document, file in zip(documents, files, strict=True):
        path = Path(_named(file).path)
        ref = await blobs.put(path)
        if ref.size_bytes != document.blob.size_bytes:
            raise Refusal(
                RefusalCode.BAD_INPUT,
                f"{_shown(path)} changed while it was read; ask again when it is complete",
            )
        stored.append(replace(document, blob=ref))
    return tuple(stored)


def _named(file: File) -> DocumentFile:
    if isinstance(file, DocumentFile) and file.name:
        return file
    path = Path(file.path if isinstance(file, DocumentFile) else file)
    return DocumentFile(path, path.name[:NAME_LENGTH_MAX])


def _size_of_pdf(path: Path) -> int:
    """The file's size in bytes. Raises ``Refusal`` where it is no PDF that can be sent."""
    try:
        with path.open("rb") as file:
            start = file.read(len(PDF_SIGNATURE))
            file.seek(0, 2)
            size_bytes = file.tell()
    except FileNotFoundError:
        raise _bad(path, "does not exist; give the path of a PDF") from None
    except IsADirectoryError:
        raise _bad(path, "is a folder; give the path of a PDF") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _bad(path, f"cannot be read ({reason}); give the path of a PDF") from None
    if not size_bytes:
        raise _bad(path, "is empty; give a PDF")
    if start != PDF_SIGNATURE:
        raise _bad(path, "is not a PDF (it does not start with %PDF-); convert it first")
    if size_bytes > DOCUMENT_BYTES_MAX:
        raise Refusal(
            RefusalCode.OVERSIZE,
            f"{_shown(path)} has {size_bytes} bytes; at most {DOCUMENT_BYTES_MAX} are allowed",
        )
    return size_bytes


def _bad(path: Path, what: str) -> Refusal:
    return Refusal(RefusalCode.BAD_INPUT, f"{_shown(path)} {what}")


def _shown(path: Path) -> str:
    """The path in one line, whatever is in it."""
    text = str(path)
    return text if text.isprintable() and text else repr(text)
