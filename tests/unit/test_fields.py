"""A definition is its fields: nothing is lost on the way there and back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from sealwax.definition import Definition
from sealwax.fields import built, flat
from tests.laws.definitions import definitions


def in_order(definition: Definition) -> Definition:
    """The same definition with its things sorted."""
    recipients = (
        replace(r, tabs=tuple(sorted(r.tabs, key=lambda t: (t.kind, t.label))))
        for r in definition.recipients
    )
    return replace(
        definition,
        documents=tuple(sorted(definition.documents, key=lambda d: d.document_id)),
        recipients=tuple(sorted(recipients, key=lambda r: r.recipient_id)),
    )


@given(definitions)
def test_a_definition_is_rebuilt_of_its_fields(definition: Definition) -> None:
    """Flat and back gives the same documents, recipients, tabs and texts, whatever their labels."""
    assert in_order(built(flat(definition))) == in_order(definition)


@given(definitions)
def test_two_definitions_with_the_same_fields_are_the_same(definition: Definition) -> None:
    """The order in which things stand is no field; everything else is."""
    assert flat(in_order(definition)) == flat(definition)
    assert flat(replace(definition, subject=definition.subject + "x")) != flat(definition)


def test_paths_are_what_a_person_would_write() -> None:
    """Things stand under their own ids."""
    from tests.builders import a_definition

    assert {"subject", "documents.1.name", "recipients.1", "recipients.1.email"} <= set(
        flat(a_definition())
    )
