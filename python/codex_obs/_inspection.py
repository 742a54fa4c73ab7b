"""How well a run is, as one document: files, rows, sessions, destinations, what waits and what is lost."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from codex_obs import _backend, _catalog
from codex_obs._moments import moment_text
from codex_obs._remarks import paragraphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from codex_obs._backend import Catalog, Report, Survey

SCHEMA = "https://codexml.ai/schemas/inspection.schema.json"
_LOG = re.compile(
    r"(?P<kind>metrics|metrics_manifest|params|tracking_summary|telemetry|system_metrics|export_rejected|export_names|run)"
    r"(?:\.(?P<stream>[a-z0-9-]+))?\.(?:ndjson|jsonl)(?P<rest>(?:\.[0-9]+)?(?:\.gz|\.zst)?|\.archive-[0-9]+\.zst)"
)
_OWN = {"run.json", "metrics_summary.csv", "metrics_summary.parquet"}
_OWN_FOLDERS = {".codex_obs", "artifacts", "tensorboard", "wandb", "mlruns"}
# What a run keeps among its internals.
_INTERNAL = re.compile(
    r"(journal|lock|export|torn|pack|sidecar|artifacts?)-.+|guard|summary-cache|run\.json\..+|\.codex_obs-owner-.+"
)
_UNIT = 1000
# Longest line of a log that does not rotate, and longest text shown. Writers truncate theirs before.
_LINE_BYTES = 1 << 20
_TEXT = 4096
# Components of a run, and causes of losses. There are a dozen.
_COMPONENTS = 1000
_CAUSES = 100


def inspect(path: Path) -> dict[str, object]:
    """Look at a run.

    Returns:
        What ``codex-obs inspect --json`` prints; ``schemas/inspection.schema.json`` describes it.

    Raises:
        CodexObsError: If there is no log, or it cannot be read.
    """
    survey = _backend.survey(str(path))
    catalog = _catalog.list_runs(path, [])
    place = next((index for index, found in enumerate(catalog.paths) if path.samefile(found)), None)
    facts = _facts(catalog, place)
    files, others = _files(path)
    components, dropped = _components(path)
    earlier = survey.earlier_sessions
    unlisted = [f"{earlier:,} earlier {'session is' if earlier == 1 else 'sessions are'} not listed"] if earlier else []
    losses = [
        *_dropped(dropped),
        *_of_reader(survey.report),
        *_refused(path),
        *_never_delivered(survey),
    ]
    return {
        "$schema": SCHEMA,
        "path": os.fspath(path),
        **facts,
        "files": files,
        "other_files": others,
        "unknown_internals": _unknown_internals(path),
        "streams": [
            {"stream": stream, "live": is_live, "rows": rows, "rows_without_session": unknown}
            for stream, is_live, rows, unknown in survey.streams
        ],
        "sessions": [_session(session) for session in survey.sessions],
        "journals": list(_journals(path, survey)),
        "destinations": [_destination(delivery) for delivery in survey.deliveries],
        "components": components,
        "rows_recovered": survey.report.recovered,
        "rows_superseded": survey.report.superseded,
        "losses": losses,
        "problems": [*survey.report.notes, *unlisted, *(why for _, why in catalog.problems)],
        "healthy": not losses,
    }


def _facts(catalog: Catalog, place: int | None) -> dict[str, object]:
    names = ("run_id", "name", "status", "started", "ended", "last_step", "rows")
    if place is None:
        return dict.fromkeys(names)
    started, ended = catalog.started_micros[place], catalog.ended_micros[place]
    return {
        "run_id": catalog.run_ids[place],
        "name": catalog.names[place],
        "status": catalog.statuses[place],
        "started": None if started is None else moment_text(started),
        "ended": None if ended is None else moment_text(ended),
        "last_step": catalog.last_steps[place],
        "rows": catalog.rows[place],
    }


def _files(path: Path) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Give the run's logs with all their shards, and how much else lies in its folder."""
    logs: dict[str, dict[str, int]] = {}
    others = {"files": 0, "bytes": 0}
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        match = _LOG.fullmatch(entry.name)
        with suppress(OSError):
            if match is None and entry.is_dir(follow_symlinks=False):
                continue
            size = entry.stat().st_size
            if match is not None:
                stream = f".{match['stream']}" if match["stream"] else ""
                log = logs.setdefault(match["kind"] + stream, {"files": 0, "packed": 0, "bytes": 0})
                log["files"] += 1
                log["packed"] += match["rest"].endswith((".gz", ".zst"))
                log["bytes"] += size
            elif entry.name not in _OWN:
                others["files"] += 1
                others["bytes"] += size
    return [{"log": log, **counts} for log, counts in logs.items()], others


