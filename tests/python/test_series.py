"""Curves for charts are those of the rows that `read` gives, also while the run is written, rotated and packed."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import codex_obs
from codex_obs._drawing import labels
from codex_obs._series import Axis, Histogram, Key, Pixels, Series, Text
from packed import logs

if TYPE_CHECKING:
    from pathlib import Path

LOSS = Key("main", "train", "loss")
# A shard holds some seven rows, and one rotated shard stays plain: nearly all rows are in archives.
RULES: dict[str, Any] = {"max_shard_bytes": 2000, "backup_count": 1}
DEADLINE_S = 20.0


def rows_of(directory: Path, key: Key, axis: Axis, *, superseded: bool = False) -> list[tuple[int, float]]:
    """Give x and value of the rows of a key in the order in which they were logged."""
    frame = codex_obs.read(directory, superseded=superseded)
    texts = {name: frame[name].cast(pl.String) for name in ("stream", "split", "metric", "nonfinite")}
    xs = frame["step"] if axis == "step" else frame["timestamp"].dt.epoch("us")
    columns = (texts["stream"], texts["split"], texts["metric"], xs, frame["value"], texts["nonfinite"])
    rows = zip(*columns, strict=True)
    return [
        (x, value if odd is None else float(odd))
        for stream, split, metric, x, value, odd in rows
        if (stream, split, metric) == key[:3] and x is not None and (value is not None or odd is not None)
    ]


def model(rows: list[tuple[int, float]], start: int, stop: int, pixels: int) -> Pixels:
    """Say plainly what pixels show."""
    columns: list[tuple[Any, ...]] = []
    for place in range(pixels):
        within = [row for row in rows if start <= row[0] <= stop]
        within = [row for row in within if (row[0] - start) * pixels // (stop - start + 1) == place]
        if not within:
            continue
        within.sort(key=lambda row: row[0])
        values = [value for _, value in within]
        known = [value for value in values if math.isfinite(value)]
        finite: list[float | None] = [*known] or [None]
        odd = (sum(map(math.isnan, values)), values.count(math.inf), values.count(-math.inf))
        ends = (finite[0], finite[-1])
        low, high = (min(known), max(known)) if known else (None, None)
        columns.append((place, within[0][0], within[-1][0], low, high, *ends, len(within), *odd))
    return Pixels(*map(list, zip(*columns, strict=True))) if columns else Pixels(*([] for _ in range(11)))


def agree(series: Series, directory: Path, key: Key = LOSS) -> None:
    """Check the curve of a key against all rows that there are."""
    for axis in ("step", "time"):
        rows = rows_of(directory, key, axis)
        start, stop = min(x for x, _ in rows), max(x for x, _ in rows)
        assert series.range([key], axis=axis) == (start, stop)
        for pixels in (1, 7, 100):
            assert series.pixels([key], axis=axis, pixels=pixels) == {key: model(rows, start, stop, pixels)}
        middle = (start + stop) // 2
        assert series.pixels([key], axis=axis, start=start, stop=middle, pixels=5)[key] == model(rows, start, middle, 5)


def test_a_run_is_followed_through_rotations_and_archives(tmp_path: Path) -> None:
    series = Series(tmp_path)
    with codex_obs.init(tmp_path, **RULES) as run:
        read = 0
        for part in range(8):
            for step in range(part * 10, part * 10 + 10):
                run.log({"loss": math.nan if step % 17 == 3 else math.sin(step), "acc": step}, step=step)
            run.log({"loss": -math.inf}, step=4)
            assert run.flush(5)
            read += series.refresh().rows
            agree(series, tmp_path)
        assert read == 168, "no row was read twice"
    deadline = time.monotonic() + DEADLINE_S
    while not any(".archive-" in path.name for path in logs(tmp_path)["metrics.ndjson"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert series.refresh().rows == 0
    agree(series, tmp_path)
    new = Series(tmp_path)
    assert new.refresh().rows == 168
    agree(new, tmp_path)


def test_rows_that_a_session_supersedes_leave_the_curve(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path, **RULES) as run:
        for step in range(40):
            run.log({"loss": 1.0}, step=step)
    series, all_of_it = Series(tmp_path), Series(tmp_path, superseded=True)
    series.refresh()
    with codex_obs.init(tmp_path, rewind_to=10, **RULES) as run:
        for step in range(10, 30):
            run.log({"loss": 2.0}, step=step)
    series.refresh()
    agree(series, tmp_path)
    (pixels,) = series.pixels([LOSS], start=0, stop=39, pixels=40).values()
    assert pixels.minimum == [1.0] * 10 + [2.0] * 20
    all_of_it.refresh()
    (pixels,) = all_of_it.pixels([LOSS], start=0, stop=39, pixels=40).values()
    assert pixels.rows == [1] * 10 + [2] * 20 + [1] * 10


def test_names_say_what_there_is(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path) as run:
        run.log({"loss": 1.0, "h": {"counts": [1, 2], "edges": [0, 1, 2]}, "note": "hello"}, step=1)
        run.log({"loss": 2.0, "h": {"counts": [3], "edges": [0, 1]}}, step=2)
        run.log({"loss": 2.0, "none": None}, step=1, split="eval", dataset="digits")
        run.log({"h": {"counts": [3, 4], "edges": [0, 1]}}, step=3)
    with codex_obs.init(tmp_path, rank=1) as run:
        run.log({"loss": 5.0}, step=1)
    series = Series(tmp_path)
    assert series.names() == []
    assert series.pixels([LOSS]) == {LOSS: Pixels(*([] for _ in range(11)))}
    series.refresh()
    assert [(*curve, curve.kind, curve.rows) for curve in series.names()] == [
        (Key("main", "eval", "loss", "digits"), 1, 0, 0, "number", 1),
        (Key("main", "eval", "none", "digits"), 0, 0, 1, "empty", 1),
        (Key("main", "train", "h"), 0, 3, 0, "structured", 3),
        (LOSS, 2, 0, 0, "number", 2),
        (Key("main", "train", "note"), 0, 1, 0, "structured", 1),
        (Key("rank-1", "train", "loss"), 1, 0, 0, "number", 1),
    ]
    histograms = series.histograms(Key("main", "train", "h"))
    assert [histogram._replace(time=None) for histogram in histograms] == [
        Histogram(1, None, [1, 2], [0, 1, 2]),
        Histogram(2, None, [3], [0, 1]),
    ], "counts and edges that do not fit are no histogram"
    assert series.histograms(Key("main", "train", "h"), most=1) == histograms[:1]
    (text,) = series.texts(Key("main", "train", "note"))
    assert text == Text(1, text.time, "hello")
    assert series.held() > 0


def test_rows_of_several_runs_in_one_folder_have_curves_of_their_own(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path, run_id="own") as run:
        run.log({"loss": 1.0, "note": "mine"}, step=1)
    for name, field, value in (("metrics", "value", "2.0"), ("metrics_manifest", "payload", '"theirs"')):
        log = tmp_path / f"{name}.ndjson"
        lines = log.read_text().splitlines(keepends=True)
        others = [line.replace('"own"', '"other"').replace('"mine"', value) for line in lines]
        log.write_text("".join(lines) + "".join(others).replace(f'"{field}":1.0', f'"{field}":{value}'))
    series = Series(tmp_path)
    series.refresh()
    notes = [Key("main", "train", "note", None, run) for run in (None, "other")]
    curves = [LOSS, LOSS._replace(run_id="other")]
    assert [curve.key for curve in series.names()] == [*curves, *notes]
    assert [pixels.last for pixels in series.pixels(curves).values()] == [[1.0], [2.0]]
    assert [[text.text for text in series.texts(key)] for key in notes] == [["mine"], ["theirs"]]
    assert labels(curves) == ["train/loss", "train/loss [other]"]


def test_what_makes_no_chart_is_refused(tmp_path: Path) -> None:
    series = Series(tmp_path)
    with pytest.raises(codex_obs.NoLogError):
        series.refresh()
    with pytest.raises(codex_obs.SettingError, match="between 1 and"):
        series.pixels([LOSS], pixels=0)
    with pytest.raises(ValueError, match="neither"):
        series.pixels([LOSS], axis="steps")  # type: ignore[arg-type]  # what is tested
    (pixels,) = series.pixels([LOSS], start=5, stop=4).values()
    assert pixels.place == []


def test_threads_may_look_while_another_one_reads(tmp_path: Path) -> None:
    series = Series(tmp_path)
    problems: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                for pixels in series.pixels([curve.key for curve in series.names()]).values():
                    assert sum(pixels.rows) % 10 == 0
        except BaseException as error:  # noqa: BLE001 - handed to the test
            problems.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    with codex_obs.init(tmp_path) as run:
        for thread in threads:
            thread.start()
        for _ in range(20):
            for step in range(10):
                run.log({"loss": 1.0}, step=step)
            assert run.flush(5)
            series.refresh()
    done.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert not problems
    assert series.names()[0].rows == 200
