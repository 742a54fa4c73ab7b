"""``codex-obs doctor``: what it finds is what is there, and each finding says what to do."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from codex_obs.commands import _checkup
from command import start

CHECKS = [
    "versions", "settings", "folder", "file system", "disk space", "inodes", "locks", "journal", "clock", "open files",
    "file size", "ports", "mlflow", "container", "psutil", "gpu driver",
]  # fmt: skip


def found(folder: Path, check: str) -> _checkup.Finding:
    return next(finding for finding in _checkup.examine(folder) if finding.check == check)


def test_everything_is_looked_at_and_nothing_stays_behind(tmp_path: Path) -> None:
    done = start("doctor", tmp_path, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    findings = json.loads(done.stdout)
    assert [finding["check"] for finding in findings] == CHECKS
    for finding in findings:
        assert finding["found"]
        assert finding["meaning"].endswith(".")
        assert (finding["status"] == "ok") == (finding["remedy"] == "")
    assert list(tmp_path.iterdir()) == []


def test_the_screen_fits_and_says_the_same(tmp_path: Path) -> None:
    done = start("doctor", tmp_path, cwd=tmp_path, on_terminal=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(done.stdout.split())
    assert all(f"{check}: " in text for check in CHECKS)


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    finding = found(tmp_path / "a" / "b", "folder")
    assert (finding.status, "does not exist yet" in finding.found) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_a_problem_and_exit_code_1(tmp_path: Path) -> None:
    done = start("doctor", tmp_path, "--json", cwd=tmp_path, CODEX_TRACKING_NDJSON_MAX_BYTES="64MiB")
    (problem,) = [finding for finding in json.loads(done.stdout) if finding["status"] == "problem"]
    assert (done.returncode, problem["check"]) == (1, "settings")
    assert "CODEX_TRACKING_NDJSON_MAX_BYTES" in problem["found"]
    done = start("doctor", tmp_path, "--json", cwd=tmp_path, CODEX_OBS_RINGBYTES="1")
    (warning,) = [finding for finding in json.loads(done.stdout) if finding["check"] == "settings"]
    assert (warning["status"], "CODEX_OBS_RINGBYTES" in warning["found"]) == ("warning", True)


@pytest.mark.parametrize(("free", "status"), [(10**12, "ok"), (10**9, "warning"), (10**8, "problem")])
def test_free_space_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str) -> None:
    usage = SimpleNamespace(f_bavail=free // 4096, f_frsize=4096, f_blocks=10**10, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _place: usage)
    assert found(tmp_path, "disk space").status == status
    assert found(tmp_path, "inodes").status == "ok"


def test_limits_of_the_process_are_judged(tmp_path: Path) -> None:
    limited = ["bash", "-c", 'ulimit -n 64; ulimit -f 1000; exec "$@"', "bash", sys.executable, "-m", "codex_obs"]
    done = subprocess.run(
        [*limited, "doctor", str(tmp_path), "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    status = {finding["check"]: finding["status"] for finding in json.loads(done.stdout)}
    assert (done.returncode, status["open files"], status["file size"]) == (1, "warning", "problem")
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64


def test_a_file_system_without_locks_or_mapping_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(mmap, "mmap", refuse)
    for check in ("locks", "journal"):
        finding = found(tmp_path, check)
        assert (finding.status, "not supported" in finding.found) == ("warning", True)
    # One that gives a lock twice.
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert found(tmp_path, "locks").status == "problem"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert found(tmp_path, "folder").status == "problem"
    assert found(tmp_path, "locks").status == "warning"


def test_a_file_system_in_memory_is_a_warning() -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    finding = found(Path("/dev/shm"), "file system")
    assert (finding.status, finding.found) == ("warning", "tmpfs at /dev/shm")


def test_a_server_is_tried_without_a_word_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("CODEX_OBS_MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
        assert found(tmp_path, "mlflow").status == "ok"
        connection, _ = server.accept()
        assert connection.recv(10) == b""
        connection.close()
    finding = found(tmp_path, "mlflow")
    assert (finding.status, f"127.0.0.1:{port} cannot be reached" in finding.found) == ("warning", True)
    assert "secret" not in str(finding)
