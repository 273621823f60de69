"""DocuSign's eSignature REST API v2.1 as conversations. Pure: no I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from sealwax import keys
from sealwax.calls import Applied, Capabilities, FindCreated, Mutate, OpenView
from sealwax.facts import LISTED, EnvelopeStatus, Fact, ProviderEvent
from sealwax.observations import Extra, Observation
from sealwax.providers import docusign_errors, docusign_mutations
from sealwax.providers import docusign_settings as settings
from sealwax.providers import docusign_shapes as shapes
from sealwax.providers.base import (
    Answer,
    Conversation,
    Listing,
    NewEnvelope,
    NotSentError,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    RateLimited,
    Request,
)
from sealwax.providers.docusign_errors import ask
from sealwax.providers.docusign_mutations import envelope_path

PAGE_SIZE = 100
# The marker search asks by the provider's clock; ours may be ahead of it by this much.
CLOCK_SLACK = timedelta(minutes=10)
# SPEC recipientViewRequest.pingFrequency: "Valid values are 60-1200 seconds".
PING_EVERY_MIN_S, PING_EVERY_MAX_S = 60, 1200

Part = Literal["combined", "certificate"]


class DocuSignAdapter:
    """The ``Adapter`` of DocuSign."""

    name = "docusign"
    capabilities = Capabilities()

    def create(self, new: NewEnvelope) -> Conversation[Applied]:
        """Make a draft (SPEC Envelopes_PostEnvelopes).

        The service has no idempotency key: a lost answer is ``OutcomeUnknown`` and to be resolved
        by ``find_created``. Raises ``KeyError`` where ``contents`` lacks a document.
        """
        answer = yield from ask(
            Request(
                "Envelopes_PostEnvelopes",
                "POST",
                "/envelopes",
                json=shapes.create_body(new),
                purpose="upload",
                mutating=True,
            )
        )
        envelope_id = str(answer.get("envelopeId") or "")
        if not envelope_id:
            raise OutcomeUnknown("the create was answered without an envelope id")
        at = shapes.parse_time(answer.get("statusDateTime"))
        return Applied(
            facts=(Fact(EnvelopeStatus.CREATED, at=at),),
            incarnations=shapes.incarnations(answer),
            provider_envelope_id=envelope_id,
        )

    def mutate(
        self, provider_envelope_id: str, call: Mutate, contents: Mapping[str, bytes]
    ) -> Conversation[Applied]:
        """Make one mutation; see ``docusign_mutations.converse``."""
        conversation = docusign_mutations.converse(provider_envelope_id, call, contents)
        return docusign_errors.looked_into(conversation) if call.attempt > 1 else conversation

    def find_created(self, call: FindCreated) -> Conversation[tuple[str, ...]]:
        """Every envelope, not in the bin, that bears a transaction id or the marker; sorted.

        Both are asked for: a transaction id is kept for seven days only, and whether the list of a
        custom field shows a new envelope at once is not documented (SPEC Envelopes_GetEnvelopes).
        """
        found: set[str] = set()
        deleted: set[str] = set()
        queries = [{"transaction_ids": ",".join(call.transaction_ids)}]
        if not call.transaction_ids:
            queries = []
        since = _iso(call.since - CLOCK_SLACK)
        queries.append(
            {
                "from_date": since,
                "custom_field": f"{shapes.MARKER_FIELD}={call.marker}",
                "include": "custom_fields",
                "status": "any",
            }
        )
        for query in queries:
            for page in (yield from _pages(query)):
                for envelope in _listed(page):
                    if _bears(envelope, call):
                        _sort_in(envelope, found, deleted)
                for entry in _entries(page, "envelopeTransactionStatuses"):
                    if entry.get("transactionId") in call.transaction_ids:
                        _sort_in(entry, found, deleted)
        return tuple(sorted(found - deleted))

    def bin_draft(self, provider_envelope_id: str) -> Conversation[None]:
        """Put a draft into the bin; see ``docusign_mutations.bin_draft``."""
        return docusign_mutations.bin_draft(provider_envelope_id)

    def read(
        self, provider_envelope_id: str, with_tabs: bool, extra: Extra = ""
    ) -> Conversation[Observation]:
        """The envelope with recipients and documents (SPEC Envelopes_GetEnvelope)."""
        include = "recipients,documents,custom_fields" + (",tabs" if with_tabs else "")
        answer = yield from ask(
            Request(
                "Envelopes_GetEnvelope",
                "GET",
                envelope_path(provider_envelope_id),
                query={"include": include},
            )
        )
        seen = shapes.observation({"envelopeId": provider_envelope_id, **answer}, with_tabs)
        base = envelope_path(provider_envelope_id)
        match extra:
            case "notification":
                held = yield from ask(settings.notification_request(base))
                return replace(
                    seen,
                    reminders=shapes.reminders_of(held),
                    expiration=shapes.expiration_of(held),
                )
            case "definition":
                held = yield from ask(settings.notification_request(base))
                return replace(seen, definition=shapes.definition_of(answer, held))
            case "mails":
                return replace(seen, mails=(yield from settings.mail_trail(base)))
            case "":
                return seen

    def changes(self, since: datetime) -> Conversation[tuple[ProviderEvent, ...]]:
        """What every envelope whose status changed since then says of itself, recipients included.

        ``account_id`` is the one of the envelope's sender where the answer names it, else "".
        """
        query = {"from_date": _iso(since), "include": "recipients", "status": "any"}
        events: list[ProviderEvent] = []
        for page in (yield from _pages(query)):
            events += [_change(envelope) for envelope in _listed(page)]
        return tuple(events)

    def listed(self, since: datetime, position: int, count: int) -> Conversation[Listing]:
        """A part of what changed its status since then (SPEC Envelopes_GetEnvelopes).

        Without ``to_date``: an envelope that changes while pages are read would leave a closed
        span, and those behind it would move up over the place where the next page begins.
        """
        query = {"from_date": _iso(since), "from_to_status": "changed", "status": "any"}
        page = yield from ask(_page(query, position, count))
        events = tuple(_change(envelope) for envelope in _listed(page))
        as_of = shapes.parse_time(page.get("lastQueriedDateTime"))
        return Listing(events, _more(page, position, count), as_of)

    def shown(self, provider_envelope_ids: Sequence[str]) -> Conversation[Listing]:
        """These envelopes, by their ids in one address (SPEC Envelopes_GetEnvelopes).

        Not by PUT /envelopes/status, which takes any number in its body and answers with the
        envelopes' statuses alone, not with their recipients' (SPEC Envelopes_PutStatus).
        """
        query = {"envelope_ids": ",".join(provider_envelope_ids), "status": "any"}
        page = yield from ask(_page(query, 0, len(provider_envelope_ids)))
        as_of = shapes.parse_time(page.get("lastQueriedDateTime"))
        return Listing(tuple(_change(envelope) for envelope in _listed(page)), as_of=as_of)

    def open_view(
        self, provider_envelope_id: str, call: OpenView, return_url: str, ping_url: str
    ) -> Conversation[str]:
        """A signing URL (SPEC Views_PostEnvelopeRecipientView); the envelope does not change.

        Repeating it only makes another URL. Raises ``ProviderRejected``, also where it is not the
        recipient's turn (RECIPIENT_NOT_IN_SEQUENCE) or the provider knows the recipient by other
        data (UNKNOWN_ENVELOPE_RECIPIENT).
        """
        every_s = min(PING_EVERY_MAX_S, max(PING_EVERY_MIN_S, math.ceil(call.ping_every_s)))
        answer = yield from ask(
            Request(
                "Views_PostEnvelopeRecipientView",
                "POST",
                f"{envelope_path(provider_envelope_id)}/views/recipient",
                json={
                    "returnUrl": return_url,
                    "authenticationMethod": "None",
                    "clientUserId": call.client_user_id,
                    "recipientId": call.recipient,
                    "userName": call.name,
                    "email": call.email,
                    "pingUrl": ping_url,
                    "pingFrequency": str(every_s),
                },
                purpose="write",
            )
        )
        url = answer.get("url")
        if not isinstance(url, str) or not url:
            raise NotSentError("the request for a signing URL was answered without one")
        return url

    def revoke_view(self, url: str) -> Conversation[None]:
        """HTTP DELETE on the signing URL itself (SPEC Views_PostEnvelopeRecipientView, prose).

        Raises ``ProviderRejected`` where it was not revoked: opened, expired or unknown. What the
        provider answers then is not documented, so nothing but a success counts as revoked.
        """
        name = "RevokeRecipientView"
        answer = yield Request(name, "DELETE", url, purpose="write", mutating=True, absolute=True)
        status = answer.status
        if 200 <= status < 300:
            return
        if status == 429:
            raise RateLimited(f"{name}: status 429", docusign_errors.retry_after_s(answer))
        if status >= 500 or status == 408:
            raise OutcomeUnknown(f"{name}: status {status}")
        raise ProviderRejected(f"HTTP_{status}", "the signing URL cannot be revoked any more")

    def download(self, provider_envelope_id: str, what: str) -> Request:
        """The request for ``combined`` (all documents, without the certificate) or ``certificate``.

        Raises ``ValueError`` for anything else. SPEC Documents_GetDocument.
        """
        if what not in get_args(Part):
            raise ValueError(
                f"{what!r} cannot be downloaded; ask for {' or '.join(get_args(Part))}"
            )
        return Request(
            "Documents_GetDocument",
            "GET",
            f"{envelope_path(provider_envelope_id)}/documents/{what}",
            query={"certificate": "false"} if what == "combined" else {},
            purpose="download",
        )

    def refused(self, request: Request, answer: Answer) -> ProviderError | None:
        """What an answer refuses, by error code; None where it is a success."""
        return docusign_errors.refused(request, answer)

    def error_code(self, answer: Answer) -> str | None:
        """The error code of an answer that is no success."""
        return docusign_errors.error_code(answer)


def _page(query: Mapping[str, str], position: int, count: int) -> Request:
    # Ordered by what never changes, as in ``_pages``.
    order = {"include": "recipients", "order_by": "created", "order": "asc"}
    part = {"start_position": str(position), "count": str(count)}
    return Request("Envelopes_GetEnvelopes", "GET", "/envelopes", query={**query, **order, **part})


def _more(page: Mapping[str, Any], position: int, count: int) -> bool:
    size = len(_listed(page))
    total = str(page.get("totalSetSize") or "")
    more = position + size < int(total) if total.isdecimal() else size == count
    return bool(size) and more


def _pages(query: Mapping[str, str]) -> Conversation[list[dict[str, Any]]]:
    # Ordered by what never changes: by default a change moves an envelope to the end of the list,
    # and the one that slips into its place on a page already read would be missed.
    ordered = {**query, "order_by": "created", "order": "asc", "count": str(PAGE_SIZE)}
    pages: list[dict[str, Any]] = []
    position = 0
    while True:
        page = yield from ask(
            Request(
                "Envelopes_GetEnvelopes",
                "GET",
                "/envelopes",
                query={**ordered, "start_position": str(position)},
            )
        )
        pages.append(page)
        size = len(_listed(page))
        position += size
        total = str(page.get("totalSetSize") or "")
        more = position < int(total) if total.isdecimal() else size == PAGE_SIZE
        if not size or not more:
            return pages


def _entries(page: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    entries = page.get(key)
    if isinstance(entries, list):
        yield from (e for e in entries if isinstance(e, dict) and e.get("envelopeId"))


def _listed(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(_entries(page, "envelopes"))


def _bears(envelope: Mapping[str, Any], call: FindCreated) -> bool:
    # The service's filter is not relied upon alone: adopting a stranger's envelope would be worse
    # than finding none.
    if envelope.get("transactionId") in call.transaction_ids:
        return True
    return any(
        field.get("name") == shapes.MARKER_FIELD and field.get("value") == call.marker
        for field in docusign_errors.objects(envelope.get("customFields"))
    )


def _sort_in(entry: Mapping[str, Any], found: set[str], deleted: set[str]) -> None:
    envelope_id = str(entry["envelopeId"])
    found.add(envelope_id)
    if str(entry.get("status") or "").lower() == "deleted" or entry.get("deletedDateTime"):
        deleted.add(envelope_id)


def _change(envelope: Mapping[str, Any]) -> ProviderEvent:
    facts = shapes.envelope_facts(envelope)
    own = [fact for fact in facts if not fact.recipient]
    created = shapes.parse_time(envelope.get("createdDateTime"))
    if created is not None and not any(f.status == EnvelopeStatus.CREATED for f in own):
        facts += (Fact(EnvelopeStatus.CREATED, at=created),)
    envelope_id = str(envelope["envelopeId"])
    sender = envelope.get("sender")
    account = str(sender.get("accountId") or "") if isinstance(sender, dict) else ""
    said = (part for fact in facts for part in fact.identity)
    stamp = str(envelope.get("statusChangedDateTime") or "")
    return ProviderEvent(
        event_key=keys.event_key(("docusign", "listed", envelope_id, stamp, *said)),
        name=LISTED,
        account_id=account,
        provider_envelope_id=envelope_id,
        facts=facts,
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
