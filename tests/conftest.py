"""What all tests share: a clean environment and folders for runs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig.server import python_of_the_server

if TYPE_CHECKING:
    from collections.abc import Iterator

# Variables of launchers and of ours that would change what `init` does.
_PREFIXES = ("CODEX_", "LOGGING_NDJSON_", "SLURM_", "OMPI_", "PMI_", "TORCHELASTIC_", "MLFLOW_")
_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(os.environ)
    for name in before:
        if name.startswith(_PREFIXES) or name in _NAMES:
            monkeypatch.delenv(name)
    yield
    for name in set(os.environ) - before:
        del os.environ[name]


@pytest.fixture(autouse=True)
def _clean_process() -> Iterator[None]:
    """Take away what a test leaves in this process: where spans go, handlers, a decision for the next run."""
    yield
    handlers = sys.modules.get("codex_obs._telemetry.handlers")
    if handlers is not None:
        handlers._attached = ()  # type: ignore[attr-defined]
    recording = sys.modules.get("codex_obs._telemetry.recording")
    if recording is not None:
        recording.wiring.content = recording.wiring.export = None
    export = sys.modules.get("codex_obs._export")
    if export is not None:
        export._spans_target = None  # type: ignore[attr-defined]
    guard = sys.modules.get("codex_obs.mlflow_guard")
    if guard is not None:
        guard.taken()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Give a run directory that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture
def fast_dir(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory where there is one: for tests that open thousands of runs."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    unmet = {
        "root": None if os.geteuid() == 0 else "needs to be root",
        "debian": None if shutil.which("jq") else "needs jq: apt-get install jq",
        "mlflow": None if python_of_the_server() else "needs an MLflow server: make mlflow-server",
        "gpu": None if shutil.which("nvidia-smi") else "needs an NVIDIA GPU",
    }
    for item in items:
        for marker, reason in unmet.items():
            if reason is not None and item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
