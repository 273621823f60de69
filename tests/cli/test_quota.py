"""`sealwax quota` shows what the account's workflow shows, from any machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from sealwax.quota_limits import Klass
from tests.cli.conftest import ACCOUNT, Sealwax
from tests.workflows.accounts import Shown, shown


@pytest_asyncio.fixture(loop_scope="session")
async def seen(dev_env: WorkflowEnvironment, tmp_path: Path, account: str) -> AsyncIterator[Shown]:
    """The settings' account, shown by a worker on its task queue."""
    async with shown(dev_env.client, tmp_path, account=account) as running:
        await running.calls(*[Klass.INTERACTIVE] * 3)
        await running.start()
        yield running


async def test_a_person_and_a_program_see_the_same_figures(
    sealwax: Sealwax, seen: Shown, account: str
) -> None:
    """With and without the account's name: the only one of the settings is meant."""
    told = await sealwax("quota", account, "--refresh", "--json")
    assert told.code == 0
    assert told.json["burst"]["used"] == 3
    assert told.json["burst"]["left"] == told.json["burst"]["limit"] - 3
    assert told.json["counters"]["refusals"] == 0
    assert sorted(told.json["waiting"]) == ["background", "bulk", "interactive", "mutation"]

    assert (await sealwax("quota", "--json")).json == told.json
    text = (await sealwax("quota")).out
    assert "burst: 3 of 500 used, 497 left" in text
    assert "hour: 3 of 3000 used" in text
    assert "ever refused by the provider for their number: 0" in text


async def test_the_list_of_envelopes_knows_no_account_workflow(
    sealwax: Sealwax, seen: Shown, account: str
) -> None:
    """It is no envelope, and stands in no list of them once the server can find it."""
    query = f"WorkflowId = 'account/{account}'"
    async with asyncio.timeout(20):
        while not [w async for w in seen.temporal.list_workflows(query)]:
            pass  # the visibility store is a moment late

    assert (await sealwax("list", "--account", account, "--json")).json == []


async def test_a_ledger_that_was_never_read_is_said(
    sealwax: Sealwax, seen: Shown, account: str
) -> None:
    """Figures that nobody has are not shown as zeros; the last ones stay, with the reason."""
    await sealwax("quota", "--refresh")
    seen.ledger.away = True
    told = await sealwax("quota", "--refresh")

    assert told.code == 0
    assert told.out.startswith("ATTENTION not read since")
    assert "the quota database is away" in told.out
    assert "3 of 500 used" in told.out


async def test_an_account_that_no_worker_shows_is_not_found(sealwax: Sealwax, account: str) -> None:
    """One line that says what to do; its exit code is that of what is not there."""
    for more in ((), ("--refresh",)):
        told = await sealwax("quota", account, *more, "--json")
        assert (told.code, told.error["code"]) == (5, "unknown_account")
        assert "start one" in told.error["message"]


async def test_an_account_that_the_settings_do_not_name_is_bad_input(
    sealwax: Sealwax, settings: Path
) -> None:
    """Of several accounts one has to be named; a wrong name lists the right ones."""
    wrong = await sealwax("quota", "nobody", "--json")
    assert (wrong.code, wrong.error["code"]) == (2, "settings")
    with settings.open("a") as file:
        file.write(ACCOUNT.format(name="second"))
    which = await sealwax("quota", "--json")
    assert (which.code, which.error["code"]) == (2, "bad_input")
    assert "second" in which.error["message"]
