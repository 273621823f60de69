"""One client process of many: makes mutations of one envelope at once and prints the results.

``python -m tests.workflows.one_of_many ADDRESS TASK_QUEUE KEY NUMBER COUNT``
"""

from __future__ import annotations

import asyncio
import json
import sys

from sealwax.client import EnvelopeClient
from sealwax.connection import connect
from sealwax.definition import BlobRef, Recipient, RecipientKind
from sealwax.lifetime import leave
from sealwax.mutations import AddRecipients
from sealwax.settings import TemporalSettings
from tests import keys
from tests.rig import ACCOUNT


class NoBlobs:
    """This client brings no documents."""

    async def put(self, data: object, media_type: str = "") -> BlobRef:
        """Nothing is put."""
        raise AssertionError("no document was to be stored")


async def main(address: str, task_queue: str, key: str, number: int, count: int) -> None:
    """Add ``count`` copies at once, each under its own operation id."""
    temporal = await connect(TemporalSettings(address=address), keys.KEYRING)
    client = EnvelopeClient(temporal, blobs=NoBlobs(), task_queue=task_queue)
    envelope = client.envelope(ACCOUNT, key)

    async def add(i: int) -> dict[str, object]:
        mine = f"{number}{i:02d}"
        copy = Recipient(mine, f"Copy {mine}", f"c{mine}@example.com", 9, RecipientKind.CARBON_COPY)
        result = await envelope.mutate(AddRecipients((copy,)), f"op-{mine}", timeout_s=90)
        return {"mine": mine, **result.model_dump()}

    results = await asyncio.gather(*(add(i) for i in range(count)))
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    address, task_queue, key, number, count = sys.argv[1:]
    asyncio.run(main(address, task_queue, key, int(number), int(count)))
    leave(0)
