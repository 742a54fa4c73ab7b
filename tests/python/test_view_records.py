"""What the page is given: curves as bytes, samples of the machine, spans, and structured values."""

from __future__ import annotations

import json
import math
import struct
from array import array
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs import _backend

pytest.importorskip("starlette", reason="needs the extra view")

from codex_obs.errors import NoLogError
from codex_obs.viewers import _records
from codex_obs.viewers._curves import Asked, Curves
from codex_obs.viewers._runs import Runs
from codex_obs.viewers._wire import column, pack

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("first_x", "last_x", "min", "max", "first", "last", "rows", "nan", "up", "down")


def unpacked(content: bytes) -> tuple[dict[str, Any], list[dict[str, array[float]]]]:
    """Read what the page reads, by the description of the format."""
    (length,) = struct.unpack("<I", content[:4])
    assert (length + 4) % 8 == 0
    head = json.loads(content[4 : 4 + length])
    numbers = array("d", content[4 + length :])
    curves, at = [], 0
    for curve in head["curves"]:
        names = NAMES if curve["form"] == "pixels" else ("x", "value", "kind")
        curves.append({name: numbers[at + n * curve["n"] : at + (n + 1) * curve["n"]] for n, name in enumerate(names)})
        at += len(names) * curve["n"]
    assert at == len(numbers)
    return head, curves


def lines(path: Path, *records: dict[str, object]) -> None:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def test_head_and_columns_come_back_as_they_were() -> None:
    for name in ("", "a", "é" * 5, "x" * 13):
        head, curves = unpacked(pack({"curves": [{"run": name, "form": "rows", "n": 2}]}, [column([1.0, None])] * 3))
        assert head["curves"][0]["run"] == name
        assert curves[0]["x"][0] == 1.0
        assert math.isnan(curves[0]["kind"][1])


