"""Documents: list, add, replace, delete, download (SPEC Documents_*)."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import unquote

from simulator import pdf
from simulator.dialect.context import Answer, Context, objects
from simulator.dialect.shapes import document_shape, documents_shape, whole
from simulator.errors import ProviderError, invalid_body, invalid_parameter
from simulator.ledger import Mint
from simulator.model import Definition, Document

MAX_DOCUMENT_ID = 2_147_483_647


def missing_document() -> ProviderError:
    """400 DOCUMENT_DOES_NOT_EXIST (HTTP status unverified)."""
    text = "The document specified was not found."
    return ProviderError("DOCUMENT_DOES_NOT_EXIST", text)


def _document_id(raw: Any) -> str:
    number = whole(raw)
    if number is None or not 1 <= number <= MAX_DOCUMENT_ID:
        raise invalid_body(f"documentId must be a number from 1 to {MAX_DOCUMENT_ID}.")
    return str(number)


def read_documents(body: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    """Read `documents` with documentBase64: (documentId, name, bytes) of each.

    documentIds must be unique in one call (docusign.com changelog, 2020-11).
    """
    found = []
    for raw in objects(body, "documents"):
        document_id = _document_id(raw.get("documentId"))
        try:
            content = base64.b64decode(str(raw.get("documentBase64") or ""), validate=True)
        except ValueError:
            raise invalid_body(f"documentBase64 of document {document_id} is not base64.") from None
        if not content:
            raise invalid_body(f"Document {document_id} needs documentBase64.")
        found.append((document_id, str(raw.get("name") or f"Document {document_id}"), content))
    ids = [d[0] for d in found]
    if len(set(ids)) != len(ids):
        raise invalid_parameter("A documentId is used more than once.")
    return found


def put_documents(
    definition: Definition, found: list[tuple[str, str, bytes]], mint: Mint
) -> list[Document]:
    """Add documents, replacing those of the same documentId in place."""
    stored = []
    for document_id, name, content in found:
        old = definition.document(document_id)
        guid = old.guid if old else mint(f"document:{document_id}")
        order = old.order if old else 1 + max((d.order for d in definition.documents), default=0)
        document = Document(document_id, guid, name, content, order)
        if old is not None:
            definition.documents[definition.documents.index(old)] = document
        else:
            definition.documents.append(document)
        stored.append(document)
    return stored


async def get_all(context: Context) -> Answer:
    """SPEC Documents_GetDocuments."""
    envelope = context.envelope
    body = {"envelopeId": envelope.envelope_id, "envelopeDocuments": documents_shape(envelope)}
    return Answer(200, body)


async def put_all(context: Context) -> Answer:
    """SPEC Documents_PutDocuments: adds or replaces by documentId."""
    found = read_documents(context.body())
    if not found:
        raise invalid_body("documents is empty.")
    stored = await context.change(lambda d, mint: put_documents(d, found, mint))
    envelope = context.envelope
    shapes = [document_shape(envelope, d) for d in stored]
    return Answer(200, {"envelopeId": envelope.envelope_id, "envelopeDocuments": shapes})


def _file_name(disposition: str) -> str | None:
    extended = re.search(r"filename\*=(?:UTF-8|utf-8)''([^;]+)", disposition)
    if extended:
        return unquote(extended[1].strip())
    plain = re.search(r'filename="([^"]*)"|filename=([^;]+)', disposition)
    return (plain[1] or plain[2] or "").strip() or None if plain else None


async def put_one(context: Context) -> Answer:
    """SPEC Documents_PutDocument: the body is the file, Content-Disposition names it."""
    document_id = _document_id(context.params["documentId"])
    if not context.raw:
        raise invalid_body("The body must be the bytes of the document.")
    name = _file_name(context.headers.get("content-disposition", "")) or f"Document {document_id}"
    found = [(document_id, name, context.raw)]
    [stored] = await context.change(lambda d, mint: put_documents(d, found, mint))
    return Answer(200, document_shape(context.envelope, stored))


async def delete_some(context: Context) -> Answer:
    """SPEC Documents_DeleteDocuments: the body lists documentIds; errors per item (unverified)."""
    wanted = [_document_id(raw.get("documentId")) for raw in objects(context.body(), "documents")]

    def apply(definition: Definition, _: Mint) -> list[tuple[str, Document | None]]:
        removed = []
        for document_id in wanted:
            document = definition.document(document_id)
            if document is not None:
                definition.documents.remove(document)
            removed.append((document_id, document))
        return removed

    removed = await context.change(apply)
    envelope = context.envelope
    shapes = [
        document_shape(envelope, document)
        if document
        else {"documentId": document_id, "errorDetails": missing_document().body()}
        for document_id, document in removed
    ]
    return Answer(200, {"envelopeId": envelope.envelope_id, "envelopeDocuments": shapes})


async def download(context: Context) -> Answer:
    """SPEC Documents_GetDocument: one document, `combined`, `archive` or `certificate`.

    `combined` ends with the certificate of completion unless `certificate=false`.
    """
    envelope, wanted = context.envelope, context.params["documentId"]
    definition = envelope.definition
    if wanted == "certificate":
        return _file(pdf.certificate(envelope), "application/pdf", "Summary.pdf")
    if wanted == "combined":
        with_certificate = context.query.get("certificate", "true").lower() != "false"
        return _file(pdf.combined(envelope, with_certificate), "application/pdf", "combined.pdf")
    if wanted == "archive":
        return _file(pdf.archive(envelope), "application/zip", "archive.zip")
    document = definition.document(wanted)
    if document is None:
        raise missing_document()
    return _file(pdf.as_pdf(document), "application/pdf", document.name)


def _file(content: bytes, media_type: str, name: str) -> Answer:
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return Answer(200, content, media_type, {"Content-Disposition": f'file; filename="{plain}"'})
