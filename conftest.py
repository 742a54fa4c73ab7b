"""Options of pytest for the whole repository."""

from pathlib import Path
from typing import Any

import pytest

BENCHES = Path(__file__).parent / "benches"
BASELINE = BENCHES / "baseline"
# What pytest-benchmark calls its own folder for results.
_ELSEWHERE = "file://./.benchmarks"
DURABILITY = Path(__file__).parent / "tests" / "durability"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--benchmark``, ``--durability`` and ``--pictures``."""
    parser.addoption("--benchmark", action="store_true", help="run the benchmarks, and nothing else")
    parser.addoption(
        "--durability",
        type=float,
        metavar="SCALE",
        help="run the fault matrix so many times as large, and nothing else",
    )
    parser.addoption("--pictures", metavar="FOLDER", help="keep the pictures of the page in this folder")
    parser.addoption("--durability-page", metavar="PATH", help="keep the table of the fault matrix in this page")


def pytest_configure(config: pytest.Config) -> None:
    """Look for benchmarks or faults instead of tests where that is asked for."""
    only = _only(config)
    if only == BENCHES and config.option.benchmark_storage == _ELSEWHERE:
        config.option.benchmark_storage = BASELINE.as_uri()
    if only is not None and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(only)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep tests, benchmarks and faults apart, whatever folder is named."""
    only = _only(config)
    if only is not None:
        return None if collection_path.is_relative_to(only) or collection_path in only.parents else True
    return True if any(collection_path.is_relative_to(apart) for apart in (BENCHES, DURABILITY)) else None


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> bool:
    """Say where a baseline of another machine is compared with, and compare."""
    here, there = _facts(machine_info), _facts(compared_benchmark["machine_info"])
    if here != there and (reporter := config.pluginmanager.get_plugin("terminalreporter")) is not None:
        reporter.write_line(f"the baseline is of another machine: {there}, and this is {here}")
    return True


def _facts(machine_info: dict[str, Any]) -> tuple[object, ...]:
    cpu = machine_info["cpu"]
    return cpu.get("brand_raw"), cpu.get("count"), machine_info["python_version"]


def _only(config: pytest.Config) -> Path | None:
    if config.getoption("--benchmark"):
        return BENCHES
    return None if config.getoption("--durability") is None else DURABILITY