def _unknown_internals(path: Path) -> list[str]:
    """Name what lies among the internals and belongs to nobody."""
    with suppress(OSError):
        names = sorted(os.listdir(path / ".codex_obs"))  # noqa: PTH208 - names are what is asked for
        return [name for name in names if not _INTERNAL.fullmatch(name)]
    return []


def lines(path: Path, kind: str) -> Iterator[dict[str, object]]:
    """Give the objects in the lines of a log beside the rows, the oldest first in each stream, packed ones too."""
    for _, page in _backend.page_lines([str(path)], kind):
        yield from _objects(page.splitlines())


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, object]]:
    for line in lines:
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _rejected(path: Path) -> Iterator[dict[str, object]]:
    """Give what destinations refused, stream by stream. These files do not rotate."""
    for file in sorted(path.glob("export_rejected*.ndjson")):
        with suppress(OSError), file.open("rb") as opened:
            yield from _objects(_lines(opened))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Give the lines of a file that are no longer than ours can be."""
    is_whole = True
    while line := file.readline(_LINE_BYTES):
        is_first, is_whole = is_whole, line.endswith(b"\n")
        if is_first and is_whole:
            yield line


def _components(path: Path) -> tuple[list[dict[str, object]], Counter[str]]:
    """Give how each component stands, and what was dropped for which cause."""
    last: dict[str, dict[str, object]] = {}
    dropped: Counter[str] = Counter()
    for record in lines(path, "tracking_summary"):
        component, status, extra = record.get("component"), record.get("status"), record.get("extra")
        if not isinstance(component, str) or not isinstance(status, str):
            continue
        component = component[:_TEXT]
        if component in last or len(last) < _COMPONENTS:
            last[component] = _component(component, status[:_TEXT], record)
        if component == "ndjson" and status == "degraded" and isinstance(extra, dict):
            cause, count = extra.get("cause"), extra.get("count")
            if isinstance(cause, str) and isinstance(count, int) and cause != "retired":
                cause = cause[:_TEXT]
                dropped[cause if cause in dropped or len(dropped) < _CAUSES else "others"] += count
    return list(last.values()), dropped


def _component(component: str, status: str, record: dict[str, object]) -> dict[str, object]:
    reason, since = record.get("reason"), record.get("timestamp")
    return {
        "component": component,
        "status": status,
        "reason": reason[:_TEXT] if isinstance(reason, str) else None,
        "since": since[:_TEXT] if isinstance(since, str) else None,
    }


def _session(session: tuple[str, int, int, int | None, str, int, str | None, int | None, int]) -> dict[str, object]:
    stream, number, started, ended, host, pid, status, rewind_to, rows = session
    return {
        "stream": stream,
        "session": number,
        "started": moment_text(started) if started else None,
        "ended": None if ended is None else moment_text(ended),
        "status": status,
        "host": host,
        "pid": pid,
        "rewind_to": rewind_to,
        "rows": rows,
    }


def _journals(path: Path, survey: Survey) -> Iterator[dict[str, object]]:
    whys = {os.path.basename(os.fsdecode(name)): why for name, why in survey.report.journals}  # noqa: PTH119 - text
    for stream, is_live, size, rows in survey.journals:
        name = f"journal-{stream}"
        why = whys.get(name)
        # One that was of a dead writer and is gone has been recovered by this very look.
        is_left = (path / ".codex_obs" / name).exists()
        state = "live" if is_live else "left" if why or is_left else "recovered"
        yield {"stream": stream, "state": state, "bytes": size, "rows_waiting": rows, "why": why}


def _destination(
    delivery: tuple[
        str,
        str,
        str | None,
        tuple[int | None, int, int, int, bool],
        tuple[int, int],
        tuple[int, int, int],
        str | None,
    ],
) -> dict[str, object]:
    stream, address, remote_run, (rows, size, params, tags, end), (missing, gaps), totals, told = delivery
    taken, refused, unsent = totals
    return {
        "stream": stream,
        "address": address,
        "remote_run": remote_run,
        "points_taken": taken,
        "points_refused": refused,
        "rows_not_sent": unsent,
        "rows_left": rows,
        "bytes_left": size,
        "params_left": params,
        "tags_left": tags,
        "end_left": end,
        "rows_missing": missing,
        "gaps": gaps,
        "told": told,
    }


# --- Losses ----------------------------------------------------------------------------------------------------------


def _loss(kind: str, count: int, words: str, remedy: str) -> dict[str, object]:
    return {"kind": kind, "count": count, "words": words, "remedy": remedy}


_DROPPED = {
    "full": "The journal was full: free disk space, or set a larger ring_bytes or max_block_s.",
    "oversize": "One call was too large for the journal: log fewer values at once, or set a larger ring_bytes.",
    "journal": "The journal's file was truncated or its disk failed: codex-obs doctor checks the disk.",
    "died": "An earlier process died while its files could not be written: check the disk's space and permissions.",
    "unopened": "The run could not be opened in that process: its log has the reason.",
    "damaged": "The machine crashed before the journal was on the disk: fsync='always' keeps every row.",
}


def _dropped(counts: Counter[str]) -> Iterator[dict[str, object]]:
    for cause, count in sorted(counts.items()):
        remedy = _DROPPED.get(cause, "tracking_summary.ndjson has the records, with the steps.")
        yield _loss("dropped", count, f"{_count(count, 'row')} dropped ({cause})", remedy)


def _of_reader(report: Report) -> Iterator[dict[str, object]]:
    words = [paragraph[0].removesuffix(":") for paragraph in paragraphs(report)]

    def said(part: str) -> str:
        return next((text for text in words if part in text), part)

    if report.retired:
        remedy = "archive='zstd' without archive_max_bytes keeps every row."
        yield _loss("retired", report.retired, said("deleted by retention"), remedy)
    if report.skipped:
        remedy = "codex-obs summarize names the first of them; lines that were torn or edited cannot be brought back."
        yield _loss("unreadable_lines", report.skipped, said("skipped"), remedy)
    if report.faulty_fields:
        words_of = f"{_count(report.faulty_fields, 'field')} could not be read as written"
        yield _loss("unreadable_fields", report.faulty_fields, words_of, "codex-obs summarize names the first of them.")
    if report.valueless_rows:
        words_of = f"{_count(report.valueless_rows, 'row')} without a value"
        yield _loss(
            "rows_without_value", report.valueless_rows, words_of, "codex-obs summarize names the first of them."
        )
    if report.unread_files:
        remedy = "Rename or decompress them so that they are read, or move them away."
        yield _loss("unread_files", report.unread_files, said("look"), remedy)
    for path, why in report.journals:
        yield _loss("journal", 1, f"rows may be missing: {os.fsdecode(path)} {why}", "codex-obs recover RUN.")


def _refused(path: Path) -> Iterator[dict[str, object]]:
    count, last = 0, ""
    for record in _rejected(path):
        count += 1
        last = str(record.get("error") or record.get("reason") or record.get("message") or last)[:_TEXT]
    if count:
        words = f"{_count(count, 'point')} or parameters refused by a destination" + (
            f", the last: {last}" if last else ""
        )
        yield _loss("refused", count, words, "export_rejected.ndjson has each of them with the destination's words.")


def _never_delivered(survey: Survey) -> Iterator[dict[str, object]]:
    for stream, address, _, _, (rows, gaps), _, _ in survey.deliveries:
        if rows or gaps:
            known = _count(rows, "row") if rows else "an unknown number of rows"
            words = f"{known} of stream {stream} were deleted before {address} got them"
            remedy = "A larger max_unexported_shards keeps more while a destination is down."
            yield _loss("undelivered", rows or gaps, words, remedy)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size_text(size: int) -> str:
    """Write a number of bytes in three digits: ``512 B``, ``1.23 MB``."""
    if size < _UNIT:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB", "PB"):
        value /= _UNIT
        if value < _UNIT - 0.5 or unit == "PB":
            return f"{value:.3g} {unit}"
    raise AssertionError
