"""The load program: a provider's senders, in a process of its own.

Everything is signed before the first request leaves. Open loop: each event has a time at which it
is due, whatever became of the others, and its latency counts from then on. Closed loop: as many
requests at once as there are connections, as fast as they are answered. The program reads its job,
says ``ready``, waits for a line, and says ``done`` when what came of it is written.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

from benchmarks.ingest.payloads import Sender, Target, request

RECONNECT_S = 0.05
REPEAT_S = 0.25
LOOK_S = 0.001


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be sent.

    ``phases``: rate per second and seconds of each, one after the other; empty in a closed loop,
    which takes ``closed_s`` and has ``prepared`` events at hand. ``first``: number of the first
    event. ``in_turn``: one event of each target instead of a random one's. ``repeat``: what was
    not acknowledged is sent again, as Connect does, until it is. When the last event is due,
    answers are waited for ``patience_s`` at most.
    """

    url: str
    path: str
    account_id: str
    key: str = field(repr=False)
    targets: tuple[Target, ...]
    seed: int
    first: int
    phases: tuple[tuple[float, float], ...] = ()
    closed_s: float = 0.0
    prepared: int = 0
    connections: int = 256
    repeat: bool = False
    in_turn: bool = False
    patience_s: float = 10.0


@dataclass
class Sent:
    """What came of a job. Times are seconds from ``began``, a Unix time.

    For each event, in the order of their numbers: ``due`` time, ``acked`` time (None: never),
    and how many ``tries`` were made. ``late_ms``: how much after its time each left for the first
    time, or until the end where it never did, which is the load program's own doing or that of an
    unanswered listener. ``seconds``: how long was sent; ``ended``: when nothing was waited for any
    more.
    """

    first: int
    began: float
    seconds: float
    ended: float
    due: list[float]
    acked: list[float | None]
    tries: list[int]
    late_ms: list[float]
    statuses: dict[str, int]
    cpu_s: float


