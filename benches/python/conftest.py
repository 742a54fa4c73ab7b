"""Times of all benchmarks, shown at the end as ratios to a peer in the same run, with the budget where there is one."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from logs import own, write_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = "codex_obs"


@dataclass
class Figures:
    """Seconds by subject for each comparison, and the largest ratio allowed to one peer."""

    seconds: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    budgets: dict[tuple[str, str], float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)

    def add(self, comparison: str, subject: str, seconds: float) -> None:
        """Note what one subject took."""
        self.seconds[comparison][subject] = seconds

    def compare(self, comparison: str, peer: str, seconds: list[float]) -> None:
        """Note what a peer took, the median of its rounds, that has no line of its own."""
        self.seconds[comparison][peer] = statistics.median(seconds)

    def allow(self, comparison: str, peer: str, ratio: float) -> None:
        """Set the budget of a comparison."""
        self.budgets[comparison, peer] = ratio

    def lines(self) -> Iterator[str]:
        """Give the table."""
        yield f"{'':44} {'time':>10} {'peer':>10} {'ratio':>8} {'budget':>8}"
        for comparison, seconds in self.seconds.items():
            ours = seconds.get(OURS)
            if ours is None:
                continue
            for peer, theirs in seconds.items():
                if peer == OURS:
                    continue
                budget = self.budgets.get((comparison, peer))
                verdict = "" if budget is None else f"{budget:8.3f}{'' if ours <= budget * theirs else '  missed'}"
                title = f"{comparison}, vs {peer}"
                yield f"{title:44} {_time(ours):>10} {_time(theirs):>10} {ours / theirs:8.3f} {verdict}".rstrip()


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, object]) -> None:  # noqa: ARG001 - a hook
    """Keep what times depend on, and not whose machine it is."""
    machine_info.pop("node", None)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    machine_info["memory_gib"] = round(memory / (1 << 30), 1)
    machine_info["load_average"] = [round(load, 1) for load in os.getloadavg()]


def pytest_benchmark_generate_commit_info(config: pytest.Config) -> dict[str, object]:  # noqa: ARG001 - a hook
    """Leave out branch and folder names."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"id": done.stdout.strip() or "unknown"}


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, object]) -> None:
    """Keep what the table at the end says, for `benches/tables.py`."""
    figures = config.stash[_FIGURES]
    output_json |= {"figures": figures.seconds, "measures": figures.measures}


@pytest.fixture(scope="session")
def gigabyte(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """Write the log that several benchmarks read, and give its folder and its rows."""
    path = tmp_path_factory.mktemp("gigabyte") / "run"
    yield path, write_log(path, own, size_bytes=1_000_000_000)
    shutil.rmtree(path)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return request.config.stash[_FIGURES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if figures.seconds:
        terminalreporter.section("ratios (less is better)")
        for line in [*figures.lines(), *dict.fromkeys(figures.notes)]:
            terminalreporter.write_line(line)
