"""Every fault of the table between an exporter and a real server: the right verdict, and the loop never waits."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rig.case import Outcome, run_case
from rig.catalogue import FAULTS
from rig.verdict import enter, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rig.fault import Fault
    from rig.server import Server
    from rig.table import Table

pytestmark = pytest.mark.mlflow
# They wait most of the time.
TOGETHER = 6


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """Give what comes of the faults that are asked for, several at a time."""
    here = [item for item in request.session.items if item.path == request.path]
    calls = (getattr(item, "callspec", None) for item in here)
    faults: list[Fault] = [call.params["fault"] for call in calls if call is not None]
    place = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(TOGETHER) as executor:
        yield {
            fault.name: executor.submit(run_case, fault, server.port, place / f"run-{number}")
            for number, fault in enumerate(faults)
        }
        executor.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_right_verdict(fault: Fault, outcomes: dict[str, Future[Outcome]], table: Table) -> None:
    outcome = outcomes[fault.name].result()
    enter(table, fault, outcome)
    judge(fault, outcome)
