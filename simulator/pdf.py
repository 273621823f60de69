"""PDF files: documents merged, and the certificate of completion.

A download of `combined` is not byte-reproducible at the provider either.
"""

from __future__ import annotations

import io
import logging
import zipfile

from fpdf import FPDF
from pypdf import PdfReader, PdfWriter
from pypdf.errors import PyPdfError

from simulator.model import Document, Envelope, stamp

# What is wrong with an uploaded file is said in the download, not on stderr.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def _page(title: str, lines: list[str]) -> bytes:
    page = FPDF()
    page.set_auto_page_break(True, 15)
    page.add_page()
    page.set_font("Helvetica", "B", 16)
    page.multi_cell(0, 10, _latin(title), new_x="LMARGIN", new_y="NEXT")
    page.set_font("Helvetica", size=10)
    for line in lines:
        page.multi_cell(0, 6, _latin(line), new_x="LMARGIN", new_y="NEXT")
    return bytes(page.output())


def _latin(text: str) -> str:
    # The PDF core fonts know Latin-1 only.
    return text.encode("latin-1", "replace").decode("latin-1")


def as_pdf(document: Document) -> bytes:
    """The document as PDF: unchanged when it is one, else its text converted."""
    if document.content.startswith(b"%PDF"):
        return document.content
    text = document.content.decode("utf-8", "replace")
    return _page(document.name, text.splitlines() or [""])


def certificate(envelope: Envelope) -> bytes:
    """The certificate of completion: who did what, and when."""
    lines = [
        f"Envelope id: {envelope.envelope_id}",
        f"Subject: {envelope.definition.email_subject}",
        f"Status: {envelope.status}",
        f"Sent: {stamp(envelope.times.get('sent')) or '-'}",
        f"Completed: {stamp(envelope.times.get('completed')) or '-'}",
        "",
    ]
    for document in envelope.definition.documents:
        lines.append(f"Document {document.document_id}: {document.name}")
        lines.append(f"SHA-256: {document.sha256}")
    for recipient in sorted(envelope.definition.recipients, key=lambda r: r.order):
        progress = envelope.progress_of(recipient)
        lines += [
            "",
            f"{recipient.name} <{recipient.email}>, routing order {recipient.order}",
            f"Status: {progress.status}",
            f"Sent: {stamp(progress.sent) or '-'}",
            f"Viewed: {stamp(progress.delivered) or '-'}",
            f"Signed: {stamp(progress.signed) or '-'}",
        ]
    return _page("Certificate Of Completion", lines)


def combined(envelope: Envelope, with_certificate: bool) -> bytes:
    """All documents in order as one PDF, then the certificate if wanted."""
    writer = PdfWriter()
    for document in sorted(envelope.definition.documents, key=lambda d: d.order):
        _append(writer, document)
    if with_certificate:
        writer.append(PdfReader(io.BytesIO(certificate(envelope))))
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def _append(writer: PdfWriter, document: Document) -> None:
    try:
        reader = PdfReader(io.BytesIO(as_pdf(document)))
        pages = list(reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError):
        note = ["This file could not be read as PDF.", f"SHA-256: {document.sha256}"]
        pages = list(PdfReader(io.BytesIO(_page(document.name, note))).pages)
    for page in pages:
        writer.add_page(page)


def archive(envelope: Envelope) -> bytes:
    """A ZIP of all documents and the certificate."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for document in envelope.definition.documents:
            name = document.name.replace("/", "_")
            suffix = "" if name.lower().endswith(".pdf") else ".pdf"
            bundle.writestr(f"{document.document_id}_{name}{suffix}", as_pdf(document))
        bundle.writestr("Summary.pdf", certificate(envelope))
    return out.getvalue()
