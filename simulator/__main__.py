"""`python -m simulator`: run the provider on a loopback port until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import uvicorn
import uvloop

from simulator import webhook_plans
from simulator.app import build_app
from simulator.faults import POLICIES, Harms
from simulator.limit_rules import LimitRules, from_option
from simulator.plans import MODES, OPERATION_ALIASES, BadPlan
from simulator.service import Options, Service
from simulator.state import Keeper
from simulator.webhook_plans import SHARES, span_option

KEEP_ALIVE_S = 120
EPILOG = """\
Point any DocuSign eSignature v2.1 client at <url>/restapi. Its own API is under <url>/simulator:
PUT /simulator/principals registers a user, POST /simulator/tokens mints a token for clients that
insist on HTTPS for the JWT grant, POST /simulator/envelopes/ID/recipients/ID/sign plays a signer,
POST /simulator/envelopes/ID/recipients/ID/session/{open,type,sign,...} plays a signer's browser,
POST /simulator/envelopes/ID/{remind,expire} lets a reminder or the expiry fall due,
PATCH /simulator/limits or /simulator/accounts/ID/limits switches the limits of all accounts or of
one, GET /simulator/accounts/ID/limits?from=&to= tells what was made of them in an interval,
PATCH /simulator/harms switches harms live, also {"outage": {"mode": "error", "for_s": 5}},
GET /simulator/webhooks/withheld lists the events that a plan kept from everybody,
GET /simulator/ledger tells what really happened (calls, writes, mails, faults), GET
/simulator/truth the same per envelope, with what was repeated, and POST /simulator/faults/settle
waits for calls that take effect late.
"""


BACKLOG = 2048


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the options, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """One line, status 2."""
        self.exit(2, f"simulator: {message} (see --help)\n")


def parser() -> Parser:
    """The command line."""
    made = Parser(
        prog="python -m simulator",
        description="A local stand-in for DocuSign eSignature v2.1, with harms and a ledger.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    made.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (default)")
    made.add_argument("--announce", type=Path, metavar="FILE", help="write {url, pid} as JSON here")
    made.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="keep accounts and envelopes in FILE between runs (default: memory only)",
    )
    _harm_options(made)
    _session_options(made)
    made.add_argument(
        "--oauth-audience",
        action="append",
        default=[],
        metavar="AUD",
        help="accept this aud in assertions besides the simulator's own host (repeatable)",
    )
    made.add_argument("--token-life-s", type=int, default=3600, help="expires_in of tokens")
    made.add_argument(
        "--plain-http-listeners",
        action="store_true",
        help="deliver webhooks over plain HTTP to hosts other than loopback too",
    )
    return made


def _harm_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--seed", type=int, default=0, help="seed of all harms (default: 0)")
    made.add_argument(
        "--overlap",
        choices=("on", "off"),
        default="on",
        help="overlapping writes of one envelope lose updates (default: on)",
    )
    made.add_argument(
        "--processing-ms",
        default="5:40",
        metavar="MIN:MAX",
        help="time between read and store of a write, with overlap on (default: 5:40)",
    )
    made.add_argument(
        "--webhook-plan",
        default="",
        metavar="KEY=VALUE,...",
        help="delay=MIN:MAX (ms), duplicate=RATE, retry=MS, tries=N, timeout=SECONDS, seed=N, "
        "gather=MS (leave together, that far apart), late-ms=MIN:MAX, reorder-ms=MS, and what "
        f"happens to a share of the messages: {', '.join(s.replace('_', '-') for s in SHARES)}, "
        "such as withhold=0.3 or, for one kind of event, withhold@envelope-completed=1",
    )
    made.add_argument(
        "--lost-answers",
        default="",
        metavar="OP:RATE[:MODE[:NUMBER]],...",
        help=f"OP is an operationId or {', '.join(OPERATION_ALIASES)}; MODE is one of "
        f"{', '.join(MODES)} (default: commit_then_drop); NUMBER is milliseconds for slow, "
        "seconds for commit_late, a status for errors",
    )
    made.add_argument(
        "--lookup-lag-s",
        default="0",
        metavar="SECONDS|MIN:MAX",
        help="searches do not show an envelope younger than this (default: 0)",
    )
    made.add_argument(
        "--limits",
        default="",
        metavar="on|KEY=VALUE,...",
        help="simulate the provider's limits; KEY is scale (0.1 makes 30 s 3, the hour 360 s), "
        "burst, hour, envelope_{reads,writes}_{burst,hour} (a number or none), polling (flag, "
        "refuse, off), status (400, 429), spelling (documented, upper, mixed), tenant (another "
        "program's part of the account, such as 0:0.6)",
    )


def _session_options(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--sessions",
        choices=POLICIES,
        default=POLICIES[0],
        help="what a second signing session does to the first (default: %(default)s, the rule of "
        "the provider's blog: a new URL invalidates an unused one and kicks an active signer)",
    )
    made.add_argument(
        "--session-clock",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="scales URL life, ping interval and session timeout; 0.05 makes 300 s 15 (default: 1)",
    )
    made.add_argument(
        "--url-life-s",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="life of an unused signing URL, before scaling (default: 300)",
    )
    made.add_argument(
        "--session-timeout-s",
        type=float,
        default=1200.0,
        metavar="SECONDS",
        help="idle time after which a session ends, before scaling (default: 1200)",
    )


def _seconds(text: str) -> object:
    low, colon, high = text.partition(":")
    return [low, high] if colon else low


_NUMBER_OF = {
    "slow": "delay_ms",
    "commit_late": "late_s",
    "error_before_commit": "status",
    "error_after_commit": "status",
}


def _lost_answers(text: str) -> list[dict[str, object]]:
    plans: list[dict[str, object]] = []
    for part in filter(None, text.split(",")):
        operation, *fields = part.split(":")
        if not 1 <= len(fields) <= 3:
            raise BadPlan(f"lost answers {part!r}: use OP:RATE[:MODE[:NUMBER]]")
        plan: dict[str, object] = {"operation": operation, "rate": fields[0]}
        plan.update(zip(("mode",), fields[1:2], strict=False))
        if len(fields) == 3:
            if fields[1] not in _NUMBER_OF:
                raise BadPlan(f"lost answers {part!r}: mode {fields[1]} takes no number")
            plan[_NUMBER_OF[fields[1]]] = fields[2]
        plans.append(plan)
    return plans


def options(arguments: argparse.Namespace) -> Options:
    """Options of the service; raises BadPlan."""
    harms = Harms()
    harms.patch(
        {
            "seed": arguments.seed,
            "overlap": arguments.overlap == "on",
            "processing_ms": span_option(arguments.processing_ms),
            "webhooks": webhook_plans.from_option(arguments.webhook_plan),
            "lost_answers": _lost_answers(arguments.lost_answers),
            "lookup_lag_s": _seconds(arguments.lookup_lag_s),
            "sessions": {
                "policy": arguments.sessions,
                "clock": arguments.session_clock,
                "url_life_s": arguments.url_life_s,
                "timeout_s": arguments.session_timeout_s,
            },
        }
    )
    if arguments.token_life_s < 1:
        raise BadPlan("--token-life-s must be 1 or more")
    return Options(
        harms=harms,
        limits=LimitRules().patched(from_option(arguments.limits)),
        token_life_s=arguments.token_life_s,
        audiences=tuple(arguments.oauth_audience),
        plain_http_listeners=arguments.plain_http_listeners,
    )


def announce(path: Path, url: str) -> None:
    """Write {url, pid} in one step, so that nobody reads half a file."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"url": url, "pid": os.getpid()}, file)
    Path(draft).replace(path)


