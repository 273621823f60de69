"""`python -m demo.dev`: a local world that stays up, and goes on where it was after a stop.

Temporal with a file database and its UI, the provider's simulator, the bridge, the codec server and
a worker. Keys, ports and data lie in one folder (build/dev). With `--sessions` it also sends an
envelope to embedded signers and prints a link for each of them.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from demo import stage
from demo.__main__ import Parser
from demo.contracts.render import TITLES
from demo.control import Control, Principal
from demo.folder import BadFolder, own_folder
from demo.guard import guarded
from demo.orchestrated import contract_file
from demo.signing_app import SigningApp, serving
from demo.stack import ProgramFailed, Stack
from demo.stage import Codec, Tenant
from demo.temporal_dev import TemporalBinaryMissing, free_port, start_temporal
from sealwax.client import EnvelopeClient
from sealwax.connection import ConnectionFailed
from sealwax.definition import Recipient
from sealwax.lifetime import leave
from sealwax.messages import SEARCH_ATTRIBUTES
from sealwax.opening import open_client

FOLDER = Path("build/dev")
WORLD = "world.json"
PORTS = {"bridge": 8787, "codec": 8788, "simulator": 8789, "application": 8790}
SIGNERS = ("ana", "ben", "carla")
SENT_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class World:
    """What stays the same from one start to the next."""

    tenant: Tenant = field(repr=False)
    codec_token: str = field(repr=False)
    ports: dict[str, int]


def world_of(folder: Path) -> World:
    """The folder's world, made at the first start. Raises BadFolder where it cannot be read."""
    path = folder / WORLD
    if not path.exists():
        world = World(stage.new_tenant(stage.ACCOUNT), secrets.token_hex(32), _ports())
        stage.write_secret(path, json.dumps(asdict(world)))
        return world
    try:
        held: dict[str, Any] = json.loads(path.read_text("utf-8"))
        tenant = held["tenant"]
        principal = Principal(**tenant.pop("principal"))
        return World(Tenant(principal=principal, **tenant), held["codec_token"], held["ports"])
    except (ValueError, KeyError, TypeError):
        raise BadFolder(f"{path} cannot be read; remove {folder} to begin anew") from None


def _ports() -> dict[str, int]:
    ports: dict[str, int] = {}
    for name, preferred in PORTS.items():
        ports[name] = free_port(max([preferred, *(port + 1 for port in ports.values())]))
    return ports


async def live(folder: Path, console: Console, *, sessions: bool) -> None:
    """Start everything, say where it is, and keep it up until cancelled or a program ends.

    Raises BadFolder, ProgramFailed, TemporalBinaryMissing.
    """
    with own_folder(folder, emptied=False) as where:
        world = world_of(where)
        async with Stack(where / "logs") as stack:
            console.print("Starting ...", highlight=False)
            settings, places = await _started(stack, where, world)
            client = await open_client(settings)
            port = world.ports["application"]
            async with serving(client, stage.ACCOUNT, port) as app:
                links = await _links(client, app) if sessions else []
                for line in [*places, *links, "It stays up until Ctrl-C, and goes on afterwards."]:
                    console.print(line, highlight=False, soft_wrap=True, markup=False)
                await guarded(stack, _for_ever(), None)


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _started(stack: Stack, folder: Path, world: World) -> tuple[Path, list[str]]:
    """All programs, each ready; the settings' path and lines that say where things are."""
    more = ("--port", str(world.ports["simulator"]), "--state", str(folder / "provider.json"))
    simulator = await stack.start(stage.simulator_program(7, overlap=True, more=more))
    url = simulator.url or ""
    async with Control(url) as control:
        await stage.admit(control, world.tenant, "Local")
    codec = Codec(world.ports["codec"], world.codec_token)
    server = await start_temporal(
        stack,
        search_attributes=SEARCH_ATTRIBUTES,
        database=folder / "temporal.db",
        codec_endpoint=codec.endpoint,
    )
    settings = stage.write_settings(
        folder,
        world.tenant,
        simulator=url,
        temporal=server.address,
        bridge_port=world.ports["bridge"],
        codec=codec,
        ui_url=server.ui_url,
    )
    await stack.start(stage.codec_program(settings))
    bridge = await stack.start(stage.bridge_program(settings))
    await stack.start(stage.worker_program(settings))
    return settings, [
        f"Temporal web UI     {server.ui_url}",
        f"Temporal            {server.address}",
        f"Provider's ledger   {url}/simulator/ledger?calls=false",
        f"Bridge's counts     {bridge.url}/counts",
        f"Settings            export SEALWAX_CONFIG={settings}",
    ]


async def _links(client: EnvelopeClient, app: SigningApp) -> list[str]:
    """A new envelope for embedded signers, and a link for each of them."""
    key = f"signing-{secrets.token_hex(4)}"
    contract = sorted(TITLES)[0]
    envelope = await client.create(
        account=stage.ACCOUNT,
        key=key,
        subject=TITLES[contract],
        documents=[contract_file(contract)],
        recipients=[
            Recipient(name, name.title(), f"{name}@example.com", client_user_id=name)
            for name in SIGNERS
        ],
    )
    await envelope.wait("sent", timeout_s=SENT_WITHIN_S)
    lines = [f"Open these in browser windows; who comes second waits. Envelope {key}:"]
    return [*lines, *(f"  {name:<6} {app.link(key, name)}" for name in SIGNERS)]


def main(argv: Sequence[str]) -> int:
    """Run; the exit code."""
    parser = Parser(prog="python -m demo.dev", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for all data (build/dev)")
    parser.add_argument("--sessions", action="store_true", help="print signing links to open")
    given = parser.parse_args(argv)
    try:
        asyncio.run(live(given.folder, Console(), sessions=given.sessions))
    except KeyboardInterrupt:
        return 0
    except asyncio.CancelledError:
        return 0
    except (BadFolder, ProgramFailed, TemporalBinaryMissing, ConnectionFailed) as error:
        print(f"demo.dev: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadFolder) else 1
    return 0


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
