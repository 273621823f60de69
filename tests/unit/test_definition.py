"""Bad input is refused in one line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sealwax.definition import (
    DOCUMENT_BYTES_MAX,
    BlobRef,
    Definition,
    Document,
    RecipientKind,
    Refusal,
    RefusalCode,
    Tab,
    TabKind,
    check_definition,
)
from tests.builders import a_definition, a_document, a_recipient

GOOD = a_definition()
TAB = Tab(TabKind.SIGN_HERE, "here", 1)


def with_signer(**changes: Any) -> Definition:
    """The good envelope with its one signer changed."""
    return replace(GOOD, recipients=(replace(GOOD.recipients[0], **changes),))


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        (replace(GOOD, subject=" "), RefusalCode.BAD_INPUT),
        (replace(GOOD, subject="x" * 101), RefusalCode.OVERSIZE),
        (replace(GOOD, message="x" * 10_001), RefusalCode.OVERSIZE),
        (replace(GOOD, documents=()), RefusalCode.EMPTY_DOCUMENTS),
        (replace(GOOD, documents=(a_document(0),)), RefusalCode.BAD_INPUT),
        (replace(GOOD, documents=(a_document(), a_document())), RefusalCode.DUPLICATE_ID),
        (
            replace(
                GOOD, documents=(Document(1, "big.pdf", BlobRef("d", DOCUMENT_BYTES_MAX + 1)),)
            ),
            RefusalCode.OVERSIZE,
        ),
        (replace(GOOD, recipients=()), RefusalCode.EMPTY_RECIPIENTS),
        (with_signer(kind=RecipientKind.CARBON_COPY), RefusalCode.EMPTY_RECIPIENTS),
        (replace(GOOD, recipients=(a_recipient(), a_recipient())), RefusalCode.DUPLICATE_ID),
        (with_signer(recipient_id="ana@example.com"), RefusalCode.BAD_INPUT),
        (with_signer(name=""), RefusalCode.BAD_INPUT),
        (with_signer(email="ana@"), RefusalCode.BAD_EMAIL),
        (with_signer(email="ana example@x.com"), RefusalCode.BAD_EMAIL),
        (with_signer(routing_order=0), RefusalCode.BAD_ROUTING_ORDER),
        (with_signer(tabs=(replace(TAB, document_id=9),)), RefusalCode.UNKNOWN_DOCUMENT),
        (with_signer(tabs=(TAB, TAB)), RefusalCode.DUPLICATE_ID),
        (with_signer(tabs=(replace(TAB, label=""),)), RefusalCode.BAD_INPUT),
    ],
)
def test_what_could_not_be_an_envelope_is_refused(definition: Definition, code: RefusalCode):
    """Each defect has its code and a message of one line."""
    with pytest.raises(Refusal) as refused:
        check_definition(definition)

    assert refused.value.code is code
    assert "\n" not in str(refused.value)


def test_the_smallest_envelope_is_fine():
    """One document and one signer, with a tab."""
    check_definition(with_signer(tabs=(TAB,)))
