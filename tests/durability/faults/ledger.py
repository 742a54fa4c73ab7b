"""The table: one line of figures for each fault."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from faults import interpreters

BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
HEADINGS = ("fault", "attempts", "rows accepted", "lost", "doubled", "torn lines", "longest `log`", "verdict")


@dataclass
class Entry:
    """What a fault did."""

    fault: str
    attempts: int = 0
    accepted: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    longest_log_s: float | None = None
    verdict: str = "passed"
    note: str = ""

    def cells(self) -> list[str]:
        """Give what stands in its line."""
        longest = "" if self.longest_log_s is None else _duration(self.longest_log_s)
        numbers = [f"{number:,}" for number in (self.attempts, self.accepted, self.lost, self.doubled, self.torn)]
        if self.verdict.startswith("skipped"):
            numbers = [""] * len(numbers)
        return [self.fault, *numbers, longest, "; ".join(filter(None, [self.verdict, self.note]))]


@dataclass
class Ledger:
    """Every line so far."""

    entries: list[Entry] = field(default_factory=list)
    # What each tracker did, by fault.
    trackers: dict[str, dict[str, str]] = field(default_factory=dict)

    def enter(self, entry: Entry) -> None:
        """Add a line."""
        self.entries.append(entry)

    def compare(self, fault: str, tracker: str, outcome: str) -> None:
        """Note what a fault did to a tracker."""
        self.trackers.setdefault(tracker, {})[fault] = outcome

    def table(self) -> str:
        """Give the table as Markdown, its columns aligned for a terminal."""
        return _markdown([list(HEADINGS), *(entry.cells() for entry in self.entries)])

    def comparison(self) -> str:
        """Give the table of trackers, a column each."""
        faults = dict.fromkeys(fault for outcomes in self.trackers.values() for fault in outcomes)
        rows = [[fault, *(outcomes.get(fault, "") for outcomes in self.trackers.values())] for fault in faults]
        return _markdown([["fault", *self.trackers], *rows]) if rows else ""


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def facts(scale: float, folder: Path) -> str:
    """Say where and how large a table was made."""
    system = os.uname()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = "unknown file system"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, name, *_ = line.split()
        if folder.is_relative_to(place):
            kind = name
    versions = ", ".join(interpreter.version for interpreter in interpreters.present())
    return (
        f"SCALE={scale:g}; {os.cpu_count()} cores, {memory_gib:.0f} GiB, {system.sysname} {system.release} "
        f"{system.machine}, {kind}, CPython {versions}."
    )


def keep(page: Path, text: str) -> None:
    """Put the table into a page, between its marks."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    old = page.read_text()
    assert pattern.search(old), f"{page} has no place for the table"
    page.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", old))
