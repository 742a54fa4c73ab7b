"""What Prometheus reads, in both of its formats, by the parsers of its own client."""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import codex_obs
from beside import DEADLINE_S, Place, until
from codex_obs._prometheus.facts import Facts, merged
from codex_obs._prometheus.server import MetricsServer
from codex_obs._prometheus.text import OPEN_METRICS_TYPE, render

parser = pytest.importorskip("prometheus_client.parser")
open_metrics = pytest.importorskip("prometheus_client.openmetrics.parser")


def samples(facts: Facts) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Everything that both parsers find, which is the same."""
    families = facts.families()
    found = [
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse(render(families, is_open_metrics=is_open).decode())
            for sample in family.samples
        }
        for is_open, parse in (
            (False, parser.text_string_to_metric_families),
            (True, open_metrics.text_string_to_metric_families),
        )
    ]
    assert repr(sorted(found[0].items())) == repr(sorted(found[1].items()))
    return found[0]


def named(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], what: str, **labels: str) -> float:
    wanted = set(labels.items())
    (value,) = [value for (own, has), value in found.items() if own == what and wanted <= set(has)]
    return value


def line(event: str, metric: str, labels: dict[str, str], **measured: object) -> str:
    metadata = {"metric": metric, "labels": labels, "bounds": [0.1, 1.0]}
    return json.dumps({"event": event, "measurements": measured, "metadata": metadata}) + "\n"


def test_last_values_steps_and_rows_are_there_for_every_stream(run_dir: Path) -> None:
    hostile = 'a/b"\\\n{}\x1b[2J\u202eü'
    with codex_obs.init(run_dir, run_id="r1") as run:
        run.log({"loss": 1.0, hostile: 2.5}, step=3)
        run.log({"loss": float("nan"), "up": float("inf")}, step=4, split="eval")
        facts = Facts(os.fspath(run_dir), "r1")
        run.flush()
        first = samples(facts)
        run.log({"loss": 0.25, "text": "x"}, step=5)
    with codex_obs.init(run_dir, rank=1) as run:
        run.log({"loss": 7.0}, step=1)
    assert named(first, "codex_metric", metric="loss", split="train", stream="main", run_id="r1") == 1.0
    assert named(first, "codex_metric", metric=hostile) == 2.5
    found = samples(facts)
    assert named(found, "codex_metric", metric="loss", split="train", stream="main") == 0.25
    assert math.isnan(named(found, "codex_metric", metric="loss", split="eval"))
    assert named(found, "codex_metric", metric="up") == math.inf
    assert named(found, "codex_metric", stream="rank-1") == 7.0
    assert (named(found, "codex_step", stream="main"), named(found, "codex_step", stream="rank-1")) == (5, 1)
    assert named(found, "codex_rows_logged_total", stream="main") == 6
    assert named(found, "codex_rows_retired_total") == 0


def test_durations_and_counts_become_histograms_and_counters_and_collisions_are_told_apart(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    (run_dir / "telemetry.ndjson").write_text(
        line("timing.observed", "train/step", {"phase": "a"}, sum=2.5, count=3, buckets=[1, 1, 1])
        + line("timing.observed", "train/step", {"phase": "a"}, sum=0.05, count=1, buckets=[1, 0, 0])
        + line("timing.observed", "train.step", {}, sum=1.0, count=1, buckets=[0, 1, 0])
        + line("count.added", "examples_processed", {}, sum=32)
        + line("count.added", "examples_processed", {}, sum=10)
        + line("turn.start", "no", {}, sum=1)
        + "no line\n"
    )
    found = samples(Facts(os.fspath(run_dir), "r"))
    assert named(found, "train_step_seconds_count", phase="a") == 4
    assert named(found, "train_step_seconds_sum", phase="a") == 2.55
    buckets = [named(found, "train_step_seconds_bucket", phase="a", le=le) for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [2, 3, 4]
    assert named(found, "train_step_seconds_2_count") == 1
    assert named(found, "examples_processed_total") == 42


def test_samples_of_the_machine_are_in_base_units_and_what_is_not_known_is_left_out(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    sample = {
        "host": "n1",
        "cpu_percent": 50.0,
        "memory": {"total": 100, "used": None},
        "gpus": [{"index": 0, "name": "g", "util": 25.0, "mem_used": 7, "temp_c": None}],
    }
    (run_dir / "system_metrics.jsonl").write_text("{}\n" + json.dumps(sample) + "\n")
    found = samples(Facts(os.fspath(run_dir), "r"))
    assert named(found, "codex_system_cpu_utilization_ratio", host="n1") == 0.5
    assert named(found, "codex_system_memory_total_bytes", host="n1") == 100
    assert named(found, "codex_system_gpu_utilization_ratio", gpu="0", name="g") == 0.25
    assert not [
        name for name, _ in found if name in ("codex_system_memory_used_bytes", "codex_system_gpu_temperature_celsius")
    ]


def test_ten_thousand_metrics_are_read_and_two_runs_stand_in_one_family(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with codex_obs.init(tmp_path / name, run_id=name) as run:
            run.log({f"m/{index}": index for index in range(10_000)})
    facts = [Facts(os.fspath(tmp_path / name), name) for name in ("a", "b")]
    text = render(merged(each.families() for each in facts), is_open_metrics=True).decode()
    assert text.count("# TYPE codex_metric gauge") == 1
    families = list(open_metrics.text_string_to_metric_families(text))
    (metrics,) = [family for family in families if family.name == "codex_metric"]
    assert len(metrics.samples) == 20_000


def ask(port: int, accept: str = "text/plain") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_the_server_speaks_both_formats_on_loopback_alone_and_gives_its_port_back(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5})
    server = MetricsServer([(os.fspath(run_dir), "r")], 0)
    assert ask(server.port)[:2] == (200, "text/plain; version=0.0.4; charset=utf-8")
    status, kind, text = ask(server.port, "application/openmetrics-text; version=1.0.0")
    assert (status, kind, text.splitlines()[-1]) == (200, OPEN_METRICS_TYPE, "# EOF")
    listening = [entry.split() for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert {entry[1] for entry in listening if int(entry[1].split(":")[1], 16) == server.port and entry[3] == "0A"} == {
        f"0100007F:{server.port:04X}"
    }
    server.close()
    with pytest.raises(ConnectionRefusedError):
        ask(server.port)


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def is_free(port: int) -> bool:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_the_process_beside_the_trainer_answers_and_the_port_is_free_after_a_kill_with_a_worker_alive(
    place: Place, port: int
) -> None:
    trainer = place.begin(f"""
