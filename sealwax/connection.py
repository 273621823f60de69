"""How every program of Sealwax reaches Temporal: one address, one way to write payloads.

Payloads are encrypted always (see ``sealwax.payloads``); nobody connects without a key.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import timedelta
from typing import TYPE_CHECKING

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.client import Client, GrpcCompression
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.service import RPCError, RPCStatusCode

from sealwax.keys import account_workflow_id
from sealwax.messages import (
    ATTRIBUTE_ACCOUNT,
    SEARCH_ATTRIBUTES,
    WORKFLOW_ACCOUNT,
    AccountInput,
)
from sealwax.payloads import client_options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from temporalio.runtime import Runtime

    from sealwax.crypto import Keyring
    from sealwax.settings import TemporalSettings

CONNECT_TIMEOUT_S = 10.0
_INDEXED = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}
_MAY_NOT_LOOK = (RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.PERMISSION_DENIED)
DEFAULT_ADDRESS = "127.0.0.1:7233"
DEFAULT_NAMESPACE = "default"
DEFAULT_PROFILE = "default"


class ConnectionFailed(Exception):
    """Temporal cannot be reached; the one-line message names the address and what to do."""


async def connect(
    temporal: TemporalSettings, keyring: Keyring, runtime: Runtime | None = None
) -> Client:
    """A connected client for the address and namespace of ``temporal``.

    All that it sends is encrypted with the current key of ``keyring``, headers and failures too.

    With ``temporal.profile`` the connection (TLS and API key included) comes from that profile of
    Temporal's own client configuration (docs.temporal.io, environment configuration), which may
    stand in its file or in ``TEMPORAL_*`` variables; what ``temporal`` sets itself wins over it.
    ``runtime`` is for a process that serves metrics (``sealwax.telemetry``). Raises
    ``ConnectionFailed``.
    """
    options = _profile_options(temporal.profile)
    address = temporal.address or options.get("target_host") or DEFAULT_ADDRESS
    options["target_host"] = address
    options["namespace"] = temporal.namespace or options.get("namespace") or DEFAULT_NAMESPACE
    # gzip saves bytes on a network and costs a sixth of the CPU where there is none.
    compression = GrpcCompression.NONE if is_loopback(address) else GrpcCompression.GZIP
    try:
        return await Client.connect(
            **options,
            grpc_compression=compression,
            **client_options(keyring),
            connect_timeout=timedelta(seconds=CONNECT_TIMEOUT_S),
            runtime=runtime,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ConnectionFailed(
            f"Temporal does not answer at {address} ({_reason(error)});"
            " start it there (`temporal server start-dev`), or set `address` under [temporal]"
        ) from error


async def register_search_attributes(client: Client) -> None:
    """Make the search attributes of envelopes known to the namespace, where they are not yet.

    A workflow that sets an unknown attribute stands still, so the worker asks before it works.
    Where the server does not let a client look (Temporal Cloud), they are taken to be there.
    Raises ``ConnectionFailed`` with the command to run where they are missing and may not be
    added.
    """
    kinds = {name: _INDEXED[kind] for name, kind in SEARCH_ATTRIBUTES.items()}
    try:
        listed = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status in _MAY_NOT_LOOK:
            return
        raise ConnectionFailed(f"Temporal does not list its search attributes: {error}") from error
    missing = {name: kind for name, kind in kinds.items() if name not in listed.custom_attributes}
    if not missing:
        return
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    except RPCError as error:
        options = " ".join(f"--name {n} --type {SEARCH_ATTRIBUTES[n]}" for n in missing)
        raise ConnectionFailed(
            f"the namespace {client.namespace} lacks search attributes and refuses to add them"
            f" ({error}); run: temporal operator search-attribute create {options}"
        ) from error


async def start_accounts(client: Client, accounts: Iterable[str], task_queue: str) -> None:
    """Have each account's workflow run, which shows its quota; one that runs goes on as it is.

    Every worker asks for it when it starts. Raises ``ConnectionFailed``.
    """
    attribute = SearchAttributeKey.for_keyword(ATTRIBUTE_ACCOUNT)
    for account in accounts:
        try:
            await client.start_workflow(
                WORKFLOW_ACCOUNT,
                AccountInput(account=account),
                id=account_workflow_id(account),
                task_queue=task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"Quota of {account}",
                search_attributes=TypedSearchAttributes([SearchAttributePair(attribute, account)]),
            )
        except RPCError as error:
            text = " ".join(error.message.split())
            raise ConnectionFailed(
                f"Temporal does not start the workflow of account {account} ({text}); start the"
                " worker again once it does"
            ) from error


def is_loopback(address: str) -> bool:
    """Whether ``host:port`` is this machine."""
    host = address.rpartition(":")[0].strip("[]") if ":" in address else address
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _profile_options(profile: str) -> ClientConnectConfig:
    if not profile:
        return ClientConnectConfig()
    # Asked for by name, the default profile has to stand in a file; unnamed, variables will do.
    name = None if profile == DEFAULT_PROFILE else profile
    try:
        return ClientConfig.load_client_connect_config(name)
    except Exception as error:
        raise ConnectionFailed(
            f"Temporal's profile {profile!r} cannot be used: {_reason(error)};"
            " correct its file (TEMPORAL_CONFIG_FILE), or `profile` under [temporal]"
        ) from error


def _reason(error: BaseException) -> str:
    # The SDK's text quotes Rust's debug output; the innermost quoted text is what a person can use.
    text = " ".join(str(error).split()) or type(error).__name__
    quoted: list[str] = re.findall(r'(?:message|error): "([^"]+)"', text)
    return quoted[0].lower() if quoted else text
