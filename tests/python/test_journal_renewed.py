"""A journal that is deleted, replaced or truncated under an open run is made anew, so that a kill loses nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

# Logs, has its internals harmed, waits until that is noticed, logs on and is killed.
PROGRAM = """
import os, shutil, signal, sys, time
import codex_obs

directory, harm, rows_after = sys.argv[1], sys.argv[2], int(sys.argv[3])
run = codex_obs.init(directory, ring_bytes=1 << 20)
for step in range(100):
    run.log({"a": 0.5, "b": step}, step=step)
assert run.flush(30)
journal = f"{directory}/.codex_obs/journal-main"
exec(harm)
deadline = time.monotonic() + 60
while not run.stats()["journal_errors"]:
    assert time.monotonic() < deadline
    time.sleep(0.001)
while not os.path.exists(journal) or not os.path.getsize(journal):
    assert time.monotonic() < deadline
    time.sleep(0.001)
for step in range(100, 100 + rows_after):
    run.log({"a": 0.5, "b": step}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""

HARMS = {
    "journal deleted": "os.unlink(journal)",
    "internals deleted": "shutil.rmtree(os.path.dirname(journal))",
    "journal replaced by a copy": "shutil.copy(journal, directory + '/x'); os.replace(directory + '/x', journal)",
    "journal moved away": "os.rename(journal, directory + '/moved')",
    "journal truncated": "os.truncate(journal, 0)",
}


@pytest.mark.parametrize("rows_after", [3, 4000])
@pytest.mark.parametrize("harm", HARMS)
def test_a_kill_after_the_journal_was_made_anew_loses_nothing(run_dir: Path, harm: str, rows_after: int) -> None:
    program = [sys.executable, "-c", PROGRAM, str(run_dir), HARMS[harm], str(rows_after)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -9, ended.stderr
    frame = codex_obs.read(run_dir)
    steps = frame["step"].to_list()
    assert len(steps) == 2 * (100 + rows_after)
    assert set(steps) == set(range(100 + rows_after))
    kept = [path.name for path in (run_dir / ".codex_obs").glob("*journal*")]
    assert kept == (["damaged-journal-main-0"] if harm == "journal replaced by a copy" else [])


def test_a_run_says_once_that_its_journal_was_made_anew(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5}, step=0)
        assert run.flush(30)
        journal = run_dir / ".codex_obs" / "journal-main"
        journal.unlink()
        for step in range(1, 4):
            run.log({"loss": 0.5}, step=step)
            assert run.flush(30)
        assert journal.exists()
    said = [record.getMessage() for record in caplog.records if "journal-main" in record.getMessage()]
    assert len(said) == 1
    assert "was deleted under the open run and was created again: waiting rows are safe" in said[0]
    assert not journal.exists()
    assert codex_obs.read(run_dir)["step"].to_list() == [0, 1, 2, 3]


def test_a_damaged_journal_that_is_kept_fails_strict_until_it_is_deleted(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5}, step=0)
    command = [sys.executable, "-m", "codex_obs", "summarize", str(run_dir), "--json", "--strict"]

    def summarize() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert summarize().returncode == 0
    internals = run_dir / ".codex_obs"
    internals.mkdir(exist_ok=True)
    for stream in ("main", "rank-3"):
        (internals / f"journal-{stream}").write_bytes(b"CODEXOBS" + bytes(range(256)) * 100)
    for _ in range(2):
        ended = summarize()
        assert ended.returncode == 1
        assert json.loads(ended.stdout)[0]["count"] == 1
        assert "Rows may be missing" in ended.stderr
        assert "2 damaged journals" in ended.stderr
        assert "damaged-journal-rank-3-0" in ended.stderr
    for path in internals.glob("damaged-*"):
        path.unlink()
    assert summarize().returncode == 0
