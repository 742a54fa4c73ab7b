"""Several writers in one run directory have a stream each, and a reader has them all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from codex_obs import _backend
from other_user import leave_in_journal, require_that_nobody_sees

if TYPE_CHECKING:
    from pathlib import Path

# Logs its steps, waits to be told, and closes.
WRITER = """
import sys
import codex_obs

run = codex_obs.init(sys.argv[1], config={"argv": sys.argv[2]})
for step in range(1000):
    run.log({"loss": step * 0.5, "who": [sys.argv[2]]}, step=step)
print(run.stream, run.run_id, flush=True)
sys.stdin.readline()
assert run.close()
"""


def start_writer(directory: Path, mark: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finish(writer: subprocess.Popen[str]) -> None:
    writer.communicate("\n", timeout=60)
    assert writer.returncode == 0


def greeting(writer: subprocess.Popen[str]) -> list[str]:
    assert writer.stdout is not None
    return writer.stdout.readline().split()


def file_names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.is_file()}


def test_two_processes_do_not_mix(run_dir: Path) -> None:
    first = start_writer(run_dir, "a")
    stream, run_id = greeting(first)
    assert stream == "main"
    second = start_writer(run_dir, "b")
    assert greeting(second) == [f"pid-{second.pid}", run_id]
    finish(first)
    finish(second)
    names = {"metrics", "metrics_manifest", "params", "tracking_summary", "run"}
    streams = ("", f".pid-{second.pid}")
    assert file_names(run_dir) == {"run.json"} | {f"{name}{stream}.ndjson" for name in names for stream in streams}
    for mark, stream in zip("ab", streams, strict=True):
        params = json.loads((run_dir / f"params{stream}.ndjson").read_text())
        assert params["config"] == {"argv": mark}
        manifest = (run_dir / f"metrics_manifest{stream}.ndjson").read_text().splitlines()
        assert {tuple(json.loads(line)["descriptor"]["payload"]) for line in manifest} == {(mark,)}
    rows = codex_obs.read(run_dir)
    assert rows.height == 4000
    assert rows["run_id"].cast(pl.String).unique().to_list() == [run_id]
    losses = rows.filter(pl.col("metric") == "loss")
    for stream in ("main", f"pid-{second.pid}"):
        assert losses.filter(pl.col("stream") == stream)["step"].to_list() == list(range(1000))


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_each_rank_has_its_files(run_dir: Path, variable: str) -> None:
    writers = [start_writer(run_dir, str(rank), **{variable: str(rank)}) for rank in range(3)]
    again = None
    try:
        streams = [greeting(writer)[0] for writer in writers]
        again = start_writer(run_dir, "again", **{variable: "2"})
        streams.append(greeting(again)[0])
    finally:
        for writer in filter(None, [*writers, again]):
            finish(writer)
    assert again is not None
    assert streams == ["main", "rank-1", "rank-2", f"rank-2-pid-{again.pid}"]
    assert {"metrics.ndjson", "metrics.rank-1.ndjson", f"metrics.rank-2-pid-{again.pid}.ndjson"} <= file_names(run_dir)
    assert codex_obs.read(run_dir)["run_id"].n_unique() == 1


def test_a_closed_stream_is_continued_by_the_next_process(run_dir: Path) -> None:
    for _ in range(2):
        writer = start_writer(run_dir, "a")
        assert greeting(writer)[0] == "main"
        finish(writer)
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
    sessions = [json.loads(line) for line in (run_dir / "run.ndjson").read_text().splitlines()]
    assert [line["record"] for line in sessions] == ["start", "finish"] * 3
    assert [line["resume_step"] for line in sessions if line["record"] == "start"] == [None, 1000, 1000]
    assert codex_obs.read(run_dir)["step"].max() == 1000


def test_a_stream_whose_process_died_is_taken_over_at_once(run_dir: Path) -> None:
    writer = start_writer(run_dir, "a")
    assert greeting(writer)[0] == "main"
    writer.kill()
    writer.communicate()
    with codex_obs.init(run_dir) as run:
        assert run.stream == "main"
        assert run.stats()["rows_recovered"] <= 2000
    assert codex_obs.read(run_dir).height == 2000


@pytest.mark.root
def test_a_reader_that_may_not_write_sees_what_a_dead_process_left(open_dir: Path) -> None:
    run_dir = open_dir / "run"
    leave_in_journal(run_dir, "{'loss': 0.5}", 500)
    require_that_nobody_sees(run_dir, 500, lambda: _backend.summarize([str(run_dir)])[1].rows)
    assert codex_obs.read(run_dir).height == 500


@pytest.mark.parametrize("framework", ["torch.distributed", "jax.distributed"])
@pytest.mark.parametrize("question", ["is_initialized", "get_rank"])
def test_a_framework_that_does_not_say_the_rank_is_named(
    run_dir: Path,
    framework: str,
    question: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("store is gone")

    answers = {"is_available": lambda: True, "is_initialized": lambda: True, "get_rank": refuse, question: refuse}
    fake = SimpleNamespace(**answers)
    if framework == "jax.distributed":
        monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(distributed=fake, process_index=refuse))
        monkeypatch.setitem(sys.modules, "jax._src.distributed", SimpleNamespace())
    else:
        monkeypatch.setitem(sys.modules, "torch.distributed", fake)
    with codex_obs.init(run_dir) as run:
        assert run.stream == "main"
    [said] = [record.getMessage() for record in caplog.records if framework in record.getMessage()]
    assert "did not give this process's rank (RuntimeError: store is gone)" in said
    assert "pass rank= to init" in said
