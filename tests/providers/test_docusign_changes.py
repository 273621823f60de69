"""DocuSign's list of changes for sweeps, and which changes have an event of their own."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sealwax.facts import LISTED, Fact, ProviderEvent
from sealwax.providers.base import Answer
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.docusign_changes import ConnectChanges

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
ADAPTER, CHANGES = DocuSignAdapter(), ConnectChanges()


def converse(conversation: Any, body: Any) -> tuple[Any, Any]:
    """The one request of a conversation, and what it comes to with this answer."""
    request = next(conversation)
    with pytest.raises(StopIteration) as ended:
        conversation.send(Answer(200, {}, json.dumps(body).encode()))
    return request, ended.value.value


def page(count: int, total: int) -> dict[str, Any]:
    envelopes = [
        {"envelopeId": f"e-{n}", "status": "sent", "createdDateTime": "2026-01-01T00:00:00Z"}
        for n in range(count)
    ]
    queried = {"lastQueriedDateTime": "2026-01-02T03:04:05.123456Z"}
    return {"envelopes": envelopes, "totalSetSize": str(total), **queried}


def test_a_part_of_the_list_is_one_request_ordered_by_what_never_changes():
    """From the place that is asked for, to no end in time; the provider's own time comes back."""
    request, listing = converse(ADAPTER.listed(SINCE, 7, 3), page(3, 12))
    assert (request.method, request.path) == ("GET", "/envelopes")
    assert request.query == {
        "from_date": "2026-01-01T00:00:00.000Z",
        "from_to_status": "changed",
        "status": "any",
        "include": "recipients",
        "order_by": "created",
        "order": "asc",
        "start_position": "7",
        "count": "3",
    }
    assert listing.as_of == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)
    assert [e.provider_envelope_id for e in listing.events] == ["e-0", "e-1", "e-2"]
    assert {e.name for e in listing.events} == {LISTED}
    assert Fact("created").identity in {f.identity for f in listing.events[0].facts}


def test_a_recipient_who_has_nothing_yet_does_not_stand_for_the_envelope():
    """Both begin as "created": one who never had a turn takes no change from the envelope's own."""
    listed = {
        "envelopeId": "e-1",
        "status": "declined",
        "createdDateTime": "2026-01-01T00:00:00Z",
        "recipients": {"signers": [{"recipientId": "2", "status": "created"}]},
    }
    _, listing = converse(ADAPTER.listed(SINCE, 0, 3), {"envelopes": [listed]})
    assert {Fact("created").identity, Fact("created", "2").identity} <= {
        fact.identity for fact in listing.events[0].facts
    }


@pytest.mark.parametrize(
    ("position", "body", "more"),
    [
        (0, page(3, 4), True),
        (1, page(3, 4), False),
        (0, page(0, 4), False),
        (0, {"envelopes": page(3, 0)["envelopes"]}, True),
        (0, {"envelopes": page(2, 0)["envelopes"]}, False),
        (0, {}, False),
    ],
)
def test_whether_more_follows(position: int, body: dict[str, Any], more: bool):
    """By the total where there is one, else by a full part; an empty part ends it."""
    _, listing = converse(ADAPTER.listed(SINCE, position, 3), body)
    assert listing.more is more


def test_silent_envelopes_are_shown_by_their_ids_in_one_request():
    """With their recipients, and no read of any of them."""
    request, listing = converse(ADAPTER.shown(["e-0", "e-1"]), page(2, 2))
    assert request.path == "/envelopes"
    assert request.query["envelope_ids"] == "e-0,e-1"
    assert request.query["include"] == "recipients"
    assert not listing.more


@pytest.mark.parametrize(
    ("name", "recipient", "change"),
    [
        ("envelope-completed", "", Fact("completed")),
        ("recipient-completed", "1", Fact("completed", "1", "g")),
        ("recipient-sent", "1", Fact("sent", "1")),
        ("recipient-completed", "", None),
        ("envelope-resent", "", None),
        ("envelope-corrected", "", None),
        ("recipient-finish-later", "1", None),
        ("envelope-discard", "", None),
    ],
)
def test_an_event_is_the_webhook_of_one_change_or_of_none(
    name: str, recipient: str, change: Fact | None
):
    """Of the incarnation that its summary shows; what else the summary shows is not its own."""
    facts = (Fact("completed", "1", "g"), Fact("sent", "2", "h"))
    event = ProviderEvent("k", name, "a", "e", facts, recipient=recipient)
    assert CHANGES.told(event) == change


@pytest.mark.parametrize(
    ("fact", "announced"),
    [
        (Fact("created"), True),
        (Fact("created", "1"), False),
        (Fact("voided"), True),
        (Fact("signed"), False),
        (Fact("deleted", mark="t"), False),
        (Fact("autoresponded", "1"), True),
        (Fact("signed", "1"), False),
    ],
)
def test_which_changes_have_an_event_of_their_own(fact: Fact, announced: bool):
    """Those that a list can show and Connect names."""
    assert CHANGES.announced(fact) is announced
