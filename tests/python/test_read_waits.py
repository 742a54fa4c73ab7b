"""Readers beside others: a line that is being written, a process that stands still, a journal of another machine."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import reading
from codex_obs._remarks import is_complete, sentences

if TYPE_CHECKING:
    from pathlib import Path

ROW = '{"metric":"loss","step":1,"value":0.5}\n'

KILLED = """
import os, signal, sys
import codex_obs
run = codex_obs.init(sys.argv[1])
for step in range(100):
    run.log({"loss": 1.0}, step=step)
print("ready", flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_writers(run_dir: Path, number: int) -> None:
    """Leave the journals of so many writers with a stream each."""
    pipe = subprocess.PIPE
    arguments = [sys.executable, "-c", KILLED, str(run_dir)]
    writers = [subprocess.Popen(arguments, stdin=pipe, stdout=pipe) for _ in range(number)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == -signal.SIGKILL


def lock_of(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


# --- The line that is being written ----------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", ['{"metric":"loss","va', "{", '{"metric":"loss","value":0.'])
def test_the_last_line_of_a_live_stream_is_no_fault_until_its_writer_is_gone(run_dir: Path, torn: str) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5}, step=1)
        assert run.flush()
        current = run_dir / "metrics.ndjson"
        with current.open("a") as file:
            file.write(torn)
        _, report = reading.summarize_files([run_dir])
        assert (report.rows, report.lines, is_complete(report)) == (1, 1, True)
        assert is_complete(reading.summarize_files([current])[1])
        # A line in the middle is a fault of a live run, too, and so is one of a stream that nobody writes.
        other = run_dir / "metrics.rank-7.ndjson"
        other.write_text(ROW + torn)
        _, report = reading.summarize_files([run_dir])
        assert report.skipped_examples == [(str(other), 2, "cut off at the end of the file")]
        other.unlink()
        os.truncate(current, current.stat().st_size - len(torn.encode()))
    with current.open("a") as file:
        file.write(torn)
    _, report = reading.summarize_files([run_dir])
    assert report.skipped_examples == [(str(current), 2, "cut off at the end of the file")]


def test_a_line_that_another_program_ends_meanwhile_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "metrics.ndjson"
    half = len(ROW) // 2
    stop = threading.Event()

    def write() -> None:
        with path.open("a", buffering=1) as file:
            while not stop.is_set() and file.tell() < 4 << 20:
                file.write(ROW * 50 + ROW[:half])
                file.flush()
                file.write(ROW[half:])
                file.flush()

    path.write_text(ROW)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            _, report = reading.summarize_files([tmp_path])
            # Nobody owns the stream, so a half line may be reported, but only as that.
            assert {reason for _, _, reason in report.skipped_examples} <= {"cut off at the end of the file"}
    finally:
        stop.set()
        writer.join()
    assert is_complete(reading.summarize_files([tmp_path])[1])


# --- Processes that stand still --------------------------------------------------------------------------------------


def test_who_holds_the_guard_keeps_a_reader_two_seconds_in_all_and_no_row(run_dir: Path) -> None:
    kill_writers(run_dir, 3)
    guard = lock_of(run_dir / ".codex_obs" / "guard")
    try:
        start = time.monotonic()
        frame, report = reading.summarize_files([run_dir])
        assert time.monotonic() - start < 20
        assert frame["count"].sum() == 300
        (note,) = sentences(report)
        assert "another process holds its lock and makes no progress" in note
        assert is_complete(report), "every row was read"
    finally:
        os.close(guard)
    frame, report = reading.summarize_files([run_dir])
    assert (frame["count"].sum(), list(sentences(report))) == (300, [])


def test_ctrl_c_ends_the_wait_for_the_guard(run_dir: Path) -> None:
    kill_writers(run_dir, 1)
    guard = lock_of(run_dir / ".codex_obs" / "guard")

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            reading.summarize(run_dir)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        os.close(guard)


def test_a_recoverer_that_stands_still_is_named(run_dir: Path) -> None:
    kill_writers(run_dir, 1)
    lock = run_dir / ".codex_obs" / "lock-main"
    # The lock is held, and its record is that of this process, which lives, for a recovery: the first byte says so.
    with codex_obs.init(run_dir.parent / "other") as other:
        record = bytearray((other.path / ".codex_obs" / "lock-main").read_bytes())
    record[0] = 1
    descriptor = lock_of(lock)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, record, 0)
    try:
        _, report = reading.summarize_files([run_dir])
    finally:
        os.close(descriptor)
    assert [path for path, _ in report.journals] == [str(run_dir / ".codex_obs" / "journal-main")]
    assert "makes no progress" in report.journals[0][1]
    assert not is_complete(report)
