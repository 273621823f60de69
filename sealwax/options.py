"""What every command of the command line takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


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
