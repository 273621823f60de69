"""The naive client's jobs and services, each calling the provider for itself."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from demo import workload
from demo.contracts.render import TITLES, pdf_path
from demo.ledger import Belief
from demo.naive.listener import Event, Listener
from demo.naive.rest import Credentials, NoAnswer, Rejected, Rest, backoff_s
from demo.naive.rows import FINAL, Row, Rows
from demo.side import ChangeFailed
from demo.workload import Change, Field, Life, Party

KEY_FIELD = "order"

_CREATE_TRIES_MAX = 4
_SETTLED_WITHIN_S = 20.0
_LOOK_BACK = timedelta(days=30)
_NUMBERS = {
    workload.BUYER: "1",
    workload.SELLER: "2",
    workload.WITNESS: "3",
    workload.AUDITOR: "4",
    workload.ARCHIVIST: "5",
    workload.OBSERVER: "6",
}
_TABS = {"sign_here": "signHereTabs", "date_signed": "dateSignedTabs", "text": "textTabs"}
_EVENTS = (
    "envelope-created",
    "envelope-sent",
    "envelope-delivered",
    "envelope-completed",
    "envelope-declined",
    "envelope-voided",
    "envelope-deleted",
)
_KNOWN = {event: event.removeprefix("envelope-") for event in _EVENTS}


class NaiveSide:
    """The side of the competent client. An async context manager; PDFs go into `folder`."""

    name = "naive"

    def __init__(self, credentials: Credentials, hmac_key: str, folder: Path) -> None:
        self._rest = Rest(credentials)
        self._rows = Rows()
        self._listener = Listener(hmac_key, self._hear)
        self._early: dict[str, list[str]] = {}
        self._moved = asyncio.Condition()
        self._folder = folder
        self._notifying: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> NaiveSide:
        self._folder.mkdir(parents=True, exist_ok=True)
        await self._listener.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.__aexit__()
        await self._rest.__aexit__()
        self._rows.close()

    async def take_job(self, life: Life) -> str:
        """Get or create: own row, else the provider's by the order number, else a new draft."""
        try:
            for number in range(1, _CREATE_TRIES_MAX + 1):
                row = self._rows.by_key(life.key)
                if row is not None:
                    return row.envelope_id
                found = await self._find(life.key)
                if found is not None:
                    return (await self._adopt(life.key, found)).envelope_id
                try:
                    made = await self._rest.call(
                        "POST", "/envelopes", body=self._draft(life), again=False
                    )
                except NoAnswer:
                    # It may have been made all the same: look again before making another.
                    await asyncio.sleep(backoff_s(number))
                    continue
                return (await self._adopt(life.key, made["envelopeId"])).envelope_id
        except (Rejected, NoAnswer) as error:
            raise ChangeFailed(str(error)) from error
        raise ChangeFailed("the provider did not answer")

    async def change(self, life: Life, change: Change) -> None:
        """Make a change at the provider, at once."""
        row = self._rows.by_key(life.key)
        if row is None:
            raise ChangeFailed(f"{life.key} has no envelope yet")
        path = f"/envelopes/{row.envelope_id}"
        try:
            match change:
                case workload.Discard():
                    binned = {"envelopeIds": [row.envelope_id]}
                    await self._rest.call("PUT", "/folders/recyclebin", body=binned)
                case workload.Remind() | workload.Expire():
                    await self._notify(f"{path}/notification", change)
                case _:
                    method, below, body = request_of(life, change)
                    await self._rest.call(method, f"{path}{below}", body=body)
        except (Rejected, NoAnswer) as error:
            raise ChangeFailed(str(error)) from error

    async def _notify(self, path: str, change: workload.Remind | workload.Expire) -> None:
        """Reminders and end are one thing at the provider: the other is read and kept."""
        async with self._notifying.setdefault(path, asyncio.Lock()):
            held = await self._rest.call("GET", path)
            kept: dict[str, Any] = {
                key: held[key] for key in ("reminders", "expirations") if key in held
            }
            body: dict[str, Any] = {"useAccountDefaults": "false", **kept}
            body.update(notification_json(change))
            await self._rest.call("PUT", path, body=body)

    async def settle(self, life: Life) -> Belief:
        """Wait for the webhook of the end; when it stays away, read. Keep the completed PDF."""
        row = self._rows.by_key(life.key)
        if row is None:
            return Belief("", "new")
        try:
            async with asyncio.timeout(_SETTLED_WITHIN_S), self._moved:
                await self._moved.wait_for(lambda: self._row(row).status in FINAL)
        except TimeoutError:
            await self._move(row.envelope_id, await self._read_status(row.envelope_id))
        held = self._row(row)
        if held.status == "completed":
            path = f"/envelopes/{row.envelope_id}/documents/combined"
            (self._folder / f"{life.key}.pdf").write_bytes(await self._rest.download(path))
        return Belief(held.envelope_id, held.status)

    def _row(self, row: Row) -> Row:
        return self._rows.by_key(row.key) or row

    async def _find(self, key: str) -> str | None:
        since = datetime.now(UTC) - _LOOK_BACK
        answer = await self._rest.call(
            "GET",
            "/envelopes",
            params={
                "from_date": since.isoformat(),
                "custom_field": f"{KEY_FIELD}={key}",
                "order_by": "created",
            },
        )
        alive = [e for e in answer.get("envelopes") or () if e["status"] != "deleted"]
        return str(alive[0]["envelopeId"]) if alive else None

    async def _adopt(self, key: str, envelope_id: str) -> Row:
        row = self._rows.add(key, envelope_id, "created")
        for status in self._early.pop(row.envelope_id, ()):
            await self._move(row.envelope_id, status)
        return row

    async def _hear(self, event: Event) -> None:
        """One webhook: repeats and steps back change nothing, an end is confirmed by a read."""
        data = event["data"]
        envelope_id, status = str(data["envelopeId"]), _KNOWN.get(event["event"])
        key = ":".join(
            (envelope_id, event["event"], str(data.get("recipientId")), event["generatedDateTime"])
        )
        if status is None or self._rows.seen(key):
            return
        if self._rows.by_envelope(envelope_id) is None:
            # The webhook overtook the answer of the create call.
            self._early.setdefault(envelope_id, []).append(status)
        else:
            if status in FINAL:
                status = await self._read_status(envelope_id)
            await self._move(envelope_id, status)
        self._rows.remember(key)

    async def _move(self, envelope_id: str, status: str) -> None:
        if self._rows.move(envelope_id, status):
            async with self._moved:
                self._moved.notify_all()

    async def _read_status(self, envelope_id: str) -> str:
        answer = await self._rest.call("GET", f"/envelopes/{envelope_id}")
        return str(answer["status"]).lower()

    def _draft(self, life: Life) -> dict[str, Any]:
        return {
            "status": "created",
            "emailSubject": life.subject,
            "emailBlurb": life.message,
            "documents": [document_json(workload.MAIN_DOCUMENT_ID, life.contract)],
            "recipients": {"signers": [party_json(party) for party in life.parties]},
            "customFields": {
                "textCustomFields": [
                    {"name": KEY_FIELD, "value": life.key, "show": "false", "required": "false"}
                ]
            },
            "eventNotification": {
                "url": self._listener.url,
                "requireAcknowledgment": "true",
                "includeHMAC": "true",
                "deliveryMode": "SIM",
                "eventData": {"version": "restv2.1", "format": "json"},
                "events": list(_EVENTS),
            },
        }


