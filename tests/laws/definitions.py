"""Definitions and changes of them as hypothesis draws them: few ids, so that they often meet."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from sealwax.definition import (
    BlobRef,
    CustomField,
    Definition,
    Document,
    Recipient,
    RecipientKind,
    Reminders,
    Tab,
    TabKind,
)
from sealwax.mutations import (
    AddDocuments,
    AddRecipients,
    ChangeMessage,
    Mutation,
    RemoveDocuments,
    RemoveRecipients,
    ReorderRouting,
    ReplaceDocument,
    SetCustomFields,
    SetExpiration,
    SetReminders,
    SetTabs,
    UpdateRecipient,
)

RECIPIENTS = ("a", "b", "c", "d")
DOCUMENTS = (1, 2, 3)
words = st.sampled_from(("One", "Two", "Three"))
orders = st.integers(1, 3)
names = st.sampled_from(("po", "a.b", "~x"))
labels = st.sampled_from(("here", "a.b", "x~1", "~", "name.first"))
documents = st.builds(
    lambda i, name, digest: Document(i, name, BlobRef(f"{digest:064x}", 10)),
    st.sampled_from(DOCUMENTS),
    words,
    st.integers(1, 2),
)
tabs = st.builds(
    Tab,
    kind=st.sampled_from((TabKind.SIGN_HERE, TabKind.TEXT)),
    label=labels,
    document_id=st.just(1),
    x=st.integers(0, 1),
    value=st.sampled_from(("", "v")),
)
tab_sets = st.lists(tabs, max_size=3, unique_by=lambda t: (t.kind, t.label)).map(tuple)
recipients = st.builds(
    Recipient,
    recipient_id=st.sampled_from(RECIPIENTS),
    name=words,
    email=st.sampled_from(("one@example.com", "two@example.com")),
    routing_order=orders,
    kind=st.sampled_from(list(RecipientKind)),
    tabs=tab_sets,
)


def _made(
    subject: str,
    docs: list[Document],
    parties: list[Recipient],
    reminders: Reminders | None,
    kept_fields: list[CustomField],
) -> Definition:
    # The first of each is what the law needs at least: a document, and one who signs.
    kept = tuple(d for d in docs if d.document_id != 1)
    others = tuple(r for r in parties if r.recipient_id != "a")
    first = Document(1, "One", BlobRef("1" * 64, 10))
    return Definition(
        subject,
        "",
        (first, *kept),
        (Recipient("a", "A", "a@example.com"), *others),
        reminders,
        custom_fields=tuple(kept_fields),
    )


definitions = st.builds(
    _made,
    words,
    st.lists(documents, max_size=2, unique_by=lambda d: d.document_id),
    st.lists(recipients, max_size=3, unique_by=lambda r: r.recipient_id),
    st.none() | st.builds(Reminders, orders, orders),
    st.lists(st.builds(CustomField, names, words), max_size=2, unique_by=lambda f: f.name),
)
ids = st.sampled_from(RECIPIENTS)
edits: st.SearchStrategy[Mutation] = st.one_of(
    st.builds(ChangeMessage, subject=words, message=st.none() | words),
    st.builds(
        UpdateRecipient,
        ids,
        name=st.none() | words,
        email=st.none() | st.just("two@example.com"),
        routing_order=orders,
    ),
    st.builds(lambda r: AddRecipients((r,)), recipients),
    st.builds(lambda i: RemoveRecipients((i,)), ids),
    st.builds(lambda i, o: ReorderRouting({i: o}), ids, orders),
    st.builds(SetTabs, ids, tab_sets),
    st.builds(lambda d: AddDocuments((d,)), documents),
    st.builds(ReplaceDocument, documents),
    st.builds(lambda i: RemoveDocuments((i,)), st.sampled_from(DOCUMENTS)),
    st.builds(SetReminders, orders, orders),
    st.builds(SetExpiration, orders.map(lambda days: 10 * days), orders),
    st.builds(SetCustomFields, st.dictionaries(names, words, min_size=1)),
    st.builds(lambda name: SetCustomFields({}, (name,)), names),
)
"""One change; not every one is legal everywhere."""

newcomers = st.builds(lambda r: AddRecipients((replace(r, recipient_id="new"),)), recipients)
overlapping: st.SearchStrategy[tuple[Mutation, Mutation]] = st.one_of(
    st.tuples(
        st.builds(UpdateRecipient, st.just("a"), name=words),
        st.builds(UpdateRecipient, st.just("a"), name=words, routing_order=st.none() | orders),
    ),
    st.tuples(st.builds(ChangeMessage, message=words), st.builds(ChangeMessage, words, words)),
    st.tuples(
        st.builds(SetTabs, st.just("a"), tab_sets), st.builds(SetTabs, st.just("a"), tab_sets)
    ),
    ids.flatmap(
        lambda i: st.tuples(
            st.just(RemoveRecipients((i,))),
            st.builds(UpdateRecipient, st.just(i), name=st.just("Other"))
            | st.builds(SetTabs, st.just(i), tab_sets),
        )
    ),
    st.tuples(newcomers, newcomers),
)
"""Two changes that mostly touch the same fields."""
