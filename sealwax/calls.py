"""Calls and outcomes: what the envelope law asks of the world, and what the world answers.

A call is an imperative; a shell carries it out as one activity and hands back one outcome. No
outcome is an exception here, because "we do not know" is an ordinary answer of a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sealwax.definition import BlobRef, Definition
from sealwax.facts import EnvelopeStatus, Fact
from sealwax.mutations import Mutation
from sealwax.observations import Extra, Observation
from sealwax.session import SessionRules


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient an envelope is, in seconds. Set by the operator, fixed when it is registered.

    ``call_deadline_s``: the longest that a mutating call may take in all. ``outcome_settle_s``:
    how long after that deadline a call may still take effect at the provider; only then does
    "not found" count. ``close_settle_s``: how long a final status must stand before a read is
    asked to confirm it. ``refresh_min_s``: the least time between two reads that are not needed
    to settle an outcome. ``history_events_max``: a run of the workflow whose history has this many
    events goes on as a new run (the server asks for it at 4,096).
    """

    call_deadline_s: float = 150.0
    outcome_settle_s: float = 15.0
    close_settle_s: float = 60.0
    backoff_first_s: float = 1.0
    backoff_max_s: float = 60.0
    attention_retry_s: float = 300.0
    refresh_min_s: float = 30.0
    history_events_max: int = 4_000


Cause = Literal["transient", "rate_limited", "locked", "authentication", "quota", "not_sent"]
"""Why a call had no effect, as far as it matters for how long to wait before the next try.

``transient``: the provider is out of reach or failing. ``rate_limited``: by a limit of the
provider's. ``locked``: somebody else edits the envelope. ``authentication``: the access token was
not accepted, also after one renewal. ``quota``: our own waiting for the account's quota, which is
no failure. ``not_sent``: anything else.
"""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider's API offers, where the envelope law goes different ways.

    ``idempotency_key_s``: for how long after the first try a create repeated under the same
    transaction id has the first one's effect and answer, in seconds; None where it has not.
    ``reference_s``: for how long a create is found by its transaction id; None where it is not.
    ``marker_search``: whether envelopes are found by a field of ours. ``sessions``: whether there
    are embedded signing sessions. ``revoke``: whether an unopened signing URL can be revoked.

    The defaults are DocuSign's: no idempotency key at all; a transaction id is valid for 7 days
    (SPEC envelopeDefinition.transactionId); the list filters by custom field (SPEC
    Envelopes_GetEnvelopes); DELETE on a signing URL (SPEC Views_PostEnvelopeRecipientView, prose).
    """

    idempotency_key_s: float | None = None
    reference_s: float | None = 7 * 86_400.0
    marker_search: bool = True
    sessions: bool = True
    revoke: bool = True


@dataclass(frozen=True, slots=True)
class Register:
    """Write the envelope's row into the registry, before anything is made at the provider."""

    kind: Literal["register"] = "register"


@dataclass(frozen=True, slots=True)
class Create:
    """Make the draft. ``transaction_id`` and ``marker`` find it again if the answer is lost.

    ``numbers`` gives each recipient the id by which the provider will know it.
    """

    definition: Definition
    numbers: Mapping[str, str]
    transaction_id: str
    marker: str
    attempt: int
    kind: Literal["create"] = "create"


@dataclass(frozen=True, slots=True)
class FindCreated:
    """Look for envelopes that an unanswered create may have made."""

    transaction_ids: tuple[str, ...]
    marker: str
    since: datetime
    kind: Literal["find_created"] = "find_created"


@dataclass(frozen=True, slots=True)
class Bin:
    """Put an orphan draft into the bin. It is only done to a draft: what was sent stays."""

    provider_envelope_id: str
    kind: Literal["bin"] = "bin"


@dataclass(frozen=True, slots=True)
class Bind:
    """Write the provider's envelope id into the registry, so that webhooks find their workflow."""

    provider_envelope_id: str
    kind: Literal["bind"] = "bind"


@dataclass(frozen=True, slots=True)
class Mutate:
    """Make one mutation of the envelope. ``before`` and ``after`` are the definitions around it."""

    operation_id: str
    mutation: Mutation
    status: EnvelopeStatus
    before: Definition
    after: Definition
    numbers: Mapping[str, str]
    attempt: int
    kind: Literal["mutate"] = "mutate"


@dataclass(frozen=True, slots=True)
class Read:
    """Read the envelope. ``why``: to settle an unknown outcome, to refresh, to confirm the end,
    to mark what stands before a change that leaves no other trace, or to adopt it.

    ``polling``: nobody and nothing asks for it but the time that has passed.
    """

    why: Literal["look", "refresh", "confirm", "mark", "adopt"]
    with_tabs: bool = False
    extra: Extra = ""
    polling: bool = False
    kind: Literal["read"] = "read"


ARCHIVE = ("combined", "certificate")
"""What is kept of a completed envelope: all its documents, signed, in one file, and the
certificate of completion."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Fetch ``document``, one of ``ARCHIVE``, into the blob store; "" fetches all of them."""

    document: str = ""
    kind: Literal["archive"] = "archive"


