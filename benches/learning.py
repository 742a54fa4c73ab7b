"""Draw how trainers learned, out of their runs: returns of rollouts as a line, of evaluations as points.

python benches/learning.py docs/assets/learning.svg runs/ppo runs/spo
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent / "python"))

import codex_obs
from chart import draw

if TYPE_CHECKING:
    from chart import Series


def curve(run: Path, split: str) -> Series:
    """Give the mean return by the number of steps in the environment."""
    rows = codex_obs.read(run).filter(split=split, metric="mean_return").drop_nulls(["step", "value"])
    return [(float(step), float(value)) for step, value in rows.select("step", "value").iter_rows()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    names = {run: f"{run.name}: steps in the environment" for run in options.runs}
    lines = {names[run]: curve(run, "actor") for run in options.runs}
    marks = {names[run]: curve(run, "evaluator") for run in options.runs}
    options.picture.write_text(draw(lines, ylabel="mean return", marks=marks))


if __name__ == "__main__":
    main()
