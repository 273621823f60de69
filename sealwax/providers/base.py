"""What a provider is to the rest: the protocol, the pure adapter's shape, and who broke what.

    ProviderError
    |-- ProviderRejected       the provider says no; asking again is useless
    |   `-- NeedsPerson        ... until a person does something (consent, permission, plan)
    |-- NotSentError           certainly without effect; may be tried again
    |   |-- Unavailable        the provider is out of reach, or failing; it passes by itself
    |   |-- RateLimited        refused by a limit of the provider's, with the time it asks for
    |   |-- QuotaHeld          not asked: the account's quota has no call to spare yet
    |   |-- Locked             somebody else has the envelope open for editing
    |   `-- TokenRefused       the access token was not accepted; renew it once
    `-- OutcomeUnknown         no answer: it may have taken effect

An adapter is pure: each operation is a *conversation*, a generator that yields requests and is
sent their answers, and returns what came of it. ``providers.http`` carries conversations out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from sealwax.calls import Applied, Capabilities, Cause, Create, FindCreated, Mutate, OpenView
from sealwax.facts import Fact, ProviderEvent
from sealwax.observations import Extra, Observation
from sealwax.quota_limits import Klass, Window

T = TypeVar("T")


class ProviderError(Exception):
    """Anything a provider call can come to, other than success."""


class ProviderRejected(ProviderError):
    """The provider refused the request for good. ``code`` is its own error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class NeedsPerson(ProviderRejected):
    """Refused until a person does something: grants consent, a permission, or a larger plan."""


class NotSentError(ProviderError):
    """The request certainly had no effect. ``retry_after_s``: the wait that the provider asks.

    ``cause`` is the class by which the envelope law chooses how long to wait.
    """

    cause: ClassVar[Cause] = "not_sent"

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Unavailable(NotSentError):
    """The provider cannot be reached, or fails; or it has been failing, and was not asked."""

    cause = "transient"


class RateLimited(NotSentError):
    """Refused by a limit of the account or the envelope.

    ``window``: which of the limits' windows has to pass, where the provider names no time.
    """

    cause = "rate_limited"

    def __init__(
        self, reason: str, retry_after_s: float | None = None, window: Window | None = None
    ) -> None:
        super().__init__(reason, retry_after_s)
        self.window = window


class QuotaHeld(NotSentError):
    """Our own waiting for the account's quota. ``retry_after_s``: when to come back."""

    cause = "quota"


class Locked(NotSentError):
    """Refused because another user or application holds the envelope's lock."""

    cause = "locked"


class TokenRefused(NotSentError):
    """The access token was not accepted, also after one renewal."""

    cause = "authentication"


class OutcomeUnknown(ProviderError):
    """The request may have taken effect: no answer came, or one that does not tell.

    ``outage``: whether it is a sign that the provider as a whole is failing.
    """

    def __init__(self, reason: str, *, outage: bool = False) -> None:
        super().__init__(reason)
        self.outage = outage


def is_outage(error: ProviderError | None) -> bool:
    """Whether an answer's class is a sign that the provider as a whole is failing.

    A limit, a lock or any other refusal is the word of a provider that works.
    """
    return isinstance(error, Unavailable) or (isinstance(error, OutcomeUnknown) and error.outage)


class UnreadableWebhook(ValueError):
    """An authentic webhook whose body is not what the provider documents."""


Purpose = Literal["read", "write", "upload", "download"]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, as data. ``path`` is relative to the account's API base.

    ``operation`` is the provider's own name of it (for DocuSign: the OpenAPI ``operationId``).
    ``mutating``: whether losing its answer leaves an unknown outcome. ``absolute``: ``path`` is a
    whole URL, which bears its own authority and is sent without a credential.
    """

    operation: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    purpose: Purpose = "read"
    mutating: bool = False
    absolute: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, as data. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


Conversation = Generator[Request, Answer, T]


@dataclass(frozen=True, slots=True)
class NewEnvelope:
    """All that a create needs: the call, the documents' bytes by digest, where webhooks go.

    ``webhook_url`` is "" where the account's own Connect configuration serves.
    """

    call: Create
    contents: Mapping[str, bytes]
    webhook_url: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of a list of envelopes: what each says of itself, in the list's order.

    ``more``: whether others follow. ``as_of``: when the provider made the list, by its own clock;
    None where it did not say.
    """

    events: tuple[ProviderEvent, ...]
    more: bool = False
    as_of: datetime | None = None


class Changes(Protocol):
    """Which status changes a provider tells by a webhook of their own. Pure."""

    def announced(self, fact: Fact) -> bool:
        """Whether such a fact has a webhook of its own."""
        ...

    def told(self, event: ProviderEvent) -> Fact | None:
        """The one change whose own webhook this is; None where it is that of none."""
        ...


