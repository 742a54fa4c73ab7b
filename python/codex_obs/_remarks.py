"""What a reader has to say beside its result: what was skipped, what could not be read, what may be missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from codex_obs._visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from codex_obs._backend import Report


def is_complete(report: Report) -> bool:
    """Whether everything that looks like a row of the run was read as it stands."""
    return not (
        report.skipped or report.faulty_fields or report.valueless_rows or report.unread_files or report.journals
    )


def paragraphs(report: Report, noun: str = "row") -> Iterator[list[str]]:
    """Give what is to be said: for each kind one line that counts, and one for each example.

    Args:
        report: What the reader saw.
        noun: What a line of the log is called.
    """
    if report.retired:
        were = "was" if report.retired == 1 else "were"
        yield [f"{_count(report.retired, noun)} {were} deleted by retention (see the records in run.ndjson)"]
    if report.skipped:
        lines = (
            f"1 line that is no {noun} was"
            if report.skipped == 1
            else f"{report.skipped} lines that are no {noun}s were"
        )
        examples = _places(report.skipped_examples)
        yield _listed(f"Of {_count(report.lines, 'line')}, {lines} skipped", examples, report.skipped)
    faults = report.faulty_fields + report.valueless_rows
    if faults:
        kinds = []
        if report.faulty_fields:
            kinds.append(f"{_count(report.faulty_fields, 'field')} could not be read as written")
        if report.valueless_rows:
            kinds.append(f'{_count(report.valueless_rows, "row")} {_have(report.valueless_rows)} no "value"')
        yield _listed(f"Of {_count(report.rows, noun)}: {', '.join(kinds)}", _places(report.fault_examples), faults)
    if report.unread_files:
        files = (
            "1 file looks like a log and was"
            if report.unread_files == 1
            else f"{report.unread_files} files look like a log and were"
        )
        yield _listed(f"{files} not read", map(_shown, report.unread_examples), report.unread_files)
    if report.superseded:
        rows = _count(report.superseded, "superseded row")
        yield [f"{rows} left out, replaced by rewind_to: superseded=True or --superseded includes them"]
    for path, why in report.journals:
        yield [visible(f"{noun.capitalize()}s may be missing: {_shown(path)} {why}")]
    for note in report.notes:
        yield [visible(note)]


def sentences(report: Report, noun: str = "row") -> Iterator[str]:
    """Give the same as one sentence a kind, each with its first example."""
    for headline, *examples in paragraphs(report, noun):
        yield f"{headline} {examples[0].strip()}" if examples else headline


def _listed(headline: str, examples: Iterable[str], total: int) -> list[str]:
    shown = [f"  {example}" for example in examples]
    more = [f"  and {total - len(shown)} more"] if total > len(shown) else []
    return [f"{headline}:", *shown, *more]


def _places(examples: Sequence[tuple[str, int, str]]) -> Iterator[str]:
    for file, line, reason in examples:
        yield f"{_shown(file)}:{line}: {visible(reason)}"


def _shown(path: str | os.PathLike[str]) -> str:
    return visible(os.fspath(path))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