class Connection(asyncio.Protocol):
    """One kept-alive connection with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._read = bytearray()
        self.transport: asyncio.Transport | None = None
        self.event: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # The event loop's own class is no subclass of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self._load.free_again(self)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._read += data
        head_end = self._read.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._read[:head_end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(self._read) < head_end + 4 + length:
            return
        self._read.clear()
        status, event, self.event = int(head[9:12]), self.event, None
        closing = b"connection: close" in head
        if closing and self.transport is not None:
            self.transport.close()
        if event is not None:
            self._load.answered(event, status)
        if not closing:
            self._load.free_again(self)

    def connection_lost(self, error: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.transport = None
        event, self.event = self.event, None
        self._load.lost(self, event)


class Load:
    """One job under way."""

    def __init__(self, job: Job) -> None:
        self._job = job
        host, port = urlsplit(job.url).hostname or "", urlsplit(job.url).port or 80
        self._host, self._port = host, port
        self._due = _times(job)
        sender = Sender(job.account_id, job.targets, job.seed, in_turn=job.in_turn)
        numbers = range(job.first, job.first + (len(self._due) or job.prepared))
        key = job.key.encode()
        self._requests = [request(host, job.path, key, sender.body(n)) for n in numbers]
        self._acked: list[float | None] = [None] * len(numbers)
        self._tries = [0] * len(numbers)
        self._late_ms = [0.0] * len(numbers)
        self._statuses: Counter[str] = Counter()
        self._free: list[Connection] = []
        self._waiting: deque[int] = deque()
        self._connections: set[Connection] = set()
        self._began = 0.0
        self._next = 0
        self._unanswered = 0
        self._over = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Open all connections."""
        for _ in range(self._job.connections):
            await self._connect()

    async def run(self) -> Sent:
        """Send everything, and wait for what becomes of it."""
        cpu_s, began = time.process_time(), time.time()
        self._began = time.perf_counter()
        await (self._send_due() if self._due else self._keep_busy())
        seconds = self._now()
        await self._answers()
        ended = self._now()
        await self._close()
        count = len(self._due) or self._next
        return Sent(
            first=self._job.first,
            began=began,
            due=self._due or [0.0] * count,
            acked=self._acked[:count],
            tries=self._tries[:count],
            late_ms=[
                late if tries else 1000 * (ended - due)
                for late, tries, due in zip(self._late_ms, self._tries, self._due, strict=False)
            ],
            statuses=dict(self._statuses),
            seconds=seconds,
            ended=ended,
            cpu_s=time.process_time() - cpu_s,
        )

    def free_again(self, connection: Connection) -> None:
        """A connection can take the next request."""
        if self._over or connection.transport is None:
            return
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        elif self._closed_loop() and self._next < len(self._requests):
            self._next += 1
            self._unanswered += 1
            self._send(connection, self._next - 1)
        else:
            self._free.append(connection)
            if not self._due and self._next == len(self._requests):
                self._changed.set()

    def answered(self, event: int, status: int) -> None:
        """The listener answered."""
        self._statuses[str(status)] += 1
        if 200 <= status < 300:
            self._acked[event] = self._now()
        elif self._job.repeat:
            self._again(event)
            return
        self._settled()

    def lost(self, connection: Connection, event: int | None) -> None:
        """A connection ended, with or without a request on its way."""
        self._connections.discard(connection)
        if self._over:
            return
        if connection in self._free:
            self._free.remove(connection)
        self._spawn(self._reconnect())
        if event is None:
            return
        self._statuses["no answer"] += 1
        if self._job.repeat:
            self._again(event)
        else:
            self._settled()

    async def _close(self) -> None:
        self._over = True
        for task in self._tasks:
            task.cancel()
        for connection in self._connections:
            if connection.transport is not None:
                connection.transport.abort()
        # The loop tells them that they are closed in its next round.
        await asyncio.sleep(0)

    def _closed_loop(self) -> bool:
        return not self._due and self._began > 0 and self._now() < self._job.closed_s

    async def _keep_busy(self) -> None:
        idle, self._free = self._free, []
        for connection in idle:
            self.free_again(connection)
        # Until the time is up, or nothing is left that was signed beforehand.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._job.closed_s - self._now()):
                await self._changed.wait()

    async def _send_due(self) -> None:
        while self._next < len(self._due):
            now = self._now()
            while self._next < len(self._due) and self._due[self._next] <= now:
                self._dispatch(self._next)
                self._next += 1
            await asyncio.sleep(LOOK_S)

    async def _answers(self) -> None:
        """Until all are settled or nobody should wait any longer."""
        until = self._now() + self._job.patience_s
        while self._unanswered and (left := until - self._now()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(min(left, 0.2)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _dispatch(self, event: int) -> None:
        self._unanswered += 1
        self._put(event)

    def _put(self, event: int) -> None:
        if self._free:
            self._send(self._free.pop(), event)
        else:
            self._waiting.append(event)

    def _send(self, connection: Connection, event: int) -> None:
        if not self._tries[event] and self._due:
            self._late_ms[event] = 1000 * (self._now() - self._due[event])
        self._tries[event] += 1
        connection.event = event
        assert connection.transport is not None
        connection.transport.write(self._requests[event])

    def _again(self, event: int) -> None:
        asyncio.get_running_loop().call_later(REPEAT_S, self._put, event)

    def _settled(self) -> None:
        self._unanswered -= 1
        if not self._unanswered:
            self._changed.set()

    async def _reconnect(self) -> None:
        while not self._over:
            try:
                await self._connect()
            except OSError:
                await asyncio.sleep(RECONNECT_S)
            else:
                return

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: Connection(self), self._host, self._port
        )
        self._connections.add(connection)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> float:
        return time.perf_counter() - self._began


def _times(job: Job) -> list[float]:
    """When each event is due: at random moments, as if many senders knew nothing of each other."""
    dice = Random(f"{job.seed} due {job.first}")
    times: list[float] = []
    start = 0.0
    for rate, seconds in job.phases:
        at = start + dice.expovariate(rate)
        while at < start + seconds:
            times.append(at)
            at += dice.expovariate(rate)
        start += seconds
    return times


def read_job(text: str) -> Job:
    """A job as ``write_job`` wrote it."""
    raw = json.loads(text)
    raw["targets"] = tuple(
        Target(t["envelope_id"], t["status"], t["subject"], tuple(map(tuple, t["recipients"])))
        for t in raw["targets"]
    )
    raw["phases"] = tuple((rate, seconds) for rate, seconds in raw["phases"])
    return Job(**raw)


def write_job(job: Job) -> str:
    """A job as JSON."""
    return json.dumps(asdict(job))


async def main(job_file: Path, result_file: Path) -> None:
    """Read the job, say ready, wait for a line, send, write the result, say done."""
    load = Load(read_job(job_file.read_text(encoding="utf-8")))
    await load.connect()
    # What is prepared stays; a collection in the middle would look at all of it again.
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    sent = await load.run()
    result_file.write_text(json.dumps(asdict(sent)), encoding="utf-8")
    print("done", flush=True)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
