"""Spans and death: of the process that makes them, and of the collector that is to get them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs import telemetry
from collector import DEADLINE_S, Collector, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Eight threads say which spans they began and ended, once the call has returned. A span is a trace and an identifier.
VICTIM = """
import sys, threading
import codex_obs
from codex_obs import telemetry
codex_obs.init(sys.argv[1])
lock = threading.Lock()
def tell(word, span):
    with lock:
        sys.stdout.write(f"{word} {span.trace_id} {span.span_id}\\n")
        sys.stdout.flush()
def work(number):
    count = 0
    while True:
        with telemetry.thread(f"{number}-{count}") as outer:
            tell("began", outer)
            with telemetry.span("inner") as inner:
                tell("began", inner)
            tell("ended", inner)
        tell("ended", outer)
        count += 1
for number in range(8):
    threading.Thread(target=work, args=(number,), daemon=True).start()
threading.Event().wait()
"""
# The most that one request holds.
BATCH = 512
KILLS = [pytest.param(5, id="few"), pytest.param(50, id="many", marks=pytest.mark.big)]
OUTAGES = [pytest.param(2.0, id="short"), pytest.param(60.0, id="a minute", marks=pytest.mark.big)]
CUT_OFF = "the process ended before the span"
Span = tuple[str, str]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(("CODEX_OTLP_", "OTEL_"))]:
        monkeypatch.delenv(name)
    telemetry.configure({})
    yield
    telemetry.configure({})


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def on(uri: str) -> dict[str, str]:
    return {"CODEX_OTLP_ENABLE": "1", "CODEX_OTLP_ENDPOINT": uri}


def sync(path: Path, uri: str) -> str:
    command = [sys.executable, "-m", "codex_obs", "sync", str(path), "--to", "otlp"]
    done = subprocess.run(
        command, env=os.environ | on(uri), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


def logged(path: Path) -> tuple[set[Span], set[Span]]:
    """Give the spans of a run that ended and those that did not, by its lines alone."""
    ended: set[Span] = set()
    begun: set[Span] = set()
    for file in path.glob("telemetry.*ndjson*"):
        assert file.suffix != ".zst", "so few lines are not packed"
        for line in map(json.loads, file.read_text().splitlines()):
            span = (line["trace_id"], line["span_id"])
            (begun if line["event"].endswith(".start") else ended).add(span)
    return ended, begun - ended


def lose_answers(collector: Collector, chosen: random.Random) -> None:
    """Have a tenth of the requests be kept but not answered."""

    def misbehave(handler: Any, _: int) -> bool:
        if chosen.random() > 0.1:
            return False
        handler.keep(collector.bodies[-1])
        collector.lost += 1
        handler.close_connection = True
        handler.connection.close()
        return True

    collector.misbehave = misbehave


@pytest.mark.parametrize("kills", KILLS)
def test_a_kill_loses_no_span_that_ended_and_the_open_ones_are_errors(
    kills: int, collector: Collector, tmp_path: Path
) -> None:
    # The same moments each time, as far as that is in our hands.
    moments = random.Random(16)
    lose_answers(collector, random.Random(61))
    said: dict[str, set[Span]] = {"began": set(), "ended": set()}
    for _ in range(kills):
        command = [sys.executable, "-c", VICTIM, str(tmp_path / "run")]
        environment = os.environ | on(collector.uri)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(moments.randrange(40, 400))]
            process.send_signal(signal.SIGKILL)
            told += process.stdout.read().rpartition("\n")[0].splitlines()
        for line in told:
            word, trace, span = line.split()
            said[word].add((trace, span))
    sync(tmp_path / "run", collector.uri)
    unique = collector.unique()
    ended, left_open = logged(tmp_path / "run")
    assert said["ended"] <= ended
    assert said["began"] <= ended | left_open
    assert {span for span, sent in unique.items() if sent.status.code == 1} == ended
    cut_off = {span: sent.status.message for span, sent in unique.items() if sent.status.code == 2}
    assert cut_off == dict.fromkeys(left_open, CUT_OFF)
    assert len(unique) == len(ended) + len(left_open)
    # Eight threads were each in two spans at most.
    assert len(left_open) <= 16 * kills
    # A repeat is the same span to the byte, and each kill and each lost answer repeats one batch at most.
    assert all(sent == unique[sent.trace_id.hex(), sent.span_id.hex()] for sent in collector.spans)
    repeats = sum(count - 1 for count in Counter(collector.bodies).values())
    assert len(collector.spans) - len(unique) <= BATCH * (kills + collector.lost)
    assert repeats <= kills + collector.lost
    assert sync(tmp_path / "run", collector.uri).endswith("nothing new for otlp\n")


@pytest.mark.parametrize("seconds", OUTAGES)
def test_spans_of_an_outage_go_out_when_the_collector_is_back(seconds: float, tmp_path: Path) -> None:
    with Collector() as before:
        telemetry.configure(on(before.uri))
        run = codex_obs.init(tmp_path / "run", export_interval_s=0.05)
        with telemetry.span("before"):
            pass
        before.wait_for(lambda: len(before.spans) == 1)
    port = before.server_port
    ends = time.monotonic() + seconds
    made = 0
    while time.monotonic() < ends:
        with telemetry.span("away"):
            made += 1
        time.sleep(0.005)
    assert run.stats()["spans_exported"] == 1
    with Collector(port=port) as back:
        back.wait_for(lambda: len(back.unique()) == made)
        assert run.close(DEADLINE_S)
    ended, left_open = logged(tmp_path / "run")
    assert (set(before.unique()) | set(back.unique()), left_open) == (ended, set())
    # None came twice: a collector that is away takes nothing.
    assert len(before.spans) + len(back.spans) == len(ended) == made + 1


def test_spans_of_a_collector_that_hangs_up_go_out_when_it_does_no_more(collector: Collector, tmp_path: Path) -> None:
    def hang_up(handler: Any, _: int) -> bool:
        handler.close_connection = True
        handler.connection.close()
        return True

    collector.misbehave = hang_up
    telemetry.configure(on(collector.uri))
    with codex_obs.init(tmp_path / "run", export_interval_s=0.05):
        for _ in range(20):
            with telemetry.span("early"):
                pass
        eventually(lambda: len(collector.bodies) > 0)
        collector.misbehave = None
        with telemetry.span("late"):
            pass
        collector.wait_for(lambda: len(collector.unique()) == 21)
    assert len(collector.spans) == 21


# Each makes spans, says when the program's own work is done, and leaves everything else to the end of the process.
OURS = """
import sys, time
import codex_obs
from codex_obs import telemetry
codex_obs.init(sys.argv[1])
for number in range(int(sys.argv[2])):
    with telemetry.span("s", number=number):
        pass
