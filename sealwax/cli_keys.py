"""``sealwax keys``: make the keys of what Sealwax encrypts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from sealwax.options import Common

# As in ``sealwax.cli``, commands import what they run.
if TYPE_CHECKING:
    from sealwax.terminal import Exit, Terminal

keys = App(name="keys", help="Make keys for what Sealwax encrypts.")


@keys.command(name="new")
def keys_new(
    *, id: str | None = None, file: Path | None = None, common: Common | None = None
) -> int:
    """Make a new random key; without --file it is printed, and stands nowhere else.

    Parameters
    ----------
    id
        The key's id, such as 2026-11; shown in clear beside all that it encrypts.
    file
        Write the key there, readable by you alone, and print the lines for the settings.
    """
    common = common or Common()

    from datetime import UTC, datetime

    from sealwax import running
    from sealwax.terminal import Exit

    key_id = id if id is not None else datetime.now(UTC).strftime("%Y-%m-%d")

    async def command(terminal: Terminal) -> Exit:
        key = running.made_key(key_id, file)
        if file is None:
            terminal.value_if_json({"id": key_id, "key": key})
            terminal.line(key)
            return Exit.OK
        terminal.value_if_json({"id": key_id, "file": str(file)})
        for line in running.encryption_table(key_id, file):
            terminal.line(line)
        return Exit.OK

    return running.run_command(common.json, command)
