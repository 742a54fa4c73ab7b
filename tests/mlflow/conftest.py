"""What the tests against a real MLflow server share: the server itself, and the table of what came of each fault."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from codex_obs import _open_runs
from rig import postgres
from rig.rest import Client
from rig.server import Server
from rig.table import Table
from rig.trainer import is_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter

_table = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_table] = Table()


@pytest.fixture(autouse=True)
def _clean_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if is_foreign(name)]:
        monkeypatch.delenv(name)
    yield
    for run in _open_runs.all_open():
        run.close(1.0)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server on SQLite that runs as long as the tests do. Who stops it starts it again."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def either_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give the server on SQLite, and then one on PostgreSQL where it is installed."""
    if request.param == "sqlite":
        yield request.getfixturevalue("server")
        return
    if postgres.programs() is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    database = postgres.Postgres()
    try:
        database.start()
        server = Server(tmp_path_factory.mktemp("mlflow-postgres"), database.uri)
        server.start()
        yield server
        server.stop()
    finally:
        database.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Give a bare client of the server."""
    client = Client(server.port)
    yield client
    client.close()


@pytest.fixture
def table(request: pytest.FixtureRequest) -> Table:
    """Give the table, to which every fault adds its line."""
    return request.config.stash[_table]


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    for section, text in config.stash[_table].sections():
        terminalreporter.section(section)
        terminalreporter.write_line(text)
