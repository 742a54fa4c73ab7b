"""``codex-obs import`` of files that other trackers wrote: what it gives is what their own readers give."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from typer.testing import CliRunner

import codex_obs
from codex_obs.cli import app
from codex_obs.testing import read_rows
from foreign_runs import HERE, as_logged, finite

if TYPE_CHECKING:
    from pathlib import Path

GOLDEN = HERE.parent / "golden" / "foreign"
ROOT = HERE.parents[1]
# An environment that has the trackers (make peers); PyTorch only where somebody has added it.
OTHER_PYTHON = ROOT / ".venv-peers/bin/python"
KINDS = ("tensorboardx", "torch", "tensorflow", "wandb", "mlflow", "mlflow_files")
SPLITS = {
    "val_loss": ("val", "loss"),
    "val/accuracy": ("val", "accuracy"),
}


@dataclass
class Foreign:
    """Files of another tracker, and what its own reader says of each run."""

    kind: str
    folder: Path
    runs: dict[str, dict[str, Any]]


def imported(source: str | Path, dest: Path, *options: str, code: int = 0) -> str:
    """Import in this process, in an environment that must not matter, and give what was said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODEX_OBS_ARCHIVE", "none")
        patch.setenv("RANK", "3")
        done = CliRunner().invoke(app, ["import", str(source), "--dest", str(dest), *options])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(
    scope="module", params=[*KINDS, *(pytest.param(f"{kind} now", marks=pytest.mark.big) for kind in KINDS)]
)
def foreign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """Files as a tracker wrote them, once and for all, and as the one that is installed writes them now."""
    kind, is_now = request.param.removesuffix(" now"), request.param.endswith(" now")
    folder = tmp_path_factory.mktemp("foreign")
    if is_now:
        written_now(kind, folder)
    else:
        if not (GOLDEN / f"{kind}.tar.gz").exists():
            pytest.skip(f"nobody has packed what {kind} writes")
        with tarfile.open(GOLDEN / f"{kind}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return read_back(kind, folder)


def read_back(kind: str, folder: Path) -> Foreign:
    runs = json.loads((folder / "expected.json").read_text())["runs"]
    (folder / "expected.json").unlink()
    for run in runs.values():
        for points in run["metrics"].values():
            points[:] = [[step, time_s, as_logged(value)] for step, time_s, value in points]
    return Foreign(kind, folder, runs)


def written_now(kind: str, folder: Path, **variables: str) -> None:
    package = {"torch": "torch", "tensorboardx": "tensorboardX", "tensorflow": "tensorboard"}.get(
        kind, kind.partition("_")[0]
    )
    if (
        not OTHER_PYTHON.exists()
        or subprocess.run([OTHER_PYTHON, "-c", f"import {package}"], check=False, capture_output=True).returncode
    ):
        pytest.skip(f"{package} is not installed: make peers")
    subprocess.run(
        [OTHER_PYTHON, HERE / "write_foreign.py", kind, folder],
        check=True,
        capture_output=True,
        env={**os.environ, **variables},
    )


def place_of(foreign: Foreign, metric: str, run: str) -> tuple[str, str]:
    """Where a metric of the tracker's is to be found: split and name."""
    if foreign.kind == "tensorflow":
        return run.rpartition("/")[2], metric
    return SPLITS.get(metric, ("train", metric))


def directory_of(foreign: Foreign, run: str, dest: Path) -> Path:
    return dest / run if foreign.kind.startswith(("wandb", "mlflow")) else dest


@pytest.fixture(scope="module")
def dest(foreign: Foreign, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("dest") / "imported"
    imported(foreign.folder, dest)
    return dest


def of(frame: pl.DataFrame, split: str, metric: str) -> pl.DataFrame:
    return frame.filter(pl.col("split").cast(pl.String) == split, pl.col("metric").cast(pl.String) == metric)


def test_every_value_has_its_step_time_and_split(foreign: Foreign, dest: Path) -> None:
    for name, run in foreign.runs.items():
        rows = codex_obs.read(directory_of(foreign, name, dest))
        for metric, points in run["metrics"].items():
            found = of(rows, *place_of(foreign, metric, name)).sort("step")
            told = sorted(points, key=lambda point: point[0])
            assert found["step"].to_list() == [step for step, _, _ in told], metric
            assert found["value"].to_list() == [finite(value) for *_, value in told], metric
            stamps = found["timestamp"].dt.epoch("us").to_list()
            assert all(abs(stamp - 1e6 * time_s) <= 1 for stamp, (_, time_s, _) in zip(stamps, told, strict=True)), (
                metric
            )
            marks = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
            assert found["nonfinite"].to_list() == [marks.get(str(value)) for *_, value in told], metric


def test_the_summary_is_that_of_the_tracker_s_own_values(foreign: Foreign, dest: Path) -> None:
    for name, run in foreign.runs.items():
        summary = codex_obs.summarize(directory_of(foreign, name, dest))
        for metric, points in run["metrics"].items():
            found = of(summary, *place_of(foreign, metric, name)).row(0, named=True)
            told = sorted(points, key=lambda point: (point[1], point[0]))
            numbers = [value for *_, given in told if (value := finite(given)) is not None]
            assert (found["count"], found["first_step"], found["last_step"]) == (len(told), told[0][0], told[-1][0])
            assert (found["first_value"], found["last_value"]) == (finite(told[0][2]), finite(told[-1][2]))
            assert (found["min_value"], found["max_value"]) == (min(numbers), max(numbers))
            assert found["mean_value"] == pytest.approx(sum(numbers) / len(numbers), rel=1e-12)
            assert (found["numeric_count"], found["nonfinite_count"]) == (len(numbers), len(told) - len(numbers))


def test_parameters_and_how_it_ended_are_kept(foreign: Foreign, dest: Path) -> None:
    for name, run in foreign.runs.items():
        if "params" not in run:
            continue
        table = codex_obs.runs(directory_of(foreign, name, dest))
        config: dict[str, object] = {}
        for line in read_rows(directory_of(foreign, name, dest), "params"):
            assert isinstance(line["config"], dict)
            config |= line["config"]
        added = {"added": 7} if foreign.kind == "wandb" else {}
        assert config == {**run["params"], **added}
        assert table["status"].to_list() == [run["status"]]
        assert table["run_id"].to_list() == [run["run_id"]]
        assert table["name"].to_list() == [name]


def test_histograms_and_texts_are_structured_values(foreign: Foreign, dest: Path) -> None:
    runs = {name: run for name, run in foreign.runs.items() if run.get("histograms")}
    if not runs:
        pytest.skip("this tracker has none, or no reader of them")
    values = codex_obs.payloads(dest)
    for run in runs.values():
        for tag, told in run["histograms"].items():
            found = values.filter(metric=tag).sort("step")
            payloads = [json.loads(text) for text in found["payload"]]
            assert [[step, sum(one["counts"])] for step, one in zip(found["step"], payloads, strict=True)] == told
            assert all(len(one["edges"]) == len(one["counts"]) + 1 for one in payloads)
            assert all(one["edges"] == sorted(one["edges"]) for one in payloads)
        for tag, told in run["texts"].items():
            found = values.filter(metric=tag).sort("step")
            assert [
                [step, json.loads(text)] for step, text in zip(found["step"], found["payload"], strict=True)
            ] == told


def test_the_run_is_closed_and_of_one_stream(foreign: Foreign, dest: Path) -> None:
    for name in foreign.runs:
        path = directory_of(foreign, name, dest)
        assert sorted(entry.name for entry in path.iterdir() if "rank" in entry.name) == []
        assert list((path / ".codex_obs").glob("journal-*")) == []
        assert [line["record"] for line in read_rows(path, "run")] == ["start", "finish"]


def test_what_rows_have_no_place_for_is_counted(foreign: Foreign, tmp_path: Path) -> None:
    said = json.loads(imported(foreign.folder, tmp_path / "run", "--json").splitlines()[0])
    expected = {
        "tensorboardx": {"image": 3},
        "torch": {"image": 3},
        "mlflow": {"deleted run": 1},
        "mlflow_files": {"deleted run": 1},
    }
    assert said["left"] == expected.get(foreign.kind, {})
    assert said["damaged"] == {}
    assert said["rows"] == codex_obs.runs(tmp_path)["rows"].sum()


def test_a_cut_file_gives_what_is_before_the_cut_and_says_so(foreign: Foreign, tmp_path: Path) -> None:
    if foreign.kind.startswith("mlflow"):
        pytest.skip("a database is not cut, it cannot be opened then")
    path = max((path for path in foreign.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    cut = tmp_path / path.name
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 + 1])
    said = imported(cut, tmp_path / "run", code=1)
    assert "file that ends amid a record" in said
    assert 0 < codex_obs.read(tmp_path / "run").height < 256


def test_a_changed_byte_is_noticed(foreign: Foreign, tmp_path: Path) -> None:
    if foreign.kind.startswith("mlflow"):
        pytest.skip("SQLite has no checksums")
    path = max((path for path in foreign.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    changed = tmp_path / path.name
    changed.write_bytes(content)
    assert "Damaged, not read" in imported(changed, tmp_path / "run", code=1)
