"""Files for TensorBoard and W&B on a full disk: the loop and the log never notice, and `sync` completes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import codex_obs
from command import start
from destination_files import EVENTS, events_in, offline_files, written
from faults.mounts import fill, tmpfs

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 20_000


@pytest.mark.root
def test_a_full_disk_under_the_files_costs_the_log_nothing_and_sync_completes_them(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir.mkdir()
    with tmpfs(run_dir / "wandb", 64) as disk:
        folder = disk / "events"
        with codex_obs.init(
            run_dir, run_id="r1", tensorboard=str(folder), wandb="offline", resume="allow", export_interval_s=0.02
        ) as run:
            run.log({"loss": 0.5, "lr": 1e-5}, step=0)
            fill(disk)
            for step in range(1, CALLS):
                run.log({"loss": 0.5, "lr": 1e-5}, step=step)
        stats = run.stats()
        assert (stats["rows_written"], stats["rows_dropped"]) == (2 * CALLS, 0)
        assert codex_obs.read(run_dir).height == 2 * CALLS
        assert "No space left" in caplog.text
        for kind in ("tensorboard", "wandb"):
            assert f"`codex-ndjson sync {run_dir} --to {kind}" in caplog.text
        (disk / "filler").unlink()
        for arguments in (["--to", "tensorboard", "--dest", folder], ["--to", "wandb"]):
            done = start("sync", run_dir, *arguments, cwd=run_dir.parent)
            assert done.returncode == 0, done.stderr
        assert events_in(folder / EVENTS.name) == 2 * CALLS + 2, "rows, the head and the end"
        (offline,) = offline_files(run_dir)
        full = [(folder / EVENTS.name).read_bytes(), offline.read_bytes()]
    for kind in ("tensorboard", "wandb"):
        assert start("sync", run_dir, "--to", kind, cwd=run_dir.parent).returncode == 0
    assert list(written(run_dir).values()) == full, "as if there had been room"