class Adapter(Protocol):
    """One provider's dialect, without I/O. Every method but the last three is a conversation.

    Each may raise a ``ProviderError`` when it is sent an answer.
    """

    name: str
    capabilities: Capabilities

    def create(self, new: NewEnvelope) -> Conversation[Applied]: ...

    def mutate(
        self, provider_envelope_id: str, call: Mutate, contents: Mapping[str, bytes]
    ) -> Conversation[Applied]: ...

    def find_created(self, call: FindCreated) -> Conversation[tuple[str, ...]]: ...

    def bin_draft(self, provider_envelope_id: str) -> Conversation[None]: ...

    def read(
        self, provider_envelope_id: str, with_tabs: bool, extra: Extra = ""
    ) -> Conversation[Observation]: ...

    def changes(self, since: datetime) -> Conversation[tuple[ProviderEvent, ...]]: ...

    def listed(self, since: datetime, position: int, count: int) -> Conversation[Listing]: ...

    def shown(self, provider_envelope_ids: Sequence[str]) -> Conversation[Listing]: ...

    def open_view(
        self, provider_envelope_id: str, call: OpenView, return_url: str, ping_url: str
    ) -> Conversation[str]: ...

    def revoke_view(self, url: str) -> Conversation[None]: ...

    def download(self, provider_envelope_id: str, what: str) -> Request: ...

    def refused(self, request: Request, answer: Answer) -> ProviderError | None: ...

    def error_code(self, answer: Answer) -> str | None:
        """The provider's own error code in an answer that refuses."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookName:
    """What tells one webhook from another, and whose it is; fields as in ``ProviderEvent``."""

    event_key: str
    name: str
    account_id: str
    provider_envelope_id: str


class WebhookReader(Protocol):
    """How one provider's webhooks are read, once they are believed. Pure."""

    def identify(self, body: bytes) -> WebhookName:
        """As much as has to be known before it is acknowledged. Raises ``UnreadableWebhook``.

        Its key is made of what is signed, and never of what counts deliveries. Of a hint it also
        has what it names: a look too many costs a call, and one too few an event.
        """
        ...

    def read_webhook(self, body: bytes) -> ProviderEvent:
        """The normalised event, of the same name. Raises ``UnreadableWebhook``."""
        ...


class Provider(Protocol):
    """What activities see: one account of one provider, used by one principal.

    Every method may raise any ``ProviderError``.
    """

    async def create(self, new: NewEnvelope) -> Applied:
        """Make a draft."""
        ...

    async def mutate(
        self, provider_envelope_id: str, call: Mutate, contents: Mapping[str, bytes]
    ) -> Applied:
        """Make one mutation; ``contents`` holds the bytes of documents it brings, by digest."""
        ...

    async def find_created(self, call: FindCreated) -> tuple[str, ...]:
        """The ids of envelopes that bear one of the transaction ids or the marker."""
        ...

    async def bin_draft(self, provider_envelope_id: str) -> None:
        """Put a draft into the bin; one that is there already is fine.

        Raises ``NeedsPerson`` where it is no draft, which is then left as it is.
        """
        ...

    async def read(
        self,
        provider_envelope_id: str,
        with_tabs: bool,
        extra: Extra = "",
        *,
        polling: bool = False,
    ) -> Observation:
        """The envelope as it stands, and what ``extra`` names besides.

        ``polling``: nothing happened that asks for this read.
        """
        ...

    async def changes(self, since: datetime) -> tuple[ProviderEvent, ...]:
        """Status facts of all envelopes of the account that changed since then."""
        ...

    async def listed(self, since: datetime, position: int, count: int) -> Listing:
        """A part of the same list: at most ``count`` envelopes from ``position`` on.

        Its order is that of the envelopes' making, which no change disturbs; but one that joins
        or leaves the list meanwhile moves those after it.
        """
        ...

    async def shown(self, provider_envelope_ids: Sequence[str]) -> Listing:
        """Status facts of these envelopes, by one request that is a read of none of them."""
        ...

    async def open_view(
        self, provider_envelope_id: str, call: OpenView, return_url: str, ping_url: str
    ) -> str:
        """A signing URL of one embedded recipient. It is a secret: it never enters a log."""
        ...

    async def revoke_view(self, url: str) -> None:
        """Make an unopened signing URL useless. ``ProviderRejected``: it was not revoked."""
        ...

    def download(self, provider_envelope_id: str, what: str) -> AsyncIterator[bytes]:
        """The bytes of ``combined`` or ``certificate``, in chunks."""
        ...


class UnknownAccount(LookupError):
    """The settings have no such account or principal."""


class NoSessionUrls(ValueError):
    """The settings give no address that signers could come back to."""


@dataclass(frozen=True, slots=True)
class AccountIdentity:
    """An account's provider by name and what it can do, and its id as the provider knows it."""

    provider: str
    account_id: str
    capabilities: Capabilities = field(default_factory=Capabilities)


class Accounts(Protocol):
    """What the operator's settings say of accounts. Methods raise ``UnknownAccount``."""

    def identity(self, account: str) -> AccountIdentity: ...

    def provider(self, account: str, principal: str, klass: Klass = Klass.MUTATION) -> Provider:
        """The account as this principal; its calls count as this class of the account's quota."""
        ...

    def webhook_url(self, account: str, routing_token: str) -> str: ...

    def session_urls(self, account: str, routing_token: str, token: int) -> tuple[str, str]:
        """Our landing and ping URL of one session. Raises ``NoSessionUrls``."""
        ...
