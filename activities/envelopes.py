"""The calls of an envelope, carried out at the provider, the registry and the blob store.

Every activity returns an outcome, also for failure: what a refusal or a lost answer means is
decided by the envelope law, not by a retry policy. Only a death of the worker ends one without an
outcome. Nothing here knows a concrete provider.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

from temporalio import activity

from activities.beating import beating
from sealwax import keys
from sealwax.blobs import BlobError, Blobs
from sealwax.calls import (
    ARCHIVE,
    Applied,
    Archive,
    Archived,
    ArchivedDocument,
    AskBridge,
    Bin,
    Bind,
    BridgeUp,
    Close,
    Create,
    Done,
    FindCreated,
    Found,
    Mutate,
    NotSent,
    Observed,
    OpenView,
    Outcome,
    Read,
    Register,
    Registered,
    Rejected,
    RevokeView,
    Timing,
    Unknown,
    ViewOpened,
)
from sealwax.definition import Document
from sealwax.messages import Message
from sealwax.mutations import AddDocuments, Mutation, ReplaceDocument
from sealwax.providers.base import (
    Accounts,
    NeedsPerson,
    NewEnvelope,
    NoSessionUrls,
    NotSentError,
    OutcomeUnknown,
    Provider,
    ProviderRejected,
    UnknownAccount,
)
from sealwax.quota_limits import Klass
from sealwax.session import SessionRules
from sealwax.stores.base import Registry, RegistryRow, StoreError


class Target(Message):
    """Which envelope a call is for, and who makes it. ``principal`` "" is the account's default.

    ``klass``: which class of the account's quota its requests have.
    """

    account: str
    business_key: str
    principal: str = ""
    provider_envelope_id: str = ""
    deadline_s: float = Timing().call_deadline_s
    klass: Klass = Klass.MUTATION

    @property
    def workflow_id(self) -> str:
        """The id of the workflow that owns the envelope."""
        return keys.workflow_id(self.account, self.business_key)


class RegisterInput(Target):
    """Input of ``register``. ``first_run_id``: of the first of the workflow's runs.

    ``order_digest``: what tells its order from another (``messages.order_digest``).
    """

    call: Register
    first_run_id: str = ""
    order_digest: str = ""


class CreateInput(Target):
    """Input of ``create``."""

    call: Create


class FindCreatedInput(Target):
    """Input of ``find_created``."""

    call: FindCreated


class BinInput(Target):
    """Input of ``bin``."""

    call: Bin


class BindInput(Target):
    """Input of ``bind``."""

    call: Bind


class MutateInput(Target):
    """Input of ``mutate``."""

    call: Mutate


class ReadInput(Target):
    """Input of ``read``."""

    call: Read


class ArchiveInput(Target):
    """Input of ``archive``."""

    call: Archive


class CloseInput(Target):
    """Input of ``close``."""

    call: Close


class OpenViewInput(Target):
    """Input of ``open_view``."""

    call: OpenView


class RevokeViewInput(Target):
    """Input of ``revoke_view``."""

    call: RevokeView


class AskBridgeInput(Target):
    """Input of ``ask_bridge``."""

    call: AskBridge


INPUTS: dict[str, type[Target]] = {
    "register": RegisterInput,
    "create": CreateInput,
    "find_created": FindCreatedInput,
    "bin": BinInput,
    "bind": BindInput,
    "mutate": MutateInput,
    "read": ReadInput,
    "archive": ArchiveInput,
    "close": CloseInput,
    "open_view": OpenViewInput,
    "revoke_view": RevokeViewInput,
    "ask_bridge": AskBridgeInput,
}
"""The input of each activity; activities are named after the kinds of calls."""


class EnvelopeActivities:
    """All that an envelope's workflow asks of the world.

    ``timing``, ``rules`` and ``return_origins`` are the operator's choices, which an envelope
    takes when it is registered.
    """

    def __init__(
        self,
        *,
        accounts: Accounts,
        registry: Registry,
        blobs: Blobs,
        timing: Timing,
        rules: SessionRules,
        return_origins: tuple[str, ...],
    ) -> None:
        self._accounts = accounts
        self._registry = registry
        self._blobs = blobs
        self._timing = timing
        self._rules = rules
        self._return_origins = return_origins

    @activity.defn(name="register")
    async def register(self, given: RegisterInput) -> Outcome:
        """Write the registry's row, before anything is made at the provider."""
        return await _outcome(self._register(given), given.deadline_s, mutating=False)

    @activity.defn(name="create")
    async def create(self, given: CreateInput) -> Outcome:
        """Make the draft, once."""
        return await _outcome(self._create(given), given.deadline_s, mutating=True)

    @activity.defn(name="find_created")
    async def find_created(self, given: FindCreatedInput) -> Outcome:
        """Look for what an unanswered create may have made."""
        return await _outcome(self._find_created(given), given.deadline_s, mutating=False)

    @activity.defn(name="bin")
    async def bin(self, given: BinInput) -> Outcome:
        """Put an orphan draft into the bin, if a draft is what it is."""
        return await _outcome(self._bin(given), given.deadline_s, mutating=False)

    @activity.defn(name="bind")
    async def bind(self, given: BindInput) -> Outcome:
        """Write the provider's envelope id into the registry."""
        return await _outcome(self._bind(given), given.deadline_s, mutating=False)

    @activity.defn(name="mutate")
    async def mutate(self, given: MutateInput) -> Outcome:
        """Make one mutation, once."""
        return await _outcome(self._mutate(given), given.deadline_s, mutating=True)

    @activity.defn(name="read")
    async def read(self, given: ReadInput) -> Outcome:
        """Read the envelope as it stands."""
        return await _outcome(self._read(given), given.deadline_s, mutating=False)

    @activity.defn(name="archive")
    async def archive(self, given: ArchiveInput) -> Outcome:
        """Fetch a completed document, or the certificate, into the blob store."""
        return await _outcome(self._archive(given), given.deadline_s, mutating=False)

    @activity.defn(name="close")
    async def close(self, given: CloseInput) -> Outcome:
        """Write the final status into the registry."""
        return await _outcome(self._close(given), given.deadline_s, mutating=False)

    @activity.defn(name="open_view")
    async def open_view(self, given: OpenViewInput) -> Outcome:
        """Ask for a signing URL, which comes back to our own landing page."""
        return await _outcome(self._open_view(given), given.deadline_s, mutating=False)

    @activity.defn(name="revoke_view")
    async def revoke_view(self, given: RevokeViewInput) -> Outcome:
        """Make an unopened signing URL useless."""
        return await _outcome(self._revoke_view(given), given.deadline_s, mutating=False)

    @activity.defn(name="ask_bridge")
    async def ask_bridge(self, given: AskBridgeInput) -> Outcome:
        """Since when the bridge has been up without a gap."""
        return await _outcome(self._ask_bridge(), given.deadline_s, mutating=False)

    async def _register(self, given: RegisterInput) -> Outcome:
        identity = self._accounts.identity(given.account)
        row = await self._registry.register(
            account=given.account,
            business_key_digest=keys.business_key_digest(given.account, given.business_key),
            workflow_id=given.workflow_id,
            provider=identity.provider,
            run_id=given.first_run_id,
            order_digest=given.order_digest,
        )
        earlier = row.run_id != given.first_run_id
        return Registered(
            provider=identity.provider,
            provider_account_id=identity.account_id,
            timing=self._timing,
            provider_envelope_id=row.provider_envelope_id,
            asked_before=row.created_at if earlier else None,
            rules=self._rules,
            return_origins=self._return_origins,
            capabilities=identity.capabilities,
            reused=row.order_digest not in ("", given.order_digest),
        )

    async def _create(self, given: CreateInput) -> Applied:
        row = await self._row(given)
        url = self._accounts.webhook_url(given.account, row.routing_token)
        contents = await self._contents(given.call.definition.documents)
        return await self._provider(given).create(NewEnvelope(given.call, contents, url))

    async def _find_created(self, given: FindCreatedInput) -> Outcome:
        return Found(await self._provider(given).find_created(given.call))

    async def _bin(self, given: BinInput) -> Outcome:
        await self._provider(given).bin_draft(given.call.provider_envelope_id)
        return Done()

    async def _bind(self, given: BindInput) -> Outcome:
        await self._registry.bind(given.workflow_id, given.call.provider_envelope_id)
        return Done()

    async def _mutate(self, given: MutateInput) -> Applied:
        contents = await self._contents(_documents_of(given.call.mutation))
        return await self._provider(given).mutate(given.provider_envelope_id, given.call, contents)

    async def _read(self, given: ReadInput) -> Outcome:
        provider = self._provider(given)
        call = given.call
        seen = await provider.read(
            given.provider_envelope_id, call.with_tabs, call.extra, polling=call.polling
        )
        return Observed(seen)

    async def _archive(self, given: ArchiveInput) -> Outcome:
        provider = self._provider(given)
        documents = []
        for what in (given.call.document,) if given.call.document else ARCHIVE:
            chunks = provider.download(given.provider_envelope_id, what)
            blob = await self._blobs.put(chunks, "application/pdf")
            documents.append(ArchivedDocument(what, blob))
        return Archived(tuple(documents))

    async def _close(self, given: CloseInput) -> Outcome:
        await self._registry.finish(given.workflow_id, given.call.status)
        return Done()

    async def _open_view(self, given: OpenViewInput) -> Outcome:
        row, call = await self._row(given), given.call
        done, ping = self._accounts.session_urls(given.account, row.routing_token, call.token)
        provider = self._provider(given)
        return ViewOpened(await provider.open_view(given.provider_envelope_id, call, done, ping))

    async def _revoke_view(self, given: RevokeViewInput) -> Outcome:
        await self._provider(given).revoke_view(given.call.url)
        return Done()

    async def _ask_bridge(self) -> Outcome:
        return BridgeUp(await self._registry.up_since(datetime.now(UTC)))

    async def _row(self, given: Target) -> RegistryRow:
        row = await self._registry.by_business_key(
            given.account, keys.business_key_digest(given.account, given.business_key)
        )
        if row is None:
            raise NotSentError("the envelope is not in the registry yet")
        return row

    def _provider(self, given: Target) -> Provider:
        return self._accounts.provider(given.account, given.principal, given.klass)

    async def _contents(self, documents: Sequence[Document]) -> dict[str, bytes]:
        return {d.blob.digest: await self._blobs.read(d.blob) for d in documents}


def _documents_of(mutation: Mutation) -> tuple[Document, ...]:
    match mutation:
        case AddDocuments(documents=documents):
            return documents
        case ReplaceDocument(document=document):
            return (document,)
        case _:
            return ()


async def _outcome(work: Awaitable[Outcome], deadline_s: float, *, mutating: bool) -> Outcome:
    """What the work came to; every way in which a provider can fail has its outcome.

    The deadline here is the last bound; the provider's own deadlines per request are shorter.
    """
    try:
        async with beating(), asyncio.timeout(deadline_s):
            return await work
    except NeedsPerson as error:
        return Rejected(error.code, error.message, needs_person=True)
    except ProviderRejected as error:
        return Rejected(error.code, error.message)
    except NotSentError as error:
        return NotSent(str(error), error.retry_after_s, error.cause)
    except OutcomeUnknown as error:
        return Unknown(str(error), activity.info().started_time)
    except TimeoutError:
        reason = "the call's deadline passed"
        if mutating:
            return Unknown(reason, activity.info().started_time)
        return NotSent(reason, cause="transient")
    except (UnknownAccount, NoSessionUrls, BlobError, StoreError) as error:
        return Rejected(type(error).__name__, str(error), needs_person=True)
