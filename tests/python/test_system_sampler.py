"""Samples of the machine: every field beside what the system itself says, and what is missing is null."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import codex_obs
from codex_obs.system import SampleLog, Sampler
from samples import ORDER, valid

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN = 0.02
TURNS = 20


def agreed(one: Callable[[], float], other: Callable[[], float]) -> None:
    """Compare what moves: at one of some moments the two are near each other."""
    pairs = []
    for _ in range(TURNS):
        pairs.append((one(), other()))
        if abs(pairs[-1][0] - pairs[-1][1]) <= WITHIN * max(abs(pairs[-1][1]), 1):
            return
    pytest.fail(f"they differ by more than 2 %: {pairs}")


def test_a_sample_has_the_fields_of_the_schema_in_its_order(tmp_path: Path) -> None:
    sampler = Sampler(root=tmp_path, patience_s=10)
    sample = valid(sampler.sample())
    assert list(sample) == ORDER
    assert (sample["run_id"], sample["host"], sample["errors"]) == (None, os.uname().nodename, [])
    assert abs(sample["ts"] - time.time()) < 60
    assert sample["cgroup"] == {"cpu_limit": None, "memory_limit": None, "memory_used": None}
    assert [process["pid"] for process in sample["processes"]] == [os.getpid()]
    sampler.close()


def test_values_are_those_of_psutil_and_proc() -> None:
    sampler = Sampler()

    def field(*path: str) -> Callable[[], float]:
        def look() -> float:
            value: Any = sampler.sample()
            for name in path:
                value = value[name]
            return float(value)

        return look

    memory, swap = psutil.virtual_memory, psutil.swap_memory
    agreed(field("memory", "used"), lambda: memory().used)
    agreed(field("memory", "available"), lambda: memory().available)
    agreed(field("memory", "percent"), lambda: memory().percent)
    agreed(field("memory", "total"), lambda: proc_kib("MemTotal"))
    agreed(field("memory", "free"), lambda: proc_kib("MemFree"))
    agreed(field("swap", "total"), lambda: swap().total)
    agreed(field("disk", "used"), lambda: psutil.disk_usage(".").used)
    agreed(field("network", "bytes_recv"), lambda: psutil.net_io_counters().bytes_recv)
    if (counters := psutil.disk_io_counters()) is not None:
        assert counters.write_bytes >= 0
        agreed(field("disk", "write_bytes"), lambda: psutil.disk_io_counters().write_bytes)
    assert field("cpu_count")() == psutil.cpu_count()
    agreed(lambda: sampler.sample()["load_avg"][0], lambda: os.getloadavg()[0])  # type: ignore[index]  # three numbers
    sampler.close()


def proc_kib(name: str) -> int:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def test_memory_is_what_free_says() -> None:
    try:
        subprocess.run(["free", "-b"], capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("there is no free here")
    sampler = Sampler()

    def total_and_available() -> list[int]:
        done = subprocess.run(["free", "-b"], capture_output=True, text=True, check=True, timeout=30)
        memory = done.stdout.splitlines()[1].split()
        return [int(memory[1]), int(memory[-1])]

    agreed(lambda: sampler.sample()["memory"]["total"], lambda: total_and_available()[0])  # type: ignore[index]
    agreed(lambda: sampler.sample()["memory"]["available"], lambda: total_and_available()[1])  # type: ignore[index]
    sampler.close()


def test_no_percentage_is_a_zero_that_was_not_measured() -> None:
    sampler = Sampler()
    first = valid(sampler.sample())
    assert first["processes"][0]["cpu_percent"] is None, "there is no time to compare with"
    begun = time.process_time()
    while time.process_time() - begun < 0.3:
        pass
    sample = valid(sampler.sample())
    assert 0 < sample["cpu_percent"] <= 100
    assert sample["processes"][0]["cpu_percent"] > 0
    assert sample["processes"][0]["memory_info"]["rss"] > 1 << 20
    assert sample["processes"][0]["threads"] >= 1
    sampler.close()


def test_the_processes_are_those_that_have_the_run_open(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    program = (
        "import codex_obs, sys; run = codex_obs.init(sys.argv[1], rank=1); run.log({'a': 1}); run.flush(); "
        "print('open', flush=True); sys.stdin.read(); run.close()"
    )
    with codex_obs.init(run_dir) as run:
        run.log({"a": 1})
        sampler = Sampler(run_dir)
        with subprocess.Popen(
            [sys.executable, "-c", program, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "open\n"
            sample = valid(sampler.sample())
            open_now = {process["pid"]: process["streams"] for process in sample["processes"]}
            assert open_now == {os.getpid(): ["main"], child.pid: ["rank-1"]}
            assert sample["run_id"] == run.run_id
            child.kill()
        assert [process["pid"] for process in valid(sampler.sample())["processes"]] == [os.getpid()]
    assert valid(sampler.sample())["processes"] == []
    sampler.close()


@pytest.mark.parametrize("content", ["", "nonsense\n", "cpu  \nMemTotal: much kB\n"])
def test_a_proc_of_nonsense_costs_its_own_fields(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(root=tmp_path)
    proc = tmp_path / "proc"
    for name in ("stat", "meminfo", "net/dev", "diskstats", "vmstat", "loadavg"):
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text(content)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
    sample = valid(sampler.sample())
    assert list(sample) == ORDER
    assert sample["memory"] is None
    assert any(error.startswith("memory: ") for error in sample["errors"])
    assert sample["cpu_count"] == os.cpu_count()
    assert sample["load_avg"] is not None
    assert {change.reason for change in sampler.changes()} > {"system:started", "system:memory"}
    monkeypatch.undo()
    assert valid(sampler.sample())["memory"]["total"] > 0
    assert ("enabled", "system:memory") in [change[:2] for change in sampler.changes()]
    sampler.close()
    (last,) = sampler.changes()
    assert (last.status, last.reason) == ("disabled", "system:ended")


def test_samples_that_cannot_be_written_are_counted_and_on_record_until_they_can_be_again(tmp_path: Path) -> None:
    sampler = Sampler()
    log = SampleLog(tmp_path / "folder" / "system_metrics.jsonl")
    (tmp_path / "folder").write_text("in its place")
    assert sampler.record(log) is not None
    began, degraded = sampler.changes()
    assert (began.reason, degraded.status, degraded.reason) == ("system:started", "degraded", "system:write")
    assert degraded.extra["totals"] == {"samples": 0, "samples_lost": 1}
    (tmp_path / "folder").unlink()
    assert sampler.record(log) is None
    (recovered,) = sampler.changes()
    assert recovered[:2] == ("enabled", "system:write")
    assert recovered.extra["totals"] == {"samples": 1, "samples_lost": 1}
    sampler.close()


HIDING = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"psutil", "pynvml"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""
WITHOUT = """
import importlib.util, json, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {"psutil", "pynvml"} else find(name, package)
from codex_obs.system import SystemMetricsLogger, Sampler
with SystemMetricsLogger(sys.argv[1], interval=0.1): pass
with SystemMetricsLogger(sys.argv[1], interval=0.1): pass
print(json.dumps(Sampler(root=sys.argv[2]).sample()))
"""


def test_without_psutil_one_line_says_so_and_the_rest_is_sampled(tmp_path: Path) -> None:
    (tmp_path / "root/dev").mkdir(parents=True)
    (tmp_path / "root/dev/nvidiactl").touch()
    path = tmp_path / "system_metrics.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", HIDING + WITHOUT, str(path), str(tmp_path / "root")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("[monitoring-error] psutil is not installed")
    assert "pip install 'codex-obs[system]'" in done.stderr
    sample = valid(json.loads(done.stdout))
    assert list(sample) == ORDER
    missing = ("cpu_percent", "memory", "swap", "disk", "network", "processes", "gpu_count", "gpus")
    assert [name for name in missing if sample[name] is not None] == []
    assert sample["cpu_count"] == os.cpu_count()
    assert sorted(error.partition(":")[0] for error in sample["errors"]) == ["nvml", "psutil"]
    assert len(path.read_text().splitlines()) >= 2
