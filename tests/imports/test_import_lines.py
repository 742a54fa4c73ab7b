"""``codex-obs import`` of wide JSON lines, of names that go together badly, and of what is no source."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import codex_obs
from codex_obs._sources._records import masked_checksum
from codex_obs.cli import app
from codex_obs.testing import read_rows
from terminal import everything_shown

GOLDEN = Path(__file__).parents[1] / "golden" / "foreign"


def imported(source: str | Path, dest: Path, *options: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["import", str(source), "--dest", str(dest), *options])
    assert done.exit_code == code, done.output
    return done.output


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def points(run: Path) -> list[tuple[object, ...]]:
    return [(row["step"], row["split"], row["metric"], row["value"]) for row in read_rows(run)]


def test_an_object_a_step_becomes_a_row_a_value(tmp_path: Path) -> None:
    source = written(
        tmp_path / "log.jsonl",
        {"step": 1, "timestamp": "2026-11-20T08:15:30.5Z", "loss": 0.5, "val_loss": 0.75, "eval/acc": True},
        {"step": 2, "timestamp": 1795594531250, "loss": "NaN", "eval": {"acc": 1, "f1": 0.5}, "lr": None},
    )
    imported(source, tmp_path / "run")
    assert points(tmp_path / "run") == [
        (1, "train", "loss", 0.5),
        (1, "val", "loss", 0.75),
        (1, "eval", "acc", 1),
        (2, "train", "loss", None),
        (2, "eval", "acc", 1.0),
        (2, "eval", "f1", 0.5),
    ]
    rows = read_rows(tmp_path / "run")
    assert rows[0]["timestamp"] == "2026-11-20T08:15:30.500000Z"
    assert rows[3]["timestamp"] == "2026-11-25T08:15:31.250000Z"
    assert rows[3]["tags"] == {"nonfinite": "NaN"}


@pytest.mark.parametrize("key", ["step", "_step", "global_step", "iteration", "epoch"])
def test_the_usual_names_of_steps_are_known(key: str, tmp_path: Path) -> None:
    source = written(tmp_path / "log.jsonl", {key: 10, "loss": 1.0}, {key: 20.0, "loss": 0.5})
    imported(source, tmp_path / "run")
    assert points(tmp_path / "run") == [(10, "train", "loss", 1.0), (20, "train", "loss", 0.5)]


def test_objects_without_a_step_are_counted_and_a_duration_is_no_time(tmp_path: Path) -> None:
    source = written(tmp_path / "log.jsonl", {"loss": 1.0, "time": 0.25}, {"loss": 0.5, "time": 0.5})
    imported(source, tmp_path / "run")
    assert points(tmp_path / "run") == [
        (0, "train", "loss", 1.0),
        (0, "train", "time", 0.25),
        (1, "train", "loss", 0.5),
        (1, "train", "time", 0.5),
    ]


def test_names_that_would_become_one_stay_apart(tmp_path: Path) -> None:
    source = written(
        tmp_path / "log.jsonl",
        {"step": 0, "val/loss": 1.0, "val_loss": 2.0},
        {"step": 1, "train/x": 3.0},
        {"step": 2, "x": 4.0},
        {"step": 3, "train_x": 5.0, "x": 6.0},
    )
    imported(source, tmp_path / "run")
    assert points(tmp_path / "run") == [
        (0, "val", "loss", 1.0),
        (0, "train", "val_loss", 2.0),
        (1, "train", "x", 3.0),
        (2, "", "x", 4.0),
        (3, "train", "train_x", 5.0),
        (3, "", "x", 6.0),
    ]


def test_what_export_writes_comes_back_the_same(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "first", name="first") as run:
        for step in range(50):
            run.log({"loss": float("nan") if step == 3 else 1 / (step + 1), "a/b": -step}, step=step)
            run.log({"reward": step * 0.5}, step=step, split="evaluator")
    dest = tmp_path / "first.jsonl.gz"
    plain = tmp_path / "first.jsonl"
    CliRunner().invoke(app, ["export", str(tmp_path / "first"), "--dest", str(plain)], catch_exceptions=False)
    dest.write_bytes(gzip.compress(plain.read_bytes()))
    imported(dest, tmp_path / "second")
    ignored = ("first_timestamp", "last_timestamp", "dataset")
    first, second = (codex_obs.summarize(tmp_path / name).drop(ignored).sort("metric") for name in ("first", "second"))
    assert second.rows() == first.rows()


def test_event_files_of_our_own_have_their_splits_and_their_run(tmp_path: Path) -> None:
    def record(*fields: bytes) -> bytes:
        body = struct.pack("<Bd", 0x09, 1.7e9) + b"".join(fields)
        length = struct.pack("<Q", len(body))
        sums = [struct.pack("<I", masked_checksum(part)) for part in (length, body)]
        return length + sums[0] + body + sums[1]

    def within(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def scalar(tag: str, step: int, value: float) -> bytes:
        content = within(1, tag.encode()) + struct.pack("<Bf", 0x15, value)
        return record(bytes([0x10, step]), within(5, within(1, content)))

    head = record(within(3, b"brain.Event:2"), within(10, within(1, b"codex_obs abc")))
    source = tmp_path / "events.out.tfevents.1"
    source.write_bytes(head + scalar("evaluator/reward", 3, 0.5) + scalar("train/a/b", 4, 2.0))
    imported(source, tmp_path / "run")
    assert points(tmp_path / "run") == [(3, "evaluator", "reward", 0.5), (4, "train", "a/b", 2.0)]
    assert {row["run_id"] for row in read_rows(tmp_path / "run")} == {"abc"}


def test_a_file_of_several_runs_becomes_a_folder_of_runs(tmp_path: Path) -> None:
    rows = [
        {"step": step, "run_id": name, "stream": "main", "train/loss": step} for name in ("a", "b") for step in (0, 1)
    ]
    source = written(tmp_path / "log.jsonl", *rows)
    assert "Wrote 2 runs" in imported(source, tmp_path / "all")
    assert points(tmp_path / "all/b") == [(0, "train", "loss", 0.0), (1, "train", "loss", 1.0)]
    assert [row["run_id"] for row in read_rows(tmp_path / "all/a")] == ["a", "a"]
    # Once more: what is there stays.
    assert "2 runs left as found" in imported(source, tmp_path / "all")
    imported(source, tmp_path / "one", "--run", "b")
    assert len(points(tmp_path / "one")) == 2


def test_a_line_that_is_no_json_is_counted_and_the_rest_is_there(tmp_path: Path) -> None:
    source = tmp_path / "log.jsonl"
    source.write_text('{"step": 1, "loss": 1}\n{"step": 2, "lo\n[1]\n{"step": 3, "loss": 3}\n')
    said = imported(source, tmp_path / "run", code=1)
    assert "Damaged, not read: 1 line that is no JSON, 1 line that is no object." in said
    assert points(tmp_path / "run") == [(1, "train", "loss", 1.0), (3, "train", "loss", 3.0)]


def test_a_log_of_our_own_is_answered_with_what_reads_it(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        run.log({"loss": 1})
    said = imported(tmp_path / "run/metrics.ndjson", tmp_path / "again", code=2)
    assert "which is a log already: codex-obs summarize" in said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("missing", "does not exist"),
        ("empty", "has no run that can be imported"),
        ("postgresql://h/d", "start an MLflow server on it"),
        ("http://127.0.0.1:9", "is a whole server: add --run ID"),
        ("table.csv", "has no run that can be imported"),
    ],
)
def test_what_is_no_source_is_one_sentence(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    said = imported(source, tmp_path / "run", code=2)
    assert words in said
    assert not (tmp_path / "run").exists()


def test_a_directory_that_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").write_text("mine")
    source = written(tmp_path / "log.jsonl", {"step": 1, "loss": 1})
    assert "is there already" in imported(source, tmp_path / "run", code=2)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


def test_an_import_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "log.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"step": 1, "loss": 1}\n' * 100_000)[:-20])
    assert "is damaged" in imported(source, tmp_path / "runs/run", code=2)
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []


def test_a_long_import_shows_how_far_it_is(tmp_path: Path) -> None:
    source = tmp_path / "log.jsonl"
    source.write_text("".join(f'{{"step": {step}, "loss": {step}.5, "acc": 0.5}}\n' for step in range(150_000)))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "codex_obs", "import", str(source), "--dest", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = everything_shown(ours).decode()
        os.close(ours)
        assert process.stdout is not None
        assert process.stdout.read().decode() == f"Wrote {tmp_path}/run (300000 rows)\n"
    assert re.search(r"Importing: \d+ % of \d+ MB", shown)
    assert shown.endswith("\x1b[K")


def test_one_run_goes_below_a_folder_of_runs(tmp_path: Path) -> None:
    source = written(tmp_path / "log.jsonl", {"step": 1, "loss": 1})
    imported(source, tmp_path / "runs/first")
    imported(source, tmp_path / "runs")
    assert sorted(path.parent.name for path in (tmp_path / "runs").glob("*/run.json")) == ["first", "log"]
    assert not (tmp_path / "runs/run.json").exists()
