"""The table for people: no number is cut, whatever the terminal's width, and the time grows with the rows."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from codex_obs.commands._folding import display_width, fold
from codex_obs.commands._table import to_table
from terminal import cut_numbers, shown_on

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = ("first", "last", "min", "max", "mean")


def summary(
    rows: int, *, metric: str = "m{}/loss", run_id: str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
) -> pl.DataFrame:
    """Make what `codex_obs.summarize` gives, as far as the table shows it."""
    return pl.DataFrame(
        {
            "run_id": [run_id] * rows,
            "split": [("train", "eval")[row % 2] for row in range(rows)],
            "metric": [metric.format(row) for row in range(rows)],
            "dataset": [""] * rows,
            "count": [20 + row for row in range(rows)],
            "first_step": [0] * rows,
            "last_step": [19] * rows,
            "first_value": [0.123456 + row for row in range(rows)],
            "last_value": [0.03125] * rows,
            "min_value": [-1.5e-7] * rows,
            "max_value": [-123456.789] * rows,
            "mean_value": [None if row == 1 else 0.5 for row in range(rows)],
            "last_phase": [""] * rows,
            "nonfinite_count": [row % 2 for row in range(rows)],
        },
        schema_overrides={"mean_value": pl.Float64},
    )


WIDE = "损失/é\u0301/a_name_that_is_rather_long_{}"


@pytest.mark.parametrize("metric", ["loss{}", "a/very/long/name/of/a/metric/that/has/no/end/{}", WIDE])
@pytest.mark.parametrize("width", [None, 200, 120, 100, 80, 60, 40, 30, 20, 10, 3])
def test_a_number_is_shown_whole_or_its_column_is_named_as_not_shown(width: int | None, metric: str) -> None:
    frame = summary(3, metric=metric)
    drawn = to_table(frame, width=width)
    lines = drawn.splitlines()
    said = re.search(r"Not shown, for lack of room: ([^.]*)\.", " ".join(lines))
    left_out = said[1].split(", ") if said else []
    # Broken into words, so that a digit that was cut, or a piece of a number, is one that does not belong there.
    found = set(re.findall(r"(?<![\w/.\-+])-?\d+(?:\.\d+)?(?:e[+-]\d+)?(?![\w.])", drawn))
    for name in NUMBERS:
        expected = {f"{value:.5g}" for value in frame[f"{name}_value"].to_list() if value is not None}
        if name in left_out:
            continue
        assert expected <= found | set(drawn.split()), (name, drawn)
    if width is not None:
        allowed = max(width, len("  non-finite"), *(len(f"{value:.5g}") for value in frame["max_value"].to_list()))
        assert [line for line in lines if display_width(line) > allowed] == []
    assert "\x1b" not in drawn
    assert drawn.endswith("\n")


@pytest.mark.parametrize("width", [None, 200])
def test_columns_stand_below_their_titles_whatever_the_characters_widths(width: int | None) -> None:
    lines = to_table(summary(4, metric="损失{}é"), width=width).splitlines()
    title, rule, *rows = lines[2:]
    assert display_width(title) == display_width(rule)
    at = display_width(title.partition("count")[0]) + len("count")
    for row in rows:
        position = next(index for index in range(len(row)) if display_width(row[:index]) >= at)
        assert row[:position].endswith(("20", "21", "22", "23"))


def test_names_are_folded_into_their_column() -> None:
    metric = "a/very/long/name/of/a/metric/that/has/no/end/{}"
    lines = to_table(summary(1, metric=metric), width=80).splitlines()
    column = lines[2].index("metric"), lines[2].index("count") - 2
    pieces = [line[column[0] : column[1]].strip() for line in lines[4:]]
    assert "".join(pieces) == metric.format(0)
    assert len(pieces) > 1


def test_control_characters_of_names_are_escaped() -> None:
    drawn = to_table(summary(2, metric="\x1b[31mred\x07{}\u202e", run_id="a\nb"), width=80)
    assert "\x1b" not in drawn
    assert "\\x1b[31m" in drawn
    assert "run a\\nb" in drawn


def test_an_empty_summary_is_a_head_without_rows() -> None:
    assert "metric" in to_table(summary(0), width=80)


def test_text_is_folded_at_spaces_where_there_are_some() -> None:
    assert fold("one two three", 8, at_spaces=True) == ["one two", "three"]
    assert fold("损失损失", 5) == ["损失", "损失"]
    assert fold("损", 1) == ["损"]


@pytest.mark.parametrize("width", [None, 80])
def test_the_time_grows_with_the_rows(width: int | None) -> None:
    def seconds(rows: int) -> float:
        frame = summary(rows)
        began = time.process_time()
        to_table(frame, width=width)
        return time.process_time() - began

    seconds(10)
    small, large = min(seconds(2000) for _ in range(3)), min(seconds(40_000) for _ in range(2))
    # Twenty times the rows: a square would be four hundred times the time.
    assert large < 60 * max(small, 0.005)


@pytest.mark.parametrize("columns", [80, 60])
def test_no_digit_is_cut_in_a_real_terminal(tmp_path: Path, columns: int) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        for step in range(3):
            run.log({"loss": 0.03125 * step, "a/rather/long/name/of/a/metric": -123456.789e-12 * step}, step=step)
            run.log(
                {"accuracy": 1e300 / 7, "bad": float("nan")}, step=step, split="evaluation", tags={"phase": "warm-up"}
            )
    command = [sys.executable, "-m", "codex_obs", "summarize", "run", "--output", "table"]
    shown = shown_on(command, columns=columns, cwd=tmp_path)
    assert [line for line in shown.splitlines() if display_width(line) > columns] == []
    assert cut_numbers(shown, codex_obs.summarize(tmp_path / "run")) == []
    assert "0.0625" in shown.split()
