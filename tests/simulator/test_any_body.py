"""No body breaks the simulator: it is taken, or refused with an errorCode."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.desk import Desk, definition, document, person

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just("²")
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
SUBJECT = {"emailSubject": "New", "status": "sent"}
RICH = definition(
    person("1", tabs={"signHereTabs": [{"tabLabel": "here"}]}, clientUserId="c"),
    status="created",
    transactionId="t",
    customFields={"textCustomFields": [{"name": "ref", "value": "7"}]},
    notification={"expirations": {"expireEnabled": "true", "expireAfter": "9"}},
    eventNotification={
        "url": "https://example.com/",
        "events": ["envelope-sent"],
        "eventData": {"includeData": ["recipients"]},
    },
)
TARGETS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "", RICH),
    ("PUT", "/{id}?advanced_update=true", {**RICH, "status": ""}),
    ("PUT", "/{id}", SUBJECT),
    ("POST", "/{id}/recipients", {"signers": [person("2")]}),
    ("PUT", "/{id}/recipients", {"signers": [person("1")]}),
    ("DELETE", "/{id}/recipients", {"signers": [{"recipientId": "1"}]}),
    ("PUT", "/{id}/documents", {"documents": [document("2")]}),
    ("DELETE", "/{id}/documents", {"documents": [{"documentId": "1"}]}),
    ("POST", "/{id}/recipients/1/tabs", {"textTabs": [{"tabLabel": "t"}]}),
    ("PUT", "/{id}/recipients/1/tabs", {"signHereTabs": [{"tabId": "t"}]}),
    ("POST", "/{id}/custom_fields", {"textCustomFields": [{"name": "n", "value": "v"}]}),
    ("PUT", "/{id}/custom_fields", {"textCustomFields": [{"fieldId": "1", "value": "v"}]}),
    ("PUT", "/{id}/notification", {"expirations": {"expireAfter": "9"}}),
    ("POST", "/{id}/views/recipient", {"returnUrl": "https://x", "recipientId": "1"}),
    ("PUT", "/status?envelope_ids=request_body", {"envelopeIds": ["x"]}),
]


def places(value: Any, base: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every node of a JSON value."""
    found = [base]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in items:
            found += places(child, (*base, key))
    return found


def spoilt(body: dict[str, Any], place: tuple[Any, ...], junk: Any) -> Any:
    """The body with junk at one place."""
    if not place:
        return junk
    changed = copy.deepcopy(body)
    node: Any = changed
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = junk
    return changed


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, Any]:
    """A valid request with junk somewhere."""
    method, path, body = draw(st.sampled_from(TARGETS))
    return method, path, spoilt(body, draw(st.sampled_from(places(body))), draw(JUNK))


@settings(max_examples=150)
@given(requests())
async def test_any_body_is_taken_or_refused_by_name(request: tuple[str, str, Any]) -> None:
    """2xx or an errorCode, never a failure; and what was stored can be read."""
    method, path, body = request
    async with Desk() as desk:
        envelope = await desk.create(person("1", clientUserId="c"), status="created")
        answer = await desk.call(method, "/envelopes" + path.format(id=envelope), body)
        assert answer.is_success or answer.json()["errorCode"]
        query = {"from_date": "2020-01-01", "include": "recipients,tabs,documents,custom_fields"}
        await desk.ok("GET", "/envelopes", query=query)
        await desk.ledger()
