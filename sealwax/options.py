"""What commands of the command line have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from sealwax.editing import Expects


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """What every command takes.

    Parameters
    ----------
    config
        The settings file; by default that of SEALWAX_CONFIG, or ./sealwax.toml.
    json
        One JSON value on stdout, errors as JSON on stderr.
    """

    config: Path | None = None
    json: Annotated[bool, Parameter(negative=())] = False


@Parameter(name="*")
@dataclass(frozen=True)
class Expecting:
    """What a command that changes an envelope takes to not overwrite others' changes.

    Parameters
    ----------
    expected_revision
        The revision that you read, as `sealwax status` shows it; refused if it is another by now.
    merge
        With it, refused only where others have changed the same fields since.
    """

    expected_revision: int | None = None
    merge: Annotated[bool, Parameter(negative=())] = False

    def given(self) -> Expects:
        """For the client's verbs."""
        return {"expected_revision": self.expected_revision, "merge": self.merge}