run = codex_obs.init(RUN, prometheus_port={port})
for step in range(10):
    run.log({{"loss": 0.5}}, step=step)
run.flush()
child = os.fork()
if child == 0:
    time.sleep(60)
    os._exit(0)
pathlib.Path("child").write_text(str(child))
time.sleep(60)
""")
    until(lambda: not is_free(port))
    until(lambda: place.text("child"))
    until(lambda: 'codex_step{stream="main"' in ask(port)[2])
    assert " 9.0\n" in ask(port)[2]
    trainer.kill()
    trainer.wait(timeout=DEADLINE_S)
    until(lambda: is_free(port))
    os.kill(int(place.text("child") or ""), signal.SIGKILL)
    trainer.communicate(timeout=DEADLINE_S)
    until(lambda: not place.sidecars())


def test_a_port_that_is_taken_is_on_record_and_training_goes_on(place: Place, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        place.train(f"""
run = codex_obs.init(RUN, prometheus_port={port}, destinations=["whole"])
run.log({{"loss": 0.5}})
until(lambda: read(TAKEN))
run.close(30)
""")
    until(lambda: not place.sidecars())
    (summary,) = place.run.glob("tracking_summary.sidecar-*.ndjson")
    assert '"reason":"prometheus:port"' in summary.read_text()


def test_a_server_of_its_own_answers_about_runs_that_have_ended_and_leaves_at_sigterm(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with codex_obs.init(tmp_path / name, run_id=name) as run:
            run.log({"loss": 0.5}, step=7)
    command = [sys.executable, "-m", "codex_obs.telemetry.server", "--port", "0"]
    with subprocess.Popen([*command, "a", "b"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline()
        found = ask(int(address.rpartition(":")[2].partition("/")[0]))[2]
        server.terminate()
        assert server.wait(timeout=DEADLINE_S) == 0
    assert 'codex_step{stream="main",run_id="a"} 7.0' in found
    assert 'codex_step{stream="main",run_id="b"} 7.0' in found
    done = subprocess.run([*command, "nowhere"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere" in done.stderr
