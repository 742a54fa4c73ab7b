"""What is printed when the tests are through: one line for each fault, one for each figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = "MLflow exporter: faults"
FIGURES = "MLflow exporter: figures"
_HEADINGS = {
    FAULTS: ("fault", "requests", "longest log", "close", "rejected", "at close", "after sync", "verdict"),
    FIGURES: ("what", "with the exporter", "compared with"),
}


@dataclass
class Table:
    """Lines by section."""

    lines: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)

    def enter(self, section: str, *cells: object) -> None:
        """Add a line."""
        self.lines.setdefault(section, []).append(tuple(map(str, cells)))

    def sections(self) -> Iterator[tuple[str, str]]:
        """Give every section as aligned Markdown."""
        for section, lines in self.lines.items():
            rows = [_HEADINGS[section], *lines]
            widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
            rows.insert(1, tuple("-" * width for width in widths))
            yield (
                section,
                "\n".join(
                    "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
                    for row in rows
                ),
            )
