"""What the programs of this folder have in common: how they are asked, log, announce and end."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

FOR_A_PERSON = 2
"""The exit status of what a person has to correct."""


class CommandLine(argparse.ArgumentParser):
    """A command line with ``--config`` and ``--announce``.

    What it does not understand it says in one line that begins with the program's ``name``.
    ``announces`` names what the announcement holds.
    """

    def __init__(self, name: str, module: str, description: str, announces: str) -> None:
        super().__init__(prog=f"python -m {module}", description=description)
        self._name = name
        self.add_argument(
            "--config", type=Path, metavar="FILE", help="settings (see SEALWAX_CONFIG)"
        )
        self.add_argument(
            "--announce", type=Path, metavar="FILE", help=f"write {{{announces}}} here"
        )

    def takes_address(self) -> CommandLine:
        """Let the address be given, too; returns itself."""
        self.add_argument("--host", help="address to bind, instead of the settings'")
        self.add_argument(
            "--port", type=int, help="port, instead of the settings'; 0 takes a free one"
        )
        return self

    def error(self, message: str) -> NoReturn:
        """One line, status 2."""
        self.exit(FOR_A_PERSON, f"{self._name}: {message} (see --help)\n")


def log_to_stderr(*quiet: str) -> None:
    """Log from INFO on; of the loggers named ``quiet`` only warnings."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)


def write_announcement(file: Path | None, said: Mapping[str, Any]) -> None:
    """Write this and the process id into ``file``, all of it at once; None asks for nothing."""
    if file is None:
        return
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.write_text(json.dumps({**said, "pid": os.getpid()}), encoding="utf-8")
    unfinished.replace(file)
