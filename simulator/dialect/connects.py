"""Connect configurations, log, re-publishing (SPEC Connect_*, ConnectLog_*, ConnectPublish_*)."""

from __future__ import annotations

from typing import Any

from simulator.dialect.context import Answer, Context
from simulator.dialect.shapes import texts, whole
from simulator.errors import ProviderError, invalid_body

_ECHOED = (
    "name",
    "urlToPublishTo",
    "events",
    "eventData",
    "includeHMAC",
    "requiresAcknowledgement",
    "deliveryMode",
    "configurationType",
    "allUsers",
    "allowEnvelopePublish",
    "enableLog",
)


def _missing() -> ProviderError:
    """400 (code unverified): no such configuration."""
    return ProviderError("CONNECT_CONFIGURATION_DOES_NOT_EXIST", "No such Connect configuration.")


def _shape(config_id: int, raw: dict[str, Any]) -> dict[str, Any]:
    given = {k: texts(raw[k]) for k in _ECHOED if raw.get(k) is not None}
    return {"configurationType": "custom", **given, "connectId": str(config_id)}


def _listed(found: dict[int, dict[str, Any]]) -> Answer:
    shapes = [_shape(config_id, raw) for config_id, raw in found.items()]
    return Answer(200, {"configurations": shapes, "totalRecords": str(len(shapes))})


async def get_all(context: Context) -> Answer:
    """SPEC Connect_GetConnectConfigs."""
    return _listed(context.service.connect.configurations.get(context.account_id, {}))


def _config_id(context: Context, raw: Any) -> int:
    found = context.service.connect.configurations.get(context.account_id, {})
    config_id = whole(raw)
    if config_id is None or config_id not in found:
        raise _missing()
    return config_id


async def get_one(context: Context) -> Answer:
    """SPEC Connect_GetConnectConfig."""
    config_id = _config_id(context, context.params["connectId"])
    found = context.service.connect.configurations[context.account_id]
    return _listed({config_id: found[config_id]})


async def post(context: Context) -> Answer:
    """SPEC Connect_PostConnectConfiguration."""
    body = context.body()
    config_id = context.service.connect.configure(context.account_id, body)
    return Answer(201, _shape(config_id, body))


async def put(context: Context) -> Answer:
    """SPEC Connect_PutConnectConfiguration: connectId stands in the body."""
    body = context.body()
    if not body.get("connectId"):
        raise invalid_body("connectId is required.")
    config_id = _config_id(context, body["connectId"])
    old = context.service.connect.configurations[context.account_id][config_id]
    merged = {**old, **body}
    context.service.connect.configure(context.account_id, merged, config_id)
    return Answer(200, _shape(config_id, merged))


async def delete(context: Context) -> Answer:
    """SPEC Connect_DeleteConnectConfig."""
    config_id = _config_id(context, context.params["connectId"])
    context.service.connect.drop_configuration(context.account_id, config_id)
    return Answer(200)


async def retry_envelope(context: Context) -> Answer:
    """SPEC ConnectPublish_PutConnectRetryByEnvelope: sends the envelope's messages again."""
    envelope = context.envelope
    connect = context.service.connect
    configs = sorted({d.subscription.config_id for d in connect.past(envelope.envelope_id)})
    connect.redeliver(envelope.envelope_id)
    queue = [
        {"configId": str(c), "envelopeId": envelope.envelope_id, "status": "queued"}
        for c in configs
    ]
    return Answer(200, {"retryQueue": queue})


async def get_logs(context: Context) -> Answer:
    """SPEC ConnectLog_GetConnectLogs: the last hundred deliveries."""
    logs = [e for e in context.service.connect.log if e["accountId"] == context.account_id]
    return Answer(200, {"logs": logs, "totalRecords": str(len(logs))})
