"""Options of pytest for the whole repository."""

from pathlib import Path

import pytest

BENCHES = Path(__file__).parent / "benches"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--benchmark``."""
    parser.addoption("--benchmark", action="store_true", help="run the benchmarks, and nothing else")


def pytest_configure(config: pytest.Config) -> None:
    """Look for benchmarks instead of tests where that is asked for."""
    if config.getoption("--benchmark") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(BENCHES)]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep tests and benchmarks apart, whatever folder is named."""
    is_bench = collection_path.is_relative_to(BENCHES)
    if config.getoption("--benchmark"):
        return None if is_bench or collection_path in BENCHES.parents else True
    return True if is_bench else None
