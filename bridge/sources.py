"""The accounts as their webhooks see them, with keys that may change while the bridge runs.

A key's file is looked at again every ``LOOK_EVERY_S``, when a webhook comes. Each line of it is a
key, and any of them may sign: so a key is replaced without a gap by adding the new one below the
old, making it the provider's active one, and taking the old one out. A file that is gone, empty or
half written keeps its last keys for ``GRACE_S``; after that it gives none, and what they signed is
refused.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from bridge.ingest import Source
from sealwax.providers.registry import webhook_reader, webhook_scheme
from sealwax.secret_references import SecretReference, SettingsError
from sealwax.settings import AccountSettings, Settings

LOOK_EVERY_S = 0.5
GRACE_S = 10.0

log = logging.getLogger("sealwax.bridge")

_Stamp = tuple[int, int, int]


class KeyFile:
    """The keys that stand behind one reference of the settings, read again when it changes."""

    def __init__(self, reference: SecretReference, monotonic: Callable[[], float]) -> None:
        self._reference = reference
        self._monotonic = monotonic
        self._stamp: _Stamp | None = None
        self._missing_since: float | None = None
        self.keys: tuple[bytes, ...] = ()

    def read(self) -> None:
        """Take the keys as they are now. Raises ``SettingsError``; then the last ones stay."""
        stamp = self._look()
        secrets = self._reference.secrets()
        self.keys = tuple(secret.get_secret_value().encode() for secret in secrets)
        # Of the time before the reading: what is written meanwhile is seen the next time.
        self._stamp, self._missing_since = stamp, None

    def refresh(self) -> bool:
        """Read again where the file has changed. True where the keys are others now."""
        if self._reference.scheme == "env":
            return False
        before = self.keys
        if self._missing_since is None and self._look() == self._stamp:
            return False
        try:
            self.read()
        except SettingsError as error:
            self._without(error)
        return self.keys != before

    def _without(self, error: SettingsError) -> None:
        now = self._monotonic()
        if self._missing_since is None:
            self._missing_since = now
            log.warning("%s; its last keys count for %g s more", error, GRACE_S)
        elif self.keys and now - self._missing_since >= GRACE_S:
            self.keys = ()
            log.error("%s; webhooks that its keys signed are refused now", error)

    def _look(self) -> _Stamp | None:
        if self._reference.scheme == "env":
            return None
        try:
            about = os.stat(self._reference.name)
        except OSError:
            return None
        return about.st_mtime_ns, about.st_ino, about.st_size


class LiveSources(Mapping[str, Source]):
    """Sources by account; looking one up gives its keys as they are now."""

    def __init__(
        self,
        accounts: Mapping[str, AccountSettings],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read all keys. Raises ``SettingsError``."""
        self._monotonic = monotonic
        self._looked_at = monotonic()
        self._files: dict[str, list[KeyFile]] = {}
        self._sources: dict[str, Source] = {}
        for name, account in accounts.items():
            files = [KeyFile(reference, monotonic) for reference in account.webhook_keys]
            for file in files:
                file.read()
            if not files:
                log.warning("account %s has no webhook_keys: all its webhooks are refused", name)
            self._files[name] = files
            self._sources[name] = Source(
                account=name,
                provider=account.provider,
                account_id=account.account_id,
                reader=webhook_reader(account.provider),
                keys=_all_keys(files),
                scheme=webhook_scheme(account.provider),
            )

    def __getitem__(self, account: str) -> Source:
        if (now := self._monotonic()) - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._look_again()
        return self._sources[account]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def _look_again(self) -> None:
        for name, files in self._files.items():
            if any([file.refresh() for file in files]):
                keys = _all_keys(files)
                self._sources[name] = replace(self._sources[name], keys=keys)
                log.info("account %s: %d webhook keys are active now", name, len(keys))


def sources(settings: Settings) -> LiveSources:
    """The accounts of the settings, keys resolved. Raises ``SettingsError``."""
    return LiveSources(settings.accounts)


def _all_keys(files: list[KeyFile]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(key for file in files for key in file.keys))
