"""What ``codex-ndjson sync`` says before and after a delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._command import visible
from codex_obs._input import newest_shard_time

if TYPE_CHECKING:
    from pathlib import Path

    from codex_obs._backend import StreamOutcome

IDENTITY = "run.json"


def beforehand(known: str | None, asked: str | None, *, new_run: bool, has_experiment: bool) -> list[str]:
    """Say what is not as the options may be understood, before anything is sent.

    Args:
        known: The MLflow run that ``run.json`` names.
        asked: The one that was asked for.
        new_run: Whether a new one was.
        has_experiment: Whether an option names an experiment.
    """
    words = []
    if new_run and known is not None:
        words.append(f"delivering to a new MLflow run, which takes the place of {known} in run.json")
    if asked is not None and known is not None and asked != known:
        words.append(
            f"delivering to the MLflow run {asked}, although run.json names {known}, which stays the one of the next "
            "session and of sync without --run-id unless it is deleted"
        )
    if has_experiment and not new_run and (asked or known) is not None:
        words.append(
            f"the experiment has no effect, since the MLflow run {asked or known} exists: --new-run makes one there"
        )
    return words


def sentence(outcome: StreamOutcome, *, dry_run: bool) -> str:
    """Say what was delivered of a stream."""
    metrics = _count(outcome.delivered, "metric")
    if dry_run:
        return f"{metrics} would be delivered"
    words = f"{metrics} delivered"
    if outcome.remote_run is not None:
        words += f" to MLflow run {visible(outcome.remote_run)}"
    return words if outcome.status is None else f"{words}, which is {outcome.status}"


def notices(outcome: StreamOutcome) -> list[str]:
    """Say what was not as it should be."""
    words = list(outcome.notices)
    if outcome.rejected:
        rejected = _count(outcome.rejected, "metric")
        words.append(f"{rejected} refused by the server, kept in export_rejected.ndjson with its words")
    if outcome.lines_skipped:
        are = "that is no row was" if outcome.lines_skipped == 1 else "that are no rows were"
        words.append(f"{_count(outcome.lines_skipped, 'line')} {are} skipped")
    if outcome.gaps:
        places = _count(outcome.gaps, "place")
        words.append(f"rows may be missing at {places}: files were deleted or cut in which rows may have waited")
    return words


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def result(path: Path, outcome: StreamOutcome, problem: str | None) -> dict[str, object]:
    """Give the same as data."""
    return {
        "directory": str(path),
        "stream": outcome.stream,
        "delivered": outcome.delivered,
        "rejected": outcome.rejected,
        "params": outcome.params,
        "lines_skipped": outcome.lines_skipped,
        "gaps": outcome.gaps,
        "mlflow_run_id": outcome.remote_run,
        "status": outcome.status,
        "done": outcome.done,
        "problem": problem,
    }


def no_run(path: Path) -> str:
    """Say what to do about a folder without ``run.json``."""
    missing = f"{path} is no run directory: it has no {IDENTITY}"
    below = next(iter(sorted(path.glob(f"*/{IDENTITY}"))), None)
    if below is not None:
        return f"{missing}. Give the runs below it, such as {below.parent}"
    if newest_shard_time(path) is not None:
        return (
            f"{missing}, which belongs to its metrics. Copy it from where they were logged, or let "
            f"codex_obs.init({str(path)!r}) make one"
        )
    return f"{missing}, nor metrics. Give the folder that codex_obs.init wrote to"