def request_of(life: Life, change: Change) -> tuple[str, str, Mapping[str, Any]]:
    """Method, path under the envelope, and body of the one call that makes a change."""
    match change:
        case workload.AddDocument(document_id, contract) | workload.ReplaceDocument(
            document_id, contract
        ):
            return "PUT", "/documents", {"documents": [document_json(document_id, contract)]}
        case workload.ChangeSubject(subject):
            return "PUT", "", {"emailSubject": subject}
        case workload.ChangeMessage(message):
            return "PUT", "", {"emailBlurb": message}
        case workload.AddParty(party):
            kind = "signers" if party.signs else "carbonCopies"
            return "POST", "/recipients", {kind: [party_json(party)]}
        case workload.PlaceFields(role, fields):
            return "POST", f"/recipients/{_NUMBERS[role]}/tabs", tabs_json(fields)
        case workload.Reorder(role, order):
            signer = {"recipientId": _NUMBERS[role], "routingOrder": str(order)}
            return "PUT", "/recipients", {"signers": [signer]}
        case workload.Rename(role, name):
            return "PUT", "/recipients", people_json(life, {role: {"name": name}})
        case workload.Send():
            return "PUT", "", {"status": "sent"}
        case workload.Void(reason):
            return "PUT", "", {"status": "voided", "voidedReason": reason}
        case _:
            return _rare_request_of(life, change)


