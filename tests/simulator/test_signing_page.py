"""The signing page: what it shows, what it keeps, and that a browser can use it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tests.simulator.desk import Desk, definition, person
from tests.simulator.program import running, user_token
from tests.simulator.signer import RETURN_URL, asking, embedded, event_of, signers

CHROMIUM = shutil.which("chromium")
LABEL = 'Company "<b>"'
COMPANY = 'A "quoted" & <i>name</i>'
TABS = {
    "textTabs": [
        {"tabLabel": LABEL, "required": "true", "value": COMPANY},
        {"tabLabel": LABEL},
    ],
    "checkboxTabs": [{"tabLabel": "Agreed", "selected": "true"}],
    "listTabs": [{"tabLabel": "Plan", "listItems": [{"text": "Small", "value": "s"}]}],
    "signHereTabs": [{"tabLabel": "Here"}],
}


class Form(HTMLParser):
    """The form of a page: address, inputs by name, button values, nonces."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.inputs: dict[str, dict[str, str | None]] = {}
        self.buttons: list[str | None] = []
        self.elements: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append(tag)
        if tag == "form":
            self.action = given["action"] or ""
        elif tag in ("input", "select") and given.get("type") != "hidden":
            self.inputs[given["name"] or ""] = given
        elif tag == "button":
            self.buttons.append(given["value"])


async def opened(desk: Desk) -> tuple[httpx.Response, Form]:
    """The page of a signer with several fields."""
    one = await signers(desk, person("1", clientUserId="c1", tabs=TABS), embedded("2"))
    page = await desk.http.get(await one.url("1"))
    return page, Form(page.text)


async def test_the_page_shows_document_fields_and_four_ways_out(desk: Desk) -> None:
    """Fields of one label are one; what the sender wrote cannot become markup."""
    page, form = await opened(desk)
    assert page.status_code == 200
    assert "d1.pdf" in page.text
    assert list(form.inputs) == [LABEL, "Agreed", "Plan", "signature"]
    assert form.inputs[LABEL]["value"] == COMPANY
    assert "required" in form.inputs[LABEL]
    assert "checked" in form.inputs["Agreed"]
    assert form.inputs["signature"]["value"] == "Signer 1"
    assert form.buttons == ["sign", "finish-later", "cancel", "decline"]
    assert not {"i", "b", "img"} & set(form.elements)


async def test_the_page_loads_nothing_from_outside_and_is_not_kept(desk: Desk) -> None:
    page, _ = await opened(desk)
    policy = page.headers["content-security-policy"]
    nonces = set(re.findall(r'nonce="([^"]+)"', page.text))
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert all(f"'nonce-{nonce}'" in policy for nonce in nonces)
    assert len(nonces) == 1
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "http" not in re.sub(r'lang="en"', "", page.text)


async def test_what_was_typed_is_saved_survives_a_reload_and_is_signed(desk: Desk) -> None:
    """The page has an address of its own; what stood there before does not count as typed."""
    _, form = await opened(desk)
    everything = {LABEL: "Sealing Ltd", "Agreed": "", "Plan": "", "signature": "Signer 1"}
    json = {"accept": "application/json"}
    saved = await desk.http.post(form.action, data={"action": "type", **everything}, headers=json)
    assert saved.json() == {"saved": 2}
    again = Form((await desk.http.get(form.action)).text)
    assert again.inputs[LABEL]["value"] == "Sealing Ltd"
    assert "checked" not in again.inputs["Agreed"]
    done = await desk.http.post(form.action, data={"action": "sign", **everything})
    assert (done.status_code, done.headers["location"]) == (
        303,
        f"{RETURN_URL}&event=signing_complete",
    )
    repeated = await desk.http.post(form.action, data={"action": "decline"})
    assert event_of(repeated.headers["location"]) == "signing_complete"
    envelope = (await desk.ledger())["envelopes"][0]
    assert envelope["recipients"][0]["values"] == {LABEL: "Sealing Ltd", "Agreed": ""}
    assert envelope["recipients"][0]["status"] == "completed"


async def test_a_kicked_page_is_redirected_when_it_saves_or_reloads(desk: Desk) -> None:
    both = await signers(desk)
    form = Form((await desk.http.get(await both.url("1"))).text)
    await both.url("2")
    json = {"accept": "application/json"}
    told = await desk.http.post(form.action, data={"action": "type", "Note": "x"}, headers=json)
    assert told.json()["returnUrl"] == f"{RETURN_URL}&event=session_timeout"
    assert event_of((await desk.http.get(form.action)).headers["location"]) == "session_timeout"
    assert (await both.ledger())[0] == ("1", "kicked", True, True)


async def test_the_page_says_when_its_window_closes_and_comes_back_by_reload(desk: Desk) -> None:
    """The farewell of the page that a reload left, come late, closes nothing."""
    both = await signers(desk)
    form = Form((await desk.http.get(await both.url("1"))).text)
    gone = await desk.http.post(form.action, data={"action": "close-window"})
    assert gone.status_code == 204
    assert not (await desk.ledger())["sessions"][0]["present"]
    assert (await desk.http.get(form.action)).status_code == 200
    assert (await desk.ledger())["sessions"][0]["present"]
    late = await desk.http.post(form.action, data={"action": "close-window", "load": "1"})
    assert late.status_code == 204
    assert (await desk.ledger())["sessions"][0]["present"]


async def test_foreign_tickets_and_unknown_actions(desk: Desk) -> None:
    one = await signers(desk, embedded("1"))
    url = await one.url("1")
    assert (await desk.http.post(url, data={"action": "sign"})).status_code == 404
    form = Form((await desk.http.get(url)).text)
    assert (await desk.http.get(f"{form.action}x")).status_code == 404
    assert (await desk.http.get(f"{form.action}é")).status_code == 404
    assert (await desk.http.post(form.action, data={"action": "dance"})).status_code == 400


@pytest.mark.server
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium on the path")
def test_chromium_renders_the_page_under_its_own_policy(tmp_path: Path) -> None:
    """The page is whole, and its script ran to the end."""
    with running("--overlap", "off") as (url, _):
        headers = {"Authorization": f"Bearer {user_token(url)}"}
        base = f"{url}/restapi/v2.1/accounts/acc-1/envelopes"
        made = httpx.post(base, json=definition(embedded("1")), headers=headers).json()
        view = f"{base}/{made['envelopeId']}/views/recipient"
        signing = httpx.post(view, json=asking("1"), headers=headers).json()["url"]
        command = [
            str(CHROMIUM),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            signing,
        ]
        dumped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        form = Form(dumped.stdout)
        assert form.buttons == ["sign", "finish-later", "cancel", "decline"]
        assert list(form.inputs) == ["Note", "signature"]
        assert 'data-ready="yes"' in dumped.stdout
        session = httpx.get(f"{url}/simulator/ledger").json()["sessions"][0]
        assert session["opened"] is not None
        assert "Content Security Policy" not in dumped.stderr
