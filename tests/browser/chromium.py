"""The system's own Chromium, without a screen, driven by Playwright; no browser is downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright, expect

NAMES = ("chromium", "google-chrome")
PATIENCE_MS = 30_000
"""How long a page may take to show what it should, on a machine with other things to do."""
MISSING = "no chromium on the PATH; `apt-get install chromium` brings it on Debian"


def program() -> str | None:
    """Where the browser's program is; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser; each ``new_context()`` of it is another person's, with cookies of its own."""
    # Chromium refuses its sandbox to root, whom containers run as; a container's /dev/shm is small.
    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program(), args=options)
        try:
            yield opened
        finally:
            await opened.close()
