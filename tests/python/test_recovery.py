"""What a recovery costs, and what it makes of files that someone else made large."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

# Rows that all carry the tags of their call: 3 MB in the ring are 128 MB in the files.
CALLS, METRICS, TAGS = 20, 100, 16
ROWS = CALLS * METRICS
VICTIM = f"""
import os, signal, sys
import codex_obs

run = codex_obs.init(sys.argv[1], backup_count="all")
tags = {{f"k{{i:02d}}": "x" * 4000 for i in range({TAGS})}}
metrics = {{f"m{{i}}": float(i) for i in range({METRICS})}}
for step in range({CALLS}):
    run.log(metrics, step=step, tags=tags)
os.kill(os.getpid(), signal.SIGKILL)
"""
# Gives the number of rows and the largest resident size of the process.
READERS = {
    "recover": "print(codex_obs.recover(sys.argv[1])['rows_recovered'])",
    "summarize": "print(codex_obs.summarize(sys.argv[1])['count'].sum())",
    "init": "run = codex_obs.init(sys.argv[1], backup_count='all'); print(run.stats()['rows_recovered']); run.close()",
}
MOST_BYTES = 100 << 20
HUGE_BYTES = 3 << 30


def measure(code: str, directory: Path, **limits: int) -> tuple[list[str], int]:
    """Run code on a directory in a process of its own; give what it prints and its largest resident size."""
    # Of this process alone: what getrusage gives counts the one that it was started from.
    peak = 'next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]'
    whole = f"import sys, codex_obs\n{code}\nprint({peak})"

    def limit() -> None:
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, name), (most, most))

    done = subprocess.run(
        [sys.executable, "-c", whole, str(directory)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert done.returncode == 0, done.stderr
    *said, peak_kib = done.stdout.split()
    return said, int(peak_kib) << 10


def lines_of(directory: Path) -> list[tuple[int, str]]:
    rows = []
    for path in directory.glob("metrics.ndjson*"):
        with path.open() as file:
            whole = (line for line in file if line.endswith("\n"))
            rows += [(row["step"], row["metric"]) for row in map(json.loads, whole)]
    return rows


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose writer was killed with rows in its journal that are many times its size."""
    directory = tmp_path_factory.mktemp("crashed") / "run"
    done = subprocess.run([sys.executable, "-c", VICTIM, str(directory)], check=False)
    assert done.returncode == -9
    assert (directory / ".codex_obs" / "journal-main").exists()
    return directory


@pytest.mark.parametrize("reader", READERS)
def test_a_copy_of_a_crashed_run_is_read_in_the_ring_and_a_constant(crashed: Path, tmp_path: Path, reader: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(crashed, copy)
    before = len(lines_of(copy))
    said, peak = measure(READERS[reader], copy)
    assert int(said[0]) in {ROWS, ROWS - before}
    rows = lines_of(copy)
    assert (len(rows), len(set(rows))) == (ROWS, ROWS)
    assert peak < MOST_BYTES, f"{peak >> 20} MiB"


def test_a_log_that_someone_extends_by_gigabytes_costs_a_trainer_nothing(tmp_path: Path) -> None:
    code = f"""
import os
run = codex_obs.init(sys.argv[1])
run.log({{"a": 1.0}}, step=0)
assert run.flush(60)
os.truncate(sys.argv[1] + "/metrics.ndjson", {HUGE_BYTES})
run.log({{"a": 2.0}}, step=1)
assert run.flush(60)
run.close()
print(run.stats()["torn_tails"])
"""
    said, _ = measure(code, tmp_path / "run", RLIMIT_AS=1 << 30)
    assert said == ["1"]
    assert lines_of(tmp_path / "run") == [(0, "a"), (1, "a")]
    (torn,) = (tmp_path / "run" / ".codex_obs").glob("torn-*")
    assert torn.stat().st_size > HUGE_BYTES - 1000
    assert torn.stat().st_blocks < 1000


@pytest.mark.parametrize("shard", ["metrics.ndjson", "metrics.ndjson.1"])
def test_gigabytes_of_nul_bytes_in_a_shard_cost_a_session_nothing(tmp_path: Path, shard: str) -> None:
    directory = tmp_path / "run"
    with codex_obs.init(directory) as run:
        run.log({"a": 1.0}, step=7)
    (directory / "run.ndjson").unlink()
    path = directory / shard
    if not path.exists():
        (directory / "metrics.ndjson").rename(path)
    os.truncate(path, HUGE_BYTES)
    code = "run = codex_obs.init(sys.argv[1]); run.log({'a': 2.0}); run.close()"
    _, peak = measure(code, directory, RLIMIT_AS=1 << 30)
    assert peak < MOST_BYTES, f"{peak >> 20} MiB"
    last = (directory / "metrics.ndjson").read_text().splitlines()[-1]
    assert json.loads(last)["step"] == 8


def finish_records(directory: Path) -> list[dict[str, object]]:
    records = map(json.loads, (directory / "run.ndjson").read_text().splitlines())
    return [record for record in records if record["record"] == "finish"]


def test_a_session_counts_on_from_what_the_last_one_noted(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with codex_obs.init(directory):
        pass
    assert finish_records(directory)[-1]["largest_step"] is None
    with codex_obs.init(directory) as run:
        run.log({"a": 1.0}, step=41)
        run.log({"a": 1.0}, step=3)
    assert finish_records(directory)[-1]["largest_step"] == 41
    # A thread may log behind the finish record, while its process ends.
    with (directory / "metrics.ndjson").open("a") as file:
        file.write('{"run_id":"x","step":1000,"split":"train"}\n')
    with codex_obs.init(directory) as run:
        run.log({"a": 1.0})
        run.log({"a": 1.0}, step=5)
    assert finish_records(directory)[-1]["largest_step"] == 1001


def test_behind_a_session_that_crashed_steps_come_from_the_files(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    with codex_obs.init(directory) as run:
        run.log({"a": 1.0}, step=10)
    code = "run = codex_obs.init(sys.argv[1]); run.log({'a': 1.0}, step=99); run.flush(); import os; os._exit(0)"
    subprocess.run([sys.executable, "-c", f"import sys, codex_obs\n{code}", str(directory)], check=True)
    with codex_obs.init(directory) as run:
        run.log({"a": 1.0}, step=20)
    assert "largest_step" not in finish_records(directory)[-1]
    with codex_obs.init(directory) as run:
        run.log({"a": 1.0})
    assert finish_records(directory)[-1]["largest_step"] == 100
