"""The demo, as it is started from a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from terminal import cut_numbers, shown_on

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest.importorskip("sklearn", reason="needs the extra demo")

COMMAND = Path(sysconfig.get_path("scripts"), "codex-obs")
# 1,437 images in batches of 32.
STEPS_AN_EPOCH = 45
MAX_SHARD_BYTES = 256 << 10


def demo(folder: Path, *options: str, command: Sequence[str | Path] = (COMMAND,)) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, "demo", *options], cwd=folder, capture_output=True, text=True, check=False)


def succeeded(folder: Path, *options: str) -> str:
    done = demo(folder, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def figures(path: Path) -> pl.DataFrame:
    """Give what of a summary is the same whenever the demo runs."""
    return pl.read_parquet(path / "metrics_summary.parquet").drop(
        "run_id", "^.*_timestamp$", "^.*_manifest_id$", strict=False
    )


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    return folder / "runs/demo", succeeded(folder)


def test_the_classifier_is_good_and_every_step_is_in_the_summary(first_run: tuple[Path, str]) -> None:
    path, _ = first_run
    summary = pl.read_parquet(path / "metrics_summary.parquet")
    groups = summary.select("split", "metric", "dataset", "count", "first_step", "last_step", "last_phase").rows()
    train = ("digits/train", 20 * STEPS_AN_EPOCH, 0, 20 * STEPS_AN_EPOCH - 1, "")
    evaluation = ("digits/test", 20, STEPS_AN_EPOCH - 1, 20 * STEPS_AN_EPOCH - 1, "eval")
    assert sorted(groups) == sorted(
        [("train", metric, *train) for metric in ("loss", "accuracy", "learning_rate", "gradient_norm")]
        + [("eval", metric, *evaluation) for metric in ("loss", "accuracy", "confusion_matrix")]
    )
    accuracy = summary.filter(split="eval", metric="accuracy")["last_value"].item()
    assert accuracy > 0.95


def test_the_terminal_shows_the_table_and_the_parquet_file(first_run: tuple[Path, str]) -> None:
    path, shown = first_run
    run_id = json.loads((path / "run.json").read_text())["run_id"]
    lines = shown.splitlines()
    assert lines[0] == f"run {run_id}"
    assert lines[-1] == "Wrote runs/demo/metrics_summary.parquet (7 rows)"
    for words in (
        "train loss digits/train",
        "eval accuracy digits/test eval",
        "eval confusion_matrix digits/test eval",
    ):
        assert any(line.split()[: len(words.split())] == words.split() for line in lines), words


def test_a_terminal_of_80_columns_shows_every_number_whole(tmp_path: Path) -> None:
    shown = shown_on([str(COMMAND), "demo", "--epochs", "2"], columns=80, cwd=tmp_path)
    table = shown.partition("Wrote ")[0]
    assert [line for line in table.splitlines() if len(line) > 80] == []
    assert cut_numbers(table, pl.read_parquet(tmp_path / "runs/demo/metrics_summary.parquet")) == []
    curves = {
        line.split()[0]: line.split()[1] for line in table.splitlines() if line.rstrip().endswith(tuple("▁▂▃▄▅▆▇█"))
    }
    assert list(curves) == [
        "eval/accuracy", "eval/loss", "train/accuracy", "train/gradient_norm", "train/learning_rate", "train/loss",
    ]  # fmt: skip
    assert curves["train/learning_rate"][0] == "█"
    assert curves["train/learning_rate"][-1] == "▁"


def test_the_log_rotates_and_no_row_is_lost(first_run: tuple[Path, str]) -> None:
    path, _ = first_run
    rotated = list(path.glob("metrics.ndjson.*"))
    assert len(rotated) >= 2
    shards = [path / "metrics.ndjson", *rotated]
    assert all(shard.stat().st_size <= MAX_SHARD_BYTES for shard in shards)
    assert sum(len(lines_of(shard)) for shard in shards) == 4 * 20 * STEPS_AN_EPOCH + 3 * 20


def test_confusion_matrices_and_parameters_are_kept(first_run: tuple[Path, str]) -> None:
    path, _ = first_run
    manifest = lines_of(path / "metrics_manifest.ndjson")
    assert len(manifest) == 20
    for line in manifest:
        descriptor = line["descriptor"]
        assert isinstance(descriptor, dict)
        assert descriptor["shape"] == [10, 10]
        assert sum(map(sum, descriptor["payload"])) == 360
    (params,) = lines_of(path / "params.ndjson")
    config = params["config"]
    assert isinstance(config, dict)
    assert (config["seed"], config["batch_size"], config["learning_rate"]) == (0, 32, 0.1)


def test_a_second_call_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    for _ in range(2):
        succeeded(tmp_path, "--run-dir", "twice", "--epochs", "2")
    succeeded(tmp_path, "--run-dir", "once", "--epochs", "4")
    twice, once = tmp_path / "twice", tmp_path / "once"
    assert figures(twice).sort("split", "metric").equals(figures(once).sort("split", "metric"))
    records = lines_of(twice / "run.ndjson")
    sessions = [(record["record"], record.get("resume_step"), record.get("status")) for record in records]
    finish = ("finish", None, "finished")
    assert sessions == [("start", 0, None), finish, ("start", 2 * STEPS_AN_EPOCH, None), finish]
    assert len({record["run_id"] for record in records}) == 1


def test_the_run_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run_id":"r1","name":"mine"}')
    done = demo(tmp_path, "--run-dir", ".")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ". holds another run: name a new folder with --run-dir.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    succeeded(tmp_path, "--run-dir", "run", "--epochs", "1")
    (tmp_path / "run/checkpoint.npz").write_bytes(b"not an archive")
    done = demo(tmp_path, "--run-dir", "run")
    assert done.returncode == 1
    assert "run/checkpoint.npz cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path) -> None:
    code = """if True:
        import sys
        sys.modules["numpy"] = sys.modules["sklearn"] = None
        from codex_obs.cli import main
        main()
    """
    done = demo(tmp_path, command=(sys.executable, "-c", code))
    assert done.returncode == 1
    assert done.stderr.startswith("The demo needs numpy: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="needs to be without MLflow")
def test_a_store_without_its_package_is_a_sentence_that_says_what_to_install(working_directory: Path) -> None:
    done = demo(working_directory, "--run-name", "mine", "--enable-mlflow")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "an MLflow store needs the package mlflow: pip install 'codex_obs[mlflow]'.\n"
    assert not (working_directory / "runs" / "mine" / "metrics.ndjson").exists()


def test_a_name_that_leads_elsewhere_is_refused(working_directory: Path) -> None:
    done = demo(working_directory, "--run-name", "../mine")
    assert done.returncode == 2
    assert done.stderr.startswith("--run-name='../mine' cannot be the name of a run")
