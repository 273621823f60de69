"""An envelope of two signers and a copy, and the calls made of it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from uuid import uuid4

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fpdf import FPDF
from pydantic import SecretStr

from sealwax.calls import Create, FindCreated, Mutate
from sealwax.definition import (
    BlobRef,
    Definition,
    Document,
    Recipient,
    RecipientKind,
    Tab,
    TabKind,
)
from sealwax.facts import EnvelopeStatus
from sealwax.mutations import Mutation, Projection, project
from sealwax.providers.base import NewEnvelope
from sealwax.providers.tokens import Principal

NUMBERS = {"ann": "1", "bob": "2", "cy": "3", "dee": "4", "ed": "5"}
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def pdf(text: str) -> bytes:
    page = FPDF()
    page.set_creation_date(SINCE)
    page.add_page()
    page.set_font("helvetica", size=12)
    page.cell(text=text)
    return bytes(page.output())


def blob(content: bytes) -> BlobRef:
    return BlobRef(hashlib.sha256(content).hexdigest(), len(content))


def document(document_id: int, name: str, text: str = "Lease") -> Document:
    return Document(document_id, name, blob(pdf(text)))


def contents(*texts: str) -> dict[str, bytes]:
    return {blob(pdf(t)).digest: pdf(t) for t in (texts or ("Lease",))}


def sign_here(label: str = "sign", x: int = 100) -> Tab:
    return Tab(TabKind.SIGN_HERE, label, document_id=1, x=x, y=200)


ANN = Recipient("ann", "Ann Alder", "ann@example.com", 1, tabs=(sign_here(),))
BOB = Recipient("bob", "Bob Birch", "bob@example.com", 2, client_user_id="u-bob")
CY = Recipient("cy", "Cy Cedar", "cy@example.com", 3, kind=RecipientKind.CARBON_COPY)
DEE = Recipient("dee", "Dee Dogwood", "dee@example.com", 1, tabs=(sign_here("dee"),))

DEFINITION = Definition(
    subject="Lease of flat 7",
    message="Please sign",
    documents=(document(1, "lease.pdf"),),
    recipients=(ANN, BOB, CY),
)


def new_envelope(webhook_url: str = "") -> NewEnvelope:
    """A create call with a transaction id and marker that no other call has."""
    call = Create(DEFINITION, NUMBERS, str(uuid4()), uuid4().hex, attempt=1)
    return NewEnvelope(call, contents(), webhook_url)


def finding(new: NewEnvelope, *, transaction: bool = True, marker: bool = True) -> FindCreated:
    ids = (new.call.transaction_id,) if transaction else ()
    return FindCreated(ids, new.call.marker if marker else uuid4().hex, SINCE)


def change(
    mutation: Mutation,
    status: EnvelopeStatus = EnvelopeStatus.CREATED,
    before: Definition = DEFINITION,
) -> Mutate:
    """The call of a mutation that is legal in this status."""
    after = project(Projection(status, before), mutation).definition
    return Mutate("op-1", mutation, status, before, after, NUMBERS, attempt=1)


@cache
def _keys(which: str) -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def principal(
    which: str = "leasing", oauth_base: str = "https://account-d.example.com"
) -> Principal:
    return Principal(which, f"key-{which}", f"user-{which}", SecretStr(_keys(which)[0]), oauth_base)


def public_key_pem(which: str = "leasing") -> str:
    return _keys(which)[1]


def plain_client(handler: httpx.AsyncBaseTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=handler, trust_env=False)
