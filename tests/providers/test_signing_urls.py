"""Laws of signing URLs at the adapter and the shell: what is asked, and who may learn the URL."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from sealwax.calls import OpenView
from sealwax.mutations import SendEnvelope
from sealwax.providers.base import (
    Answer,
    NotSentError,
    OutcomeUnknown,
    ProviderRejected,
    RateLimited,
)
from sealwax.providers.docusign import DocuSignAdapter
from sealwax.providers.http import HttpProvider, client
from tests.providers.conversations import answer, drive
from tests.providers.desk import Desk
from tests.providers.samples import BOB, principal
from tests.providers.simulated import Stage

ADAPTER = DocuSignAdapter()
DONE = "https://hooks.example.com/sessions/acme/r/1/m/done"
PING = "https://hooks.example.com/sessions/acme/r/1/m/ping"
URL = "https://demo.docusign.net/Signing/MTRedeem/v1/1?slt=secret-of-the-url"


def view(ping_every_s: float = 60.0, **changed: Any) -> OpenView:
    held: dict[str, Any] = {
        "recipient": "2",
        "name": BOB.name,
        "email": BOB.email,
        "client_user_id": BOB.client_user_id,
        "token": 1,
        "ping_every_s": ping_every_s,
    }
    return OpenView(**(held | changed))


def test_the_request_for_a_url_names_the_recipient_in_every_way_and_where_to_report() -> None:
    """In declared keys (SPEC Views_PostEnvelopeRecipientView); the answer is the URL alone."""
    conversation = ADAPTER.open_view("e-1", view(), DONE, PING)
    driven = drive(conversation, answer({"url": URL}, 201))
    assert driven.asked == [("POST", "/envelopes/e-1/views/recipient")]
    assert driven.requests[0].json == {
        "returnUrl": DONE,
        "authenticationMethod": "None",
        "clientUserId": "u-bob",
        "recipientId": "2",
        "userName": BOB.name,
        "email": BOB.email,
        "pingUrl": PING,
        "pingFrequency": "60",
    }
    assert driven.returned == URL


@pytest.mark.parametrize(
    ("wanted_s", "asked"), [(0.5, "60"), (60, "60"), (60.2, "61"), (300, "300"), (5000, "1200")]
)
def test_pings_are_asked_for_in_whole_seconds_within_the_provider_s_bounds(
    wanted_s: float, asked: str
) -> None:
    driven = drive(ADAPTER.open_view("e-1", view(wanted_s), DONE, PING), answer({"url": URL}, 201))
    assert driven.requests[0].json["pingFrequency"] == asked


@pytest.mark.parametrize("code", ["UNKNOWN_ENVELOPE_RECIPIENT", "RECIPIENT_NOT_IN_SEQUENCE"])
def test_a_recipient_who_may_not_have_one_is_a_refusal_for_good(code: str) -> None:
    with pytest.raises(ProviderRejected, match=code) as caught:
        drive(
            ADAPTER.open_view("e-1", view(), DONE, PING),
            answer({"errorCode": code, "message": "no"}, 400),
        )
    assert caught.value.code == code


@pytest.mark.parametrize("body", [{}, {"url": ""}, {"url": 7}, b"", b"<html>"])
def test_an_answer_without_a_url_is_asked_for_again(body: Any) -> None:
    """Another URL does no harm: nobody got this one."""
    with pytest.raises(NotSentError):
        drive(ADAPTER.open_view("e-1", view(), DONE, PING), answer(body, 201))


def revoked(got: Answer) -> None:
    conversation = ADAPTER.revoke_view(URL)
    request = next(conversation)
    assert (request.method, request.path, request.json) == ("DELETE", URL, None)
    assert request.absolute
    with pytest.raises(StopIteration):
        conversation.send(got)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_success_without_a_body_is_a_revoked_url(status: int) -> None:
    revoked(answer(b"", status))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, ProviderRejected),
        (400, ProviderRejected),
        (401, ProviderRejected),
        (404, ProviderRejected),
        (405, ProviderRejected),
        (409, ProviderRejected),
        (410, ProviderRejected),
        (408, OutcomeUnknown),
        (429, RateLimited),
        (500, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
def test_nothing_but_a_success_counts_as_revoked(status: int, kind: type[Exception]) -> None:
    """Neither does a word of the URL stand in what is said of it."""
    with pytest.raises(kind) as caught:
        revoked(answer(b"gone", status))
    assert "secret" not in str(caught.value)


async def test_a_url_opens_a_session_that_reports_to_us(stage: Stage) -> None:
    """By the simulator's ledger: one session, of this recipient, once his turn has come."""
    desk = await Desk.draft(stage)
    await desk.make(SendEnvelope())
    with pytest.raises(ProviderRejected, match="RECIPIENT_NOT_IN_SEQUENCE"):
        await desk.provider.open_view(desk.envelope_id, view(), DONE, PING)
    await stage.act(desk.envelope_id, "1", "sign")
    with pytest.raises(ProviderRejected, match="UNKNOWN_ENVELOPE_RECIPIENT"):
        await desk.provider.open_view(desk.envelope_id, view(name="Rob Birch"), DONE, PING)
    url = await desk.provider.open_view(desk.envelope_id, view(), DONE, PING)
    page = await stage.client.get(url)
    assert page.status_code == 200
    (session,) = (await stage.ledger())["sessions"]
    assert (session["recipientId"], session["state"]) == ("2", "active")


