"""Taking over an envelope that was made elsewhere: its workflow, and the webhooks that waited."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from sealwax import keys
from sealwax.answers import NoAnswerYet
from sealwax.definition import Refusal, RefusalCode, check_provider_envelope_id
from sealwax.facts import EnvelopeStatus
from sealwax.handle import EnvelopeHandle
from sealwax.opening import open_client
from sealwax.settings import Settings
from sealwax.stores.base import Journal, Registry, WebhookFilter
from sealwax.stores.registry import open_registry
from sealwax.terminal import Exit
from sealwax.webhooks import marked

LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of it. ``replayed``: how many webhooks were parked and are forwarded now."""

    workflow_id: str
    account: str
    key: str
    envelope_id: str
    status: str
    message: str
    replayed: int

    def as_json(self) -> dict[str, Any]:
        """It as one value."""
        return asdict(self)

    def exit_code(self) -> Exit:
        """Whether the provider let it be adopted."""
        return Exit.REJECTED if self.status == EnvelopeStatus.REJECTED else Exit.OK


async def adopted(
    settings: Settings,
    journal: Journal,
    *,
    account: str,
    provider_envelope_id: str,
    key: str,
    principal: str,
    timeout_s: float,
) -> Adopted:
    """Adopt an envelope; asked again, say how it stands and forward what is still parked.

    Raises ``SettingsError``, ``Refusal`` (``business_key_reused``: it has a workflow with another
    key), ``StoreError``, ``ConnectionFailed``, ``NoAnswerYet`` and ``TemporalRefused``.
    """
    named = settings.account(account)
    if principal:
        named.principal(principal)
    check_provider_envelope_id(provider_envelope_id)
    if not 0 < timeout_s < float("inf"):
        raise Refusal(RefusalCode.BAD_INPUT, "--timeout is a number of seconds above 0")
    registry = open_registry(settings.storage.registry)
    try:
        async with asyncio.timeout(timeout_s):
            key = await _key(registry, account, provider_envelope_id, key)
            client = await open_client(settings)
            envelope = client.envelope(account, key)
            if await registry.by_envelope(account, provider_envelope_id) is None:
                envelope = await client.adopt(
                    account=account,
                    provider_envelope_id=provider_envelope_id,
                    key=key,
                    principal=principal,
                    timeout_s=timeout_s,
                )
            return await _settled(envelope, registry, journal, provider_envelope_id)
    except NoAnswerYet:
        raise
    except TimeoutError:
        raise NoAnswerYet(
            f"the envelope was not read within {timeout_s:g} s; ask again, and see whether a worker"
            " of these settings runs"
        ) from None
    finally:
        await registry.close()


async def _key(registry: Registry, account: str, envelope_id: str, key: str) -> str:
    """The business key that it has or gets."""
    row = await registry.by_envelope(account, envelope_id)
    if row is None:
        return key or keys.adopted_key(envelope_id)
    held = keys.account_and_key(row.workflow_id)[1]
    if key and key != held:
        raise Refusal(
            RefusalCode.BUSINESS_KEY_REUSED,
            f"envelope {envelope_id} belongs to {row.workflow_id} already; leave --key out",
        )
    return held


async def _settled(
    envelope: EnvelopeHandle, registry: Registry, journal: Journal, envelope_id: str
) -> Adopted:
    snapshot = await envelope.wait("created")
    said, replayed = "", 0
    if snapshot.status == EnvelopeStatus.REJECTED:
        lines = [entry.text for entry in await envelope.timeline()]
        said = next((line for line in lines if line.startswith("not adopted")), "")
    else:
        # The id as the provider writes it, and bound, so that what is forwarded finds its way.
        envelope_id = snapshot.provider_envelope_id
        while await registry.by_envelope(envelope.account, envelope_id) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)
        parked = WebhookFilter(envelope.account, envelope_id, states=("parked",))
        replayed = await marked(journal, parked, "pending")
    return Adopted(
        envelope.workflow_id,
        envelope.account,
        envelope.key,
        envelope_id,
        str(snapshot.status),
        said,
        replayed,
    )
