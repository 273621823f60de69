"""A worker may be started against a server that has never heard of Sealwax."""

from __future__ import annotations

from pathlib import Path

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.testing import WorkflowEnvironment

from sealwax.connection import register_search_attributes
from sealwax.messages import SEARCH_ATTRIBUTES
from tests.temporal_server import leashed_binary


async def test_search_attributes_are_registered_where_they_are_missing(tmp_path: Path):
    """The first worker adds them, the next one finds them; nothing is asked of the operator."""
    stock = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(leashed_binary(tmp_path)), dev_server_log_level="error"
    )
    async with stock as environment:
        await register_search_attributes(environment.client)
        await register_search_attributes(environment.client)

        listed = await environment.client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=environment.client.namespace)
        )

    assert set(SEARCH_ATTRIBUTES) <= set(listed.custom_attributes)
