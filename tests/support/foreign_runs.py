"""Values as other trackers tell them, and as they were logged."""

from __future__ import annotations

import math
import sys
from pathlib import Path

# Where the program is that writes runs with other trackers.
HERE = Path(__file__).parents[1] / "imports"


def finite(value: float | str) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


def as_logged(value: float | str) -> float | str:
    """MLflow's databases have the largest number where an infinite one was logged; an import says what was logged."""
    return math.copysign(math.inf, value) if isinstance(value, float) and abs(value) == sys.float_info.max else value
