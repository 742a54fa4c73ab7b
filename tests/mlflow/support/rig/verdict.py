"""Whether what came of a fault is what should have come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.case import CALLS, IMPATIENT_S, METRICS
from rig.comparison import NONE
from rig.table import FAULTS

if TYPE_CHECKING:
    from rig.case import Outcome
    from rig.fault import Fault
    from rig.table import Table

ALL = CALLS * len(METRICS)
# What an exporter may read of an answer before it has enough of it, with what the kernel buffers on the way.
MOST_READ = 32 << 20


def enter(table: Table, fault: Fault, outcome: Outcome) -> None:
    """Add the line of a fault."""
    report = outcome.report
    table.enter(
        FAULTS,
        fault.name,
        outcome.requests,
        f"{report['longest_log_s'] * 1e3:.2f} ms",
        f"{report['close_s']:.1f} s",
        len(outcome.rejected) or "",
        "all" if outcome.before == NONE else _words(outcome.before),
        "all" if outcome.after == NONE else _words(outcome.after),
        fault.verdict,
    )


def _words(differences: dict[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in differences.items() if count)


def judge(fault: Fault, outcome: Outcome) -> None:
    """Fail unless it is right."""
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
