"""`sealwax webhooks`: what came in is seen and forwarded again; doing it twice is no harm."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from bridge.ingest import Accept, ingest
from sealwax.stores.base import Journal, RefusedWebhook, WebhookFilter
from sealwax.stores.journal import open_journal
from tests.bridge.deliveries import ACCOUNT_ID, message, signed, source
from tests.cli.conftest import Sealwax
from tests.keys import KEYRING

pytestmark = pytest.mark.server


@pytest_asyncio.fixture
async def journal(settings: Path, account: str) -> AsyncIterator[Journal]:
    """The journal of the settings with eight webhooks: two envelopes, four states."""
    held: Journal = open_journal(settings.parent / "sealwax-data" / "journal.db", KEYRING)
    of = source(account)
    now = datetime.now(UTC)
    for n in range(8):
        body = message(f"env-{n % 2}", "envelope-completed" if n > 5 else "envelope-sent", n=n)
        decision = ingest(of, signed(body), body, "", now - timedelta(hours=8 - n))
        assert isinstance(decision, Accept)
        await held.append(decision.webhook)
    await held.mark([1, 2], "delivered")
    await held.mark([3], "late", "its workflow is closed")
    await held.mark([4, 5], "parked", "given up: nobody knows it yet")
    await held.mark([6], "quarantined", "unreadable: KeyError")
    yield held
    await held.close()


async def states(journal: Journal) -> list[str]:
    return [entry.state for entry in await journal.find(WebhookFilter(), 0, 100)]


async def test_a_list_is_filtered_by_account_envelope_time_and_state(
    sealwax: Sealwax, journal: Journal, account: str
) -> None:
    async def numbers(*options: str) -> list[int]:
        listed = await sealwax("webhooks", "list", *options, "--json")
        assert listed.code == 0, listed.err
        return [row["id"] for row in listed.json]

    assert await numbers() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await numbers("--account", account, "--envelope", "env-1") == [2, 4, 6, 8]
    assert await numbers("--state", "late", "--state", "parked") == [3, 4, 5]
    assert await numbers("--since", "150m") == [7, 8]
    recent = (datetime.now(UTC) - timedelta(minutes=90)).isoformat()
    assert await numbers("--since", recent) == [8]
    assert await numbers("--after", "3", "--limit", "2") == [4, 5]
    table = (await sealwax("webhooks", "list", "--state", "quarantined")).out
    assert "unreadable: KeyError" in table
    part = (await sealwax("webhooks", "list", "--after", "3", "--limit", "2")).out
    assert part.endswith("there are more: --after 5\n")
    assert "there are more" not in (await sealwax("webhooks", "list", "--limit", "8")).out


async def test_one_is_shown_with_what_it_says_and_its_body_only_on_demand(
    sealwax: Sealwax, journal: Journal
) -> None:
    shown = (await sealwax("webhooks", "show", "8", "--json")).json
    assert [f["status"] for f in shown["facts"]] == ["completed"]
    assert "x-docusign-signature-1" in shown["headers"]
    assert (shown["event"], shown["problem"]) == ("envelope-completed", "")
    assert "body" not in shown
    whole = await sealwax("webhooks", "show", "8", "--body", "--json")
    assert ACCOUNT_ID in whole.json["body"]
    assert ACCOUNT_ID not in (await sealwax("webhooks", "show", "8")).out
    assert ACCOUNT_ID in (await sealwax("webhooks", "show", "8", "--body")).out


async def test_one_that_cannot_be_read_is_shown_with_the_reason(
    sealwax: Sealwax, journal: Journal, account: str
) -> None:
    body = b"not JSON"
    decision = ingest(source(account), signed(body), body, "", datetime.now(UTC))
    assert isinstance(decision, Accept)
    kept = await journal.append(decision.webhook)
    shown = (await sealwax("webhooks", "show", str(kept.id), "--json")).json
    assert shown["state"] == "quarantined"
    assert shown["problem"]
    assert shown["facts"] == []


async def test_replay_makes_them_pending_and_twice_is_as_once(
    sealwax: Sealwax, journal: Journal
) -> None:
    for _ in range(2):
        replayed = await sealwax("webhooks", "replay", "1", "4", "--json")
        assert replayed.code == 0
        assert (await states(journal))[:4] == ["pending", "delivered", "late", "pending"]
    assert replayed.json == {"marked": 0, "state": "pending"}
    bulk = await sealwax("webhooks", "replay", "--envelope", "env-0", "--json")
    assert bulk.json["marked"] == 2
    assert (await sealwax("webhooks", "replay", "--state", "quarantined")).out == "1 replayed\n"
    assert (await sealwax("webhooks", "replay", "--all", "--json")).json["marked"] == 1
    assert set(await states(journal)) == {"pending"}


async def test_a_bulk_of_many_is_replayed_whole(
    sealwax: Sealwax, journal: Journal, account: str
) -> None:
    """More than one portion."""
    body = message("env-9")
    decision = ingest(source(account), signed(body), body, "", datetime.now(UTC))
    assert isinstance(decision, Accept)
    for n in range(1203):
        one = dataclasses.replace(decision.webhook, event_key=f"key-{n}", state="parked")
        await journal.append(one)
    replayed = await sealwax("webhooks", "replay", "--envelope", "env-9", "--json")
    assert replayed.json["marked"] == 1203
    wanted = WebhookFilter(provider_envelope_id="env-9", states=("pending",))
    assert await journal.count(wanted) == 1203


async def test_the_quarantine_is_seen_released_and_let_go(
    sealwax: Sealwax, journal: Journal
) -> None:
    told = await sealwax("webhooks", "status")
    assert told.out.startswith("ATTENTION 1 in quarantine")
    listed = await sealwax("webhooks", "quarantine", "list", "--json")
    assert [row["id"] for row in listed.json] == [6]
    assert (await sealwax("webhooks", "quarantine", "release", "6", "--json")).json["marked"] == 1
    assert (await states(journal))[5] == "pending"
    assert (await sealwax("webhooks", "quarantine", "put", "6", "7")).out == "2 put aside\n"
    assert (await sealwax("webhooks", "quarantine", "discard", "--all")).out == "2 discarded\n"
    assert (await states(journal))[5:7] == ["discarded", "discarded"]
    assert (await sealwax("webhooks", "quarantine", "release", "--all")).out == "0 released\n"
    # What was delivered is not put aside.
    assert (await sealwax("webhooks", "quarantine", "put", "1")).out == "0 put aside\n"


async def test_status_says_what_waits_and_who_forwards(sealwax: Sealwax, journal: Journal) -> None:
    await journal.beat("host:17:abc", datetime.now(UTC), True)
    told = (await sealwax("webhooks", "status", "--json")).json
    assert (told["pending"], told["parked"], told["late"], told["needs_attention"]) == (2, 2, 1, 1)
    assert [(f["name"], f["reaching"]) for f in told["forwarders"]] == [("host:17:abc", True)]
    assert told["oldest_pending"]
    said = (await sealwax("webhooks", "status")).out
    assert said.splitlines()[-1].startswith("forwarder host:17:abc, last heard at ")
    assert said.endswith(": reaches Temporal\n")


BAD: dict[str, tuple[tuple[str, ...], str, int]] = {
    "no such state": (("list", "--state", "lost"), "bad_input", 2),
    "no time": (("list", "--since", "yesterday"), "bad_input", 2),
    "too far back": (("list", "--since", "999999w"), "bad_input", 2),
    "no account": (("list", "--account", "nobody"), "settings", 2),
    "limit": (("list", "--limit", "0"), "bad_input", 2),
    "limit too large": (("list", "--limit", "1000000000"), "bad_input", 2),
    "no number": (("show", "one"), "bad_input", 2),
    "unknown number": (("show", "99"), "unknown_webhook", 5),
    "huge number": (("show", "9" * 30), "unknown_webhook", 5),
    "nothing named": (("replay",), "bad_input", 2),
    "number zero": (("replay", "0"), "bad_input", 2),
    "huge replay": (("replay", "9" * 30), "bad_input", 2),
    "release of nothing": (("quarantine", "release"), "bad_input", 2),
    "put of nothing": (("quarantine", "put"), "bad_input", 2),
    "refused of nobody": (("refused", "--account", "nobody"), "settings", 2),
    "adopt for nobody": (("adopt", "nobody", "env-1"), "settings", 2),
    "adopt nothing": (("adopt", "{account}", "no such/id"), "bad_input", 2),
    "adopt under a name": (("adopt", "{account}", "env-1", "--key", "a@b"), "bad_key", 2),
    "adopt in no time": (("adopt", "{account}", "env-1", "--timeout", "0"), "bad_input", 2),
    "adopt as nobody": (("adopt", "{account}", "env-1", "--principal", "x"), "settings", 2),
}


@pytest.mark.parametrize("what", BAD)
async def test_bad_input_is_one_typed_line_and_changes_nothing(
    sealwax: Sealwax, journal: Journal, account: str, what: str
) -> None:
    arguments, code, status = BAD[what]
    before = await states(journal)
    ran = await sealwax("webhooks", *(a.format(account=account) for a in arguments), "--json")
    assert (ran.error["code"], ran.code) == (code, status)
    assert await states(journal) == before


async def test_where_no_bridge_has_run_yet_no_journal_is_made(
    sealwax: Sealwax, settings: Path
) -> None:
    ran = await sealwax("webhooks", "list", "--json")
    assert (ran.error["code"], ran.code) == ("bad_input", 2)
    assert "start the bridge first" in ran.error["message"]
    assert not (settings.parent / "sealwax-data" / "journal.db").exists()


async def test_refused_deliveries_are_listed_newest_first(
    sealwax: Sealwax, journal: Journal, account: str
) -> None:
    now = datetime.now(UTC)
    for n, name in enumerate((account, "", account)):
        at = now + timedelta(seconds=n)
        journal.refuse(RefusedWebhook(name, 401, "signature", (), b"who am I", 8, at))
    async with asyncio.timeout(20):
        while len(await journal.refused(None, 10)) < 3:  # noqa: ASYNC110 - kept when there is room
            await asyncio.sleep(0.01)
    listed = (await sealwax("webhooks", "refused", "--json")).json
    assert [row["account"] for row in listed] == [account, "", account]
    assert "body" not in listed[0]
    mine = (await sealwax("webhooks", "refused", "--account", account, "--body", "--json")).json
    assert [row["body"] for row in mine] == ["who am I", "who am I"]
    assert len((await sealwax("webhooks", "refused", "--account", "", "--json")).json) == 1
    assert "signature" in (await sealwax("webhooks", "refused")).out
