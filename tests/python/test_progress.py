"""How far a long summary has come is said on a terminal only, and nothing of it stays there."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from codex_obs import _backend
from terminal import shown_by

if TYPE_CHECKING:
    from pathlib import Path

# The command as users have it, except that it does not wait before it shows something.
EAGER = """
from codex_obs import cli
from codex_obs.commands import _progress

_progress._FIRST_AFTER_S = _progress._EVERY_S = 0.0
cli.main()
"""
ERASE = b"\r\x1b[K"
ROW = b'{"metric":"loss","step":1,"value":0.5}\n'


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a log that takes much longer to read than the time between two looks at it, though not to write."""
    path = tmp_path_factory.mktemp("log")
    with gzip.open(path / "metrics.ndjson.1.gz", "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(ROW * 40_000)
    (path / "metrics.ndjson").write_bytes(ROW)
    return path


def on_terminal(log: Path, **environment: str) -> bytes:
    """Give what the command writes to a standard error that is a terminal."""
    command = [sys.executable, "-c", EAGER, "summarize", "--input", str(log), "--dest", "-"]
    return shown_by(command, output=False, environment=environment)


def test_a_terminal_sees_lines_that_are_all_erased(long_log: Path) -> None:
    shown = on_terminal(long_log, TERM="xterm")
    before, *lines, after = shown.split(ERASE)
    assert before == after == b""
    assert lines
    for line in lines:
        assert re.fullmatch(rb"Reading: \d+ % of \d+ MB", line), shown


def test_a_terminal_that_cannot_erase_sees_nothing(long_log: Path) -> None:
    assert on_terminal(long_log, TERM="dumb") == b""


def test_a_pipe_sees_nothing(long_log: Path) -> None:
    command = [sys.executable, "-c", EAGER, "summarize", "--input", str(long_log), "--dest", "-"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""


def test_bytes_done_grow_to_no_more_than_all_bytes(long_log: Path) -> None:
    seen: list[tuple[int, int]] = []
    _backend.summarize([str(long_log)], progress=lambda done, total: seen.append((done, total)))
    size = sum(file.stat().st_size for file in long_log.glob("metrics.ndjson*"))
    assert seen
    assert seen == sorted(seen)
    assert all(0 <= done <= total == size for done, total in seen)


def test_one_core_is_enough_to_look_up_from_the_work(tmp_path: Path) -> None:
    # Nesting is checked byte by byte, so this takes longer than the time between two looks on any machine.
    line = b'{"metric":"loss","note":' + b"[" * 5000 + b"]" * 5000 + b"}\n"
    (tmp_path / "metrics.ndjson").write_bytes(line * 12_000)
    one_core = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from codex_obs import _backend
seen = []
_backend.summarize([sys.argv[1]], progress=lambda done, total: seen.append((done, total)))
assert seen
"""
    subprocess.run([sys.executable, "-c", one_core, str(tmp_path)], timeout=60, check=True)


def test_what_the_callback_raises_ends_the_work(long_log: Path) -> None:
    class StopReadingError(Exception):
        pass

    def stop(_done: int, _total: int) -> None:
        raise StopReadingError

    with pytest.raises(StopReadingError):
        _backend.summarize([str(long_log)], progress=stop)
