"""The file of the samples: written by a thread, rotated, packed, and read back as a table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import codex_obs
from codex_obs.system import SampleLog, Sampler, SystemMetricsLogger, read
from samples import valid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S = 30.0


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def lines(path: Path) -> list[dict[str, Any]]:
    return [valid(json.loads(line)) for line in path.read_text("ascii").splitlines()]


def test_a_thread_samples_between_start_and_stop(tmp_path: Path) -> None:
    path = tmp_path / "machine" / "load.jsonl"
    sampling = SystemMetricsLogger(path, interval=0.1)
    assert not path.parent.exists(), "nothing happens before the start"
    with sampling:
        until(lambda: sampling.samples >= 3)
        assert sampling.start() is sampling
        assert sum(thread.name == "codex-obs-system" for thread in threading.enumerate()) == 1
    count = sampling.samples
    found = lines(path)
    assert (len(found), sampling.lost) == (count, 0)
    assert [sample["ts"] for sample in found] == sorted(sample["ts"] for sample in found)
    assert found[-1]["processes"][0]["pid"] == os.getpid()
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    with sampling:
        until(lambda: sampling.samples > count)
    assert len(lines(path)) == sampling.samples


def test_a_run_s_samples_lie_in_its_directory_and_name_it(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        with SystemMetricsLogger(run, interval=60):
            pass
        (first, *_) = lines(tmp_path / "run" / "system_metrics.jsonl")
        assert first["run_id"] == run.run_id
        assert [(process["pid"], process["streams"]) for process in first["processes"]] == [(os.getpid(), ["main"])]
    assert read(tmp_path / "run")["run_id"].unique().to_list() == [run.run_id]


@pytest.mark.parametrize("interval", [0.0, 0.09, -1.0, float("nan"), float("inf")])
def test_an_interval_that_is_none_is_refused(interval: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0\.1 or more"):
        SystemMetricsLogger(tmp_path / "x", interval=interval)


def test_a_file_that_cannot_be_written_is_said_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "load.jsonl").symlink_to(tmp_path / "elsewhere")
    with SystemMetricsLogger(tmp_path / "load.jsonl", interval=0.1) as sampling:
        until(lambda: sampling.lost >= 2)
    assert sampling.samples == 0
    assert sum("was not written" in message for message in caplog.messages) == 1
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_a_forked_child_samples_nothing_and_ends(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from codex_obs.system import SystemMetricsLogger\n"
        "with SystemMetricsLogger(sys.argv[1], interval=0.1) as sampling:\n"
        "    child = os.fork()\n"
        "    if child == 0:\n"
        "        sampling.stop()\n"
        "        os._exit(7)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path / "x.jsonl")],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "7\n"
    assert all(sample["processes"] for sample in lines(tmp_path / "x.jsonl"))


@pytest.mark.parametrize("name", ["system_metrics.jsonl", "my machine.log"])
def test_rotated_and_packed_samples_are_all_read_in_order(name: str, tmp_path: Path) -> None:
    settings = codex_obs.Settings(max_shard_bytes=20_000, backup_count=2)
    log = SampleLog(tmp_path / name, settings)
    sampler = Sampler(root=tmp_path)
    sample = sampler.sample()
    sampler.close()
    for number in range(100):
        log.write(sample | {"ts": 1000.0 + number})
    names = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert f"{name}.archive-000001.zst" in names
    assert {f"{name}.1", f"{name}.2"} < set(names)
    assert f"{name}.3" not in names
    table = read(tmp_path / name)
    assert table["ts"].to_list() == [1000.0 + number for number in range(100)]
    if name == "system_metrics.jsonl":
        assert read(tmp_path).equals(table)


def test_the_table_has_every_field_and_the_same_columns_without_a_sample(tmp_path: Path) -> None:
    sampler = Sampler(root=tmp_path)
    sample = sampler.sample() | {"gpus": [{"index": 0, "util": 3, "processes": [{"pid": 1, "mem_used": None}]}]}
    log = SampleLog(tmp_path / "system_metrics.jsonl")
    log.write(sample)
    log.write(sample | {"memory": None, "errors": ["x: y"], "plugins": {"room": {"temp_c": 21.5}}})
    SampleLog(tmp_path / "system_metrics.sidecar-b-1234.jsonl").write(sample | {"ts": 5.0, "host": "b"})
    table = read(tmp_path)
    assert table.columns == ["timestamp", "stream", *(name for name in sample), "plugins"]
    assert table["stream"].to_list() == ["sidecar-b-1234", "main", "main"]
    assert table["timestamp"].dtype == pl.Datetime("us", "UTC")
    assert table["timestamp"][0].timestamp() == 5.0
    first = table.row(1, named=True)
    for name, value in sample.items():
        if name not in {"gpus", "processes"}:
            assert first[name] == value, name
    assert first["gpus"][0]["util"] == 3.0
    assert table["plugins"].to_list() == [None, None, '{"room": {"temp_c": 21.5}}']
    (tmp_path / "empty").mkdir()
    assert read(tmp_path / "empty").schema == table.schema
    with pytest.raises(codex_obs.NoLogError):
        read(tmp_path / "missing")
    sampler.close()


def test_lines_that_are_no_samples_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "system_metrics.jsonl"
    path.write_text('{"ts":1.5,"host":"a"}\nnonsense\n[1]\n{"ts":"then"}\n{}\n\n{"ts":2.5,"cpu_percent":7}\n{"ts":3')
    assert read(tmp_path).select("ts", "host", "cpu_percent").rows() == [(1.5, "a", None), (2.5, None, 7.0)]
    assert "4 lines that are no samples were left out" in caplog.text


def test_a_sample_is_kept_whole_when_a_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "system_metrics.jsonl"
    program = (
        "import sys; from codex_obs.system import SystemMetricsLogger; SystemMetricsLogger(sys.argv[1], 0.1).start(); "
        "sys.stdin.read()"
    )
    for turn in range(2):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE) as child:
            until(lambda turn=turn: path.exists() and len(path.read_bytes().splitlines()) > 2 * turn + 1)  # type: ignore[misc]
            child.kill()
        with path.open("ab") as file:
            file.write(b'{"ts":')  # as much as a power cut may leave
    assert len(read(tmp_path)) >= 3
    SampleLog(path).write({"ts": 5.0})
    assert path.read_text("ascii").splitlines()[-1] == '{"ts":5.0}'
