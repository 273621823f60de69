"""Laws of key changes: nothing is refused while a key is replaced, and the old one is then."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bridge.app import BridgeApp
from bridge.sources import GRACE_S, LOOK_EVERY_S, LiveSources
from sealwax.secret_references import SettingsError
from sealwax.settings import AccountSettings
from sealwax.stores.base import Journal
from sealwax.stores.journal import open_journal
from tests.bridge.deliveries import ACCOUNT_ID, Clock, no_sessions
from tests.keys import KEYRING
from tests.simulator.desk import ACCOUNT, Desk, person


class Monotonic:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def account(*references: str, account_id: str = ACCOUNT_ID) -> AccountSettings:
    return AccountSettings.model_validate(
        {
            "provider": "docusign",
            "account_id": account_id,
            "api_base": "http://127.0.0.1:1/restapi",
            "oauth_base": "http://127.0.0.1:1",
            "webhook_keys": references,
            "principals": {
                "system": {"integration_key": "i", "user_id": "u", "private_key": "file:k"}
            },
        }
    )


def keys(live: LiveSources) -> list[bytes]:
    return list(live["acme"].keys)


def put(file: Path, text: str) -> None:
    """Replace a key's file at once, as a person should."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    os.replace(draft, file)


@pytest.fixture
def clock() -> Monotonic:
    return Monotonic()


def test_each_line_of_each_file_is_a_key(
    tmp_path: Path, clock: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blank lines and line ends are none; the same key twice is one."""
    (tmp_path / "a").write_text("first\r\n\nse cond\nfirst\n")
    (tmp_path / "b").write_text("third")
    monkeypatch.setenv("TEST_KEYS", "fourth")
    references = (f"file:{tmp_path / 'a'}", f"file:{tmp_path / 'b'}", "env:TEST_KEYS")
    live = LiveSources({"acme": account(*references)}, clock)
    assert keys(live) == [b"first", b"se cond", b"third", b"fourth"]


def test_a_changed_file_counts_soon_and_an_unchanged_one_is_not_read_again(
    tmp_path: Path, clock: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    put(file, "old")
    live = LiveSources({"acme": account(f"file:{file}")}, clock)
    put(file, "old\nnew")
    assert keys(live) == [b"old"]
    clock.now_s += LOOK_EVERY_S
    assert keys(live) == [b"old", b"new"]
    monkeypatch.setattr(Path, "read_text", None)
    clock.now_s += LOOK_EVERY_S
    assert keys(live) == [b"old", b"new"]


@pytest.mark.parametrize("gone", ["removed", "empty", "unreadable"])
def test_a_file_that_cannot_be_used_keeps_its_keys_for_a_while_and_then_none(
    tmp_path: Path, clock: Monotonic, gone: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Half-way through being replaced is no reason to refuse; gone for good is."""
    file, other = tmp_path / "key", tmp_path / "other"
    put(file, "key")
    put(other, "other")
    live = LiveSources({"acme": account(f"file:{file}", f"file:{other}")}, clock)
    match gone:
        case "removed":
            file.unlink()
        case "empty":
            put(file, " \n")
        case _:
            file.write_bytes(b"\xff\xfe")
    clock.now_s += LOOK_EVERY_S
    assert keys(live) == [b"key", b"other"]
    clock.now_s += GRACE_S - 0.1
    assert keys(live) == [b"key", b"other"]
    clock.now_s += LOOK_EVERY_S
    assert keys(live) == [b"other"]
    assert "refused now" in caplog.text
    put(file, "again")
    clock.now_s += LOOK_EVERY_S
    assert keys(live) == [b"again", b"other"]


def test_a_key_that_is_missing_at_the_start_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="put the secret there"):
        LiveSources({"acme": account(f"file:{tmp_path / 'none'}")})


class Listening:
    """A bridge whose sender is the simulator: every answer it gave, by status."""

    def __init__(self, folder: Path, clock: Monotonic) -> None:
        self.file = folder / "connect-keys.txt"
        put(self.file, "old key")
        self.journal: Journal = open_journal(folder / "journal.db", KEYRING)
        self.answers: Counter[int] = Counter()
        self.app = BridgeApp(
            LiveSources({"acme": account(f"file:{self.file}", account_id=ACCOUNT_ID)}, clock),
            self.journal,
            body_bytes_max=100_000,
            arrived=lambda: None,
            forwarding=lambda: True,
            now=Clock(),
            sessions=no_sessions,
        )
        self._inner = httpx.ASGITransport(app=self.app)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        self.answers[answer.status_code] += 1
        return httpx.Response(answer.status_code)


@pytest_asyncio.fixture
async def listening(tmp_path: Path, clock: Monotonic) -> AsyncIterator[Listening]:
    made = Listening(tmp_path, clock)
    yield made
    await made.journal.close()


async def test_a_key_is_replaced_without_a_gap(listening: Listening, clock: Monotonic) -> None:
    """Old alone, then both at the bridge, then both and only the new one at the provider, then the
    new one alone at the bridge: no delivery is refused on the way, and the old key opens nothing
    any more. The provider signs with what is active at each moment, repeated messages too."""
    async with Desk(hooks=httpx.MockTransport(listening.handle)) as desk:
        path = f"/simulator/accounts/{ACCOUNT}/hmac-keys"
        hook = {
            "url": "http://127.0.0.1:9/webhooks/acme",
            "events": ["envelope-sent", "recipient-completed", "envelope-completed"],
            "includeHMAC": "true",
        }

        async def live(number: int) -> str:
            envelope = await desk.create(person("1"), eventNotification=hook)
            await desk.act(envelope, "1", "sign")
            await desk.flush()
            assert listening.answers == {200: 3 * number}
            return envelope

        async def add(key: str) -> str:
            return str((await desk.http.post(path, json={"key": key})).json()["id"])

        old = await add("old key")
        first = await live(1)
        put(listening.file, "old key\nnew key")
        clock.now_s += LOOK_EVERY_S
        await live(2)
        await add("new key")
        await live(3)
        await desk.http.delete(f"{path}/{old}")
        await live(4)
        put(listening.file, "new key\n")
        clock.now_s += LOOK_EVERY_S
        await live(5)
        await desk.http.post(f"/simulator/webhooks/{first}/redeliver")
        await desk.flush()
        assert listening.answers == {200: 18}
        counts = await listening.journal.counts()
        assert (counts.kept, counts.duplicates) == (15, 3)
        await desk.harms(webhooks={"retired_signature": 1, "max_tries": 1})
        await desk.create(person("1"), eventNotification=hook)
        await desk.flush()
        assert listening.answers == {200: 18, 401: 1}
        assert listening.app.refused == {"signature": 1}
