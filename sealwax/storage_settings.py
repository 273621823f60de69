"""``[storage]``: where what must last is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from sealwax.secret_references import folder_of_settings
from sealwax.settings_types import Part


def _path(path: Path) -> Path:
    return folder_of_settings.get(Path()) / path.expanduser()


class StorageSettings(Part):
    """``[storage]``: one folder of the local disk for the registry, the journal and documents."""

    folder: Annotated[Path, AfterValidator(_path), Field(validate_default=True)] = Path(
        "sealwax-data"
    )

    @property
    def registry(self) -> Path:
        """The registry's file."""
        return self.folder / "registry.db"

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.folder / "journal.db"

    @property
    def quota(self) -> Path:
        """The quota ledger's file, where no database is named."""
        return self.folder / "quota.db"

    @property
    def blobs(self) -> Path:
        """The documents' folder."""
        return self.folder / "blobs"
