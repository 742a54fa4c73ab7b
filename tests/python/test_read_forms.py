"""Rows as other programs write them: what is read, and what is counted and named because it cannot be."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from codex_obs import reading
from codex_obs._remarks import is_complete, paragraphs

if TYPE_CHECKING:
    from pathlib import Path

MOMENT = datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ('"2026-11-20T10:15:30+02:00"', 0),
        ('"2026-11-20T02:45:30.25-05:30"', 250_000),
        ('"2026-11-20 08:15:30"', 0),
        ('"2026-11-20 08:15:30.5"', 500_000),
        ('"2026-11-20T08:15:30"', 0),
        ('"2026-11-20t08:15:30z"', 0),
        ('"2026-11-20T08:15:30.1234567890123456789012345678901234567890Z"', 123_456),
        ("1795162530", 0),
        ("1795162530.25", 250_000),
        ("1795162530250", 250_000),
        ("1795162530250.125", 250_125),
        ("1.79516253025e12", 250_000),
    ],
)
def test_a_moment_is_the_same_however_it_is_written(tmp_path: Path, written: str, micros: int) -> None:
    (tmp_path / "metrics.ndjson").write_text(f'{{"metric":"m","value":1,"timestamp":{written}}}\n')
    frame, report = reading.summarize_files([tmp_path])
    assert frame["first_timestamp"].to_list() == [MOMENT.replace(microsecond=micros)]
    assert is_complete(report)


@pytest.mark.parametrize("written", ["6", "6.0", "6e0", "60e-1", '"6"', '"6.0"', '" 6"', '"\\u0036"'])
def test_a_step_is_the_same_however_it_is_written(tmp_path: Path, written: str) -> None:
    (tmp_path / "metrics.ndjson").write_text(f'{{"metric":"m","value":1,"step":{written}}}\n')
    frame, report = reading.summarize_files([tmp_path])
    assert frame["first_step"].to_list() == [6]
    assert is_complete(report)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_word_for_a_number_counts_as_not_finite(tmp_path: Path, word: str) -> None:
    (tmp_path / "metrics.ndjson").write_text(f'{{"metric":"m","value":"{word}"}}\n{{"metric":"m","value":1}}\n')
    frame, report = reading.summarize_files([tmp_path])
    assert frame.select("count", "numeric_count", "nonfinite_count", "mean_value").rows() == [(2, 1, 1, 1.0)]
    assert reading.read(tmp_path)["nonfinite"].to_list() == [word, None]
    assert is_complete(report)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ('"value":"0.5"', '"value" is not a number'),
        ('"value":"nan"', '"value" is not a number'),
        ('"value":[1]', '"value" is not a number'),
        ('"value":1,"step":1.5', '"step" is not a 64-bit integer'),
        ('"value":1,"step":"six"', '"step" is not a 64-bit integer'),
        ('"value":1,"step":9223372036854775808', '"step" is not a 64-bit integer'),
        ('"value":1,"timestamp":"20.11.2026"', '"timestamp" cannot be read'),
        ('"value":1,"timestamp":"2026-02-30T00:00:00Z"', '"timestamp" cannot be read'),
        ('"value":1,"timestamp":1795162530000000000', '"timestamp" cannot be read'),
        ('"value":1,"split":3', '"split" is not text'),
        ('"value":1,"tags":[]', '"tags" is not an object'),
        ('"step":1', 'no "value"'),
        ('"value":1,"split":"' + "s" * 5000 + '"', '"split" is longer than 4 KiB and was cut'),
    ],
)
def test_what_cannot_be_read_is_counted_and_named(
    tmp_path: Path, members: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.ndjson"
    # The same twice, so that the second line is read by its likeness to the first; and once in the main way.
    lines = ['{"metric":"m","value":1}', *[f'{{"metric":"m",{members}}}'] * 2, '{"metric":"m","value":2}']
    path.write_text("".join(f"{line}\n" for line in lines))
    frame, report = reading.summarize_files([tmp_path])
    assert frame["count"].sum() == 4
    assert report.faulty_fields + report.valueless_rows == 2
    assert report.fault_examples == [(str(path), line, reason) for line in (2, 3)]
    assert not is_complete(report)
    with caplog.at_level(logging.WARNING, logger="codex_obs"):
        assert reading.read(tmp_path).height == 4
    assert f"{path}:2: {reason}" in caplog.text


def test_null_is_nothing_and_no_fault(tmp_path: Path) -> None:
    fields = ("value", "step", "timestamp", "run_id", "split", "dataset", "tags")
    (tmp_path / "metrics.ndjson").write_text(json.dumps({"metric": "m", **dict.fromkeys(fields)}) + "\n")
    assert is_complete(reading.summarize_files([tmp_path])[1])


def test_structured_values_of_the_legacy_form_are_no_fault(tmp_path: Path) -> None:
    start = (
        '{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","step":1,"metric":"m"'
    )
    values = ('{"a":1}', "[1,2]", '"words"', "0.5", '"Infinity"')
    (tmp_path / "metrics.ndjson").write_text("".join(f'{start},"value":{value},"tags":{{}}}}\n' for value in values))
    frame, report = reading.summarize_files([tmp_path])
    assert frame.select("count", "numeric_count", "nonfinite_count").rows() == [(5, 1, 1)]
    assert is_complete(report)


def test_words_count_what_they_do_not_name(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text('{"metric":"m"}\n{"metric":"m","value":1,"step":[]}\n' * 10)
    _, report = reading.summarize_files([tmp_path])
    (words,) = paragraphs(report)
    assert words[0] == 'Of 20 rows: 10 fields could not be read as written, 10 rows have no "value":'
    assert len(words) == 12
    assert words[-1] == "  and 10 more"


def test_long_names_are_one_group_each_and_cut_at_a_character(tmp_path: Path) -> None:
    name = "é" * 3000
    rows = [{"metric": name + end, "value": 1} for end in "ab"]
    lines = [json.dumps(row, ensure_ascii=escaped) for row in rows for escaped in (True, False)]
    (tmp_path / "metrics.ndjson").write_text("".join(f"{line}\n" for line in lines))
    frame, report = reading.summarize_files([tmp_path])
    assert frame.select("metric", "count").rows() == [("é" * 2048, 4)]
    assert report.faulty_fields == 4
