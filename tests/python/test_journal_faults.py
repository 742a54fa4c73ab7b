"""Nothing that is done to a run's files ends the process that logs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

# Logs, has something done to its files by `harm`, logs on, and prints its counters.
PROGRAM = """
import faulthandler, json, os, pathlib, shutil, sys
import codex_obs

directory, harm, order = sys.argv[1:]
if order == "before":
    faulthandler.enable()
run = codex_obs.init(directory, ring_bytes=1 << 20)
if order == "after":
    faulthandler.enable()
run.log({"loss": 0.5}, step=0)
assert run.flush(30)
exec(harm)
for step in range(1, 20_000):
    run.log({"loss": step * 0.5, "acc": None}, step=step)
drained = run.close(30)
print(json.dumps({"drained": drained, **run.stats()}))
"""

HARMS = {
    "journal truncated": "os.truncate(f'{directory}/.codex_obs/journal-main', 0)",
    "journal cut in the middle": "os.truncate(f'{directory}/.codex_obs/journal-main', 300_000)",
    "journal deleted": "os.unlink(f'{directory}/.codex_obs/journal-main')",
    "shard deleted": "os.unlink(f'{directory}/metrics.ndjson')",
    "shard truncated": "os.truncate(f'{directory}/metrics.ndjson', 0)",
    "shard renamed": "os.rename(f'{directory}/metrics.ndjson', f'{directory}/metrics.ndjson.1')",
    "internals deleted": "shutil.rmtree(f'{directory}/.codex_obs')",
    "directory deleted": "shutil.rmtree(directory)",
}


@pytest.mark.parametrize("order", ["before", "after", "never"])
@pytest.mark.parametrize("harm", HARMS)
def test_the_process_goes_on_and_counts(run_dir: Path, harm: str, order: str) -> None:
    program = [sys.executable, "-c", PROGRAM, str(run_dir), HARMS[harm], order]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    stats = json.loads(ended.stdout)
    assert stats["rows_logged"] == 1 + 2 * 19_999
    assert stats["rows_logged"] == stats["rows_written"] + stats["rows_waiting"] + stats["rows_dropped"]
    assert stats["drained"]
    assert stats["rows_waiting"] == 0
    dropped_by_journal = stats["rows_dropped_journal"]
    assert stats["rows_dropped"] == dropped_by_journal
    assert dropped_by_journal == 0 or harm.startswith("journal")
    gone = 1 if harm in ("shard deleted", "shard truncated", "directory deleted") else 0
    shards = run_dir.glob("metrics.ndjson*")
    lines = [json.loads(line) for shard in shards for line in shard.read_text().splitlines()]
    assert len(lines) == stats["rows_written"] - gone
    if dropped_by_journal:
        summary = [json.loads(line) for line in (run_dir / "tracking_summary.ndjson").read_text().splitlines()]
        losses = [line["extra"] for line in summary if line["status"] == "degraded"]
        assert sum(loss["count"] for loss in losses if loss["cause"] == "journal") == dropped_by_journal


# Closes every descriptor, as programs do that become daemons, and opens others in their place.
CLOSER = """
import json, os, subprocess, sys
import codex_obs

directory, other, program = sys.argv[1:]
run = codex_obs.init(directory)
run.log({"loss": 0.5}, step=0)
assert run.flush(30)
os.closerange(3, 256)
mine = [open(f"{other}/{number}", "w+") for number in range(64)]
run.log({"loss": 0.5}, step=1)
subprocess.run([sys.executable, "-c", program, directory], check=True)
for step in range(2, 20_000):
    run.log({"loss": step * 0.5}, step=step)
assert run.close(30)
for file in mine:
    file.write("mine")
    file.close()
"""
OTHER = """
import sys, codex_obs
with codex_obs.init(sys.argv[1]) as run:
    run.log({"loss": 1.5}, step=100_000)
"""


def test_a_program_may_close_every_descriptor(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory, other = tmp_path / "run", tmp_path_factory.mktemp("other")
    command = [sys.executable, "-W", "error", "-c", CLOSER, str(directory), str(other), OTHER]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    steps = sorted(codex_obs.read(directory)["step"].to_list())
    assert steps == [*range(20_000), 100_000]
    assert {path.read_text() for path in other.iterdir()} == {"mine"}


# A rotation that fails, and nothing that Python could import to tell of it.
WITHOUT_DESCRIPTORS = """
import resource, sys
import codex_obs

run = codex_obs.init(sys.argv[1], max_shard_bytes=50_000)
run.log({"loss": 0.5}, step=0)
assert run.flush(30)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
for step in range(1, 2_000):
    run.log({"loss": step * 0.5}, step=step)
assert run.flush(30)
run.log({"loss": 0.5}, step=2_000)
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
assert run.close(30)
"""


def test_a_process_out_of_descriptors_logs_on_and_says_so(run_dir: Path) -> None:
    program = [sys.executable, "-c", WITHOUT_DESCRIPTORS, str(run_dir)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert codex_obs.read(run_dir)["step"].to_list() == list(range(2_001))
    assert "the shard keeps growing until rotation works again" in ended.stderr
    assert "Traceback" not in ended.stderr


# Says which stream a process that comes later gets.
LATER = "import sys, codex_obs; run = codex_obs.init(sys.argv[1]); print(run.stream); run.close()"


@pytest.mark.parametrize("deleted", [".codex_obs", ".codex_obs/lock-main"])
def test_a_lock_that_is_deleted_under_an_open_run_is_made_anew_at_the_next_batch(
    run_dir: Path, deleted: str, caplog: pytest.LogCaptureFixture
) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5}, step=0)
        assert run.flush(30)
        path = run_dir / deleted
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        for step in range(1, 4):
            run.log({"loss": 0.5}, step=step)
            assert run.flush(30)
        later = subprocess.run([sys.executable, "-c", LATER, run_dir], capture_output=True, text=True, check=True)
        assert later.stdout.startswith("pid-"), "nobody else may write this stream"
        assert run.stats()["files_disturbed"] == 1
    said = [record.getMessage() for record in caplog.records if "lock-main" in record.getMessage()]
    assert len(said) == 1
    assert "was created again" in said[0]
    assert sorted(codex_obs.read(run_dir)["step"]) == [0, 1, 2, 3]
