"""Every fault of the table between an exporter and a real server: the right verdict, and the loop never waits."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rig import table as tables
from rig.case import CALLS, IMPATIENT_S, METRICS, Outcome, run_case
from rig.catalogue import FAULTS
from rig.comparison import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rig.fault import Fault
    from rig.server import Server
    from rig.table import Table

pytestmark = pytest.mark.mlflow
# They wait most of the time.
TOGETHER = 6
ALL = CALLS * len(METRICS)
# What an exporter may read of an answer before it has enough of it, with what the kernel buffers on the way.
MOST_READ = 32 << 20


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """Give what comes of the faults that are asked for, several at a time."""
    calls = (getattr(item, "callspec", None) for item in request.session.items)
    faults: list[Fault] = [call.params["fault"] for call in calls if call is not None and "fault" in call.params]
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


def enter(table: Table, fault: Fault, outcome: Outcome) -> None:
    report = outcome.report
    table.enter(
        tables.FAULTS,
        fault.name,
        outcome.requests,
        f"{report['longest_log_s'] * 1e3:.2f} ms",
        f"{report['close_s']:.1f} s",
        len(outcome.rejected) or "",
        "all" if outcome.before == NONE else words(outcome.before),
        "all" if outcome.after == NONE else words(outcome.after),
        fault.verdict,
    )


def words(differences: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in differences.items() if count)


def judge(fault: Fault, outcome: Outcome) -> None:
    report, stats = outcome.report, outcome.report["stats"]
    # The loop and the log know nothing of the destination.
    assert (stats["rows_written"], stats["rows_dropped"], stats["blocked_ns"]) == (ALL, 0, 0)
    assert report["closed"] is True
    # Nothing is lost, and nothing arrives twice.
    assert outcome.after == NONE
    assert outcome.remote_runs == 1
    assert outcome.before["doubled"] == outcome.before["foreign"] == 0
    assert outcome.requests <= fault.most_requests
    assert outcome.requests_of_the_stranger == 0
    assert outcome.poured <= MOST_READ
    refused = CALLS if fault.verdict == "rejected" else 0
    assert len(outcome.rejected) == refused
    assert stats["metrics_rejected"] == refused
    if fault.verdict in {"delivered", "rejected"}:
        assert outcome.before == NONE
        assert stats["metrics_exported"] == ALL - refused
    else:
        # The fault was there all the time, so nothing may pass for delivered.
        assert outcome.before["missing"] == ALL
        assert stats["metrics_exported"] == 0
        assert report["close_s"] < IMPATIENT_S * 3
        assert [line["status"] for line in outcome.summary if line["status"] in {"degraded", "disabled"}]
        assert "codex-ndjson sync" in report["errors"]
