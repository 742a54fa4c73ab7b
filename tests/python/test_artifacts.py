"""What `log_artifact` promises: a copy before it returns, nothing half there, and no name that leads elsewhere."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import _backend
from codex_obs.destinations import artifacts
from command import start
from faults.mounts import fill, tmpfs

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a folder with two files."""
    folder = tmp_path / "checkpoint"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "sub" / "state.json").write_text("{}")
    return folder


def test_files_and_folders_are_copied_before_it_returns(run_dir: Path, source: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log_artifact(source / "model.bin")
        run.log_artifact(str(source), "best/model")
        (source / "model.bin").write_bytes(b"changed")
        assert (run_dir / "artifacts" / "model.bin").read_bytes() == b"weights"
        assert (run_dir / "artifacts" / "best" / "model" / "model.bin").read_bytes() == b"weights"
        (source / "sub" / "state.json").unlink()
        run.log_artifact(source, "best/model")
    found = {str(path.relative_to(run_dir / "artifacts")) for path in (run_dir / "artifacts").rglob("*")}
    assert found == {"model.bin", "best", "best/model", "best/model/model.bin", "best/model/sub"}
    assert (run_dir / "artifacts" / "best" / "model" / "model.bin").read_bytes() == b"changed"


def test_any_rank_may_and_a_closed_run_or_a_disabled_one_copies_nothing(
    run_dir: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with codex_obs.init(run_dir):
        pass
    with codex_obs.init(run_dir, rank=3) as run:
        run.log_artifact(source / "model.bin", "rank-3.bin")
    run.log_artifact(source / "model.bin", "late.bin")
    assert "model.bin is not copied: the run is closed" in caplog.text
    assert [path.name for path in (run_dir / "artifacts").iterdir()] == ["rank-3.bin"]
    with codex_obs.init(run_dir.parent / "off", disabled=True) as off:
        off.log_artifact(source)
    assert not (run_dir.parent / "off").exists()


@pytest.mark.parametrize("name", ["", "..", "../../x", "/etc/x", "a/../../x", "x" * 300])
def test_a_name_that_leads_out_is_refused(run_dir: Path, source: Path, name: str) -> None:
    with codex_obs.init(run_dir) as run:
        with pytest.raises(codex_obs.SettingError, match="an artifact cannot have the name"):
            run.log_artifact(source / "model.bin", name)
        with pytest.raises(TypeError, match="name must be text"):
            run.log_artifact(source / "model.bin", 1)  # type: ignore[arg-type]
    assert not (run_dir / "artifacts").exists()


def test_what_cannot_be_read_is_said_and_links_that_lead_to_no_file_are_left_out(
    run_dir: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "link").symlink_to(source / "model.bin")
    (source / "circle").symlink_to(source)
    os.mkfifo(source / "fifo")
    with codex_obs.init(run_dir) as run:
        with pytest.raises(codex_obs.LogFileError, match="missing"):
            run.log_artifact(source / "missing")
        with pytest.raises(codex_obs.SettingError, match="neither a file nor a folder"):
            run.log_artifact(source / "fifo")
        run.log_artifact(source)
    assert "left out of the artifact" in caplog.text
    assert "circle" in caplog.text
    assert "fifo" in caplog.text
    copied = run_dir / "artifacts" / "checkpoint"
    assert sorted(path.name for path in copied.iterdir()) == ["link", "model.bin", "sub"]
    assert not (copied / "link").is_symlink()


@pytest.mark.root
def test_on_a_full_disk_nothing_is_half_there_and_no_row_is_lost(tmp_path: Path, source: Path) -> None:
    with tmpfs(tmp_path / "disk", 32) as disk:
        run_dir = disk / "run"
        (source / "large.bin").write_bytes(bytes(8 << 20))
        with codex_obs.init(run_dir) as run:
            run.log_artifact(source / "model.bin", "kept/model.bin")
            filler = fill(disk)
            os.truncate(filler, filler.stat().st_size - (4 << 20))
            for path, name in ((source / "large.bin", None), (source, "kept")):
                with pytest.raises(codex_obs.LogFileError, match="No space left"):
                    run.log_artifact(path, name)
            for step in range(1000):
                run.log({"loss": 0.5}, step=step)
        found = [path.relative_to(run_dir) for path in run_dir.rglob("*.bin*")]
        assert [str(path) for path in found] == ["artifacts/kept/model.bin"]
        assert not list((run_dir / ".codex_obs").glob("artifact-*"))
        assert codex_obs.read(run_dir).height == 1000


def test_other_threads_go_on_while_a_file_is_copied(run_dir: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 20))
    counts = [0]
    ended = threading.Event()

    def count() -> None:
        while not ended.is_set():
            counts[0] += 1

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    with codex_obs.init(run_dir) as run:
        # With the GIL held, the other thread would get none of this time.
        sys.setswitchinterval(1.0)
        thread.start()
        try:
            before = counts[0]
            run.log_artifact(large)
            during = counts[0] - before
        finally:
            ended.set()
            sys.setswitchinterval(interval)
            thread.join()
    assert during > 0
    assert (run_dir / "artifacts" / "large.bin").stat().st_size == 64 << 20


def test_what_is_noted_is_delivered_until_it_changes(run_dir: Path, source: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log_artifact(source)
    folder = run_dir / "artifacts" / "checkpoint"
    (folder / "out").symlink_to("/etc/passwd")

    def names() -> list[str]:
        return [each.name for each in artifacts.pending(run_dir, "mlflow x")]

    assert names() == ["checkpoint/model.bin", "checkpoint/sub/state.json"]
    _backend.note_artifacts(run_dir, "mlflow x", artifacts.pending(run_dir, "mlflow x")[:1])
    assert names() == ["checkpoint/sub/state.json"]
    assert len(artifacts.pending(run_dir, "mlflow y")) == 2
    (noted,) = (run_dir / ".codex_obs").glob("artifacts-*.ndjson")
    with noted.open("ab") as file:
        file.write(b'{"path":"checkpoint/sub/state.js')
    _backend.note_artifacts(run_dir, "mlflow x", artifacts.pending(run_dir, "mlflow x"))
    assert names() == []
    (folder / "model.bin").write_bytes(b"newer")
    assert names() == ["checkpoint/model.bin"]


def test_without_the_vendor_s_package_sync_says_what_waits(run_dir: Path, source: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
        run.log_artifact(source)
    found = artifacts.deliver(run_dir, "wandb_is_not_here", run="r")
    assert found == (0, 2, "pip install 'codex-obs[wandb_is_not_here]'")
    done = start("sync", run_dir, "--to", "wandb", cwd=run_dir.parent)
    assert (done.returncode, done.stderr) == (0, ""), "an offline run has none"
