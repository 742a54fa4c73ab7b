"""Staged files: each content once, gone when its time is over, and nothing of anybody else's."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import telemetry

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CODEX_OBS_STAGING_DIR", str(tmp_path / "staging"))
    return tmp_path / "staging"


def source(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_content_is_there_once_and_goes_when_its_time_is_over(tmp_path: Path, folder: Path) -> None:
    heard: list[str] = []
    telemetry.attach("ear", "*", lambda event, *_: heard.append(event))
    one = telemetry.stage(source(tmp_path, "a.txt", "same"), ttl_s=-1)
    assert telemetry.stage(source(tmp_path, "b.md", "same"), ttl_s=-1) == one
    kept = telemetry.stage(source(tmp_path, "c.txt", "kept"))
    persistent = telemetry.stage(source(tmp_path, "d", "for good"), persist=True, ttl_s=-1)
    assert (one.read_text(), one.suffix, one.parent) == ("same", ".txt", folder)
    assert (folder.stat().st_mode & 0o777, one.stat().st_mode & 0o777) == (0o700, 0o600)
    assert telemetry.cleanup() == 1
    assert (one.exists(), kept.exists(), persistent.exists()) == (False, True, True)
    assert telemetry.force_cleanup() == 2
    telemetry.detach("ear")
    assert sorted(path.name for path in folder.iterdir()) == ["lock"]
    assert heard == ["attachment.staged"] * 4 + ["attachment.cleaned"] * 3


def test_what_is_not_ours_stays(tmp_path: Path, folder: Path) -> None:
    staged = telemetry.stage(source(tmp_path, "a.txt", "mine"))
    victim = source(tmp_path, "victim", "precious")
    other = "0" * 64
    (folder / other).symlink_to(victim)
    (folder / f"{'1' * 64}.txt").hardlink_to(victim)
    (folder / ("2" * 64)).mkdir()
    (folder / "notes.txt").write_text("mine, by hand")
    assert telemetry.force_cleanup() == 1
    assert not staged.exists()
    assert victim.read_text() == "precious"
    assert {path.name for path in folder.iterdir()} == {other, f"{'1' * 64}.txt", "2" * 64, "notes.txt", "lock"}


@pytest.mark.parametrize("kind", ["link", "open to others", "file"])
def test_a_folder_that_is_not_ours_alone_is_refused(kind: str, tmp_path: Path, folder: Path) -> None:
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif kind == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    with pytest.raises(codex_obs.UnsafePathError if kind != "file" else (codex_obs.UnsafePathError, OSError)):
        telemetry.stage(source(tmp_path, "a", "b"))
    assert not any((tmp_path / "elsewhere").glob("*"))


def test_threads_that_stage_the_same_content_get_one_file(tmp_path: Path, folder: Path) -> None:
    file = source(tmp_path, "a.bin", "x" * 100_000)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(telemetry.stage(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len([path for path in folder.iterdir() if path.suffix == ".bin"]) == 1


def test_the_default_is_a_folder_of_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CODEX_OBS_STAGING_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert telemetry.staging_dir() == tmp_path / f"codex_obs-{os.getuid()}"
