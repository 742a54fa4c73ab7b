"""`read` and `scan` give every row of every stream, oldest first, with columns that do not depend on the data."""

from __future__ import annotations

import gzip
import logging
import math
import random
import resource
import signal
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import codex_obs
from codex_obs import _backend, errors, reading

TEXT = pl.Categorical()
SCHEMA = {
    "stream": TEXT,
    "run_id": TEXT,
    "timestamp": pl.Datetime("us", "UTC"),
    "step": pl.Int64(),
    "split": TEXT,
    "metric": TEXT,
    "value": pl.Float64(),
    "dataset": TEXT,
    "nonfinite": TEXT,
    "manifest_id": pl.String(),
    "phase": TEXT,
    "tags": pl.String(),
    "session": pl.Int64(),
}


def row(
    metric: str = "loss",
    value: str = "0.5",
    *,
    second: int = 30,
    step: str = "2",
    dataset: str = "null",
    tags: str = "{}",
) -> str:
    return (
        '{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1",'
        f'"timestamp":"2026-11-20T08:15:{second:02}.000125Z","run_id":"r1","step":{step},"split":"eval",'
        f'"metric":"{metric}","value":{value},"dataset":{dataset},"tags":{tags}}}\n'
    )


def test_every_field_of_a_row_has_its_column(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text(
        row(dataset='"data/train"', tags='{"manifest_id":"m1","nonfinite":"NaN","phase":"eval","z":[1]}')
    )
    frame = reading.read(tmp_path)
    assert dict(frame.schema) == SCHEMA
    assert frame.to_dicts() == [
        {
            "stream": "main",
            "run_id": "r1",
            "timestamp": datetime(2026, 11, 20, 8, 15, 30, 125, tzinfo=UTC),
            "step": 2,
            "split": "eval",
            "metric": "loss",
            "value": 0.5,
            "dataset": "data/train",
            "nonfinite": "NaN",
            "manifest_id": "m1",
            "phase": "eval",
            "tags": '{"manifest_id":"m1","nonfinite":"NaN","phase":"eval","z":[1]}',
            "session": None,
        }
    ]


def test_what_a_row_lacks_is_null(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text('{"key":"loss"}\n')
    lacking = dict.fromkeys(SCHEMA) | {"stream": "main", "metric": "loss", "tags": "{}"}
    assert reading.read(tmp_path).to_dicts() == [lacking]


@pytest.mark.parametrize("content", ["", "\n", '{"key":"m"}\n', row()], ids=["empty", "blank", "legacy", "canonical"])
def test_columns_do_not_depend_on_the_data(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.ndjson").write_text(content)
    assert dict(reading.read(tmp_path).schema) == SCHEMA
    assert dict(reading.scan(tmp_path).collect().schema) == SCHEMA
    assert dict(reading.scan(tmp_path).collect_schema()) == SCHEMA


def test_rows_of_all_streams_and_shards_come_oldest_first(tmp_path: Path) -> None:
    files = {
        "metrics.ndjson": [row("e", second=2), row("c", second=1, step="5")],
        "metrics.ndjson.1": [row("b", second=1, step="3")],
        "metrics.ndjson.7": [row("d", second=2, step="null"), row("a", second=0)],
        "metrics.rank-1.ndjson": [row("f", second=2), '{"key":"first"}\n'],
        "metrics.rank-1.ndjson.2": [row("g", second=3)],
    }
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(lines))
    frame = reading.read(tmp_path)
    assert frame["metric"].to_list() == ["first", "a", "b", "c", "d", "e", "f", "g"]
    assert frame["stream"].to_list() == ["rank-1", *["main"] * 5, "rank-1", "rank-1"]


PLACES = [(second, step) for second in (0, 1, 2) for step in ("null", "-1", "0", "7")]


@given(places=st.lists(st.sampled_from(PLACES), min_size=1, max_size=4) | st.permutations(PLACES))
@example(places=PLACES)
@example(places=PLACES[1:4])
@example(places=[(0, "7"), (1, "0"), (1, "0")])
def test_rows_come_in_order_of_time_step_and_line(places: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.ndjson")
        path.write_text("".join(row(str(line), second=second, step=step) for line, (second, step) in enumerate(places)))
        metrics = reading.read(path)["metric"].to_list()

    def order(line: int) -> tuple[int, float]:
        second, step = places[line]
        return second, -math.inf if step == "null" else int(step)

    assert metrics == [str(line) for line in sorted(range(len(places)), key=order)]


def test_numbers_that_are_not_finite_are_null_with_their_spelling(tmp_path: Path) -> None:
    values = ["NaN", "Infinity", "-Infinity", "1e999", '"-Infinity"', "null", "true", '"text"']
    (tmp_path / "metrics.ndjson").write_text("".join(row(value=value, second=i) for i, value in enumerate(values)))
    frame = reading.read(tmp_path)
    assert frame["value"].to_list() == [None] * 6 + [1.0, None]
    assert frame["nonfinite"].to_list() == ["NaN", "Infinity", "-Infinity", "Infinity", "-Infinity", None, None, None]


def test_files_are_read_as_what_their_names_say(tmp_path: Path) -> None:
    rank = tmp_path / "metrics.rank-3.ndjson.4.gz"
    rank.write_bytes(gzip.compress(row("of rank 3").encode()))
    other = tmp_path / "some.jsonl"
    other.write_text(row("of main"))
    assert reading.read(rank)["stream"].to_list() == ["rank-3"]
    assert reading.read(other)["stream"].to_list() == ["main"]


def test_a_large_run_comes_in_order_of_position_from_every_thread(tmp_path: Path) -> None:
    rng = random.Random(3)
    expected = []
    for number in (3, 2, 1, 0):
        rows = [(rng.choice("abc"), rng.gauss(0, 1), rng.choice(["null", '"x"'])) for _ in range(30_000)]
        expected += rows
        lines = [row(metric, repr(value), dataset=dataset) for metric, value, dataset in rows]
        (tmp_path / f"metrics.ndjson{f'.{number}' if number else ''}").write_text("".join(lines))
    frame = reading.read(tmp_path)
    names = [(metric, value, None if dataset == "null" else "x") for metric, value, dataset in expected]
    assert frame.select(pl.col("metric").cast(pl.String), "value", pl.col("dataset").cast(pl.String)).rows() == names


def test_a_lazy_frame_filters_chooses_columns_and_reads_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.ndjson"
    path.write_text("".join(row(metric, step=str(step)) for step in range(5) for metric in ("loss", "acc")))
    lazy = reading.scan(tmp_path).filter(pl.col("metric") == "acc", pl.col("step") > 1).select("step", "value")
    assert lazy.collect().rows() == [(2, 0.5), (3, 0.5), (4, 0.5)]
    assert reading.scan(tmp_path).head(3).collect()["step"].to_list() == [0, 0, 1]
    with path.open("a") as file:
        file.write(row("acc", step="9"))
    assert lazy.collect()["step"].to_list() == [2, 3, 4, 9]
    assert reading.scan(tmp_path).collect().equals(reading.read(tmp_path))


def test_skipped_lines_are_a_warning_that_names_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.ndjson"
    path.write_text(row() + "nonsense\n" + row() + '{"torn')
    with caplog.at_level(logging.WARNING, logger="codex_obs"):
        assert reading.read(tmp_path).height == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"codex_obs: {tmp_path}: Of 4 lines, 2 lines that are no rows were skipped: {path}:2: not JSON"
    ]


def test_a_whole_last_line_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text((row() + row("acc")).rstrip("\n"))
    assert reading.read(tmp_path)["metric"].to_list() == ["loss", "acc"]


def test_where_there_is_no_log_the_error_says_so(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing.ndjson"):
        with pytest.raises(errors.NoLogError, match=str(path)):
            reading.read(path)
        with pytest.raises(errors.NoLogError, match=str(path)):
            reading.summarize(path)


def test_names_that_lead_to_no_file_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text(row())
    (tmp_path / "metrics.ndjson.1").mkdir()
    (tmp_path / "metrics.ndjson.2").symlink_to("nowhere")
    _, report = reading.summarize_files([tmp_path])
    assert report.rows == 1
    assert report.skipped_examples == [
        (str(tmp_path / f"metrics.ndjson.{number}"), 0, "not a regular file") for number in (1, 2)
    ]


def test_damaged_archives_give_what_is_left_of_them(tmp_path: Path) -> None:
    whole = gzip.compress("".join(row(step=str(step)) for step in range(2000)).encode())
    (tmp_path / "metrics.ndjson.2.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "metrics.ndjson.1.zst").write_bytes(b"no archive")
    (tmp_path / "metrics.ndjson").write_text(row())
    frame, report = reading.summarize_files([tmp_path])
    assert report.skipped == 2
    assert {reason for _, _, reason in report.skipped_examples} == {"the rest of the compressed file is damaged"}
    assert frame["count"].sum() == report.rows


def test_an_arrow_stream_can_be_taken_once(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text(row())
    stream, _ = _backend.summarize([str(tmp_path)])
    assert pl.DataFrame(stream).height == 1
    with pytest.raises(ValueError, match="taken already"):
        stream.__arrow_c_stream__()
    unused, _ = _backend.read_rows([str(tmp_path)])
    capsule = unused.__arrow_c_stream__()
    del unused, capsule


def test_a_reader_beside_a_rotating_writer_sees_every_row_once(run_dir: Path) -> None:
    flushed = 0
    with codex_obs.init(run_dir, max_shard_bytes=2000, backup_count=10**6) as run:

        def write() -> None:
            nonlocal flushed
            for step in range(2000):
                run.log({"a": step, "b": 1.0}, step=step)
                if step % 10 == 9:
                    run.flush()
                    flushed = step + 1

        writer = threading.Thread(target=write)
        writer.start()
        reads = 0
        while writer.is_alive():
            before = flushed
            frame, report = reading.summarize_files([run_dir])
            assert report.skipped == 0
            for count, first, last in frame.select("count", "first_step", "last_step").rows():
                assert (first, last) == (0, count - 1)
                assert count >= before
            reads += 1
        writer.join()
        assert run.flush()
        assert run.stats()["rotations"] > 100
    assert reads > 0
    assert reading.read(run_dir)["step"].to_list() == [step for step in range(2000) for _ in "ab"]


def test_a_signal_ends_the_reading(tmp_path: Path) -> None:
    # Thousands of frames of 64 MiB each: minutes of zeros, which are one line that is far too long.
    frame = pa.compress(bytes(64 << 20), codec="zstd", asbytes=True)
    (tmp_path / "metrics.ndjson.1.zst").write_bytes(frame * 5000)

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            reading.summarize(tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    shards = soft + 100 if soft < 5000 else 1200
    for number in range(1, shards):
        (tmp_path / f"metrics.ndjson.{number}").write_text(row(step=str(shards - number)))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        frame = reading.read(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert frame["step"].to_list() == list(range(1, shards))
