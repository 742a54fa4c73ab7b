"""What ``codex-ndjson sync`` says before and after a delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs.commands._command import visible
from codex_obs.commands._input import newest_shard_time

if TYPE_CHECKING:
    from pathlib import Path

    from codex_obs._backend import StreamOutcome

IDENTITY = "run.json"
_MLFLOW = "mlflow"
_OTLP = "otlp"


def beforehand(known: str | None, asked: str | None, *, new_run: bool, has_experiment: bool) -> list[str]:
    """Say what is not as the options may be understood, before anything is sent.

    Args:
        known: The MLflow run that ``run.json`` names.
        asked: The one that was asked for.
        new_run: Whether a new one was.
        has_experiment: Whether an option or a variable names an experiment.
    """
    words = []
    if new_run and known is not None:
        words.append(f"delivering to a new MLflow run, which is to take the place of {known} in run.json")
    if asked is not None and known is not None and asked != known:
        words.append(f"delivering to the MLflow run {asked}, which takes the place of {known} in run.json")
    if has_experiment and not new_run and (asked or known) is not None:
        reason = f"run.json names the MLflow run {known}" if asked is None else f"the MLflow run {asked} was asked for"
        words.append(f"the experiment has no effect, since {reason}: --new-run makes one there")
    return words


def sentence(outcome: StreamOutcome, to: str) -> str:
    """Say what was delivered of a stream."""
    given = _count(outcome.spans, "span") if to == _OTLP else _count(outcome.delivered, "point")
    is_anything = outcome.delivered or outcome.spans or outcome.params or outcome.rejected
    if outcome.done and not is_anything:
        words = "nothing new"
        where = "for"
    else:
        words = f"{given} delivered"
        where = "to"
    if outcome.remote_run is not None:
        words += f" {where} MLflow run {visible(outcome.remote_run)}"
    elif to != _MLFLOW:
        words += f" {where} {to}"
    if outcome.status is not None and to == _MLFLOW:
        words += f"; run marked {outcome.status}"
    return words


def would(outcome: StreamOutcome, to: str, *, new_run: bool) -> str:
    """Say what a delivery of a stream would send, and where."""
    what = [_count(outcome.spans, "span") if to == _OTLP else _count(outcome.delivered, "point")]
    what += [_count(number, noun) for number, noun in ((outcome.params, "parameter"), (outcome.tags, "tag")) if number]
    if outcome.status is not None:
        what.append(f"the status {outcome.status}")
    listed = what[0] if len(what) == 1 else f"{', '.join(what[:-1])} and {what[-1]}"
    if to != _MLFLOW:
        where = to
    elif new_run:
        where = "a new MLflow run"
    elif outcome.remote_run is not None:
        where = f"MLflow run {visible(outcome.remote_run)}"
    else:
        where = "the MLflow run with this run's tag, or a new one"
    return f"{listed} would be delivered to {where}"


def interrupted(path: Path, before: str | None, now: str | None) -> str:
    """Say how to resume a delivery to a new MLflow run after Ctrl-C.

    Args:
        path: The run directory.
        before: The MLflow run that ``run.json`` named before.
        now: The one that it names.
    """
    if now is None or now == before:
        return f"{visible(path)}: run.json names no new MLflow run: the same command creates one"
    return (
        f"{visible(path)}: run.json names the new MLflow run {visible(now)}: without --new-run the command resumes it"
    )


def notices(outcome: StreamOutcome, to: str) -> list[str]:
    """Say what was not as it should be."""
    words = list(outcome.notices)
    if outcome.rejected:
        rejected = _count(outcome.rejected, "span" if to == _OTLP else "point")
        who = "the server" if to == _MLFLOW else to
        words.append(f"{rejected} refused by {who}, kept in export_rejected.ndjson with its message")
    words += unshown(outcome, to)
    if outcome.lines_skipped:
        are = "that is not a row was" if outcome.lines_skipped == 1 else "that are not rows were"
        words.append(f"{_count(outcome.lines_skipped, 'line')} {are} skipped")
    if outcome.rows_missing:
        were = "row was" if outcome.rows_missing == 1 else "rows were"
        words.append(f"{outcome.rows_missing:,} {were} deleted before delivery and are missing {_there(to)}")
    if outcome.gaps:
        gaps = _count(outcome.gaps, "gap")
        words.append(f"some rows were deleted or truncated before delivery ({gaps}) and are missing {_there(to)}")
    return words


def is_incomplete(outcome: StreamOutcome, *, strict: bool) -> bool:
    """Give whether the server lacks rows for good; with `strict` also if an earlier delivery said so."""
    missing = (outcome.rows_missing_new, outcome.gaps_new)
    return any((*missing, outcome.rows_missing, outcome.gaps) if strict else missing)


def _there(to: str) -> str:
    return "on the server (tag codex_obs.rows_missing)" if to == _MLFLOW else f"at {to}"


def unshown(outcome: StreamOutcome, to: str) -> list[str]:
    """Say which rows were not sent because the destination has no form for them."""
    why_structured = " (MLflow metrics are numbers)" if to == _MLFLOW else ""
    kinds = (
        (outcome.rows_structured, f"with a structured value{why_structured}"),
        (outcome.rows_without_step, "without a step"),
        (outcome.rows_without_value, "without a value"),
    )
    kept = [f"{_count(number, 'row')} {why}" for number, why in kinds if number]
    return [f"not sent (in the files only): {', '.join(kept)}"] if kept else []


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def result(path: Path, outcome: StreamOutcome, problem: str | None, *, dry_run: bool) -> dict[str, object]:
    """Give the same as data. What a dry run counts is not done, and it counts tags as well."""
    only_counted = {"tags": outcome.tags} if dry_run else {}
    return {
        "dry_run": dry_run,
        "directory": str(path),
        "stream": outcome.stream,
        "delivered": outcome.delivered,
        "rejected": outcome.rejected,
        "spans": outcome.spans,
        "params": outcome.params,
        **only_counted,
        "lines_skipped": outcome.lines_skipped,
        "rows_structured": outcome.rows_structured,
        "rows_without_step": outcome.rows_without_step,
        "rows_without_value": outcome.rows_without_value,
        "rows_missing": outcome.rows_missing,
        "gaps": outcome.gaps,
        "mlflow_run_id": outcome.remote_run,
        "page": outcome.page,
        "status": outcome.status,
        "done": outcome.done and not dry_run,
        "problem": problem,
    }


def no_run(path: Path) -> str:
    """Say what to do about a folder without ``run.json``."""
    missing = f"{path} is not a run directory: it has no {IDENTITY}"
    below = next(iter(sorted(path.glob(f"*/{IDENTITY}"))), None)
    if below is not None:
        return f"{missing}. Give the runs below it, such as {below.parent}"
    if newest_shard_time(path) is not None:
        return (
            f"{missing}, which belongs to its metrics. Copy it from where they were logged, or let "
            f"codex_obs.init({str(path)!r}) make one"
        )
    return f"{missing}, nor metrics. Give the directory that codex_obs.init wrote to"