def test_a_pixel_has_the_smallest_and_the_largest_of_its_rows(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        for step in range(1000):
            run.log({"loss": 50.0 if step == 371 else -step % 7}, step=step)
    head, (curve,) = unpacked(Curves().pixels([("it", run_dir)], "loss", Asked("step", None, None, 10)))
    assert (head["start"], head["stop"]) == (0, 999)
    assert list(curve["rows"]) == [100] * 10
    assert [value == 50 for value in curve["max"]] == [place == 3 for place in range(10)]
    assert list(curve["min"]) == [0] * 10
    assert (curve["first_x"][0], curve["last_x"][-1]) == (0, 999)


def test_few_rows_come_one_by_one_with_what_is_not_finite(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        for step, value in enumerate([0.5, math.nan, math.inf, -math.inf, None, 2.0]):
            run.log({"loss": value}, step=step)
    head, (curve,) = unpacked(Curves().pixels([("it", run_dir)], "loss", Asked("step", 0, 5, 600)))
    assert head["curves"][0]["form"] == "rows"
    shown = dict(zip(curve["x"], zip(curve["value"], curve["kind"], strict=True), strict=True))
    assert [shown[step][1] for step in (0, 1, 2, 3, 5)] == [0, 1, 2, 3, 0]
    assert (shown[0][0], shown[5][0]) == (0.5, 2.0)
    assert all(math.isnan(shown[step][0]) for step in (1, 2, 3))


def test_relative_time_begins_with_each_run(tmp_path: Path) -> None:
    for name, began in (("a", 1_000_000), ("b", 5_000_000)):
        with codex_obs.init(tmp_path / name) as run:
            for step in range(3):
                run.log({"loss": step}, step=step, timestamp=began + 2.5 * step)
    runs = [(name, tmp_path / name) for name in "ab"]
    head, curves = unpacked(Curves().pixels(runs, "loss", Asked("relative", None, None, 100)))
    assert [list(curve["x"]) for curve in curves] == [[0, 2.5, 5]] * 2
    assert (head["start"], head["stop"]) == (0, 5)
    _, curves = unpacked(Curves().pixels(runs, "loss", Asked("time", None, None, 100)))
    assert [(curve["first_x"][0], curve["last_x"][0]) for curve in curves] == [
        (1_000_000, 1_000_005),
        (5_000_000, 5_000_005),
    ]


def test_every_split_and_stream_is_a_curve_of_its_own(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        for split in ("train", "eval"):
            run.log({"loss": 1.0, "other": 2.0}, step=1, split=split)
    head, _ = unpacked(Curves().pixels([("it", run_dir)], "loss", Asked("step", None, None, 100)))
    assert {(curve["metric"], curve["split"]) for curve in head["curves"]} == {("loss", "train"), ("loss", "eval")}


def test_samples_are_curves_and_what_cannot_be_had_is_none(run_dir: Path) -> None:
    codex_obs.init(run_dir).finish()
    gpus = [{"index": 3, "util": 50, "mem_used": None, "temp_c": "hot"}]
    sample = {"host": "h", "cpu_percent": 5, "memory": {"percent": None, "used": 7}, "gpus": gpus, "gpu_count": True}
    lines(run_dir / "system_metrics.jsonl", {"ts": 1.5} | sample, {"ts": None} | sample, {"ts": 2.5} | sample)
    with (run_dir / "system_metrics.jsonl").open("a") as file:
        file.write('torn {"ts"\n[]\n')
    head, curves = unpacked(_records.samples([("it", run_dir)]))
    assert [curve["metric"] for curve in head["curves"]] == ["cpu_percent", "memory.used", "gpu.3.util"]
    assert [list(curve["x"]) for curve in curves] == [[1.5, 2.5]] * 3


def test_spans_have_their_beginning_end_and_failure(run_dir: Path) -> None:
    codex_obs.init(run_dir).finish()

    def event(second: float, name: str, span: str, parent: str | None = None, **more: object) -> dict[str, object]:
        at = f"2026-11-20T08:15:{second:09.6f}Z"
        return {"timestamp": at, "event": name, "span_id": span, "parent_span_id": parent, **more}

    lines(
        run_dir / "telemetry.ndjson",
        event(1, "turn.start", "a"),
        event(2, "tool.start", "b", "a"),
        event(4, "tool.failure", "b", "a"),
        event(5, "turn.stop", "a"),
        event(6, "mcp.tool_call.success", "c", measurements={"duration_ms": 500}),
        event(7, "span.start", "d", metadata={"name": "mine"}),
        event(8, "thread.token_usage.updated", "e"),
        {"event": 1},
    )
    found = _records.spans(run_dir)
    assert found["count"] == 4
    spans = {span["id"]: span for span in found["spans"]}  # type: ignore[attr-defined]  # a list of spans
    zero = spans["a"]["start"] - 1
    assert [(spans[name]["start"] - zero, spans[name]["failed"]) for name in "abcd"] == [
        (1, False),
        (2, True),
        (5.5, False),
        (7, False),
    ]
    assert [spans[name]["stop"] and spans[name]["stop"] - zero for name in "abcd"] == [5, 4, 6, None]
    assert (spans["b"]["parent"], spans["c"]["name"], spans["d"]["name"]) == ("a", "mcp.tool_call", "mine")


def test_what_was_rotated_and_packed_of_samples_and_spans_is_shown(tmp_path: Path) -> None:
    settings = codex_obs.Settings(max_shard_bytes=1000, backup_count=1)
    samples = [{"ts": 1.79e9 + place, "host": "node", "cpu_percent": place} for place in range(60)]
    spans = [
        {"timestamp": "2026-11-20T08:15:30Z", "event": f"tool.{kind}", "span_id": str(place)}
        for place in range(60)
        for kind in ("start", "stop")
    ]
    for name, records in (("system_metrics.jsonl", samples), ("telemetry.ndjson", spans)):
        log = _backend.LineLog(str(tmp_path / name), settings)
        for record in records:
            if log.append(json.dumps(record).encode() + b"\n"):
                log.settle()
        assert list(tmp_path.glob(f"{name}.archive-*.zst")), name
    _, (curve,) = unpacked(_records.samples([("run", tmp_path)]))
    assert list(curve["value"]) == list(range(60))
    assert _records.spans(tmp_path)["count"] == 60


def test_runs_are_found_by_what_leads_to_them(tmp_path: Path) -> None:
    for path in ("one/x", "two/x", "two/deep/y"):
        with codex_obs.init(tmp_path / path, config={"path": path}) as run:
            run.log({"loss": len(path)}, step=1)
    both = Runs([tmp_path / "one", tmp_path / "two"])
    assert {run["key"] for run in both.listing()["runs"]} == {"one/x", "two/x", "two/deep/y"}  # type: ignore[attr-defined]
    assert both.find("two/deep/y") == tmp_path / "two" / "deep" / "y"
    assert both.listing()["roots"] == [str(tmp_path / "one"), str(tmp_path / "two")]
    alone = Runs([tmp_path / "one" / "x"])
    assert [run["key"] for run in alone.listing()["runs"]] == ["x"]  # type: ignore[attr-defined]
    with pytest.raises(NoLogError):
        alone.find("../../two/x")
    chosen = both.listing(where=["loss.last>=5", "path~two"], sort="loss.last")["runs"]
    assert [run["key"] for run in chosen] == ["two/x", "two/deep/y"]  # type: ignore[attr-defined]


def test_a_run_that_is_new_is_found_without_waiting_for_the_list(tmp_path: Path) -> None:
    codex_obs.init(tmp_path / "one").finish()
    runs = Runs([tmp_path])
    runs.listing()
    codex_obs.init(tmp_path / "two").finish()
    assert runs.find("two") == tmp_path / "two"


def test_a_run_that_is_written_is_read_once_for_the_list_and_its_charts(tmp_path: Path) -> None:
    curves = Curves()
    with codex_obs.init(tmp_path / "live") as run:
        for step in range(50):
            run.log({"loss": 1.0}, step=step)
        assert run.flush(30)
        assert told(Runs([tmp_path], extent=curves.extent)) == ("running", 50, 49)
        assert [curve.rows for curve in curves.names(tmp_path / "live")] == [50]
        # What was read is not read again: nobody notices that a line is none any more.
        log = tmp_path / "live" / "metrics.ndjson"
        with log.open("r+b") as file:
            file.write(b"x")
        run.log({"loss": 2.0}, step=70)
        assert run.flush(30)
        curves.series(tmp_path / "live").refresh()
        assert told(Runs([tmp_path], extent=curves.extent)) == ("running", 51, 70)
        with log.open("r+b") as file:
            file.write(b"{")
    assert told(Runs([tmp_path], extent=curves.extent)) == ("finished", 51, 70)


def told(runs: Runs) -> tuple[object, ...]:
    listed = runs.listing()["runs"]
    assert isinstance(listed, list)
    (row,) = listed
    return row["status"], row["rows"], row["last_step"]


@pytest.mark.parametrize("words", ["live/now", "EXPERIMENT", "my first", "id-7"])
def test_words_find_a_run_by_its_path_its_name_and_its_id(words: str, tmp_path: Path) -> None:
    for path, name, run_id in (("live/now", "My first experiment", "id-7"), ("other", "second", "id-8")):
        codex_obs.init(tmp_path / path, name=name, run_id=run_id).close()
    listed: Any = Runs([tmp_path]).listing(where=[f"words~{words}"])["runs"]
    (found,) = listed
    assert (found["key"], found["name"], "words" in found) == ("live/now", "My first experiment", False)
