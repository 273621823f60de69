"""``[quota]``: an account's limits how they are shared, and where that is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_core import PydanticCustomError

from sealwax.quota_limits import Limits
from sealwax.secret_references import SecretReference
from sealwax.settings_types import LOOPBACK, Part

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Calls = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)]


class AccountQuota(Part):
    """``[accounts.NAME.quota]``: what is another one here than under ``[quota]``.

    See ``quota_limits.Limits`` for what each key means; what is left out has its default.
    ``scale`` shortens all windows and the provider's other times alike (0.1 makes 30 s 3 s): for a
    simulator that does the same.
    """

    burst_calls: Calls | None = None
    hour_calls: Calls | None = None
    envelope_reads: Calls | None = None
    envelope_reads_per_hour: Calls | None = None
    envelope_writes: Calls | None = None
    envelope_writes_per_hour: Calls | None = None
    poll_every_s: Seconds | None = None
    transit_s: Seconds | None = None
    life_s: Seconds | None = None
    interactive_reserve: Share | None = None
    mutation_reserve: Share | None = None
    bulk_reserve: Share | None = None
    urgent_per_hour: Annotated[int, Field(ge=0)] | None = None
    workers_max: Calls | None = None
    away_calls: Annotated[int, Field(ge=0)] | None = None
    away_calls_per_hour: Annotated[int, Field(ge=0)] | None = None
    scale: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None


class QuotaSettings(AccountQuota):
    """``[quota]``: for all accounts.

    ``store`` names the address of a PostgreSQL database that workers of several machines share
    (``env:NAME`` or ``file:PATH``, which holds ``postgresql://...``); left out, a file in the
    storage folder serves the processes of one machine.
    """

    store: SecretReference | None = None


def limits_of(every: QuotaSettings, account: AccountQuota) -> Limits:
    """One account's limits. Raises ``ValueError`` where its keys contradict each other."""
    names = {part.name for part in dataclasses.fields(Limits)}
    given = every.model_dump(include=names, exclude_none=True)
    given |= account.model_dump(include=names, exclude_none=True)
    scale = account.scale or every.scale or 1.0
    return Limits(**given).scaled(1 / scale)


def check_quota(every: QuotaSettings, accounts: Iterable[tuple[str, AccountQuota, str]]) -> None:
    """Raise ``PydanticCustomError`` for limits that cannot be; accounts: name, own quota, API base.

    A real provider's windows are as long as they are, so ``scale`` is for this machine's alone.
    """
    for name, account, api_base in accounts:
        try:
            limits_of(every, account)
        except ValueError as error:
            raise PydanticCustomError(
                "quota", "quota of account {name}: {why}", {"name": name, "why": str(error)}
            ) from None
        scaled = (account.scale or every.scale or 1.0) != 1.0
        if scaled and urlsplit(api_base).hostname not in LOOPBACK:
            raise PydanticCustomError(
                "quota",
                "quota.scale of account {name} must be 1: the provider's windows are as long as"
                " they are; take it out (less is only for a simulator on this machine's own"
                " address)",
                {"name": name},
            )
