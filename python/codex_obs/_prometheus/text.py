"""The formats that Prometheus reads: its text format 0.0.4, and OpenMetrics 1.0."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_NOT_LEGAL = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


Kind: TypeAlias = Literal["gauge", "counter", "histogram"]


@dataclass(slots=True)
class Family:
    """Samples of one name.

    Attributes:
        name: A legal name, without the ending that its kind has.
        kind: What it is.
        help: One sentence.
        samples: Ending of the name, labels and value of each.
    """

    name: str
    kind: Kind
    help: str
    samples: list[tuple[str, Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float, ending: str = "", **labels: str) -> None:
        """Add a sample."""
        self.samples.append((ending, labels, value))

    def measure(self, value: object, scale: float, labels: Mapping[str, str]) -> None:
        """Add a sample of what was measured, if it was."""
        if isinstance(value, int | float):
            self.samples.append(("", labels, value * scale))


def legal(name: str, taken: Iterable[str]) -> str:
    """Make a legal name of any text, and another one than those that are taken: `a/b` and `a.b` are told apart."""
    made = _NOT_LEGAL.sub("_", name) or "_"
    if made[0].isdigit():
        made = f"_{made}"
    taken, number, found = set(taken), 1, made
    while found in taken:
        number += 1
        found = f"{made}_{number}"
    return found


def render(families: Iterable[Family], *, is_open_metrics: bool) -> bytes:
    """Write families in one of the two formats."""
    lines: list[str] = []
    for family in families:
        # The text format names a counter with its ending, OpenMetrics without.
        name = family.name if is_open_metrics or family.kind != "counter" else f"{family.name}_total"
        lines += (f"# HELP {name} {_escaped_help(family.help)}", f"# TYPE {name} {family.kind}")
        for ending, labels, value in family.samples:
            named = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
            lines.append(f"{family.name}{_ending(family, ending)}{{{named}}} {number(value)}")
    if is_open_metrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def number(value: float) -> str:
    """Write a number as both formats do."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))


def _ending(family: Family, ending: str) -> str:
    return "_total" if family.kind == "counter" else ending


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
