"""The worker program with a death in it: it kills itself by SIGKILL at one named point.

It is `worker.py` itself, run from inside, with hooks where a worker can die: before and after each
workflow task is decided (`task:begun`, `task:decided`, nothing of it reported), before an activity
is called (`mutate:called`), when the provider has answered one of its requests and so has
committed it (`mutate:answered`), before its completion is reported (`mutate:returned`), and where
one run of a workflow passes into the next: before that is reported (`run:decided`) and before the
new run's first task (`run:begun`). The points of a process are numbered by name:
`mutate:answered#2` is the second one.

`python -m benchmarks.storms.doomed --broken MODULE:FUNCTION ...` runs a worker after calling that
function, which tests use to break it on purpose; the other options are those of `worker.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

import httpx
from temporalio import activity
from temporalio.client import Client
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    WorkflowInstance,
    WorkflowInstanceDetails,
    WorkflowRunner,
)

import worker
from sealwax.connection import connect
from sealwax.lifetime import leave
from sealwax.settings import Settings, load_settings

_STANDING_STILL = frozenset({"query_workflow", "remove_from_cache"})


@dataclass(frozen=True, slots=True)
class Fate:
    """How one worker is to live. ``point`` "" never comes; ``trace`` gets a line for each point
    that is reached; ``broken`` names a function to be called first."""

    settings: Path
    task_queue: str
    log: Path
    trace: Path
    point: str = ""
    history_events_max: int = 0
    broken: str = ""


class Doom:
    """Counts the points that this process reaches, and dies at one of them."""

    def __init__(self, point: str, trace: Path) -> None:
        self._point = point
        self._trace = trace.open("a", buffering=1, encoding="utf-8")
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def reach(self, name: str) -> None:
        """The process is at a point of this name."""
        with self._lock:
            self._counts[name] += 1
            point = f"{name}#{self._counts[name]}"
            self._trace.write(f"{point}\n")
            if point == self._point:
                os.kill(os.getpid(), signal.SIGKILL)


class _DoomedActivity(ActivityInboundInterceptor):
    def __init__(self, following: ActivityInboundInterceptor, doom: Doom) -> None:
        super().__init__(following)
        self._doom = doom

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        name = activity.info().activity_type
        self._doom.reach(f"{name}:called")
        result = await super().execute_activity(input)
        self._doom.reach(f"{name}:returned")
        return result


class _Doomed(ClientInterceptor, Interceptor):
    def __init__(self, doom: Doom) -> None:
        self._doom = doom

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _DoomedActivity(next, self._doom)


class _DoomedRunner(WorkflowRunner):
    def __init__(self, runner: WorkflowRunner, doom: Doom) -> None:
        self._runner = runner
        self._doom = doom

    def prepare_workflow(self, defn: Any) -> None:
        self._runner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._runner.create_instance(det)
        decide = instance.activate
        goes_on = bool(det.info.continued_run_id)

        def activate(act: Any) -> Any:
            kinds = {job.WhichOneof("variant") for job in act.jobs}
            if act.is_replaying or kinds <= _STANDING_STILL:
                return decide(act)
            if goes_on and "initialize_workflow" in kinds:
                self._doom.reach("run:begun")
            self._doom.reach("task:begun")
            completion = decide(act)
            commands = completion.successful.commands
            if any(c.HasField("continue_as_new_workflow_execution") for c in commands):
                self._doom.reach("run:decided")
            self._doom.reach("task:decided")
            return completion

        instance.activate = activate  # type: ignore[method-assign]
        return instance


def work(fate: Fate) -> None:
    """Work until the process is killed, by itself or by others, or its parent is gone."""
    with fate.log.open("ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    _die_with_the_parent()
    broken(fate.broken)
    settings = _settings(fate)
    doom = Doom(fate.point, fate.trace)
    worker.SANDBOX = _DoomedRunner(worker.SANDBOX, doom)  # type: ignore[assignment]

    async def connected(temporal: Any, keyring: Any, runtime: Any) -> Client:
        config = (await connect(temporal, keyring, runtime)).config()
        config["interceptors"] = [_Doomed(doom)]
        return Client(**config)

    vars(worker)["connect"] = connected
    _doom_requests(doom)
    asyncio.run(worker.run(settings, None))


def broken(name: str) -> None:
    """Call ``module:function``, which breaks something on purpose; nothing for ""."""
    if name:
        module, _, function = name.partition(":")
        getattr(importlib.import_module(module), function)()


def _settings(fate: Fate) -> Settings:
    settings = load_settings(fate.settings)
    timing = settings.timing
    if fate.history_events_max:
        timing = dataclasses.replace(timing, history_events_max=fate.history_events_max)
    temporal = settings.temporal.model_copy(update={"task_queue": fate.task_queue})
    return settings.model_copy(update={"temporal": temporal, "timing": timing})


def _doom_requests(doom: Doom) -> None:
    handle = httpx.AsyncHTTPTransport.handle_async_request

    async def handled(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        response = await handle(self, request)
        if activity.in_activity():
            doom.reach(f"{activity.info().activity_type}:answered")
        return response

    httpx.AsyncHTTPTransport.handle_async_request = handled  # type: ignore[method-assign]


def _die_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: Sequence[str]) -> int:
    """Run the worker program after breaking it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storms.doomed")
    parser.add_argument("--broken", required=True, metavar="MODULE:FUNCTION")
    given, rest = parser.parse_known_args(argv)
    broken(given.broken)
    sys.argv = ["worker.py", *rest]
    return worker.main()


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