async def test_a_url_that_was_revoked_opens_nothing_and_an_opened_one_is_not_revoked(
    stage: Stage,
) -> None:
    """By the simulator's ledger, which tells how each ended."""
    desk = await Desk.draft(stage)
    await desk.make(SendEnvelope())
    await stage.act(desk.envelope_id, "1", "sign")
    first = await desk.provider.open_view(desk.envelope_id, view(), DONE, PING)
    await desk.provider.revoke_view(first)
    await stage.client.get(first)
    second = await desk.provider.open_view(desk.envelope_id, view(), DONE, PING)
    await stage.client.get(second)
    with pytest.raises(ProviderRejected):
        await desk.provider.revoke_view(second)
    sessions = (await stage.ledger())["sessions"]
    assert [(s["state"], s["end"]) for s in sessions] == [("ended", "revoked"), ("active", None)]


class NoTokens:
    """A token source that must not be asked."""

    async def token(self, principal: Any) -> str:
        raise AssertionError("a token was asked for")

    def invalidate(self, principal: Any, token: str) -> None:
        raise AssertionError("a token was invalidated")


class Line(httpx.AsyncBaseTransport):
    """Keeps what is sent, and answers or breaks as it is told."""

    def __init__(self, status: int = 204, error: Exception | None = None) -> None:
        self.status = status
        self.error = error
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        if self.error is not None:
            raise self.error
        headers = {"location": "https://elsewhere.example/"} if self.status == 302 else {}
        return httpx.Response(self.status, headers=headers)


def provider(line: Line, api_base: str = "https://demo.docusign.net/restapi") -> HttpProvider:
    return HttpProvider(
        ADAPTER,
        api_base=api_base,
        account_id="a-1",
        client=httpx.AsyncClient(transport=line, cookies={"own": "cookie"}),
        tokens=NoTokens(),
        principal=principal("leasing", "https://account-d.docusign.com"),
    )


@pytest.mark.parametrize("status", [204, 302, 401, 404])
async def test_a_signing_url_is_sent_no_credential_whatever_it_answers(status: int) -> None:
    """Neither token nor cookie, one request, no redirect followed: the URL is its own authority."""
    line = Line(status)
    if status == 204:
        await provider(line).revoke_view(URL)
    else:
        with pytest.raises(ProviderRejected):
            await provider(line).revoke_view(URL)
    (request,) = line.sent
    assert (request.method, str(request.url)) == ("DELETE", URL)
    assert not {"authorization", "cookie"} & set(request.headers)


@pytest.mark.parametrize(
    "url",
    [
        "http://demo.docusign.net/Signing/1?slt=s",
        "ftp://demo.docusign.net/Signing/1",
        "file:///etc/passwd",
        "/Signing/1?slt=s",
        "https://user:word@demo.docusign.net/Signing/1",
        "https://",
        "http://[::1",
        "",
    ],
)
async def test_a_url_that_others_could_read_or_that_is_none_is_not_asked(url: str) -> None:
    line = Line()
    with pytest.raises(ProviderRejected, match="BAD_URL"):
        await provider(line).revoke_view(url)
    assert line.sent == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:8101/Signing/1?slt=s", "http://[::1]:1/S"])
async def test_a_simulator_on_this_machine_may_speak_plain_http(url: str) -> None:
    line = Line()
    await provider(line).revoke_view(url)
    assert [str(r.url) for r in line.sent] == [url]


async def test_a_lost_answer_to_a_revocation_is_unknown_without_the_url_in_its_words() -> None:
    line = Line(error=httpx.ReadError(f"broken: {URL}"))
    with pytest.raises(OutcomeUnknown) as caught:
        await provider(line).revoke_view(URL)
    assert "secret" not in str(caught.value)


async def test_no_url_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """httpx would log each one in full at INFO, the level at which the worker runs."""
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    caplog.set_level(logging.INFO)
    async with client() as made:
        with pytest.raises(httpx.HTTPError):
            await made.delete("http://127.0.0.1:1/Signing?slt=secret-of-the-url")
        made._transport = Line()
        made._mounts = {}
        await made.delete(URL)
    assert "secret-of-the-url" not in caplog.text
