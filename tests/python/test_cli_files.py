"""``summarize``: files of a run that it must not replace, input that is no log, and closed standard streams."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import codex_obs
from codex_obs import reading
from codex_obs.commands import _guess

COMMAND = [sys.executable, "-c", "from codex_obs.cli import main; main()", "summarize"]
ROW = '{"metric":"loss","step":1,"value":0.5}\n'


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a run with all kinds of files."""
    directory = tmp_path / "run"
    (directory / ".codex_obs").mkdir(parents=True)
    for name in ("metrics.ndjson", "metrics.ndjson.1", "metrics.rank-1.ndjson"):
        (directory / name).write_text(ROW)
    for name in ("run.json", "run.ndjson", "params.ndjson", ".codex_obs/cursor-x", "tracking_summary.ndjson"):
        (directory / name).write_text("{}\n")
    return directory


def state(log: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in log.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "destination",
    [
        "run/metrics.ndjson",
        "run/metrics.ndjson.1",
        "run/metrics.ndjson.2",
        "run/metrics.new.ndjson",
        "run/../run/./metrics.rank-1.ndjson",
        "run/run.json",
        "run/run.ndjson",
        "run/params.ndjson",
        "run/.codex_obs/cursor-x",
        "run/.codex_obs/new",
        "run/tensorboard/events.out.tfevents.1",
        "run/wandb/offline-run/run.wandb",
        "run/mlruns/0/new",
        "run/artifacts/model.bin",
        "run/mlflow.db",
        "elsewhere/hard",
        "elsewhere/run/metrics.ndjson",
        "other/metrics.ndjson",
    ],
)
def test_a_file_of_a_run_is_never_replaced(log: Path, tmp_path: Path, destination: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.link(log / "metrics.ndjson.1", elsewhere / "hard")
    (elsewhere / "run").symlink_to(log)
    for name in (
        "tensorboard/events.out.tfevents.1",
        "wandb/offline-run/run.wandb",
        "mlruns/0/meta",
        "artifacts/model.bin",
    ):
        (log / name).parent.mkdir(parents=True)
        (log / name).write_text("theirs")
    (log / "run.json").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.ndjson").write_text(ROW)
    before = state(tmp_path)
    for given in (["--input", "run"], ["--input", "run/metrics.ndjson", "run/metrics.ndjson.1"]):
        done = run(*given, "--output", "json", "--dest", destination, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        words = "is a file of the run itself, which is never replaced: name another file"
        assert done.stderr == f"{Path(destination)} {words}.\n"
    assert state(tmp_path) == before


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("destination", ["run/out.json", "run/metrics_summary.json", "run.json", "metrics.ndjson.out"])
def test_other_files_are_written(tmp_path: Path, destination: str) -> None:
    for _ in range(2):
        done = run("--input", "run", "--output", "json", "--dest", destination, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"Wrote {destination} (1 rows)\n"), done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"step":1,"loss":0.5,"acc":1}\n' * 3, "has one object a step (keys: step, loss, acc)"),
        ('[{"metric":"loss","value":1}]\n', "is a JSON array"),
        ('{\n  "metric": "loss",\n  "value": 1\n}\n', "looks like one JSON document over several lines"),
        ("step,loss\n1,0.5\n2,0.25\n", "looks like a CSV table"),
        ("epoch: 1\nloss: 0.5\n", "looks like YAML"),
        ("Epoch 1 done\n", "is text that is not JSON"),
        ("PAR1\x00\x00", "is a Parquet file"),
        ("\x00\x01\x02\n", "is no text"),
        (
            '{"$schema":"https://codexml.ai/schemas/run_params.schema.json","config":{}}\n',
            "holds the parameters of a run",
        ),
        ('{"event":"start"}\n', 'has objects without "metric" (keys: event)'),
    ],
)
def test_input_without_a_row_is_exit_code_2_and_says_what_it_looks_like(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "metrics.ndjson").write_text(content)
    done = run("--input", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.ndjson"]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_run_gives_an_empty_table(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.ndjson").write_text(content)
    done = run("--input", ".", "--strict", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Wrote metrics_summary.csv (0 rows)\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.ndjson.1.bz2", "x"),
        ("metrics (1).ndjson", ROW),
        ("metrics.a.ndjson", '{"metric":"m"}\n'),
        ("metrics.a.ndjson", '{"metric":"m","value":1,"step":"x"}\n'),
        ("metrics.a.ndjson", ROW[:10]),
    ],
)
def test_strict_fails_where_not_everything_was_read(log: Path, tmp_path: Path, name: str, content: str) -> None:
    assert run("--input", "run", "--strict", cwd=tmp_path).returncode == 0
    (log / name).write_text(content)
    lenient = run("--input", "run", cwd=tmp_path)
    assert (lenient.returncode, name in lenient.stderr) == (0, True)
    strict = run("--input", "run", "--strict", cwd=tmp_path)
    assert (strict.returncode, strict.stderr) == (1, lenient.stderr)


# --- Closed standard streams -----------------------------------------------------------------------------------------


