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

from simulator.app import build_app
from simulator.faults import POLICIES, BadPlan, Harms
from simulator.service import Options, Service
from simulator.state import Keeper

EPILOG = """\
Point any DocuSign eSignature v2.1 client at <url>/restapi. Its own API is under <url>/simulator:
PUT /simulator/principals registers a user, POST /simulator/tokens mints a token for clients that
insist on HTTPS for the JWT grant, POST /simulator/envelopes/ID/recipients/ID/sign plays a signer,
POST /simulator/envelopes/ID/recipients/ID/session/{open,type,sign,...} plays a signer's browser,
GET /simulator/ledger tells what really happened, PATCH /simulator/harms switches harms live.
"""


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
        help="delay=MIN:MAX (ms), duplicate=RATE, retry=MS, tries=N, timeout=SECONDS, seed=N",
    )
    made.add_argument(
        "--lost-answers",
        default="",
        metavar="OP:RATE[:MODE[:MS]],...",
        help="OP is an operationId or create, update, recipients, add-recipients, documents, "
        "tabs, *; MODE is commit_then_drop (default), drop_before_commit or slow",
    )
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


def _span(text: str) -> list[int]:
    low, colon, high = text.partition(":")
    try:
        return [int(low), int(high if colon else low)]
    except ValueError:
        raise BadPlan(f"{text!r} is not MIN:MAX in milliseconds") from None


def _webhooks(text: str) -> dict[str, object]:
    names = {
        "duplicate": "duplicate_rate",
        "retry": "retry_ms",
        "tries": "max_tries",
        "timeout": "timeout_s",
        "seed": "seed",
    }
    plan: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if key == "delay" and equals:
            plan["delay_ms"] = _span(value)
        elif key in names and equals:
            plan[names[key]] = value
        else:
            raise BadPlan(f"webhook plan {part!r}: use delay=MIN:MAX or {', '.join(names)}=VALUE")
    return plan


def _lost_answers(text: str) -> list[dict[str, object]]:
    plans: list[dict[str, object]] = []
    for part in filter(None, text.split(",")):
        fields = part.split(":")
        if not 2 <= len(fields) <= 4:
            raise BadPlan(f"lost answers {part!r}: use OP:RATE[:MODE[:MS]]")
        plan: dict[str, object] = {"operation": fields[0], "rate": fields[1]}
        plan.update(zip(("mode", "delay_ms"), fields[2:], strict=False))
        plans.append(plan)
    return plans


def options(arguments: argparse.Namespace) -> Options:
    """Options of the service; raises BadPlan."""
    harms = Harms()
    harms.patch(
        {
            "seed": arguments.seed,
            "overlap": arguments.overlap == "on",
            "processing_ms": _span(arguments.processing_ms),
            "webhooks": _webhooks(arguments.webhook_plan),
            "lost_answers": _lost_answers(arguments.lost_answers),
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


async def serve(arguments: argparse.Namespace, service: Service, listener: socket.socket) -> None:
    """Answer calls until a signal comes."""
    host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    url = f"http://{host}:{listener.getsockname()[1]}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"simulator listening on {url}", flush=True)
            if arguments.announce:
                announce(arguments.announce, url)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again after the shutdown, which ends in status 143.
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

    config = uvicorn.Config(
        build_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    await Server(config).serve(sockets=[listener])


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
        listener = socket.create_server((arguments.host, arguments.port), family=family)
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

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
