"""``codex-obs export``: long and wide rows, read back by Polars, pandas, DuckDB and our own reader."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import polars as pl
import pytest

import codex_obs
from command import start

if TYPE_CHECKING:
    from pathlib import Path

LONG = ("csv", "parquet", "ndjson")
TEXTS = ['pla"in', "ünï\\", "a\nb", "=1+1"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Give a run with every kind of value, in several shards and two streams."""
    path = tmp_path / "run"
    with codex_obs.init(path, max_shard_bytes=4000, backup_count=2) as run:
        for step in range(40):
            run.log({"loss": 1 / (step + 1), "acc": step}, step=step, tags={"phase": "warm", "n": [step]})
            if step % 10 == 0:
                run.log({"loss": -step}, step=step, split="eval", dataset="d")
        run.log({"loss": math.nan, "acc": -math.inf, "hist": [1, 2]}, step=40)
        for text in TEXTS:
            run.log({text: 1e-7}, step=41, split=text)
    with codex_obs.init(path, rank=1) as run:
        run.log({"loss": 5}, step=0)
    return path


def export(run: Path, dest: Path, *arguments: str) -> None:
    done = start("export", run, "--dest", dest, *arguments, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"Wrote .* \(\d+ rows\)\n", done.stdout)


@pytest.mark.parametrize("kind", LONG)
def test_long_rows_are_those_of_read(run_dir: Path, kind: str) -> None:
    dest = run_dir.parent / f"out.{kind}"
    export(run_dir, dest)
    expected = codex_obs.read(run_dir).cast({pl.Categorical: pl.String})
    keys = ["stream", "timestamp", "step", "split", "metric"]
    if kind == "parquet":
        assert pl.read_parquet(dest).sort(keys).equals(expected.sort(keys))
        assert pd.read_parquet(dest)["metric"].value_counts().to_dict()["acc"] == 41
    elif kind == "ndjson":
        again = codex_obs.read(dest).cast({pl.Categorical: pl.String})
        shown = ["timestamp", "run_id", "step", "split", "metric", "value", "dataset", "nonfinite", "phase", "tags"]
        order = ["timestamp", "step", "split", "metric", "value"]
        assert again.select(shown).sort(order).equals(expected.select(shown).sort(order))
        assert codex_obs.summarize(dest)["count"].sum() == expected.height
    else:
        with dest.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == expected.height
        assert {row["split"].removeprefix("'") for row in rows} >= set(TEXTS)
        assert pd.read_csv(dest)["step"].max() == 41
    count = duckdb.execute(f"SELECT count(*), max(step) FROM '{dest}'").fetchall()
    assert count == [(expected.height, 41)]


def wide(run: Path) -> dict[int, dict[str, float | None]]:
    """Give the main stream's values by step, from the reader."""
    rows = codex_obs.read(run).cast({pl.Categorical: pl.String}).filter(pl.col("stream") == "main")
    table: dict[int, dict[str, float | None]] = {}
    for step, split, metric, value, nonfinite, manifest in rows.select(
        "step", "split", "metric", "value", "nonfinite", "manifest_id"
    ).rows():
        if manifest is None:
            table.setdefault(step, {})[f"{split}/{metric}"] = float(nonfinite) if nonfinite else value
    return table


def same(one: dict[str, float | None], other: dict[str, float | None]) -> bool:
    return one.keys() == other.keys() and all(
        value == other[key] or (math.isnan(value or 0) and math.isnan(other[key] or 0)) for key, value in one.items()
    )


