"""A delivery in another process holds shards as one of this process does, up to the limit; all beyond it is counted."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 1000
FOLLOW = [sys.executable, "-m", "codex_obs", "sync", "--follow", "--uri"]
# A shard has some forty rows. None but the newest rotated one would stay without a follower.
FEW: Any = {"archive": "none", "backup_count": 1, "max_shard_bytes": 8192}


def train(run: codex_obs.Run, tracking: Any, command: list[str]) -> subprocess.Popen[str]:
    """Log to a run that another process delivers to a server that answers nothing before all of it is logged."""
    tracking.gate.clear()
    run.log({"loss": 0.0}, step=0)
    assert run.flush(30.0)
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    tracking.wait(lambda: tracking.at_gate > 0)
    for step in range(1, ROWS):
        run.log({"loss": step / 2}, step=step)
        if step % 20 == 0:
            assert run.flush(30.0)
    assert run.close(30.0)
    tracking.gate.set()
    return follower


@pytest.mark.parametrize("export_ranks", ["main", "all"])
def test_a_follower_in_another_process_gets_every_row_however_slow_its_server(
    tracking: Any, tmp_path: Path, export_ranks: str
) -> None:
    run = codex_obs.init(tmp_path / "run", **FEW)
    command = [*FOLLOW, tracking.uri, str(tmp_path / "run"), "--export-ranks", export_ranks]
    follower = train(run, tracking, command)
    said, complaints = follower.communicate(timeout=120)
    assert (follower.returncode, complaints) == (0, ""), said
    assert [step for *_, step in tracking.points()] == list(range(ROWS))
    stats = run.stats()
    assert stats["rotations"] > 15
    assert (stats["rows_retired"], stats["rows_retired_undelivered"]) == (0, 0)
    # Once it is delivered and nobody follows any more, the rule of the run holds again.
    with codex_obs.init(tmp_path / "run", **FEW) as later:
        for step in range(ROWS, ROWS + 100):
            later.log({"loss": 1.0}, step=step)
    kept = codex_obs.read(tmp_path / "run").height
    assert later.stats()["rows_retired"] == ROWS + 100 - kept
    assert kept < 200
    assert later.stats()["rows_retired_undelivered"] == 0


def test_beyond_the_limit_the_oldest_rows_go_and_every_one_is_counted_on_both_sides(
    tracking: Any, tmp_path: Path
) -> None:
    run = codex_obs.init(tmp_path / "run", max_unexported_shards=4, **FEW)
    follower = train(run, tracking, [*FOLLOW, tracking.uri, str(tmp_path / "run")])
    said, complaints = follower.communicate(timeout=120)
    points = [step for *_, step in tracking.points()]
    missing = ROWS - len(points)
    assert (follower.returncode, 0 < missing < ROWS) == (1, True), (said, complaints)
    # What was in its hands when the server stood still, and then what the files still have.
    assert points == sorted(points)
    kept = codex_obs.read(tmp_path / "run")["step"].to_list()
    assert points[-len(kept) :] == kept == list(range(kept[0], ROWS))
    assert f"{missing} rows were deleted before delivery" in complaints
    stats = run.stats()
    assert stats["rows_retired"] == ROWS - len(kept)
    # The retention cannot know what the follower has read and not delivered yet, and counts it as undelivered.
    assert missing <= stats["rows_retired_undelivered"] <= stats["rows_retired"]
