"""``[storage]``: where what must last is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from sealwax.secret_references import SecretReference, folder_of_settings
from sealwax.settings_types import Part


def _path(path: Path) -> Path:
    return folder_of_settings.get(Path()) / path.expanduser()


class StorageSettings(Part):
    """``[storage]``: one folder of the local disk for the registry, the journal and documents.

    ``journal`` names the address of a PostgreSQL database that bridges and forwarders of several
    machines share (``env:NAME`` or ``file:PATH``, which holds ``postgresql://...``); left out, a
    file in the folder serves those of one machine. Webhooks that wait for nothing any more are kept
    for ``journal_keep_days``, and while the journal has no more than ``journal_max_bytes``.
    """

    folder: Annotated[Path, AfterValidator(_path), Field(validate_default=True)] = Path(
        "sealwax-data"
    )
    journal: SecretReference | None = None
    journal_keep_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 40.0
    journal_max_bytes: Annotated[int, Field(ge=1024 * 1024)] = 20 * 1024**3

    @property
    def registry(self) -> Path:
        """The registry's file."""
        return self.folder / "registry.db"

    @property
    def journal_file(self) -> Path:
        """The journal's file; where a database is named, what waits for it stands there."""
        return self.folder / "journal.db"

    @property
    def quota(self) -> Path:
        """The quota ledger's file, where no database is named."""
        return self.folder / "quota.db"

    @property
    def blobs(self) -> Path:
        """The documents' folder."""
        return self.folder / "blobs"
