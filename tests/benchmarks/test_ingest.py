"""The ingest benchmark: what it sends is true, what it measures is so, it finds what is lost."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.ingest.__main__ import Options, parsed
from benchmarks.ingest.drain import Sizes
from benchmarks.ingest.figures import document, table, visible_ms
from benchmarks.ingest.load import Job, Load, Sent, read_job, write_job
from benchmarks.ingest.parts import SURGE, Happened, Part
from benchmarks.ingest.payloads import EPOCH, Sender, Target, invented, request
from benchmarks.ingest.samples import latencies_ms, per_second, rank, spread
from benchmarks.ingest.sampling import Memory, children, cpu_by_program, cpu_s, resident_bytes
from benchmarks.ingest.truth import Heard, Verdict, weigh
from sealwax.providers import webhook_trust
from sealwax.providers.registry import webhook_reader, webhook_scheme

AUTHENTIC = webhook_trust.Verdict.AUTHENTIC
CHECKOUT = Path(__file__).resolve().parents[2]
ACCOUNT = "9d3e1f7a-0b52-4a37-8a4e-5f1c2b3a4d5e"
KEYS = {
    *("sent", "acked", "ack_ms", "rate_peak", "ratio_to_verify_only", "memory_mb", "lost"),
    *("double_effects", "webhook_to_state_ms", "drain_seconds", "load_average"),
}


@pytest.mark.server
@pytest.mark.timeout(300)
def test_a_short_run_loses_nothing_and_doubles_nothing() -> None:
    """One JSON object; every part's list agrees with what the workflows took in."""
    argv = [sys.executable, "-m", "benchmarks.ingest", "--json", "--seconds", "1", "--seed", "1"]
    done = subprocess.run(
        [*argv, "--envelopes", "6"], cwd=CHECKOUT, capture_output=True, text=True, timeout=290
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.keys() >= KEYS
    assert (found["lost"], found["double_effects"], found["diverged"]) == (0, 0, 0)
    assert [part["part"] for part in found["parts"]] == [SURGE, "temporal away", "bridge killed"]
    killed = found["parts"][-1]
    assert killed["acked"] == killed["sent"]
    assert killed["kills"] == 3
    assert found["webhook_to_state_ms"]["p50"] > 0
    assert found["journal"]["pending"] == found["journal"]["parked"] == 0
    assert found["drain_per_second"]["few_envelopes"] > 0
    assert found["drain_per_second"]["all_different"] > 0
    assert found["ratio_to_verify_only"] > 0
    assert found["kept"]["verify only"] == 0 < found["kept"]["keeping"]


def test_what_is_sent_is_authentic_true_and_different() -> None:
    """Every event has a key of its own, names its envelope, and says no status that is not true."""
    reader, scheme = webhook_reader("docusign"), webhook_scheme("docusign")
    opened = replace(invented(1, 1)[0], status="delivered")
    people = tuple((*one[:4], "delivered") for one in opened.recipients)
    targets = [*invented(3, 2), replace(opened, recipients=people)]
    sender, keys, said = Sender(ACCOUNT, targets, 5), set(), Counter[str]()
    for number in range(300):
        body = sender.body(number)
        head, _, sent = request("host", "/webhooks/acme", b"key", body).partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        headers = [(name, value) for name, value in lines]
        assert sent == body
        assert dict(headers)["Content-Length"] == str(len(body))
        assert scheme.verify(headers, body, [b"key"], EPOCH) is AUTHENTIC
        event = reader.read_webhook(body)
        whose, _ = sender.chosen(number)
        assert event.provider_envelope_id == targets[whose].envelope_id
        true = {targets[whose].status, "sent", *(p[4] for p in targets[whose].recipients)}
        assert {fact.status for fact in event.facts} <= true
        keys.add(event.event_key)
        said[event.name] += 1
    assert len(keys) == 300
    assert said.keys() >= {"envelope-sent", "envelope-delivered", "recipient-delivered"}
    assert Sender(ACCOUNT, targets, 5).body(17) == sender.body(17)


def test_in_turn_every_target_has_one() -> None:
    """As many events as targets: each of another one."""
    sender = Sender(ACCOUNT, invented(40, 1), 9, in_turn=True)
    assert {sender.chosen(number)[0] for number in range(40)} == set(range(40))


Answers = Callable[[int], bytes | None]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def listener(answers: Answers, hold: asyncio.Event | None = None) -> AsyncIterator[str]:
    """A server that answers its n-th request so; None: it hangs up instead."""
    asked = 0
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        serving.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r")[0])
                await reader.readexactly(length)
                asked += 1
                answer = answers(asked)
                if hold is not None:
                    await hold.wait()
                if answer is None:
                    break
                # In two pieces, as servers do.
                writer.write(answer[:20])
                await writer.drain()
                writer.write(answer[20:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*(task for task in serving if task))


def job(url: str, **how: Any) -> Job:
    """A few events on few connections."""
    whole = {"connections": 2, "phases": ((200.0, 0.2),), "patience_s": 5.0, **how}
    return Job(url, "/webhooks/acme", ACCOUNT, "key", tuple(invented(3, 1)), 1, 0, **whole)


async def sent_to(url: str, **how: Any) -> Sent:
    """The job, done in this process."""
    load = Load(read_job(write_job(job(url, **how))))
    await load.connect()
    return await load.run()


async def test_latency_counts_from_when_an_event_was_due() -> None:
    """A listener that stands still makes all wait that come meanwhile, not only who is served."""
    hold = asyncio.Event()
    async with listener(lambda _: OK, hold) as url:
        task = asyncio.create_task(sent_to(url))
        await asyncio.sleep(0.4)
        hold.set()
        sent = await task
    assert None not in sent.acked
    assert len(sent.due) > 10
    late = latencies_ms(sent)
    assert min(late) >= 190
    assert all(ms >= 1000 * (0.39 - due) for ms, due in zip(late, sent.due, strict=True))
    # With two connections, all but two left late, and that is told.
    assert sum(ms > 100 for ms in sent.late_ms) >= len(sent.due) - 20


@pytest.mark.parametrize("bad", [BUSY, None, BUSY.replace(b"503", b"401")])
async def test_who_repeats_is_acknowledged_in_the_end(bad: bytes | None) -> None:
    """Refused or cut off, an event comes again; it counts once, with all its tries."""
    async with listener(lambda n: bad if n % 3 == 0 else OK) as url:
        sent = await sent_to(url, repeat=True, patience_s=30.0)
    assert None not in sent.acked
    assert sum(sent.tries) > len(sent.due)
    assert sent.statuses["200"] == len(sent.due)


async def test_who_does_not_repeat_says_what_was_not_acknowledged() -> None:
    """Only success is an acknowledgement; the others' latency is that of who waits to the end."""
    async with listener(lambda n: None if n % 3 == 0 else OK) as url:
        sent = await sent_to(url)
    refused = [index for index, at in enumerate(sent.acked) if at is None]
    assert len(refused) == sent.statuses["no answer"] > 0
    assert set(sent.tries) == {1}
    late = latencies_ms(sent)
    assert all(late[i] == 1000 * (sent.ended - sent.due[i]) for i in refused)


async def test_a_closed_loop_sends_no_event_twice_and_waits_for_all_answers() -> None:
    """It ends when nothing is left that was prepared; what was asked is answered."""
    async with listener(lambda _: OK) as url:
        sent = await sent_to(url, phases=(), closed_s=30.0, prepared=50)
    assert len(sent.acked) == 50
    assert None not in sent.acked
    assert set(sent.tries) == {1}
    assert 0 < sent.seconds < 30
    assert per_second(sent) <= 50 / sent.seconds


def test_ranks_are_of_the_values_themselves() -> None:
    """No value is invented between two; of nothing there is nothing."""
    assert rank([5, 1, 3], 0.5) == 3
    assert rank(list(range(1, 101)), 0.99) == 99
    assert spread([]) == {"p50": None, "p99": None}


def weighed(heard: Counter[str], seen: int, acked: set[str], sent: set[str]) -> Verdict:
    """One workflow's verdict."""
    verdict = Verdict()
    weigh(verdict, "contract-1", Heard(times=heard), seen, acked, sent)
    return verdict


def test_what_never_came_is_lost_and_what_counted_twice_is_a_double_effect() -> None:
    """Neither makes up for the other."""
    both = Counter({"a": 1, "b": 1})
    fine = weighed(both, 2, {"a", "b"}, {"a", "b"})
    assert (fine.lost, fine.double_effects, fine.why) == (0, 0, [])
    assert weighed(both, 2, {"a", "b", "c"}, {"a", "b", "c"}).lost == 1
    assert weighed(both, 1, {"a", "b"}, {"a", "b"}).lost == 1
    assert weighed(both, 3, {"a", "b"}, {"a", "b"}).double_effects == 1
    one_each = weighed(both, 3, {"a", "c"}, {"a", "b", "c"})
    assert (one_each.lost, one_each.double_effects) == (1, 1)
    assert "1 never reached it" in one_each.why[0]


def test_a_repeated_signal_and_an_effect_nobody_heard_of_are_no_harm() -> None:
    """At least once to Temporal, once in effect; an unacknowledged event may have been kept."""
    found = weighed(Counter({"a": 3, "b": 1}), 2, {"a"}, {"a", "b"})
    assert (found.lost, found.double_effects) == (0, 0)
    assert (found.delivered_again, found.unacked_effects) == (2, 1)


async def test_memory_is_told_by_stretches() -> None:
    """Each has its own samples, of the process and of those that it started."""
    child = await asyncio.create_subprocess_exec("sleep", "30")
    try:
        async with Memory(os.getpid) as memory:
            await until(lambda: bool(memory.listener[0]))
            memory.mark()
            await until(lambda: bool(memory.listener[1]))
        assert child.pid in set(children(os.getpid()))
        assert all(held > 1 for stretch in memory.listener for held in stretch)
        assert cpu_s(os.getpid()) > 0
        assert "sleep" in cpu_by_program(os.getpid())
    finally:
        child.kill()
        await child.wait()
    assert resident_bytes(child.pid) == cpu_s(child.pid) == 0


async def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def part(name: str, late_ms: float, first: int, happened: Happened | None = None) -> Part:
    """Two events at the usual rate and two of the surge, as late as that."""
    due = [0.0, 0.5, 1.0, 1.5]
    late = late_ms / 1000
    acked: list[float | None] = [0.001, 0.501, 1.0 + late, 1.5 + late]
    sent = Sent(first, 1000.0, 2.0, 3.0, due, acked, [1] * 4, [0.0] * 4, {"200": 4}, 0.1)
    memory = Memory(lambda: 0)
    memory.listener = memory.others = [[50.0], [80.0]]
    return Part(name, sent, 1.0, 0.5, 3, 1.0, memory, happened or Happened(), {})


def test_of_several_surges_the_median_one_counts() -> None:
    """All figures are of that one; the usual rate's times are of all."""
    done = [part(SURGE, ms, first) for ms, first in ((90, 0), (30, 4), (60, 8))]
    done.append(part("temporal away", 500, 12, Happened(away_s=2.0, back_at=1.0)))
    verdict = Verdict(keys={p.sent.first: [f"{p.sent.first}{n}" for n in range(4)] for p in done})
    verdict.visible = {"00": 1000.02, "81": 1000.53, "120": 1000.9, "02": 1001.2}
    found = document(done, verdict)
    assert found["ack_ms"] == {"p50": 60.0, "p99": 60.0}
    assert found["ack_p99_ms_runs"] == [90.0, 30.0, 60.0]
    assert found["memory_mb"] == {"base": 50, "peak": 80}
    assert found["drain_seconds"] == 0.5
    assert [round(ms) for ms in visible_ms(done[:3], verdict, surging=False)] == [20, 30]
    assert [round(ms) for ms in visible_ms(done[:3], verdict, surging=True)] == [200]
    on_its_way = [replace(each, surge_from_s=0.6) for each in done[:3]]
    assert [round(ms) for ms in visible_ms(on_its_way, verdict, surging=False)] == [20]
    more: dict[str, Any] = {"ack_ms_slow_disk": None, "ratio_with_slow_disk": None}
    more |= {"ratio_to_verify_only": 0.7, "envelopes": 2, "seed": 3, "cores": 2}
    few = {"few_envelopes": 6000, "all_different": 500, "ratio_to_server": 0.9}
    said = StringIO()
    Console(width=200, file=said).print(table(found | more | {"drain_per_second": few}))
    text = said.getvalue()
    assert "60 / 60 ms" in text
    assert "6,000/s" in text


def test_the_default_is_shorter_than_the_long_run() -> None:
    """20 s of surge against three times 60 s, with harms for as long."""
    usual, as_json = parsed(["--seed", "1"])
    long, _ = parsed(["--long", "--seed", "1", "--json"])
    assert not as_json
    assert (usual.lengths.surge_s, usual.lengths.away_surge_s, usual.runs) == (20, 8, 1)
    assert (long.lengths.surge_s, long.lengths.kill_surge_s, long.runs) == (60, 60, 3)
    assert Options(seconds=2).draining == Sizes(20, 1_000, 200, rounds=1)


@pytest.mark.parametrize(
    "argv", [["--seconds", "nan"], ["--seconds", "0.5"], ["--envelopes", "0"], ["--runs", "-1"]]
)
def test_numbers_that_mean_nothing_are_refused(argv: list[str]) -> None:
    """With argparse's status."""
    with pytest.raises(SystemExit) as ended:
        parsed(argv)
    assert ended.value.code == 2


def test_a_target_survives_the_way_to_the_load_program() -> None:
    """A job is the same after JSON, keys and phases included."""
    made = job("http://127.0.0.1:1", repeat=True)
    assert read_job(write_job(made)) == made
    assert isinstance(read_job(write_job(made)).targets[0], Target)
    assert "key='key'" not in repr(made)
