"""Custom fields and notification settings (SPEC CustomFields_*, Notification_*)."""

from __future__ import annotations

from typing import Any

from simulator.dialect.context import Answer, Context, an_object, objects
from simulator.dialect.shapes import (
    custom_field_shape,
    custom_fields_shape,
    notification_shape,
    texts,
)
from simulator.errors import ProviderError, invalid_body, invalid_parameter
from simulator.ledger import Mint
from simulator.model import CustomField, Definition

KINDS = ("textCustomFields", "listCustomFields")


def add_fields(definition: Definition, raw: dict[str, Any], mint: Mint) -> list[CustomField]:
    """Add custom fields; adding the same name twice makes two fields."""
    added = []
    for kind in KINDS:
        for index, entry in enumerate(objects(raw, kind)):
            fields = {k: v for k, v in texts(entry).items() if k not in ("fieldId", "errorDetails")}
            if not fields.get("name"):
                raise invalid_body("Every custom field needs a name.")
            fields = {"show": "false", "required": "false", "value": "", **fields}
            # The provider's field ids are decimal numbers.
            number = int(mint(f"field:{kind}:{index}").replace("-", "")[:8], 16)
            added.append(CustomField(str(number), kind, fields))
    definition.custom_fields += added
    return added


def _find(definition: Definition, kind: str, wanted: dict[str, Any]) -> CustomField | None:
    for custom in definition.custom_fields:
        by_id = wanted.get("fieldId") == custom.field_id
        by_name = not wanted.get("fieldId") and wanted.get("name") == custom.name
        if custom.kind == kind and (by_id or by_name):
            return custom
    return None


def update_fields(definition: Definition, raw: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Update custom fields by fieldId or, without one, by name; errors per item."""
    answer: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        for entry in objects(raw, kind):
            change = texts(entry)
            custom = _find(definition, kind, change)
            if custom is None:
                shape = {**change, "errorDetails": _unknown().body()}
            else:
                drop = ("fieldId", "errorDetails")
                given = {k: v for k, v in change.items() if k not in drop}
                custom.fields = {**custom.fields, **given}
                shape = custom_field_shape(custom)
            answer.setdefault(kind, []).append(shape)
    return answer


def _unknown() -> ProviderError:
    return invalid_parameter("The envelope has no such custom field.")


async def get(context: Context) -> Answer:
    """SPEC CustomFields_GetCustomFields."""
    return Answer(200, custom_fields_shape(context.envelope.definition.custom_fields))


async def post(context: Context) -> Answer:
    """SPEC CustomFields_PostCustomFields; not idempotent."""
    body = context.body()
    added = await context.change(lambda d, mint: add_fields(d, body, mint))
    return Answer(201, custom_fields_shape(added))


async def put(context: Context) -> Answer:
    """SPEC CustomFields_PutCustomFields."""
    body = context.body()
    return Answer(200, await context.change(lambda d, _: update_fields(d, body)))


async def delete(context: Context) -> Answer:
    """SPEC CustomFields_DeleteCustomFields: answers with what was deleted."""
    body = context.body()

    def apply(definition: Definition, _: Mint) -> dict[str, list[dict[str, Any]]]:
        answer: dict[str, list[dict[str, Any]]] = {}
        for kind in KINDS:
            for entry in objects(body, kind):
                custom = _find(definition, kind, texts(entry))
                if custom is None:
                    shape = {**texts(entry), "errorDetails": _unknown().body()}
                else:
                    definition.custom_fields.remove(custom)
                    shape = custom_field_shape(custom)
                answer.setdefault(kind, []).append(shape)
        return answer

    return Answer(200, await context.change(apply))


def set_notification(definition: Definition, raw: dict[str, Any]) -> None:
    """Replace the notification settings."""
    given = {
        "reminders": texts(an_object(raw, "reminders")),
        "expirations": texts(an_object(raw, "expirations")),
    }
    if raw.get("useAccountDefaults") is not None:
        given["useAccountDefaults"] = texts(raw["useAccountDefaults"])
    definition.notification = given


async def get_notification(context: Context) -> Answer:
    """SPEC Notification_GetEnvelopesEnvelopeIdNotification."""
    return Answer(200, notification_shape(context.envelope))


async def put_notification(context: Context) -> Answer:
    """SPEC Notification_PutEnvelopesEnvelopeIdNotification; sends no mail."""
    body = context.body()
    await context.change(lambda d, _: set_notification(d, body))
    return Answer(200, notification_shape(context.envelope))
