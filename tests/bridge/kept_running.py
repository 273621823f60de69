"""A program of another's: adds to a file what it is told, and ends when its owner is gone."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bridge.offspring import owner_gone


def main() -> None:
    """The file is the last argument."""
    file = Path(sys.argv[-1])

    def said(word: str) -> None:
        with file.open("a", encoding="utf-8") as told:
            told.write(f"{word}\n")

    async def live() -> None:
        said("up")
        await owner_gone(lambda signs: said(signs.decode()))

    asyncio.run(live())


if __name__ == "__main__":
    main()
