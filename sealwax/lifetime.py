"""How a program settles in, and how one ends that has used Temporal's SDK."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def settle_in() -> None:
    """Take all that stands now out of the collector's sight, because it stands to the end.

    To look through it again takes a tenth of a second, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()


def leave(status: int) -> NoReturn:
    """End the process with this exit status, when all that was printed has left it.

    The SDK's threads may abort a process that ends the ordinary way after all work is done
    (sdk-python issue 300).
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
