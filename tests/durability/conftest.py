"""The fault matrix: how large it is, and the table of what came out."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faults import interpreters
from faults.ledger import Entry, Ledger, facts, keep

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from _pytest.terminal import TerminalReporter

    from faults.interpreters import Interpreter

HERE = Path(__file__).parent
_ledger = pytest.StashKey[Ledger]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ledger] = Ledger()
    # Where Debian keeps mkfs and logrotate, which not everyone has on the PATH.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A fault that is named among other tests has no size: it is not run by chance."""
    if item.config.getoption("--durability") is None:
        pytest.skip("part of the fault matrix: run it with --durability SCALE")


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Ledger:
    """Give the table, to which every test adds its line."""
    return request.config.stash[_ledger]


@dataclass(frozen=True)
class Scale:
    """How much of the matrix is run."""

    factor: float

    def times(self, number: float, *, least: int = 1) -> int:
        """Return the part of `number` attempts to make."""
        return max(least, round(number * self.factor))


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Scale:
    """Give the size of the matrix."""
    return Scale(request.config.getoption("--durability"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "interpreter" in metafunc.fixturenames:
        metafunc.parametrize("interpreter", interpreters.present(), ids=lambda interpreter: f"3.{interpreter.minor}")


class Programs:
    """Starts the programs that are tormented."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self,
        name: str,
        *arguments: object,
        before: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
        interpreter: Interpreter | None = None,
        silent: bool = False,
        **variables: str,
    ) -> subprocess.Popen[str]:
        """Start a program of the folder `programs`, behind a command such as strace.

        Nobody hears a silent one, which never waits for anyone to listen, and it leads the processes that it starts.
        """
        interpreter = interpreter or interpreters.present()[0]
        command = [*before, interpreter.path, *options, str(HERE / "programs" / f"{name}.py"), *map(str, arguments)]
        paths = [HERE] if interpreter.own_packages else [HERE, interpreters.package_root()]
        found = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
        environment = {**os.environ, **found, **variables}
        pipe = subprocess.DEVNULL if silent else subprocess.PIPE
        process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=silent
        )
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill what still runs."""
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Give a starter of programs that leaves none behind."""
    programs = Programs()
    yield programs
    programs.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    # A test that came to an end has entered its own line.
    fault = item.name.removeprefix("test_").replace("_", " ")
    if report.skipped:
        _, _, reason = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, "")
        reason = reason.removeprefix("Skipped: ")
        item.config.stash[_ledger].enter(Entry(fault, verdict=f"skipped: {reason}"))
    elif report.failed:
        item.config.stash[_ledger].enter(Entry(fault, verdict="FAILED"))
    return report


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    ledger = config.stash[_ledger]
    scale = config.getoption("--durability")
    if scale is None or not ledger.entries:
        return
    text = "\n\n".join(filter(None, [facts(scale, Path.cwd()), ledger.table(), ledger.comparison()]))
    terminalreporter.section("fault matrix")
    terminalreporter.write_line(text)
    page = config.getoption("--durability-page")
    if page is not None:
        keep(Path(page), text)
