"""What a recorded run of the benchmarks says: medians, ratios to peers, notes and the machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

OURS = "codex_obs"


@dataclass(frozen=True)
class Kept:
    """A file that pytest-benchmark wrote."""

    seconds: dict[str, dict[str, float]]
    measures: dict[str, float]
    machine: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Kept:
        """Read such a file."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return cls(document["figures"], document["measures"], document["machine_info"])

    def ours(self, comparison: str) -> float:
        """Give seconds of ours."""
        return self.seconds[comparison][OURS]

    def of(self, comparison: str, subject: str) -> float | None:
        """Give seconds of a subject; none where it was not installed."""
        return self.seconds[comparison].get(subject)

    def ratio(self, comparison: str, peer: str) -> float | None:
        """Give our time as a share of a peer's."""
        theirs = self.of(comparison, peer)
        return None if theirs is None else self.ours(comparison) / theirs

    def facts(self) -> str:
        """Say on what it was measured."""
        cpu, load = self.machine["cpu"], self.machine["load_average"]
        return (
            f"{cpu['count']} cores of {_short(cpu['brand_raw'])} (family {cpu['family']}, model {cpu['model']}, "
            f"{cpu['hz_advertised'][0] / 1e9:.1f} GHz), {self.machine['memory_gib']:.0f} GiB of memory, "
            f"{self.machine['python_implementation']} {self.machine['python_version']}, Linux "
            f"{self.machine['release'].split('-')[0]}; load average {load[0]:g} when it began"
        )


def _short(brand: str) -> str:
    return brand.replace("(R)", "").replace("(TM)", "").replace(" Processor", "").strip()


def time(seconds: float | None) -> str:
    """Write a time with two digits, or three above a hundred."""
    if seconds is None:
        return ""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if seconds >= scale * (0.1 if unit in {"s", "µs"} else 1):
            return f"{number(seconds / scale)} {unit}"
    return f"{seconds:g} s"


def number(value: float | None) -> str:
    """Write a number with two digits that count, or as a whole number."""
    if value is None:
        return ""
    if value >= 10:
        return f"{value:,.0f}"
    # As many digits behind the point as leave two that count, after rounding.
    exponent = int(f"{value:.1e}".partition("e")[2])
    return f"{value:.{max(0, 1 - exponent)}f}"