@dataclass(frozen=True, slots=True)
class Close:
    """Write the final status into the registry."""

    status: EnvelopeStatus
    kind: Literal["close"] = "close"


@dataclass(frozen=True, slots=True)
class OpenView:
    """Ask for a signing URL of one embedded recipient. It is safe to repeat: a URL that nobody
    got is only one more URL.

    ``token`` is the fencing token that the session will have.
    """

    recipient: str
    name: str
    email: str
    client_user_id: str
    token: int
    ping_every_s: float
    kind: Literal["open_view"] = "open_view"


@dataclass(frozen=True, slots=True)
class RevokeView:
    """Make an unopened signing URL useless (SPEC Views_PostEnvelopeRecipientView: HTTP DELETE)."""

    url: str = field(repr=False)
    kind: Literal["revoke_view"] = "revoke_view"


@dataclass(frozen=True, slots=True)
class AskBridge:
    """Since when the bridge has been up without a gap, so that silence may count."""

    kind: Literal["ask_bridge"] = "ask_bridge"


Call = (
    Register
    | Create
    | FindCreated
    | Bin
    | Bind
    | Mutate
    | Read
    | Archive
    | Close
    | OpenView
    | RevokeView
    | AskBridge
)


@dataclass(frozen=True, slots=True)
class Registered:
    """The row stands, and these are the operator's choices for this envelope.

    ``provider_account_id`` is the account as the provider signs it in webhooks.
    ``asked_before``: since when an earlier life of the envelope, of which Temporal knows nothing
    any more, stands in the registry; ``provider_envelope_id`` is set where it had bound one.
    ``reused``: that life was of another order, so its envelope is none of ours.
    ``return_origins`` lists where signers may be sent after signing, such as
    ``https://app.example.com``.
    """

    provider: str
    provider_account_id: str
    timing: Timing
    provider_envelope_id: str = ""
    rules: SessionRules = field(default_factory=SessionRules)
    return_origins: tuple[str, ...] = ()
    capabilities: Capabilities = field(default_factory=Capabilities)
    asked_before: datetime | None = None
    reused: bool = False
    kind: Literal["registered"] = "registered"


@dataclass(frozen=True, slots=True)
class Applied:
    """The provider says that it was done. ``incarnations``: provider's recipient id -> guid."""

    facts: tuple[Fact, ...] = ()
    incarnations: Mapping[str, str] = field(default_factory=dict)
    provider_envelope_id: str = ""
    kind: Literal["applied"] = "applied"


@dataclass(frozen=True, slots=True)
class Rejected:
    """The provider says no, for good. ``code`` is the provider's error code."""

    code: str
    message: str
    needs_person: bool = False
    kind: Literal["rejected"] = "rejected"


@dataclass(frozen=True, slots=True)
class NotSent:
    """It certainly did not take effect and may be tried again, not before ``retry_after_s``."""

    reason: str
    retry_after_s: float | None = None
    cause: Cause = "not_sent"
    kind: Literal["not_sent"] = "not_sent"


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer came: it may have taken effect, or may yet. To be resolved by looking.

    ``began_at``: when the call was begun, which may be long after it was asked for; None where
    nobody can say, because its worker was lost: then it may have begun as late as just now.
    """

    reason: str
    began_at: datetime | None = None
    kind: Literal["unknown"] = "unknown"


@dataclass(frozen=True, slots=True)
class Observed:
    """What a read showed."""

    observation: Observation
    kind: Literal["observed"] = "observed"


@dataclass(frozen=True, slots=True)
class Found:
    """The provider's ids of the envelopes that bear the transaction id or marker looked for."""

    provider_envelope_ids: tuple[str, ...]
    kind: Literal["found"] = "found"


@dataclass(frozen=True, slots=True)
class ArchivedDocument:
    """One file of the archive, of ``ARCHIVE``, by the digest of what was fetched."""

    name: str
    blob: BlobRef


@dataclass(frozen=True, slots=True)
class Archived:
    """What was asked for stands in the blob store."""

    documents: tuple[ArchivedDocument, ...]
    kind: Literal["archived"] = "archived"


@dataclass(frozen=True, slots=True)
class Done:
    """A call without an answer of its own was carried out."""

    kind: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class ViewOpened:
    """A signing URL. Whoever opens it first signs, so it reaches the asker and nobody else."""

    url: str = field(repr=False)
    kind: Literal["view_opened"] = "view_opened"


@dataclass(frozen=True, slots=True)
class BridgeUp:
    """Since when the bridge has been up without a gap; None where it is not up now."""

    since: datetime | None
    kind: Literal["bridge_up"] = "bridge_up"


Outcome = (
    Registered
    | Applied
    | Rejected
    | NotSent
    | Unknown
    | Observed
    | Found
    | Archived
    | Done
    | ViewOpened
    | BridgeUp
)