def closed(log: Path, descriptors: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = f'exec "$@" {descriptors}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *COMMAND, "--input", str(log), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("output", ["table", "json", "csv", "parquet"])
def test_a_closed_standard_output_is_one_sentence(log: Path, output: str) -> None:
    done = closed(log, ">&-", "--output", output, "--dest", "-")
    assert (done.returncode, done.stderr) == (1, "Standard output cannot be written: Bad file descriptor.\n")


@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_a_table_for_a_reader_that_went_away_ends_quietly(log: Path, output: str) -> None:
    lines = "".join(f'{{"metric":"m{number}","value":1}}\n' for number in range(3000))
    (log / "metrics.ndjson").write_text(lines)
    arguments = [*COMMAND, "--input", str(log), "--output", output, "--dest", "-"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_what_is_written_to_a_file_needs_no_standard_stream(log: Path) -> None:
    (log / "metrics.a.ndjson").write_text("no row\n")
    done = closed(log, "<&- 2>&-", "--output", "csv")
    assert (done.returncode, done.stdout) == (0, f"Wrote {log}/metrics_summary.csv (1 rows)\n")
    assert (log / "metrics_summary.csv").read_text().count("\n") == 2


IMPORT = "codex-obs import makes a run of it"
TFRECORD = (
    (24).to_bytes(8, "little")
    + bytes.fromhex("a37f4b22")
    + bytes.fromhex("09ab3d4c2b9ad9dae41a0d")
    + b"brain.Event:2"
    + bytes.fromhex("ec0ea1b5")
)
WANDB = b":W&B" + (0xBEE1).to_bytes(2, "little") + b"\x00" + bytes.fromhex("7dbbfb9e110001") + b"\x0a\x0f" * 8
PROMETHEUS = (
    "# HELP codex_metric Last value.\n# TYPE codex_metric gauge\n"
    'codex_metric{metric="loss",split="train"} 0.5 1700000000000\ncodex_metric{metric="acc"} NaN\n'
)


def mlflow_database() -> bytes:
    database = sqlite3.connect(":memory:")
    database.executescript(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL);"
        "CREATE TABLE experiments (experiment_id INTEGER NOT NULL, name VARCHAR(256));"
        "CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL, status VARCHAR(9));"
    )
    return database.serialize()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("events.out.tfevents.1700000000.host.1.0", TFRECORD, f"is a TensorBoard event file: {IMPORT}"),
        ("run-abc.wandb", WANDB, f"is a W&B run file (.wandb): {IMPORT}"),
        ("metrics.prom", PROMETHEUS.encode(), "looks like metrics in Prometheus text format"),
        ("metrics.prom", b'up{job="a"} 1\nup{job="b"} 0\n', "looks like metrics in Prometheus text format"),
        ("mlflow.db", mlflow_database(), f"is the database of an MLflow store: {IMPORT}"),
        ("other.db", b"SQLite format 3\x00" + b"\x10\x00\x01\x01\x00" * 20, "is an SQLite database"),
        ("loss", b"1700000000000 0.5 0\n1700000000100 nan 1\n", "looks like a metric of an MLflow file store"),
        (
            "meta.yaml",
            b"artifact_uri: /a/b\nrun_id: x\n",
            "looks like the meta.yaml of an MLflow store",
        ),
        (
            "wide.ndjson.gz",
            gzip.compress(b'{"step":1,"loss":0.5}\n', mtime=0),
            "has one object a step (keys: step, loss)",
        ),
        ("history.csv", b"epoch;loss\n1;0,5\n2;0,25\n", "looks like a CSV table"),
        ("train.log", b"{'step': 1, 'loss': 0.5}\n", "looks like Python dictionaries (single quotes)"),
        ("model.pkl", pickle.dumps({"a": 1}), "is a pickle"),
    ],
)
def test_files_of_other_tools_are_recognized(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    _, report = reading.summarize_files([path])
    assert (report.rows, report.lines > 0) == (0, True)
    sentence = _guess.no_rows([path], report)
    assert f"{path} {words}" in sentence


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["events.out.tfevents.1700000000.host.1.0"], "a TensorBoard log directory"),
        (["train/events.out.tfevents.1700000000.host.1.0"], "a TensorBoard log directory"),
        (["run-20261120_081530-abc/run-abc.wandb"], "a W&B directory"),
        (["offline-run-20261120_081530-abc/files/config.yaml"], "a W&B directory"),
        (["0/meta.yaml", "0/3f/meta.yaml"], "an MLflow store"),
        (["mlflow.db"], "an MLflow store"),
    ],
)
def test_folders_of_other_tools_are_recognized(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        (tmp_path / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logs" / name).write_bytes(b"x")
    with pytest.raises(codex_obs.NoLogError) as raised:
        reading.summarize_files([tmp_path / "logs"])
    folder = tmp_path / "logs"
    assert (
        _guess.no_log(str(raised.value), [folder]) == f"{folder} holds no metrics log; it looks like {words}: {IMPORT}."
    )


def test_a_folder_of_another_tool_is_exit_code_2_and_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    done = run("--input", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f". holds no metrics log; it looks like an MLflow store: {IMPORT}.\n"


def test_several_runs_have_one_summary_that_is_named(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.ndjson").write_text(ROW.replace('"metric":"', '"metric":"other'))
    refused = run(str(log), "other", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--dest" in refused.stderr
    done = run(str(log), "--input", "other", "--output", "json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    alone = [json.loads(run(str(path), "--output", "json", cwd=tmp_path).stdout) for path in (log, other)]
    both = json.loads(done.stdout)
    assert sorted(both, key=str) == sorted([*alone[0], *alone[1]], key=str)
    assert len(both) == 2
