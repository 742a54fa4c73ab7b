"""The room that a run takes on the disk: little until it logs much, for runs that are killed early leave it behind."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
# Four pages of header, and the part of the ring that is allocated at first.
FIRST = 16 * KIB + 256 * KIB
RING = 8 << 20
KILLED = """
import os, signal, sys, codex_obs
run = codex_obs.init(sys.argv[1])
run.log({"loss": 1.0}, step=0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def room_of(path: Path) -> int:
    """Count the bytes on the disk, as `du` does."""
    return path.stat().st_blocks * 512


def test_a_run_begins_with_272_kib_and_takes_the_whole_ring_once_a_quarter_of_that_is_used(tmp_path: Path) -> None:
    run = codex_obs.init(tmp_path)
    journal = tmp_path / ".codex_obs" / "journal-main"
    first = room_of(journal)
    if first < 256 * KIB:
        pytest.skip("this file system does not count preallocated room")
    assert first <= FIRST
    run.log({"loss": 1.0}, step=0)
    run.flush()
    assert room_of(journal) == first
    logged = 0
    while room_of(journal) == first:
        assert logged < 64 * KIB, "every call takes a byte of the ring at least"
        for _ in range(50):
            logged += 1
            run.log({f"metric_{index}": 0.5 for index in range(8)}, step=logged)
        run.flush()
    # Eight numbers and their names take more than a hundred bytes, and less than 1 KiB.
    assert 64 <= logged <= 1000
    assert RING <= room_of(journal) <= RING + FIRST
    run.close()
    assert not journal.exists()


@pytest.mark.parametrize("settings", [{"ring_bytes": 256 * KIB}, {"ring_bytes": 1 << 20, "overflow": "drop"}])
def test_a_ring_that_is_small_or_never_waited_for_is_there_from_the_beginning(
    tmp_path: Path, settings: dict[str, object]
) -> None:
    with codex_obs.init(tmp_path, **settings):  # type: ignore[arg-type]
        room = room_of(tmp_path / ".codex_obs" / "journal-main")
    size = settings["ring_bytes"]
    assert isinstance(size, int)
    assert size <= room <= size + 32 * KIB


def test_killed_runs_take_hardly_more_than_what_was_allocated_for_them(tmp_path: Path) -> None:
    """Three are tried. With the whole ring from the beginning one took 8.1 MiB: 80 GB in an array of 10,000 tasks."""
    for number in range(3):
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / str(number))], check=False)
        whole = sum(room_of(path) for path in (tmp_path / str(number)).rglob("*") if path.is_file())
        assert whole <= FIRST + 64 * KIB