def listen(address: tuple[str, int], family: int) -> socket.socket:
    """A listening socket whose connections send at once.

    An answer is sent as head and body: without TCP_NODELAY the body waits 40 ms for an ACK. Not
    every event loop sets it on connections of a socket that it did not make.
    """
    made = socket.create_server(address, family=family, backlog=BACKLOG)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Server(uvicorn.Server):
    """uvicorn, announced when it listens, ended by signals with status 0, able to go deaf."""

    def __init__(
        self, config: uvicorn.Config, service: Service, url: str, announce_at: Path | None
    ) -> None:
        super().__init__(config)
        self._url, self._announce_at = url, announce_at
        self._deaf: asyncio.Task[None] | None = None
        service.refuse = self._refuse

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        print(f"simulator listening on {self._url}", flush=True)
        if self._announce_at:
            announce(self._announce_at, self._url)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End by a signal, once: uvicorn's own raises it again, which ends in status 143."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    def _refuse(self, for_s: float) -> None:
        """Stop listening for a while, so that connections are refused."""
        if self._deaf is None or self._deaf.done():
            self._deaf = asyncio.create_task(self._go_deaf(for_s))

    async def _go_deaf(self, for_s: float) -> None:
        address, family = _address(self.servers[0])
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(for_s)
        while True:
            try:
                listener = listen(address, family)
                break
            except OSError:
                # Somebody's outgoing connection may have been given the port; it will end.
                await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self._protocol, sock=listener)]

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _address(server: asyncio.Server) -> tuple[tuple[str, int], int]:
    """Host and port of a server that listens, and their address family."""
    listening = server.sockets[0]
    host, port, *_ = listening.getsockname()
    return (host, port), listening.family


async def serve(arguments: argparse.Namespace, service: Service, listener: socket.socket) -> None:
    """Answer calls until a signal comes."""
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    url = f"http://{host}:{listener.getsockname()[1]}"
    config = uvicorn.Config(
        build_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=2,
        # By default an idle connection is closed just when a slow machine's client uses it again,
        # which to that client is a lost answer that nobody planned.
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    await Server(config, service, url, arguments.announce).serve(sockets=[listener])


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 after a signal, 2 for bad options."""
    made = parser()
    arguments = made.parse_args(argv)
    try:
        chosen = options(arguments)
        if arguments.announce and not arguments.announce.parent.is_dir():
            raise BadPlan(f"--announce: there is no folder {arguments.announce.parent}")
        family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
        service = Service(chosen)
        keeper = Keeper(service, arguments.state) if arguments.state else None
        if keeper is not None:
            keeper.load()
        listener = listen((arguments.host, arguments.port), family)
    except BadPlan as error:
        made.error(str(error))
    except (OSError, OverflowError) as error:
        made.error(f"cannot listen on {arguments.host}:{arguments.port}: {error}")

    async def run() -> None:
        if keeper is None:
            await serve(arguments, service, listener)
            return
        keeping = asyncio.create_task(keeper.run())
        try:
            await serve(arguments, service, listener)
        finally:
            keeping.cancel()
            keeper.save()

    uvloop.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