def test_wide_json_lines_have_one_object_a_step(run_dir: Path) -> None:
    dest = run_dir.parent / "out.jsonl"
    export(run_dir, dest)
    rows = [json.loads(line) for line in dest.read_text().splitlines()]
    main = [row for row in rows if row["stream"] == "main"]
    keys = ("step", "timestamp", "run_id", "stream")
    assert [tuple(row)[:4] for row in rows] == [keys] * len(rows)
    found = {row["step"]: {name: float(value) for name, value in row.items() if name not in keys} for row in main}
    expected = wide(run_dir)
    assert found.keys() == expected.keys()
    assert all(same(found[step], values) for step, values in expected.items())  # type: ignore[arg-type]  # floats
    assert len(main) == len(expected)
    assert [row["train/loss"] for row in rows if row["stream"] == "rank-1"] == [5.0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_wide_tables_have_a_column_a_metric(run_dir: Path, kind: str) -> None:
    dest = run_dir.parent / f"out.{kind}"
    export(run_dir, dest, "--form", "wide")
    frame = pl.read_parquet(dest) if kind == "parquet" else pl.from_pandas(pd.read_csv(dest, keep_default_na=False))
    frame = frame.rename({name: name.removeprefix("'") for name in frame.columns})
    expected = wide(run_dir)
    names = {name for values in expected.values() for name in values}
    # Of structured values there is a column without any, as the names are those of the summary.
    assert set(frame.columns) == {"step", "timestamp", "run_id", "stream", "train/hist", *names}
    rows = frame.filter(pl.col("stream") == "main").rows(named=True)
    for row in rows:
        values = {name: float(value) for name in names if (value := row[name]) not in (None, "")}
        assert same(values, expected[row["step"]])  # type: ignore[arg-type]  # floats
    assert len(rows) == len(expected)


def test_a_metric_that_comes_twice_at_a_step_is_two_rows(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        for value in (1, 2):
            run.log({"a": value, "b": value}, step=0)
    export(tmp_path / "run", tmp_path / "o.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(row["train/a"], row["train/b"]) for row in rows] == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "loss"], pl.col("metric") == "loss"),
        (["-m", "eval/loss", "-m", "acc"], (pl.col("metric") == "acc") | (pl.col("split") == "eval")),
        (["--split", "eval"], pl.col("split") == "eval"),
        (["--step", "5..7"], pl.col("step").is_between(5, 7)),
        (["--step", "..3", "-m", "loss"], (pl.col("step") <= 3) & (pl.col("metric") == "loss")),
        (["--step", "40.."], pl.col("step") >= 40),
        (["--step", "12"], pl.col("step") == 12),
    ],
)
def test_rows_are_chosen(run_dir: Path, arguments: list[str], expected: pl.Expr) -> None:
    dest = run_dir.parent / "out.parquet"
    export(run_dir, dest, *arguments)
    rows = codex_obs.read(run_dir).cast({pl.Categorical: pl.String}).filter(expected)
    assert rows.height > 0
    keys = ["stream", "step", "split", "metric"]
    assert pl.read_parquet(dest).sort(keys).equals(rows.sort(keys))


def test_superseded_rows_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with codex_obs.init(tmp_path / "run", rewind_to=0 if value == 2 else None) as run:
            run.log({"loss": value}, step=0)
    for arguments, expected in (([], [2.0]), (["--superseded"], [1.0, 2.0])):
        export(tmp_path / "run", tmp_path / "o.parquet", *arguments)
        assert pl.read_parquet(tmp_path / "o.parquet")["value"].to_list() == expected


def test_an_empty_run_gives_a_file_with_the_columns(tmp_path: Path) -> None:
    codex_obs.init(tmp_path / "run").close()
    for kind in ("csv", "parquet", "ndjson", "jsonl"):
        export(tmp_path / "run", tmp_path / f"o.{kind}")
    assert pl.read_parquet(tmp_path / "o.parquet").columns == codex_obs.read(tmp_path / "run").columns
    assert pl.read_csv(tmp_path / "o.csv").columns == codex_obs.read(tmp_path / "run").columns
    assert [(tmp_path / f"o.{kind}").read_bytes() for kind in ("ndjson", "jsonl")] == [b"", b""]


def test_standard_output_takes_lines_and_tables(run_dir: Path) -> None:
    export(run_dir, run_dir.parent / "o.csv", "-m", "acc")
    done = start("export", run_dir, "--dest", "-", "--to", "csv", "-m", "acc", cwd=run_dir)
    assert done.stdout == (run_dir.parent / "o.csv").read_text()


def test_wrong_usage_is_exit_code_2_and_nothing_is_written(run_dir: Path) -> None:
    (run_dir.parent / "empty").mkdir()
    for arguments, words in (
        (["--dest", "o"], "has no suffix"),
        (["--dest", "o.csv", "--step", "x"], "is no range of steps"),
        (["--dest", "o.csv", "--step", "5..2"], "is empty"),
        (["--dest", "run/metrics.ndjson"], "is a file of the run itself"),
        (["--dest", "nowhere/o.csv"], "does not exist"),
        (["empty", "--dest", "o.csv"], ""),
    ):
        run = [] if arguments[0] == "empty" else [run_dir]
        done = start("export", *run, *arguments, cwd=run_dir.parent)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert words in done.stderr
    assert not list(run_dir.parent.glob("o*"))


def test_what_cannot_be_written_leaves_what_was_there(run_dir: Path) -> None:
    dest = run_dir.parent / "o.parquet"
    for kind in ("parquet", "csv"):
        dest = run_dir.parent / f"o.{kind}"
        dest.write_text("before")
        limited = ["bash", "-c", 'ulimit -f 1; trap "" XFSZ; exec "$@"', "bash", sys.executable, "-m", "codex_obs"]
        command = [*limited, "export", str(run_dir), "--dest", str(dest)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "cannot be written" in done.stderr) == (1, True), done.stderr
        assert dest.read_text() == "before"
    assert sorted(path.name for path in run_dir.parent.iterdir()) == ["o.csv", "o.parquet", "run"]


def test_strict_makes_skipped_lines_a_failure(run_dir: Path) -> None:
    with (run_dir / "metrics.ndjson").open("a") as file:
        file.write("no row\n")
    for arguments, code in (([], 0), (["--strict"], 1)):
        done = start("export", run_dir, "--dest", "o.csv", *arguments, cwd=run_dir.parent)
        assert (done.returncode, "could not be read" in done.stderr) == (code, True)


@pytest.mark.big
@pytest.mark.parametrize("arguments", [["o.parquet"], ["o.csv"], ["o.jsonl"], ["o.parquet", "--form", "wide"]])
def test_memory_does_not_grow_with_the_run(tmp_path: Path, arguments: list[str]) -> None:
    peaks = []
    for size in (8, 40):
        folder = tmp_path / str(size)
        folder.mkdir()
        line = '{{"timestamp":"2026-11-20T08:15:30.000125Z","step":{},"split":"train","metric":"{}","value":0.5}}\n'
        block = 60_000
        with (folder / "metrics.ndjson").open("w") as file:
            for start_step in range(0, size * block, block):
                steps = range(start_step, start_step + block)
                file.writelines(line.format(step, metric) for step in steps for metric in ("loss", "acc"))
        program = (
            "import resource, sys; from codex_obs.cli import app; app(sys.argv[1:], standalone_mode=False); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
        )
        command = [sys.executable, "-c", program, "export", str(folder), "--dest", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
        assert (
            f"({size * block * (2 if 'jsonl' not in arguments[0] and len(arguments) == 1 else 1)} rows)" in done.stdout
        )
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] < peaks[0] * 1.5 + 50, peaks
