"""Verdicts on JSONTestSuite: what it must accept is accepted, what it must reject is skipped, and nothing crashes."""

from __future__ import annotations

from pathlib import Path

import pytest

from codex_obs import reading

SUITE = Path(__file__).parents[1] / "corpora" / "JSONTestSuite" / "test_parsing"
TEXTS = {path.stem: path.read_bytes() for path in sorted(SUITE.glob("*.json"))}

# A text without any token is a blank line, which is no row and no damage either.
BLANK = {name for name, text in TEXTS.items() if not text.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")}
INVALID = {"not JSON", "not UTF-8"}


def on_one_line(text: bytes) -> bytes:
    # Between tokens every white space is as good as another, and inside a string a newline is refused like any control.
    return text.replace(b"\n", b"\r")


def read_lines(directory: Path, lines: list[bytes]) -> dict[int, str]:
    """Summarise a log of these lines and give the reasons of those that are no rows, by index."""
    reasons = {}
    # A report names the first few lines only.
    for start in range(0, len(lines), 10):
        (directory / "metrics.ndjson").write_bytes(b"".join(line + b"\n" for line in lines[start : start + 10]))
        _, report = reading.summarize_files([directory])
        assert report.rows + report.skipped == report.lines
        reasons.update({start + line - 1: reason for _, line, reason in report.skipped_examples})
    return reasons


def test_the_suite_is_complete() -> None:
    assert len(TEXTS) == 318
    assert {name[:2] for name in TEXTS} == {"y_", "n_", "i_"}


def test_each_text_as_a_line(tmp_path: Path) -> None:
    # A byte order mark is allowed at a file's start only, so no text comes first.
    lines = [line for text in TEXTS.values() for line in (b"{}", on_one_line(text))]
    reasons = read_lines(tmp_path, lines)
    for index, name in enumerate(TEXTS):
        reason = reasons.get(2 * index + 1)
        if name.startswith("y_"):
            assert reason in {"not a JSON object", 'no text "metric"'}, name
        elif name.startswith("n_") and name not in BLANK:
            assert reason in INVALID, name


@pytest.mark.parametrize("field", ["tags", "value", "other", "step", "metric2"])
def test_each_text_as_a_field(tmp_path: Path, field: str) -> None:
    start = f'{{"metric":"m","{field}":'.encode()
    reasons = read_lines(tmp_path, [start + on_one_line(text) + b"}" for text in TEXTS.values()])
    for index, name in enumerate(TEXTS):
        if name.startswith("y_"):
            assert index not in reasons, name
        elif name.startswith("n_"):
            assert reasons.get(index) in INVALID, name


def test_each_text_behind_our_own_bytes(tmp_path: Path) -> None:
    # Lines that begin as ours do take another way through the reader, to the same verdict.
    start = (
        b'{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1",'
        b'"timestamp":"2026-11-20T08:15:30.000125Z","run_id":"r1","step":2,"split":"eval","metric":"loss","value":'
    )
    ends = (b',"dataset":null,"tags":{}}', b"}")
    for end in ends:
        reasons = read_lines(tmp_path, [start + on_one_line(text) + end for text in TEXTS.values()])
        for index, name in enumerate(TEXTS):
            if not name.startswith("i_"):
                assert (reasons.get(index) in INVALID) == name.startswith("n_"), name
    start += b'1,"dataset":null,"tags":'
    reasons = read_lines(tmp_path, [start + on_one_line(text) + b"}" for text in TEXTS.values()])
    for index, name in enumerate(TEXTS):
        if not name.startswith("i_"):
            assert (reasons.get(index) in INVALID) == name.startswith("n_"), name


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_bare_literals_are_accepted_as_the_value_and_nowhere_else(tmp_path: Path, literal: str) -> None:
    good = [f'{{"metric":"m","value":{literal}}}', f'{{"metric":"m","v\\u0061lue" : {literal} , "value":1}}']
    bad = [
        f'{{"metric":"m","step":{literal}}}',
        f'{{"metric":"m","value":[{literal}]}}',
        f'{{"metric":"m","value":-{literal}0}}',
        f'{{"metric":"m","value":1{literal}}}',
        f'{{"metric":"m","value":1.{literal}}}',
        f'{{"metric":"m","tags":{{"value":{literal}}}}}',
        f'{{"metric":"m","value":{literal.lower()}}}',
        f'{{"metric":"m","value":+{literal}}}',
        literal,
    ]
    reasons = read_lines(tmp_path, [line.encode() for line in (*good, *bad)])
    assert reasons == dict.fromkeys(range(len(good), len(good) + len(bad)), "not JSON")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_of_any_depth_is_read_without_recursion(tmp_path: Path, opening: str, closing: str) -> None:
    depth = 100_000
    nested = opening * depth + "1" + closing * depth
    lines = [f'{{"metric":"m","tags":{nested}}}', f'{{"metric":"m","tags":{nested}{closing}}}', opening * depth]
    (tmp_path / "metrics.ndjson").write_text("\n".join(lines))
    _, report = reading.summarize_files([tmp_path])
    assert [line for _, line, _ in report.skipped_examples] == [2, 3]
