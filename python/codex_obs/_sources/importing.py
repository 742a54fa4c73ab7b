"""Runs of other tools, found by what is named and written as run directories of this package."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from codex_obs import _backend
from codex_obs._run import Run
from codex_obs._settings.settings import Settings
from codex_obs._sources import _lines, _mlflow_server, _mlflow_store, _plugins, _records, _tensorboard, _wandb
from codex_obs._sources._base import Account, Ended, Params, Point, Source, SourceError
from codex_obs._splits import DEFAULT_SPLIT, WORDS, by_split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from codex_obs._sources._base import Piece

__all__ = ["Account", "Imported", "Source", "SourceError", "find", "place_of", "write"]

_SQLITE = b"SQLite format 3\x00"
_DATABASES = ("mlflow.db", "mlruns/mlflow.db")
# Before a slash these are splits too: those of trainers' events, and where system metrics stand in MLflow and W&B.
_FOLDERS = (*WORDS, "trainer", "actor", "evaluator", "misc", "system")
# Longest that the last rows may take to reach the files.
_CLOSE_S = 600.0
_MAX_NAME_BYTES = 200
_ID_CHARACTERS = 8
_STRANGE = re.compile(r"[/\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Imported:
    """One run that was written.

    Attributes:
        path: Its directory.
        rows: Rows of metrics.
        is_new: False if it was there already, and was left as it was.
        is_ended: Whether the source says how it ended.
        lost: Rows that could not be written.
    """

    path: Path
    rows: int
    is_new: bool = True
    is_ended: bool = True
    lost: int = 0


def find(source: str, run: str | None, account: Account) -> Sequence[Source]:
    """Find the runs that a source has.

    Args:
        source: A file or folder, an MLflow store as ``sqlite:///…`` or ``file:…``, or the address of a server.
        run: Name or id of the only run that is wanted.
        account: Counts what cannot be taken.

    Raises:
        SourceError: If there is none, or it cannot be read.
    """
    if source.startswith(("http://", "https://")):
        return _mlflow_server.server_runs(source, run, account)
    runs = _found(source, account)
    if run is None:
        return runs
    chosen = [found for found in runs if run in (found.label, found.run_id)]
    if not chosen:
        names = ", ".join(found.label for found in runs[:5])
        raise SourceError(f"{source} has no run {run}: it has {names}{' …' if len(runs) > 5 else ''}.")  # noqa: PLR2004
    return chosen


def _found(source: str, account: Account) -> Sequence[Source]:
    scheme, colon, rest = source.partition(":")
    if colon and scheme == "sqlite":
        return _checked(_mlflow_store.database_runs(Path(unquote(rest.removeprefix("///"))), account), source)
    if colon and scheme == "file":
        return _checked(_mlflow_store.folder_runs(Path(unquote(rest.removeprefix("//"))), account), source)
    if colon and re.fullmatch(r"[a-z][a-z0-9+]+", scheme) and rest.startswith("//"):
        raise SourceError(f"{scheme}: stores are not read: start an MLflow server on it, and import from its address.")
    path = Path(source)
    if not path.exists():
        raise SourceError(f"{source} does not exist.")
    return _checked(_in_folder(path, account) if path.is_dir() else _in_file(path, account), source)


def _checked(runs: Sequence[Source], source: str) -> Sequence[Source]:
    if not runs:
        raise SourceError(
            f"{source} has no run that can be imported: wide JSON lines, TensorBoard event files, W&B run files "
            "(.wandb) and MLflow stores are read, and what `codex-obs plugins list readers` names."
        )
    return runs


def _in_file(path: Path, account: Account) -> Sequence[Source]:
    if _tensorboard.MARK in path.name:
        return [_tensorboard.EventFolder(path.resolve().parent.name, [("train", [path])])]
    try:
        with path.open("rb") as file:
            beginning = file.read(len(_SQLITE))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    if _records.is_wandb(beginning):
        return [_wandb.WandbRun([path])]
    if beginning == _SQLITE:
        return _mlflow_store.database_runs(path, account)
    # Before what anything may be: their formats may begin as lines of JSON do.
    if taken := _plugins.plugin_runs(path, account):
        return taken
    if beginning.lstrip()[:1] == b"{" or path.suffix == ".gz":
        return _lines.json_lines(path)
    return []


def _in_folder(path: Path, account: Account) -> Sequence[Source]:
    if not os.access(path, os.R_OK | os.X_OK):
        raise SourceError(f"{path} cannot be read.")
    database = next((path / name for name in _DATABASES if (path / name).is_file()), None)
    if database is not None:
        return _mlflow_store.database_runs(database, account)
    for folder in (path, path / "mlruns"):
        if folder.is_dir() and (stored := _mlflow_store.folder_runs(folder, account)):
            return stored
    runs, events = _wandb.wandb_runs(path), _tensorboard.event_folders(path)
    if runs and events:
        account.left["run of TensorBoard, which is taken by naming its folder"] += len(events)
    return runs or events or _plugins.plugin_runs(path, account)


def write(source: Source, dest: Path, account: Account) -> Imported:
    """Write one run into a directory that does not exist yet. It appears when it is whole.

    Args:
        source: The run.
        dest: The directory.
        account: Counts what is left and what is damaged.

    Raises:
        SourceError: If the source cannot be read.
        CodexObsError: If the run cannot be written.
    """
    dest.parent.mkdir(parents=True, exist_ok=True)
    # Hidden folders are no runs to those who list them.
    unfinished = dest.parent / f".{secrets.token_hex(8)}.import"
    try:
        imported = _written(source, unfinished, dest, account)
        try:
            unfinished.rename(dest)
        except OSError as error:
            raise SourceError(f"{dest} cannot be made: {error.strerror}.") from error
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(unfinished)
        raise
    return imported


def _written(source: Source, directory: Path, dest: Path, account: Account) -> Imported:
    facts = source.facts()
    pieces = source.pieces(account)
    first, pieces = _first_point(pieces)
    first_s = None if first is None else first.time_s
    times = [time_s for time_s in (facts.started_s, first_s) if time_s is not None]
    started_s = min(times, default=None)
    # Records of the session and rows without a time of their own get the source's time, not today's.
    clock = None if started_s is None else _backend.ManualClock(started_s)
    run = Run(
        str(Path.cwd() / directory),
        settings=_settings(),
        run_id=facts.run_id,
        name=facts.name or dest.name,
        config=facts.params or None,
        tags={**facts.tags, "imported_from": dict(facts.origin)},
        metadata_name=facts.name,
        as_current=False,
        clock=clock,
    )
    ended: Ended | None = None
    with run:
        names = _Names(has_folders=source.has_folders)
        latest_s = started_s or 0.0
        for piece in pieces:
            if isinstance(piece, Point):
                latest_s = max(latest_s, piece.time_s or latest_s)
                for split, values in names.sorted(piece):
                    run.log(values, piece.step, split=split, timestamp=piece.time_s)
            elif isinstance(piece, Params):
                run.log_params(piece.values)
            else:
                ended = piece
        if clock is not None:
            clock.set(max(latest_s, (ended.time_s if ended is not None else None) or latest_s))
        run.finish("killed" if ended is None else ended.status, timeout=_CLOSE_S)
    stats = run.stats()
    lost = stats["rows_dropped"] + stats["rows_waiting"]
    return Imported(dest, stats["rows_written"], is_ended=ended is not None, lost=lost)


def _first_point(pieces: Iterator[Piece]) -> tuple[Point | None, Iterator[Piece]]:
    """Look ahead to the first values."""
    seen: list[Piece] = []
    for piece in pieces:
        seen.append(piece)
        if isinstance(piece, Point):
            return piece, chain(seen, pieces)
    return None, iter(seen)


def _settings() -> Settings:
    """Give settings that send nothing elsewhere and delete nothing, whatever the environment says."""
    return Settings(
        rank=0, disabled=False, console=False, legacy=False, flatten=False, overflow="block", max_shard_age_s=None,
        archive="zstd", archive_max_bytes=None, mlflow_tracking_uri="",
    )  # fmt: skip


class _Names:
    """Sorts names into splits, and lets no two names become one."""

    def __init__(self, *, has_folders: bool) -> None:
        self._has_folders = has_folders
        self._places: dict[tuple[str, str], tuple[str, str]] = {}
        self._taken: set[tuple[str, str]] = set()

    def sorted(self, point: Point) -> Iterator[tuple[str, dict[str, object]]]:
        """Give the values of a point by split."""
        found: dict[str, dict[str, object]] = {}
        for name, value in point.values.items():
            place = self._places.get((point.split, name)) or self._placed(point.split, name)
            found.setdefault(place[0], {})[place[1]] = value
        yield from found.items()

    def _placed(self, default: str, name: str) -> tuple[str, str]:
        split, short = default, name
        # Where the source says which split it is, the name is the metric's.
        if default == DEFAULT_SPLIT:
            found = by_split({name: None}, default=default, folders=_FOLDERS, any_folder=self._has_folders)
            ((split, (short,)),) = found.items()
        # A name that another has come to already stays whole; if that one is such a name itself, it has no split.
        choices = ((split, short), (default, name), ("", name))
        place = next(choice for choice in choices if choice not in self._taken or choice[0] == "")
        self._taken.add(place)
        self._places[default, name] = place
        return place


def place_of(source: Source, folder: Path) -> Path:
    """Give the directory of a run among several: called as the run is, unless another run is called so too."""
    name = _STRANGE.sub("-", source.label).strip(". ") or "run"
    place = folder / name.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")
    run_id = source.run_id
    if run_id is not None and place.is_dir():
        state = _backend.run_state(str(place))
        if state is None or state.run_id != run_id:
            return place.with_name(f"{place.name}-{run_id[:_ID_CHARACTERS]}")
    return place