def _rare_request_of(life: Life, change: Change) -> tuple[str, str, Mapping[str, Any]]:
    match change:
        case workload.RemoveDocument(document_id):
            return "DELETE", "/documents", {"documents": [{"documentId": str(document_id)}]}
        case workload.RemoveParty(role):
            return "DELETE", "/recipients", people_json(life, {role: {}})
        case workload.RenameAll(names):
            renamed = {role: {"name": name} for role, name in names}
            return "PUT", "/recipients", people_json(life, renamed)
        case workload.Readdress(role, email):
            changed = {"name": life.party(role).name, "email": email}
            return "PUT", "/recipients", people_json(life, {role: changed})
        case workload.Resend(role):
            again = {role: {"name": life.party(role).name}}
            return "PUT", "/recipients?resend_envelope=true", people_json(life, again)
        case workload.Label(values, remove):
            fields: list[dict[str, str]] = [{"name": name, "value": v} for name, v in values]
            gone: list[dict[str, str]] = [{"name": name} for name in remove]
            method = "DELETE" if gone else "POST"
            return method, "/custom_fields", {"textCustomFields": gone or fields}
        case _:
            raise AssertionError(f"{change} is no single request")


def people_json(
    life: Life, people: Mapping[str, Mapping[str, str]]
) -> dict[str, list[dict[str, str]]]:
    """Entries of recipients by role, under the keys of their kinds."""
    body: dict[str, list[dict[str, str]]] = {}
    for role, entry in people.items():
        kind = "signers" if life.party(role).signs else "carbonCopies"
        body.setdefault(kind, []).append({"recipientId": _NUMBERS[role], **entry})
    return body


def notification_json(change: workload.Remind | workload.Expire) -> dict[str, Any]:
    """The half of a notification that a change sets."""
    match change:
        case workload.Remind(first, every):
            reminders = {"reminderDelay": str(first), "reminderFrequency": str(every)}
            return {"reminders": {"reminderEnabled": "true", **reminders}}
        case workload.Expire(after, warn):
            expirations = {"expireAfter": str(after), "expireWarn": str(warn)}
            return {"expirations": {"expireEnabled": "true", **expirations}}


def document_json(document_id: int, contract: str) -> dict[str, str]:
    """A document with its bytes."""
    return {
        "documentId": str(document_id),
        "name": TITLES[contract],
        "fileExtension": "pdf",
        "documentBase64": base64.b64encode(pdf_path(contract).read_bytes()).decode(),
    }


def party_json(party: Party) -> dict[str, str]:
    """A recipient; a copy's receiver and a signer have the same keys."""
    return {
        "recipientId": _NUMBERS[party.role],
        "name": party.name,
        "email": party.email,
        "routingOrder": str(party.order),
    }


def tabs_json(fields: tuple[Field, ...]) -> dict[str, list[dict[str, str]]]:
    """Tabs by DocuSign's keys."""
    tabs: dict[str, list[dict[str, str]]] = {}
    for held in fields:
        tabs.setdefault(_TABS[held.kind], []).append(
            {
                "documentId": str(workload.MAIN_DOCUMENT_ID),
                "tabLabel": held.label,
                "pageNumber": str(held.page),
                "xPosition": str(held.x),
                "yPosition": str(held.y),
            }
        )
    return tabs