print(time.monotonic(), flush=True)
"""
THEIRS = """
import sys, time
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=sys.argv[1] + "/v1/traces")))
tracer = provider.get_tracer("t")
for number in range(int(sys.argv[2])):
    with tracer.start_as_current_span("s", attributes={"number": number}):
        pass
print(time.monotonic(), flush=True)
"""
# What `close` may take where the end of the program calls it, and what else a process has to do at its end.
CLOSE_S = 5.0
SLACK_S = 3.0
SPANS = [pytest.param(1, id="one"), pytest.param(3000, id="many", marks=pytest.mark.big)]


def silent(_: Any, __: int) -> bool:
    time.sleep(DEADLINE_S)
    return True


def slow(_: Any, __: int) -> bool:
    time.sleep(2.0)
    return False


def seconds_to_exit(program: str, *arguments: str, uri: str) -> float:
    """Run a program, and say how long after its own work it ended."""
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(
        command, env=os.environ | on(uri), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        # The pipe ends with the process.
        done_at, ended_at = float(process.stdout.read()), time.monotonic()
        assert process.wait(DEADLINE_S) == 0
    return ended_at - done_at


@pytest.mark.parametrize("spans", SPANS)
def test_a_program_ends_within_the_time_of_close_and_loses_nothing(spans: int, tmp_path: Path) -> None:
    has_peer = find_spec("opentelemetry.exporter") and find_spec("opentelemetry.exporter.otlp.proto.http")
    with Collector() as dumb, Collector() as dawdling, ThreadPoolExecutor(6) as at_once:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            refused = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        dumb.misbehave, dawdling.misbehave = silent, slow
        places = {"refused": refused, "silent": dumb.uri, "slow": dawdling.uri}
        ours = {
            fault: at_once.submit(seconds_to_exit, OURS, str(tmp_path / fault), str(spans), uri=uri)
            for fault, uri in places.items()
        }
        theirs = {
            fault: at_once.submit(seconds_to_exit, THEIRS, uri, str(spans), uri=uri)
            for fault, uri in places.items()
            if has_peer
        }
        for fault, seconds in ours.items():
            peer = f"{theirs[fault].result():.2f} s" if has_peer else "not installed"
            sys.stdout.write(
                f"{fault}, {spans} spans: codex_obs {seconds.result():.2f} s, OpenTelemetry's SDK {peer}\n"
            )
        assert {fault for fault, seconds in ours.items() if seconds.result() > CLOSE_S + SLACK_S} == set()
    with Collector() as works:
        for fault in places:
            sync(tmp_path / fault, works.uri)
        sent = set(works.unique()) | set(dawdling.unique())
    for fault in places:
        ended, left_open = logged(tmp_path / fault)
        assert (len(ended), left_open, ended - sent) == (spans, set(), set())
