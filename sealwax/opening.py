"""A client from the settings alone, for applications that have them as our programs do."""

from __future__ import annotations

from pathlib import Path

from sealwax.blobs import BlobStore
from sealwax.client import EnvelopeClient
from sealwax.connection import connect
from sealwax.settings import Settings, load_settings


async def open_client(config: Path | Settings | None = None) -> EnvelopeClient:
    """A connected client. ``config``: a settings file, settings, or None for ``SEALWAX_CONFIG``.

    It holds one connection for as long as the process lives and need not be closed. Raises
    ``SettingsError``, ``ConnectionFailed``, ``OSError`` where the blob folder cannot be made.
    """
    settings = config if isinstance(config, Settings) else load_settings(config)
    keyring = settings.keyring()
    temporal = await connect(settings.temporal, keyring)
    blobs = BlobStore(settings.storage.blobs, keyring)
    return EnvelopeClient(temporal, blobs=blobs, task_queue=settings.temporal.task_queue)
